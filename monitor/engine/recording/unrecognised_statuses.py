"""Alert once for each status of a source that this version does not know: its connections are not judged by it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import IncidentReason, IncidentSubject, ReportedStatus, split_subject
from monitor.domain.text import clean
from monitor.engine.recording.changes import Change
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.system_alerts import MONITOR, close_without_alert, record_monitor_alert
from monitor.store import Connection, connection_queries, incidents

MAX_LENGTH = 64
"""Maximum length of a status in characters: it comes from the provider, and may be any text."""
MAX_STATUSES = 20
"""Most statuses of one source that are reported, the most frequent ones."""


def touches_unrecognised(change: Change) -> bool:
    """Return True if a connection has a status that is not known, or had one before the change."""
    states = (change.before, change.after)
    return any(state is not None and state.snapshot.reported is ReportedStatus.UNRECOGNISED for state in states)


def record_unrecognised(conn: Connection, source: SourceConfig, *, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    """Open one incident for each unknown status that connections of the source have, and close those of all others."""
    counts: dict[str, int] = {}
    for raw, number in connection_queries.count_unrecognised(conn, source.name, limit=MAX_STATUSES):
        status = clean(raw, limit=MAX_LENGTH, otherwise="?")
        counts[status] = counts.get(status, 0) + number
    recorded = Recorded()
    known = {name for name in _open_names(conn) if name.startswith(f"{source.name}:")}
    service = f"{source.info.label} (source {source.name})"
    for status, number in counts.items():
        if f"{source.name}:{status}" not in known:
            some = f"{number} connection{'' if number == 1 else 's'}"
            text = (
                f"{service} reports the status '{status}' on {some}; this version does not know it. They keep their last status."
            )
            recorded.add(_record(conn, source, status, text, problem=True, channels=channels, now=now))
    for name in sorted(known - {f"{source.name}:{status}" for status in counts}):
        status = name.removeprefix(f"{source.name}:")
        text = f"{service} no longer reports the status '{status}'."
        recorded.add(_record(conn, source, status, text, problem=False, channels=channels, now=now))
    return recorded


def close_removed(conn: Connection, configured: Collection[str], now: datetime) -> None:
    """Close the incidents of sources that are no longer configured, without an alert."""
    for name in _open_names(conn):
        if name.partition(":")[0] not in configured:
            close_without_alert(conn, MONITOR, IncidentSubject.STATUS.of(name), now)


def _open_names(conn: Connection) -> list[str]:
    """Return source and status, joined by a colon, of the open incidents."""
    subjects = map(split_subject, incidents.open_subjects(conn, MONITOR))
    return [name for kind, name in subjects if kind == IncidentSubject.STATUS]


def _record(
    conn: Connection,
    source: SourceConfig,
    status: str,
    message: str,
    *,
    problem: bool,
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> Recorded:
    return record_monitor_alert(
        conn,
        subject=IncidentSubject.STATUS.of(f"{source.name}:{status}"),
        problem=problem,
        reason=IncidentReason.UNRECOGNISED_STATUS,
        message=message,
        channels=channels,
        now=now,
    )
