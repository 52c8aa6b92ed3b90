"""Notices sources that nobody reads: not polled for three intervals, or never read since they were added."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from monitor.clock import Clock
from monitor.config import SourceConfig
from monitor.recorder import Recorded
from monitor.recorder.outgoing import ChannelSettings
from monitor.recorder.sources import record_source_incident
from monitor.rules.overdue import Overdue, overdue
from monitor.store import Store, incidents, sources
from monitor.store.sources import SourceRow

log = structlog.get_logger(__name__)

SUBJECT = "unpolled"
"""The source's incident that is open while nobody reads it."""
LOOK_EVERY = timedelta(minutes=1)


@dataclass(slots=True)
class _Seen:
    """What this process saw of a source, on the monotonic clock."""

    first: float
    poll_at: datetime | None
    since: float
    """When poll_at was seen to change."""


class Unpolled:
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
        self._seen: dict[str, _Seen] = {}
        self._looked: float | None = None

    async def run_due(self) -> Recorded:
        """Look, once a minute, and say what is new. Raises StoreError."""
        passed = self._monotonic()
        if self._looked is not None and passed - self._looked < LOOK_EVERY.total_seconds():
            return Recorded()
        self._looked = passed
        changes = await self._store.run_read(self._changes, passed)
        return await self._store.run(self._record, changes) if changes else Recorded()

    def _changes(self, passed: float) -> dict[str, Overdue | None]:
        """What is to be said: a new problem, or None where one is over."""
        with self._store.read() as conn:
            rows = [row for row in sources.all_sources(conn) if row.name in self._configured]
            told = incidents.sources_with_open(conn, subject=SUBJECT)
        found = {row.name: self._judge(row, passed) for row in rows}
        return {name: problem for name, problem in found.items() if (problem is not None) is not (name in told)}

    def _judge(self, row: SourceRow, passed: float) -> Overdue | None:
        seen = self._seen.setdefault(row.name, _Seen(first=passed, poll_at=row.last_poll_at, since=passed))
        if row.last_poll_at != seen.poll_at:
            seen.poll_at, seen.since = row.last_poll_at, passed
        return overdue(
            status=row.status,
            last_success_at=row.last_success_at,
            unpolled_for=timedelta(seconds=passed - seen.since),
            watched_for=timedelta(seconds=passed - seen.first),
            poll_every=self._configured[row.name].poll_every,
        )

    def _record(self, changes: Mapping[str, Overdue | None]) -> Recorded:
        recorded = Recorded()
        with self._store.write() as conn:
            for name, problem in changes.items():
                recorded.add(self._say(conn, name, problem))
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
            subject=SUBJECT,
            problem=problem is not None,
            reason=problem.reason if problem else "read_again",
            status=row.status,
            message=problem.message if problem else "It is being read again.",
            channels=self._channels,
            now=self._clock.now(),
        )
