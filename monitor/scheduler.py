"""Ticks. What is due is written in the store; APScheduler only looks, every half second, and starts what it finds.

So a restart neither stampedes nor skips, and a late tick runs what is due late, once. The jobs hold no state and
start tracked tasks of their own: APScheduler cancels what it runs itself when it shuts down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from monitor.alignment import pull_back
from monitor.clock import Clock
from monitor.config import SourceConfig
from monitor.errors import StoreError
from monitor.notifier import Notifier
from monitor.poller import Poller
from monitor.prober import Prober
from monitor.provider import Provider
from monitor.recorder import Recorded
from monitor.reporter import Reporter
from monitor.store import Store, connections, incidents, meta, probes, retention, sources
from monitor.timekeeper import Timekeeper

log = structlog.get_logger(__name__)

TICK = timedelta(seconds=0.5)
JUMP = timedelta(seconds=5)
"""The wall clock jumped when it moved by this much more, or less, than time passed."""

CARE_EVERY = timedelta(hours=1)
REPORTS_EVERY = timedelta(seconds=20)
"""How often it is looked whether a drill or a report is due."""

POLLS_AT_ONCE = 64
"""Sources read at the same time; the rest wait their turn."""

FIRST_HOLD, LONGEST_HOLD = 1.0, 30.0
"""Seconds that work rests after its own failure (the store was not there, a defect of ours), doubling in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One configured source and the API behind it."""

    source: SourceConfig
    provider: Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long history and polls are kept."""

    history: timedelta
    polls: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What the store says is due now."""

    polls: list[str]
    probes: list[str]
    time: bool


@dataclass(slots=True)
class Hold:
    """Work that failed rests for a while."""

    until: float = 0.0
    seconds: float = 0.0


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Fires one interval after now, whatever happened before: no run is made up for, however far the clock jumped."""

    def __init__(self, every: timedelta) -> None:
        self._every = every

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:  # noqa: ARG002 - its interface
        """One interval from now."""
        return now + self._every


def tell_unrouted(recorded: Recorded) -> None:
    """An alert that no channel takes is an error that people see, never silence."""
    for alert in recorded.unrouted:
        log.error(
            "alert.unroutable",
            alert=alert.id,
            alert_event=alert.event.value,
            about=alert.connection or alert.source,
            advice="No channel takes it: widen a channel's filters, or give one fallback = true.",
        )


class Scheduler:
    """Starts polls, probes and time-driven changes when they are due, each source's work one at a time."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        work: Mapping[str, Work],
        poller: Poller,
        prober: Prober,
        timekeeper: Timekeeper,
        notifier: Notifier,
        keep: Keep,
        reporter: Reporter,
    ) -> None:
        self._store, self._clock, self._work, self._keep = store, clock, work, keep
        self._poller, self._prober, self._timekeeper, self._notifier = poller, prober, timekeeper, notifier
        self._reporter = reporter
        self._ticker = AsyncIOScheduler(timezone="UTC")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._holds: dict[str, Hold] = {}
        self._polls_at_once = asyncio.Semaphore(POLLS_AT_ONCE)
        self._store_is_down = False
        self._stopping = False
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tick. Must be called inside a running event loop."""
        self._timekeeper.distrust()
        rules = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._ticker.add_job(self._tick, Every(TICK), id="tick", next_run_time=self._clock.now(), **rules)
        self._ticker.add_job(self._care, Every(CARE_EVERY), id="care", **rules)
        self._ticker.add_job(self._report, Every(REPORTS_EVERY), id="report", **rules)
        self._ticker.start()
        self._watcher = asyncio.create_task(self._watch_clock(), name="clock")

    async def stop(self, timeout: timedelta) -> None:
        """Start nothing more; let what is under way finish for up to `timeout`, then cut it off.

        Nothing is lost by that: what was not recorded is still due.
        """
        self._stopping = True
        if self._watcher is not None:
            self._watcher.cancel()
        if self._ticker.running:
            self._ticker.shutdown(wait=False)
            await asyncio.sleep(0)
        self._prober.stop()
        waiting = set(self._running.values())
        if not waiting:
            return
        _, late = await asyncio.wait(waiting, timeout=timeout.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _tick(self) -> None:
        self._launch("look", self._look)

    async def _care(self) -> None:
        self._launch("care", self._prune)

    async def _report(self) -> None:
        self._launch("report", self._report_due)

    async def _watch_clock(self) -> None:
        """Compare the wall clock with the time that passed: APScheduler would sleep through a step back."""
        loop = asyncio.get_running_loop()
        wall, passed = self._clock.now(), loop.time()
        while True:
            await asyncio.sleep(1.0)
            moved, took = self._clock.now() - wall, timedelta(seconds=loop.time() - passed)
            wall, passed = wall + moved, passed + took.total_seconds()
            if abs(moved - took) > JUMP:
                log.warning("clock.jumped", by_seconds=round((moved - took).total_seconds(), 1))
                self._timekeeper.distrust()
                for job in self._ticker.get_jobs():
                    job.modify(next_run_time=wall)
                self._launch("jump", self._pull_back)

    async def _pull_back(self) -> None:
        await self._store.run(self._pull_back_now)

    def _pull_back_now(self) -> None:
        with self._store.write() as conn:
            pull_back(conn, [work.source for work in self._work.values()], self._clock.now())

    def _launch(self, key: str, action: Callable[[], Awaitable[None]]) -> None:
        """Start one piece of work unless it is still running or resting."""
        hold = self._holds.get(key)
        if self._stopping or key in self._running or (hold is not None and hold.until > asyncio.get_running_loop().time()):
            return
        task = asyncio.create_task(self._guarded(key, action), name=key)
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def _guarded(self, key: str, action: Callable[[], Awaitable[None]]) -> None:
        """Run one piece of work; a failure of ours is told and rested upon, never fatal to the rest."""
        try:
            await action()
        except StoreError as error:
            self._rest(key)
            if not self._store_is_down:
                log.error("store.unavailable", problem=str(error))  # noqa: TRY400 - a sentence for a person, no traceback
            self._store_is_down = True
        except Exception:
            self._rest(key)
            log.exception("work.failed", work=key)
        else:
            self._holds.pop(key, None)

    def _rest(self, key: str) -> None:
        hold = self._holds.setdefault(key, Hold())
        hold.seconds = min(max(hold.seconds * 2, FIRST_HOLD), LONGEST_HOLD)
        hold.until = asyncio.get_running_loop().time() + hold.seconds

    async def _look(self) -> None:
        if self._store_is_down:
            await self._store.run(self._try_to_write)  # nothing is asked of any API that could not be written down
            self._store_is_down = False
            log.info("store.back")
        due = await self._store.run_read(self._due)
        if due.time:
            self._launch("time", self._advance)
        for name in due.polls:
            if name in self._work:
                self._launch(f"poll:{name}", partial(self._poll, self._work[name]))
        for name in due.probes:
            if name in self._work and self._work[name].source.probes_on_schedule:
                self._launch(f"probe:{name}", partial(self._probe, self._work[name]))

    def _try_to_write(self) -> None:
        with self._store.write() as conn:
            meta.set(conn, "last_write_after_trouble", self._clock.now().isoformat())

    def _due(self) -> Due:
        now = self._clock.now()
        with self._store.read() as conn:
            instants = (connections.next_change_due(conn), incidents.next_look_due(conn))
            return Due(
                polls=sources.due_sources(conn, now),
                probes=probes.sources_with_probes_due(conn, now),
                time=any(instant is not None and instant <= now for instant in instants),
            )

    async def _poll(self, work: Work) -> None:
        async with self._polls_at_once:
            recorded = await self._poller.poll(work.source, work.provider)
        self._timekeeper.trust(work.source.name)
        self._wake(recorded)

    async def _probe(self, work: Work) -> None:
        self._wake(await self._prober.probe_due(work.source, work.provider))

    async def _advance(self) -> None:
        self._wake(await self._timekeeper.advance())

    async def _report_due(self) -> None:
        for channel in await self._reporter.run_due():
            self._notifier.wake(channel)

    def _wake(self, recorded: Recorded) -> None:
        tell_unrouted(recorded)
        for channel in recorded.channels:
            self._notifier.wake(channel)

    async def _prune(self) -> None:
        await self._store.run(self._prune_now)

    def _prune_now(self) -> None:
        with self._store.write() as conn:
            retention.prune(conn, self._clock.now(), history=self._keep.history, polls_kept=self._keep.polls)
