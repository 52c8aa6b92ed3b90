"""Detection of jumps of the wall clock, and the repair of stored times after one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from monitor.config import SourceConfig
from monitor.domain.clock import Clock
from monitor.engine.config_sync import limit_due_times
from monitor.engine.time_changes import TimeChanges
from monitor.store import Connection, Store, maintenance

log = structlog.get_logger(__name__)

JUMP = timedelta(seconds=5)
"""Difference between the wall clock's movement and the elapsed monotonic time that counts as a jump."""


class ClockWatch:
    """Compares the wall clock with monotonic time. Its methods are called from one event loop."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        sources: Sequence[SourceConfig],
        time_changes: TimeChanges,
        jumped: Callable[[datetime], None],
    ) -> None:
        """`jumped` is called with the new time after each jump; it is expected to arrange for repair()."""
        self._store, self._clock, self._sources = store, clock, sources
        self._time_changes, self._jumped = time_changes, jumped
        self._compared = clock.now(), 0.0
        """The wall clock and the monotonic time of the last comparison."""
        self._unrepaired = timedelta(0)
        """Sum of the jumps for which the store is not repaired yet."""

    def start(self) -> None:
        """Take the first reading. Must be called inside a running event loop."""
        self._time_changes.distrust()
        self._compared = self._clock.now(), asyncio.get_running_loop().time()

    async def run(self, every: float) -> None:
        """Compare the clocks at a fixed interval, until cancelled.

        The scheduler's ticks are not enough: after a step back APScheduler sleeps until the clock has caught up.
        """
        while True:
            await asyncio.sleep(every)
            self.now()

    def now(self) -> datetime:
        """Return the wall clock's time after comparing it with monotonic time; after a jump time is not trusted."""
        wall, passed = self._clock.now(), asyncio.get_running_loop().time()
        moved, took = wall - self._compared[0], timedelta(seconds=passed - self._compared[1])
        self._compared = wall, passed
        if abs(moved - took) > JUMP:
            log.warning("clock.jumped", by_seconds=round((moved - took).total_seconds(), 1))
            self._time_changes.distrust()
            self._unrepaired += moved - took
            self._jumped(wall)
        return wall

    async def repair(self) -> None:
        """Correct the times that were stored by the clock before it jumped. Raises StoreError."""
        by = self._unrepaired

        def write(conn: Connection) -> None:
            now = self._clock.now()
            limit_due_times(conn, self._sources, now)
            maintenance.after_jump(conn, now, by=by)

        await self._store.write(write)
        self._unrepaired -= by
