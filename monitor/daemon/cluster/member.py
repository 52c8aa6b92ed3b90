"""This daemon as a member of the cluster: it reports itself, renews its leases, and takes units unless it has to wait."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum

import structlog

from monitor import __version__
from monitor.config import ClusterConfig
from monitor.daemon.cluster.host_reach import HostReach
from monitor.daemon.cluster.ownership import Ownership
from monitor.daemon.cluster.queue_runner import QueueRunner
from monitor.daemon.cluster.units import Parts, UnitRunner
from monitor.domain import threads
from monitor.domain.clock import Clock
from monitor.domain.errors import StoreError
from monitor.domain.process import unique_name
from monitor.domain.timefmt import span
from monitor.store import Store, cluster_tables, revisions
from monitor.store.leases import Beat, DaemonReport, Leases
from monitor.store.work_queue import WorkQueue

log = structlog.get_logger(__name__)

BEAT_EVERY = timedelta(seconds=4)
"""Interval at which a daemon reports itself and renews its leases."""
RECHECK_EVERY = timedelta(seconds=1)
UNPLANNED_FOR = timedelta(seconds=20)
"""A daemon waits if no daemon has planned for this time; a takeover is faster."""
CLOCKS_AGREE_WITHIN = timedelta(seconds=30)
"""Largest accepted difference between the clocks of a daemon and of the planner."""
DRAIN_WITHIN = timedelta(seconds=6)
"""Longest wait for units under way when a daemon stops."""


class MemberState(StrEnum):
    """What a daemon of a cluster does."""

    WORKING = "working"
    WAITING = "waiting"
    """It takes no units; its detail states the reason."""
    DRAINING = "draining"
    """It finishes its units and stops."""


class ClusterMember:
    """Runs units of work in this process from start() to stop()."""

    def __init__(
        self, *, config: ClusterConfig, store: Store, clock: Clock, plans: bool, on_newer_schema: Callable[[], None]
    ) -> None:
        """Connect to nothing yet. `plans` is True for the daemon with the lock. Raise ConfigError if procrastinate is missing.

        `on_newer_schema` is called once if a newer version has migrated the database.
        """
        self.id = unique_name()
        self._config, self._clock, self._plans, self._on_newer_schema = config, clock, plans, on_newer_schema
        self._server = store.server
        self._queue = WorkQueue(self._server, connections=config.connections)
        self._reach = HostReach()
        self.units = UnitRunner(
            me=self.id,
            store=store,
            clock=clock,
            reach=self._reach,
            others=lambda: self._others,
            refuse=lambda _: self._wake.set(),
        )
        self.ownership = Ownership(Leases(self._server, me=self.id), resume=self.units.resume, handover=self.units.handover)
        self._wake = asyncio.Event()
        self._beat: Beat | None = None
        self._offset = 0.0
        self._planned_at = time.monotonic()
        self._configuration = ""
        self._state, self._detail = MemberState.WAITING, "starting"
        self._stopping = False
        self._reported_schema = False
        self._tasks: list[asyncio.Task[None]] = []
        self._working: asyncio.Task[None] | None = None
        self._offered: Mapping[tuple[str, ...], int] = {}

    async def start(self, parts: Parts) -> None:
        """Create the cluster's tables if necessary, and begin to work. Raise StoreError."""
        await threads.run(self._prepare, name="cluster")
        self._configuration, units = parts.configuration, self.units
        units.use(parts, self.ownership)
        await self._queue.open({"polls": units.poll, "probes": units.probe, "deliveries": units.deliver})
        await self._report()
        self._tasks = [
            asyncio.create_task(self._beat_repeatedly(), name="cluster-beat"),
            asyncio.create_task(self._answer_rechecks(), name="cluster-rechecks"),
        ]

    def new_planner(self) -> QueueRunner:
        """Return the runner that queues due work. Only after start()."""
        return QueueRunner(
            self._queue,
            self.ownership,
            configuration=self._configuration,
            workers=lambda: self._beat.workers if self._beat is not None else self._config.workers,
        )

    @property
    def text(self) -> str:
        """The state, for `systemctl status`."""
        doing = f"{self.units.running} sources and channels in work" if self._state is MemberState.WORKING else self._detail
        return f"{self._state}: {doing}"

    def waits_because(self) -> str | None:
        """Return the reason for which it takes no units, None if it takes them."""
        return None if self._state is MemberState.WORKING else self._detail or self._state.value

    def halt(self) -> None:
        """Take no more units, effective immediately."""
        self._stopping = True
        self._queue.stop_work()

    async def stop(self, within: timedelta = DRAIN_WITHIN) -> None:
        """Take no more units, finish those under way within this time, and leave the cluster. May be called twice."""
        self.halt()
        self._state, self._detail = MemberState.DRAINING, ""
        if self._tasks:
            await self._try_to_report()
        await self.units.drain(within)
        if self._working is not None:
            await asyncio.wait([self._working], timeout=1)
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            await self.ownership.leave()
        await self._queue.close()
        self.ownership.close()

    def _prepare(self) -> None:
        cluster_tables.prepare(self._server)
        self._queue.prepare()

    async def _beat_repeatedly(self) -> None:
        while True:
            await self._try_to_report()
            self._follow()
            self._wake.clear()
            try:
                async with asyncio.timeout(BEAT_EVERY.total_seconds()):
                    await self._wake.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(0.2)  # a burst of refused units is one reason to look again

    async def _try_to_report(self) -> None:
        try:
            await self._report()
        except StoreError as error:
            log.debug("cluster.not_reported", problem=str(error))
        except Exception:
            log.exception("cluster.fault")

    async def _report(self) -> None:
        """Report the state, renew the leases, and decide the next state."""
        report = DaemonReport(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            workers=self._config.workers,
            queue=self._queue.schema,
            configuration=self._configuration,
            plans=self._plans,
            state=self._state,
            detail=self._detail or None,
            units=self.units.running,
            clock_offset=self._offset,
        )
        before = self._clock.now()
        beat = self._beat = await self.ownership.beat(report)
        self._offset = round((before + (self._clock.now() - before) / 2 - beat.now).total_seconds(), 3)
        if self._state is MemberState.DRAINING:
            return
        reason = self._reason_to_wait(beat)
        state = MemberState.WORKING if reason is None else MemberState.WAITING
        if (state, reason or "") != (self._state, self._detail):
            log.info("cluster.state", state=state.value, reason=reason)
            self._state, self._detail = state, reason or ""
            self._wake.set()  # report it without delay

    def _reason_to_wait(self, beat: Beat) -> str | None:
        if beat.revision != revisions.HEAD:
            if not self._reported_schema:
                self._reported_schema = True
                self._on_newer_schema()
            return f"The database is at revision {beat.revision}, this version uses {revisions.HEAD}: upgrade this daemon."
        planned, own = beat.planned_configuration, self._configuration
        if planned is not None or self._plans:
            self._planned_at = time.monotonic()
        elif time.monotonic() - self._planned_at > UNPLANNED_FOR.total_seconds():
            return "No daemon of the cluster plans: a daemon with cluster.workers = 0 holds the lock of the database."
        if planned not in (None, own) and not self._plans:
            return f"Its configuration ({own}) differs from that of the planner ({planned}): reload the same one everywhere."
        difference = 0.0 if beat.planner_offset is None or self._plans else self._offset - beat.planner_offset
        if abs(difference) > CLOCKS_AGREE_WITHIN.total_seconds():
            ahead = "ahead of" if difference > 0 else "behind"
            return f"Its clock is {span(timedelta(seconds=abs(difference)))} {ahead} the planner's: correct the clock."
        if self._reach.rests:
            return "This machine reaches no service: other machines try first."
        return None

    def _follow(self) -> None:
        """Start or stop taking units, as the state requires."""
        works = self._state is MemberState.WORKING and not self._stopping and not self.ownership.is_overdue
        running, places = self._working is not None and not self._working.done(), self._places()
        if works and not running and places:
            self._offered = places
            self._working = asyncio.create_task(self._work(places), name="cluster-work")
        elif running and not (works and places == self._offered):
            self._queue.stop_work()

    async def _work(self, places: Mapping[tuple[str, ...], int]) -> None:
        try:
            await self._queue.work(places, drain=DRAIN_WITHIN)
        except StoreError as error:
            log.warning("cluster.queue_unavailable", problem=str(error))
        except Exception:
            log.exception("cluster.fault")

    @property
    def _others(self) -> int:
        """The number of other daemons at work."""
        return self._beat.others if self._beat is not None else 0

    def _places(self) -> dict[tuple[str, ...], int]:
        """Return the number of simultaneous units by queues. Deliveries count separately: slow polls must not delay them."""
        workers, queues = self._config.workers, self._config.queues
        others = tuple(each for each in queues if each != "deliveries")
        places = {others: workers} if others else {}
        if "deliveries" in queues and not (self._reach.is_doubted and self._others):
            places["deliveries",] = max(workers // 2, 1) if others else workers
        return places

    async def _answer_rechecks(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_EVERY.total_seconds())
            if self._state is not MemberState.WORKING or self._stopping:
                continue
            try:
                await self.units.answer_rechecks()
            except StoreError as error:
                log.debug("cluster.rechecks_unread", problem=str(error))
