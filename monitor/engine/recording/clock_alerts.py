"""Alert once if the clocks of this machine and of sources have differed for an hour."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from monitor.config import ChannelConfig
from monitor.domain import IncidentReason, IncidentSubject
from monitor.domain.rules import clock_skew
from monitor.domain.rules.clock_skew import SourceClock
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.system_alerts import record_monitor_alert
from monitor.store import Connection, sources
from monitor.store.sources import SourceRow


def record_clock(
    conn: Connection, row: SourceRow, *, open_subjects: Collection[str], channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Open or close the incident about clocks after a poll. The poll itself is not stored yet; the source's row is.

    `open_subjects` are those of the monitor's own open incidents.
    """
    known = IncidentSubject.CLOCK in open_subjects
    if row.skewed_since is None and known and all(each.skewed_since is None for each in sources.all_sources(conn)):
        return _record(
            conn, "The clocks of this machine and of all sources agree again.", problem=False, channels=channels, now=now
        )
    if row.skewed_since is None or known or now - row.skewed_since < clock_skew.LASTING:
        return Recorded()
    if sources.count_answered_polls(conn, row.name, since=row.skewed_since) + 1 < clock_skew.LASTING_POLLS:
        return Recorded()
    clocks = [
        SourceClock(name=each.name, host=each.host, skew=each.clock_skew)
        for each in sources.all_sources(conn)
        if each.clock_skew is not None
    ]
    return _record(conn, clock_skew.describe(clocks), problem=True, channels=channels, now=now)


def _record(conn: Connection, message: str, *, problem: bool, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    return record_monitor_alert(
        conn,
        subject=IncidentSubject.CLOCK,
        problem=problem,
        reason=IncidentReason.CLOCK_SKEW,
        message=message,
        channels=channels,
        now=now,
    )
