"""Alert once for each status of a source that this version does not know: its connections are not judged by it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import IncidentReason, IncidentSubject, ReportedStatus, split_subject
from monitor.domain.text import clean
from monitor.engine.recording.changes import Change
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.system_alerts import MONITOR, record_monitor_alert
from monitor.store import Connection, connection_queries, incidents
from monitor.store.incidents import Incident

MAX_LENGTH = 64
"""Maximum length of a status in characters: it comes from the provider, and may be any text."""
MAX_STATUSES = 20
"""Maximum number of statuses of one source that are reported at a time, the most frequent ones first."""


GONE_FOR = timedelta(days=1)
"""Time from the disappearance of a status to the review that ends its incident: providers often use such statuses again."""


def touches_unrecognised(change: Change) -> bool:
    """Return True if a connection has a status that is not known, or had one before the change."""
    states = (change.before, change.after)
    return any(state is not None and state.snapshot.reported is ReportedStatus.UNRECOGNISED for state in states)


def record_unrecognised(conn: Connection, source: SourceConfig, *, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    """Open one incident for each unknown status that connections of the source have. One that is gone is reviewed in a day."""
    counts = _counts(conn, source)
    recorded = Recorded()
    known = {incident.subject: incident for incident in _open_incidents(conn) if _source_of(incident) == source.name}
    room = MAX_STATUSES - len(known)
    for status, number in counts.items():
        incident = known.pop(_subject(source, status), None)
        if incident is not None and incident.next_review_at is not None:
            incidents.plan_reviews(conn, [(incident.id, None)])
        elif incident is None and room > 0:
            room -= 1
            some = f"{number} connection{'' if number == 1 else 's'}"
            text = f"the status '{status}' on {some}; this version does not know it. They keep their last status."
            recorded.add(_record(conn, source, status, f"reports {text}", problem=True, channels=channels, now=now))
    gone = [incident.id for incident in known.values() if incident.next_review_at is None]
    incidents.plan_reviews(conn, [(each, now + GONE_FOR) for each in gone])
    return recorded


def record_all_unrecognised(
    conn: Connection, configured: Sequence[SourceConfig], *, channels: Sequence[ChannelConfig], now: datetime
) -> None:
    """Call record_unrecognised() for each source that has an unknown status, or had one recently."""
    concerned = connection_queries.sources_with_unrecognised(conn) | {_source_of(each) for each in _open_incidents(conn)}
    for source in configured:
        if source.name in concerned:
            record_unrecognised(conn, source, channels=channels, now=now)


def review_unrecognised(
    conn: Connection,
    configured: Mapping[str, SourceConfig],
    incident: Incident,
    *,
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> Recorded:
    """Close an incident about a status that no connection has any more. Its review is due."""
    source = configured.get(_source_of(incident) or "")
    if source is None:
        return Recorded()
    status = incident.subject.removeprefix(_subject(source, ""))
    if status in _counts(conn, source):
        return Recorded()
    text = f"no longer reports the status '{status}'."
    return _record(conn, source, status, text, problem=False, channels=channels, now=now)


def close_removed(conn: Connection, configured: Collection[str], now: datetime) -> None:
    """Close the incidents of sources that are no longer configured, without an alert."""
    for incident in _open_incidents(conn):
        if _source_of(incident) not in configured:
            incidents.close(conn, incident.id, now)


def _counts(conn: Connection, source: SourceConfig) -> dict[str, int]:
    """Return the unknown statuses of a source's listed connections, as displayed, with the number of connections."""
    counts: dict[str, int] = {}
    for raw, number in connection_queries.count_unrecognised(conn, source.name, limit=MAX_STATUSES):
        status = clean(raw, limit=MAX_LENGTH, otherwise="?")
        counts[status] = counts.get(status, 0) + number
    return counts


def _open_incidents(conn: Connection) -> Iterator[Incident]:
    for subject in incidents.open_subjects(conn, MONITOR):
        if split_subject(subject)[0] == IncidentSubject.STATUS:
            incident = incidents.find_open_source(conn, MONITOR, subject=subject)
            if incident is not None:
                yield incident


def _subject(source: SourceConfig, status: str) -> str:
    return IncidentSubject.STATUS.of(f"{source.name}:{status}")


def _source_of(incident: Incident) -> str | None:
    """Return the source of an incident about a status; None if it is about something else."""
    kind, name = split_subject(incident.subject)
    return name.partition(":")[0] if kind == IncidentSubject.STATUS else None


def _record(
    conn: Connection,
    source: SourceConfig,
    status: str,
    text: str,
    *,
    problem: bool,
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> Recorded:
    return record_monitor_alert(
        conn,
        subject=_subject(source, status),
        problem=problem,
        reason=IncidentReason.UNRECOGNISED_STATUS,
        message=f"{source.info.label} (source {source.name}) {text}",
        channels=channels,
        now=now,
    )
