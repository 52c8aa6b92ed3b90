"""Run units of work: poll these sources, probe batches of these sources, deliver to this channel; and answer rechecks.

A unit that is run twice changes nothing: it takes the leases of its sources first, and then does only what is still due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from monitor.config import SourceConfig
from monitor.daemon.cluster.host_reach import HostReach
from monitor.daemon.cluster.ownership import Ownership
from monitor.daemon.work import CONCURRENT_POLLS, Engine, Work, channel_lease, log_unrouted, source_lease
from monitor.domain import PollOutcome, PollReport
from monitor.domain.clock import Clock
from monitor.domain.errors import StoreError
from monitor.engine.fencing import is_lease_lost
from monitor.notify import Notifier
from monitor.notify.delivery_settings import Hold
from monitor.store import Connection, Store, rechecks, sources
from monitor.store.leases import Lease

log = structlog.get_logger(__name__)

UNIT_WITHIN = timedelta(seconds=20)
"""A unit ends after this time; sources whose polls take longer are finished beside the next units."""
DELIVER_WITHIN = timedelta(seconds=30)
"""A unit delivers to a channel for about this time, then another daemon may."""
PROBED_TOGETHER = 16
"""Sources of a unit that are probed at the same time."""


@dataclass(slots=True, kw_only=True)
class Parts:
    """The parts of a daemon that units use."""

    work: Mapping[str, Work]
    configuration: str
    """Revision of the configuration that they were built from."""
    engine: Engine
    notifier: Notifier


@dataclass(slots=True)
class _Carried:
    """What is passed on with the lease of a source or channel."""

    facts: dict[str, object] = field(default_factory=dict)
    hold: Hold = field(default_factory=Hold)
    cut: bool = False
    """True if deliveries of the channel did not end, so that what was being sent is uncertain."""


class UnitRunner:
    """Runs this daemon's units. All methods are called from one event loop."""

    def __init__(
        self, *, me: str, store: Store, clock: Clock, reach: HostReach, others: Callable[[], int], refuse: Callable[[str], None]
    ) -> None:
        """`others` returns the number of other daemons at work; `refuse` is called with the revision of a refused unit."""
        self._me, self._store, self._clock, self._reach = me, store, clock, reach
        self._others, self._refuse = others, refuse
        self._parts: Parts | None = None
        self._ownership: Ownership | None = None
        self._carried: dict[str, _Carried] = {}
        self._polls = asyncio.Semaphore(CONCURRENT_POLLS)
        self._probes = asyncio.Semaphore(PROBED_TOGETHER)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def use(self, parts: Parts, ownership: Ownership) -> None:
        """Run units with these parts. Must be called before anything else."""
        self._parts, self._ownership = parts, ownership
        for name, work in parts.work.items():
            lease = source_lease(name)
            if work.budget is not None:
                work.budget.guard = partial(ownership.guard, lease)
                work.budget.paused = partial(ownership.save_soon, lease)

    @property
    def running(self) -> int:
        """The number of sources and channels that this daemon is working on."""
        return len(self._tasks)

    # --- leases

    def resume(self, lease: Lease) -> None:
        """Continue with what the previous holder of a lease left."""
        kind, _, name = lease.name.partition(":")
        left = dict(lease.handover or {})
        carried = self._carried[lease.name] = _Carried()
        if kind == "source":
            carried.facts = {key: left[key] for key in ("unreachable",) if key in left}
            work = self._used.work.get(name)
            if work is not None and work.budget is not None:
                work.budget.resume(left, age=lease.age, lapsed=lease.lapsed)
        else:
            seconds = float(left.get("hold", 0.0)) - lease.age
            until = self._clock.now() + timedelta(seconds=seconds) if seconds > 0 else None
            carried.hold = Hold(until=until, down=bool(left.get("down")))

    def handover(self, lease: str) -> Mapping[str, Any] | None:
        """Return what the next holder of a lease continues with; None for nothing."""
        kind, _, name = lease.partition(":")
        carried = self._carried.get(lease, _Carried())
        if kind == "source":
            work = self._used.work.get(name)
            return {**(work.budget.handover() if work is not None and work.budget is not None else {}), **carried.facts} or None
        hold = carried.hold
        seconds = 0.0 if hold.until is None else (hold.until - self._clock.now()).total_seconds()
        left: dict[str, Any] = {"hold": seconds, "down": hold.down} if seconds > 0 or hold.down else {}
        return {**left, "cut": True} if carried.cut else left or None

    def require(self, conn: Connection, sources: Collection[str]) -> None:
        """Raise LeaseLost unless this daemon works on these sources: the fence of everything that is recorded about them."""
        self._leases.require(conn, [source_lease(source) for source in sources])

    def is_doubtful(self, source: SourceConfig, report: PollReport) -> bool:
        """Return True if another machine should try first to reach this source, because this one reaches nothing."""
        carried = self._carried.setdefault(source_lease(source.name), _Carried())
        if report.outcome is not PollOutcome.UNREACHABLE:
            self._reach.reached()
            carried.facts.pop("unreachable", None)
            return False
        now = self._clock.now().timestamp()
        doubtful = self._reach.is_doubtful(carried.facts, me=self._me, others=self._others(), now=now)
        if doubtful:
            self._refuse("")  # this machine is to take no more units for a while
        else:
            carried.facts.pop("unreachable", None)
        return doubtful

    # --- units

    async def poll(self, names: Sequence[str], configuration: str) -> None:
        """Poll those of these sources that are due. Returns after UNIT_WITHIN at the latest; slow polls go on."""
        if not self._accepts(configuration):
            return
        await self._run_each("poll", names, self._poll, due=sources.due_among)

    async def probe(self, names: Sequence[str], configuration: str) -> None:
        """Probe one batch of due connections of each of these sources. Returns like poll()."""
        if self._accepts(configuration):
            await self._run_each("probe", names, self._probe)

    async def deliver(self, names: Sequence[str], configuration: str) -> None:
        """Deliver what is due on this channel."""
        if not self._accepts(configuration):
            return
        for name in names:
            task = self._start(f"deliver:{name}", channel_lease(name), partial(self._deliver, name))
            if task is not None:
                await asyncio.wait([task])

    async def answer_rechecks(self) -> None:
        """Start answering pending rechecks: those of sources that this daemon works on, or that no daemon works on."""
        now = self._clock.now()
        for name in await self._store.read(lambda conn: rechecks.pending_sources(conn, now)):
            if name in self._used.work:
                self._start(f"recheck:{name}", source_lease(name), partial(self._recheck, name))

    async def drain(self, within: timedelta) -> None:
        """Wait for the work that is under way, at most `within`, and cancel the rest."""
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _poll(self, name: str) -> None:
        work = self._used.work[name]
        async with self._polls:
            log_unrouted(await self._used.engine.poller.poll(work.source, work.provider))

    async def _probe(self, name: str) -> None:
        work = self._used.work[name]
        async with self._probes:
            log_unrouted(await self._used.engine.prober.probe_due(work.source, work.provider, batches=1))

    async def _recheck(self, name: str) -> None:
        work = self._used.work[name]
        while (recorded := await self._used.engine.rechecker.check_pending(work.source, work.provider)) is not None:
            log_unrouted(recorded)

    async def _deliver(self, name: str) -> None:
        lease = channel_lease(name)
        carried = self._carried.setdefault(lease, _Carried())
        is_lost = partial(self._leases.is_lost, lease)
        carried.cut = True
        carried.hold = await self._used.notifier.deliver(name, carried.hold, is_lost=is_lost, within=DELIVER_WITHIN)
        carried.cut = False

    def _accepts(self, configuration: str) -> bool:
        if self._parts is None or configuration != self._parts.configuration:
            self._refuse(configuration)
            return False
        return True

    async def _run_each(
        self,
        kind: str,
        names: Sequence[str],
        action: Callable[[str], Awaitable[None]],
        *,
        due: Callable[[Connection, Collection[str], datetime], Collection[str]] | None = None,
    ) -> None:
        """Start the action for each of these sources that this daemon gets the lease of, and wait for UNIT_WITHIN.

        `due` returns those for which there is something to do; it is read with the leases, or another daemon could do it first.
        """
        names = [name for name in names if name in self._used.work and f"{kind}:{name}" not in self._tasks]
        held = await self._guarded(self._leases.take([source_lease(name) for name in names])) or set()
        names = [name for name in names if source_lease(name) in held]
        wanted: Collection[str] = names if due is None else ()
        tasks = []
        try:
            if names and due is not None:
                now = self._clock.now()
                wanted = await self._guarded(self._store.read(lambda conn: due(conn, names, now))) or ()
        finally:  # also if the unit is cancelled
            for name in names:
                if name in wanted and f"{kind}:{name}" not in self._tasks:
                    tasks.append(self._spawn(f"{kind}:{name}", source_lease(name), action(name)))
                else:
                    self._leases.drop(source_lease(name))
        if tasks:
            await asyncio.wait(tasks, timeout=UNIT_WITHIN.total_seconds())

    def _start(self, key: str, lease: str, action: Callable[[], Awaitable[None]]) -> asyncio.Task[None] | None:
        """Start an action once its lease is taken, unless it is running."""
        if key in self._tasks:
            return None

        async def with_lease() -> None:
            if await self._leases.take([lease]):
                try:
                    await action()
                finally:
                    self._leases.drop(lease)

        return self._track(key, self._guarded(with_lease()))

    def _spawn(self, key: str, lease: str, action: Awaitable[None]) -> asyncio.Task[None]:
        """Run an action whose lease is taken, and drop the lease when it ends."""

        async def run() -> None:
            try:
                await self._guarded(action)
            finally:
                self._leases.drop(lease)

        return self._track(key, run())

    def _track(self, key: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=key)
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return task

    async def _guarded(self, work: Awaitable[Any]) -> Any:
        """Return the result; None after an error, which is logged: the work is still due and is planned again."""
        try:
            return await work
        except StoreError as error:
            log.warning("unit.store_unavailable", problem=str(error))
        except Exception as error:
            if is_lease_lost(error):
                log.info("unit.lease_lost")
            else:
                log.exception("unit.failed")
        return None

    @property
    def _used(self) -> Parts:
        assert self._parts is not None  # noqa: S101 - use() comes first
        return self._parts

    @property
    def _leases(self) -> Ownership:
        assert self._ownership is not None  # noqa: S101 - use() comes first
        return self._ownership
