"""Alert for overdue sources: not polled for three intervals, or never read since they were added."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import partial

import structlog

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import IncidentReason, IncidentSubject
from monitor.domain.clock import Clock
from monitor.domain.records import Record
from monitor.domain.rules.freshness import Overdue, excused_delay, is_reported, overdue
from monitor.engine.recording import Recorded
from monitor.engine.recording.system_alerts import close_without_alert, record_source_incident
from monitor.store import Connection, Store, incidents, sources
from monitor.store.incidents import Incident
from monitor.store.sources import SourceRow

log = structlog.get_logger(__name__)

CHECK_EVERY = timedelta(minutes=1)


class _End(Enum):
    """End of an incident."""

    RECOVERED = "recovered"
    SUPERSEDED = "superseded"
    """Without a recovery: another alert reports already that the source cannot be read."""


_Change = Overdue | _End


class _SourceProgress(Record):
    """Observations of a source by this process, in seconds of the monotonic clock."""

    first: float
    """First observation, moved later by delays that the service asked for."""
    since: float
    """Last observed change of poll_at, moved later likewise."""
    read: bool
    """True if the source was read since the incident opened."""
    poll_at: datetime | None = None
    success_at: datetime | None = None


class OverdueSources:
    """Opens and closes the incidents. Observations are kept in memory: after a restart the intervals start again."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        configured: Mapping[str, SourceConfig],
        channels: Sequence[ChannelConfig],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._clock, self._configured, self._channels = store, clock, configured, channels
        self._monotonic = monotonic
        self._observed: dict[str, _SourceProgress] = {}
        self._checked_at: float | None = None

    async def run_due(self) -> Recorded:
        """Check every source, at most once a minute, and record the changes. Raises StoreError."""
        passed = self._monotonic()
        if self._checked_at is not None and passed - self._checked_at < CHECK_EVERY.total_seconds():
            return Recorded()
        self._checked_at = passed
        changes = await self._store.read(partial(self._changes, passed=passed))
        return await self._store.write(partial(self._record, changes=changes)) if changes else Recorded()

    def _changes(self, conn: Connection, *, passed: float) -> dict[str, _Change]:
        """Return the sources whose incident opens or ends, with the reason."""
        rows = [row for row in sources.all_sources(conn) if row.name in self._configured]
        names = incidents.sources_with_open(conn, subject=IncidentSubject.UNPOLLED)
        open_incidents = {name: incidents.find_open_source(conn, name, subject=IncidentSubject.UNPOLLED) for name in names}
        found = {row.name: self._judge(row, open_incidents.get(row.name), passed) for row in rows}
        return {name: change for name, change in found.items() if change is not None}

    def _judge(self, row: SourceRow, incident: Incident | None, passed: float) -> _Change | None:
        observed = self._observe(row, incident, passed)
        if incident is not None:
            if is_reported(row.status):
                return _End.SUPERSEDED
            return _End.RECOVERED if observed.read else None
        return overdue(
            status=row.status,
            last_success_at=row.last_success_at,
            unpolled_for=timedelta(seconds=passed - observed.since),
            observed_for=timedelta(seconds=passed - observed.first),
            poll_every=self._configured[row.name].poll_every,
        )

    def _observe(self, row: SourceRow, incident: Incident | None, passed: float) -> _SourceProgress:
        """Update and return the observations of one source."""
        observed = self._observed.get(row.name)
        if observed is None:
            # An incident of an earlier process has ended if the source was read after it. Later observations of this
            # process are more reliable than stored dates.
            read = incident is not None and row.last_success_at is not None and row.last_success_at >= incident.opened_at
            observed = self._observed[row.name] = _SourceProgress(first=passed, since=passed, read=read)
        else:
            observed.read = incident is not None and (observed.read or row.last_success_at != observed.success_at)
        observed.success_at = row.last_success_at
        if row.last_poll_at != observed.poll_at:
            observed.poll_at, observed.since = row.last_poll_at, passed
            if row.next_poll_at is not None:
                # The wall clock is read once for each poll, right after it, so a later change of the clock has no effect.
                wait = excused_delay(row.next_poll_at - self._clock.now(), self._configured[row.name].poll_every).total_seconds()
                observed.since += wait
                observed.first += wait
        return observed

    def _record(self, conn: Connection, *, changes: Mapping[str, _Change]) -> Recorded:
        recorded = Recorded()
        for name, change in changes.items():
            if change is _End.SUPERSEDED:
                close_without_alert(conn, name, IncidentSubject.UNPOLLED, self._clock.now())
            else:
                recorded.add(self._record_change(conn, name, change if isinstance(change, Overdue) else None))
        return recorded

    def _record_change(self, conn: Connection, name: str, problem: Overdue | None) -> Recorded:
        row = sources.find_source(conn, name)
        if row is None:
            return Recorded()
        if problem is not None:
            log.warning("source.unwatched", source=name, problem=problem.message)
        return record_source_incident(
            conn,
            self._configured[name],
            subject=IncidentSubject.UNPOLLED,
            problem=problem is not None,
            reason=problem.reason if problem else IncidentReason.READ_AGAIN,
            status=row.status,
            message=problem.message if problem else "The source is being read again.",
            channels=self._channels,
            now=self._clock.now(),
        )
