"""Notices sources that nobody reads: not polled for three intervals, or never read since they were added."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

import structlog

from monitor.config import SourceConfig
from monitor.domain import IncidentSubject
from monitor.domain.clock import Clock
from monitor.domain.rules.freshness import Overdue, excused, is_told, overdue
from monitor.engine.recording import Recorded
from monitor.engine.recording.queueing import ChannelSettings
from monitor.engine.recording.system_alerts import close_quietly, record_source_incident
from monitor.store import Connection, Store, incidents, sources
from monitor.store.incidents import Incident
from monitor.store.sources import SourceRow

log = structlog.get_logger(__name__)

LOOK_EVERY = timedelta(minutes=1)


class _End(Enum):
    """How an incident ends."""

    SAID = "said"
    QUIET = "quiet"
    """Something else says already that the source cannot be read."""


_News = Overdue | _End


@dataclass(slots=True)
class _SourceProgress:
    """What this process saw of a source, on the monotonic clock."""

    first: float
    """When it was seen first; later by what it asked us to wait."""
    since: float
    """When poll_at was seen to change; likewise."""
    read: bool
    """Whether it was read since the incident was told."""
    poll_at: datetime | None = None
    success_at: datetime | None = None


class OverdueSources:
    """Opens and closes the incidents. Its memory is that of the process: a restart begins to wait anew."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        configured: Mapping[str, SourceConfig],
        channels: Sequence[ChannelSettings],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._clock, self._configured, self._channels = store, clock, configured, channels
        self._monotonic = monotonic
        self._seen: dict[str, _SourceProgress] = {}
        self._looked: float | None = None

    async def run_due(self) -> Recorded:
        """Look, once a minute, and say what is new. Raises StoreError."""
        passed = self._monotonic()
        if self._looked is not None and passed - self._looked < LOOK_EVERY.total_seconds():
            return Recorded()
        self._looked = passed
        changes = await self._store.run_read(self._changes, passed)
        return await self._store.run(self._record, changes) if changes else Recorded()

    def _changes(self, passed: float) -> dict[str, _News]:
        """What is new of which source."""
        with self._store.begin_read() as conn:
            rows = [row for row in sources.all_sources(conn) if row.name in self._configured]
            names = incidents.sources_with_open(conn, subject=IncidentSubject.UNPOLLED)
            told = {name: incidents.find_open_source(conn, name, subject=IncidentSubject.UNPOLLED) for name in names}
        found = {row.name: self._judge(row, told.get(row.name), passed) for row in rows}
        return {name: news for name, news in found.items() if news is not None}

    def _judge(self, row: SourceRow, told: Incident | None, passed: float) -> _News | None:
        seen = self._look(row, told, passed)
        if told is not None:
            if is_told(row.status):
                return _End.QUIET
            return _End.SAID if seen.read else None
        return overdue(
            status=row.status,
            last_success_at=row.last_success_at,
            unpolled_for=timedelta(seconds=passed - seen.since),
            watched_for=timedelta(seconds=passed - seen.first),
            poll_every=self._configured[row.name].poll_every,
        )

    def _look(self, row: SourceRow, told: Incident | None, passed: float) -> _SourceProgress:
        """What is known of the source, this look included."""
        seen = self._seen.get(row.name)
        if seen is None:
            # What an earlier process told has ended where the source was read after it; later on, looking is surer than dates.
            read = told is not None and row.last_success_at is not None and row.last_success_at >= told.opened_at
            seen = self._seen[row.name] = _SourceProgress(first=passed, since=passed, read=read)
        else:
            seen.read = told is not None and (seen.read or row.last_success_at != seen.success_at)
        seen.success_at = row.last_success_at
        if row.last_poll_at != seen.poll_at:
            seen.poll_at, seen.since = row.last_poll_at, passed
            if row.next_poll_at is not None:
                # The wall clock is asked once for each poll, right after it: that it is moved later makes no difference.
                wait = excused(row.next_poll_at - self._clock.now(), self._configured[row.name].poll_every).total_seconds()
                seen.since += wait
                seen.first += wait
        return seen

    def _record(self, changes: Mapping[str, _News]) -> Recorded:
        recorded = Recorded()
        with self._store.begin_write() as conn:
            for name, news in changes.items():
                if news is _End.QUIET:
                    close_quietly(conn, name, IncidentSubject.UNPOLLED, self._clock.now())
                else:
                    recorded.add(self._say(conn, name, news if isinstance(news, Overdue) else None))
        return recorded

    def _say(self, conn: Connection, name: str, problem: Overdue | None) -> Recorded:
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
            reason=problem.reason if problem else "read_again",
            status=row.status,
            message=problem.message if problem else "It is being read again.",
            channels=self._channels,
            now=self._clock.now(),
        )
