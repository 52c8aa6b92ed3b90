"""The planner's side of the queue: due sources are collected into coarse units, and waited for until their units have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from itertools import chain
from math import ceil

import structlog

from monitor.daemon.cluster.ownership import Ownership
from monitor.daemon.work import Work
from monitor.domain.errors import StoreError
from monitor.engine.recording import Recorded
from monitor.store.work_queue import Unit, WorkQueue

log = structlog.get_logger(__name__)

MOST_SOURCES = 50
"""Maximum number of sources in a unit."""
FEWEST_POLLED = 16
"""Fewer sources to poll are not distributed: a daemon polls them side by side, and a unit of its own for each costs more."""
UNITS_PER_WORKER = 2
"""Beyond that, fewer sources are in a unit rather than fewer units than this for each worker of the cluster."""
COLLECT_FOR = timedelta(seconds=0.2)
"""Time in which due sources are collected into units."""
MANY_POLLED, COLLECT_MANY_FOR = 8, timedelta(seconds=1)
"""From this number of sources to poll on they are collected for longer: a unit costs as much for one source as for fifty."""
CHECK_EVERY = timedelta(seconds=0.5)
"""Interval at which the planner checks which units have ended."""
RECOVER_LOST_EVERY = timedelta(seconds=3)


class QueueRunner:
    """Queues due work for the daemons of the cluster."""

    is_shared = True

    def __init__(self, queue: WorkQueue, ownership: Ownership, *, configuration: str, workers: Callable[[], int]) -> None:
        """`workers` returns the number of units that the daemons at work run at a time."""
        self._queue, self._ownership, self._configuration, self._workers = queue, ownership, configuration, workers
        self._wanted: dict[str, dict[str, asyncio.Future[None]]] = {"polls": {}, "probes": {}, "deliveries": {}}
        self._collecting_since: dict[str, float] = {}
        self._queued: dict[int, list[asyncio.Future[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take over the queue from an earlier planner: what is due is queued again. Raises StoreUnavailable."""
        dropped = await self._queue.drop_waiting()
        log.info("planner.started", dropped=dropped)
        self._tasks = [
            asyncio.create_task(self._repeat(COLLECT_FOR, self._defer), name="planner-defer"),
            asyncio.create_task(self._repeat(CHECK_EVERY, self._check), name="planner-check"),
            asyncio.create_task(self._repeat(RECOVER_LOST_EVERY, self._recover_lost), name="planner-lost"),
        ]

    async def close(self) -> None:
        """Plan nothing more; what is queued is left to the other daemons."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for future in chain(*(each.values() for each in self._wanted.values()), *self._queued.values()):
            future.cancel()

    async def busy(self) -> frozenset[str]:
        """Return the sources and channels that a daemon is working on, and the channels that pause after a failure."""
        held = await self._ownership.held()
        return frozenset(
            name for name, each in held.items() if each.live or float((each.handover or {}).get("hold", 0.0)) > each.age
        )

    async def poll(self, work: Work) -> Recorded:
        """Queue a poll of a source. What the poll recorded is unknown here: it counts as a change."""
        await self._wait_for("polls", work.source.name)
        return Recorded(changed=1)

    async def probe(self, work: Work) -> Recorded:
        """Queue a probe of a batch of connections of a source."""
        await self._wait_for("probes", work.source.name)
        return Recorded()

    async def recheck(self, work: Work) -> Recorded | None:  # noqa: ARG002 - every daemon answers those of its sources
        """Do nothing: every daemon answers the rechecks of the sources that it works on."""
        return None

    async def deliver(self, channel: str) -> None:
        """Queue the due deliveries of a channel."""
        await self._wait_for("deliveries", channel)

    def stop(self) -> None:
        """Do nothing: each daemon stops its own probes."""

    async def _wait_for(self, kind: str, name: str) -> None:
        await asyncio.shield(self._want(kind, name))

    def _want(self, kind: str, name: str) -> asyncio.Future[None]:
        waiting, loop = self._wanted[kind], asyncio.get_running_loop()
        if not waiting:
            self._collecting_since[kind] = loop.time()
        if name not in waiting:
            waiting[name] = loop.create_future()
        return waiting[name]

    async def _repeat(self, every: timedelta, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            try:
                await action()
            except StoreError as error:
                log.debug("planner.queue_unavailable", problem=str(error))
            except Exception:  # a defect in one step must not end the planning for good
                log.exception("cluster.fault")

    async def _defer(self) -> None:
        """Queue what is wanted, in one statement for each kind."""
        for kind, waiting in self._wanted.items():
            count, size = self._ready(kind, len(waiting))
            if not count:
                continue
            names = list(waiting)[:count]
            taken = {name: waiting.pop(name) for name in names}
            self._collecting_since[kind] = asyncio.get_running_loop().time()
            parts = [names[at : at + size] for at in range(0, count, size)]
            units = [Unit(kind=kind, names=tuple(part), configuration=self._configuration) for part in parts]
            try:
                ids = await self._queue.defer(units)
            except StoreError:
                _finish(taken.values())
                raise
            for at, part in zip(ids, parts, strict=False):
                self._queued[at] = [taken[name] for name in part]
            if not ids:  # one of them waits already, queued by another planner a moment ago
                _finish(taken.values())

    def _ready(self, kind: str, count: int) -> tuple[int, int]:
        """Return how many of so many collected names go into units now, and the size of these units."""
        if kind == "deliveries":
            return count, 1
        if kind == "polls" and count >= MANY_POLLED:
            collecting = timedelta(seconds=asyncio.get_running_loop().time() - self._collecting_since[kind])
            if count < MOST_SOURCES and collecting < COLLECT_MANY_FOR:
                return 0, MOST_SOURCES
            if count >= MOST_SOURCES and collecting > 2 * COLLECT_FOR:  # they became due one after the other
                return count // MOST_SOURCES * MOST_SOURCES, MOST_SOURCES
        shared = ceil(count / max(self._workers() * UNITS_PER_WORKER, 1))
        return count, max(FEWEST_POLLED if kind == "polls" else 1, min(MOST_SOURCES, shared))

    async def _check(self) -> None:
        """End the wait for units that have ended."""
        if not self._queued:
            return
        unfinished = await self._queue.unfinished(self._queued)
        for ended in [each for each in self._queued if each not in unfinished]:
            _finish(self._queued.pop(ended))

    async def _recover_lost(self) -> None:
        """Drop the units of daemons that died, and have what they were sending sent: it is not due for minutes."""
        lost = await self._queue.drop_lost()
        for name, each in (await self._ownership.held()).items():
            kind, _, channel = name.partition(":")
            if kind == "channel" and (each.lapsed or (not each.live and (each.handover or {}).get("cut"))):
                self._want("deliveries", channel)
        if lost:
            log.warning("planner.units_lost", count=len(lost), advice="A daemon died or lost the database; others do its work.")


def _finish(futures: Iterable[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
