"""Alert once where probes of a source's connections have given no evidence for a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import IncidentReason, IncidentSubject
from monitor.domain.rules import silent_probes
from monitor.domain.rules.silent_probes import SILENT_FOR
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.system_alerts import record_source_incident
from monitor.store import Connection, incidents, probes

ENDED = "Every connection that could not be tested has been tested, or has a problem that causes a separate alert."
SWITCHED_OFF = "Probing is off, so connections are no longer tested."


def record_silent_probes(conn: Connection, source: SourceConfig, *, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    """Open or close the source's incident about connections that cannot be tested. Reads all of its connections if need be."""
    known = incidents.find_open_source(conn, source.name, subject=IncidentSubject.PROBES) is not None
    every = source.probe_every or SILENT_FOR
    if not known and not probes.had_silent(conn, source.name, since=now - SILENT_FOR - max(every, SILENT_FOR)):
        return Recorded()
    groups = probes.count_silent(conn, source.name, until=now - SILENT_FOR)
    silent = [group for group in groups if group.silent]
    if bool(silent) is known:
        return Recorded()
    if not silent:
        return end_silent_probes(conn, source, ENDED, channels=channels, now=now)
    answer = probes.silent_answer(conn, source.name, until=now - SILENT_FOR)
    return record_source_incident(
        conn,
        source,
        subject=IncidentSubject.PROBES,
        problem=True,
        reason=IncidentReason.PROBES_UNANSWERED,
        status=IncidentReason.PROBES_UNANSWERED,
        message=silent_probes.describe(groups, answer),
        channels=channels,
        now=now,
        platform=silent[0].platform if len(silent) == 1 else None,
        count=sum(group.silent for group in silent),
    )


def end_silent_probes(
    conn: Connection, source: SourceConfig, message: str, *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Close the source's incident about connections that cannot be tested, if it is open."""
    return record_source_incident(
        conn,
        source,
        subject=IncidentSubject.PROBES,
        problem=False,
        reason=IncidentReason.PROBES_UNANSWERED,
        status="ok",
        message=message,
        channels=channels,
        now=now,
    )
