"""Ticks. What is due is written in the store; APScheduler only looks, every half second, and starts what it finds.

So a restart neither stampedes nor skips, and a late tick runs what is due late, once. The jobs hold no state and
start tracked tasks of their own: APScheduler cancels what it runs itself when it shuts down.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from monitor.config import SourceConfig
from monitor.daemon.database_outage import DatabaseOutageAlert
from monitor.daemon.overdue_sources import OverdueSources
from monitor.domain.clock import Clock
from monitor.domain.errors import StoreError
from monitor.domain.rules.expiry import CLOCK_UNTRUSTED_ABOVE
from monitor.engine.config_sync import pull_back
from monitor.engine.poller import Poller
from monitor.engine.prober import Prober
from monitor.engine.recording import Recorded
from monitor.engine.time_changes import TimeChanges
from monitor.notify import Notifier
from monitor.notify.reports import Reporter
from monitor.providers.base import Provider
from monitor.store import Store, connections, incidents, maintenance, meta, probes, sources
from monitor.telemetry.progress import POLL, Progress

log = structlog.get_logger(__name__)

TICK = timedelta(seconds=0.5)
JUMP = timedelta(seconds=5)
"""The wall clock jumped when it moved by this much more, or less, than time passed."""

CARE_EVERY = timedelta(hours=1)
REPORTS_EVERY = timedelta(seconds=20)
"""How often it is looked whether a drill or a report is due."""

POLLS_AT_ONCE = 64
"""Sources read at the same time; the rest wait their turn."""

PLAN_EVERY = 60.0
"""Seconds between readings of all probes that are planned. In between each source's is read when its own work ends."""

FIRST_HOLD, LONGEST_HOLD = 1.0, 30.0
"""Seconds that work rests after its own failure (the store was not there, a defect of ours), doubling in between."""
LONGEST_LOOK_HOLD = 4.0
"""The same for the look at what is due: everything waits for it when the store is back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One configured source and the API behind it."""

    source: SourceConfig
    provider: Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long history and polls are kept."""

    history: timedelta
    polls: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class DueWork:
    """What the store says is due now."""

    polls: list[str]
    time: bool
    probes: dict[str, datetime] | None
    """When each source's next probe is, where that was asked."""


@dataclass(slots=True)
class Backoff:
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
        timekeeper: TimeChanges,
        notifier: Notifier,
        keep: Retention,
        reporter: Reporter,
        progress: Progress | None = None,
        unpolled: OverdueSources | None = None,
        blindness: DatabaseOutageAlert | None = None,
        tick: timedelta = TICK,
    ) -> None:
        """`tick` is how often it looks at what is due, and what follows from that; longer ones are for simulated weeks."""
        self._store, self._clock, self._work, self._keep = store, clock, work, keep
        self._poller, self._prober, self._timekeeper, self._notifier = poller, prober, timekeeper, notifier
        self._reporter, self._unpolled, self._blindness = reporter, unpolled, blindness
        self._progress, self._tick_every = progress or Progress(), tick
        self._ticker = AsyncIOScheduler(timezone="UTC")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._holds: dict[str, Backoff] = {}
        self._polls_at_once = asyncio.Semaphore(POLLS_AT_ONCE)
        self._next_probes: dict[str, datetime] = {}
        """When each source's next probe is due. Asking the store at every tick would cost more than the probes."""
        self._planned_at = -math.inf
        self._store_is_down = False
        self._compared = clock.now(), 0.0
        """The wall clock and the time that had passed, when they were last compared."""
        self._jumped_by = timedelta(0)
        """By how much the wall clock was moved, as far as the store was not mended yet."""
        self._stopping = False
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tick. Must be called inside a running event loop."""
        self._timekeeper.distrust()
        self._compared = self._clock.now(), asyncio.get_running_loop().time()
        rules = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._ticker.add_job(self._tick, Every(self._tick_every), id="tick", next_run_time=self._clock.now(), **rules)
        self._ticker.add_job(self._care, Every(CARE_EVERY), id="care", **rules)
        self._ticker.add_job(self._report, Every(max(REPORTS_EVERY, self._tick_every)), id="report", **rules)
        self._ticker.start()
        self._watcher = asyncio.create_task(self._watch_clock(), name="clock")

    def halt(self) -> None:
        """Start nothing more, from this very instant. stop() is still to follow."""
        self._stopping = True
        self._prober.stop()

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
        self._launch("care", self.prune)

    async def _report(self) -> None:
        self._launch("report", self._report_due)

    async def _watch_clock(self) -> None:
        """APScheduler would sleep through a step back, and nobody look at the clock until it has been made up for."""
        while True:
            await asyncio.sleep(max(1.0, self._tick_every.total_seconds()))
            self._steady_now()

    def _steady_now(self) -> datetime:
        """What the wall clock shows, once it was compared with the time that passed: where it jumped, time is not trusted."""
        wall, passed = self._clock.now(), asyncio.get_running_loop().time()
        moved, took = wall - self._compared[0], timedelta(seconds=passed - self._compared[1])
        self._compared = wall, passed
        if abs(moved - took) > JUMP:
            log.warning("clock.jumped", by_seconds=round((moved - took).total_seconds(), 1))
            self._timekeeper.distrust()
            for job in self._ticker.get_jobs():
                job.modify(next_run_time=wall)
            self._jumped_by += moved - took
            self._launch("jump", self._mend)
        return wall

    async def _mend(self) -> None:
        by = self._jumped_by
        await self._store.run(self._mend_now, by)
        self._jumped_by -= by
        self._planned_at = -math.inf
        self._notifier.forget_holds()

    def _mend_now(self, by: timedelta) -> None:
        with self._store.begin_write() as conn:
            now = self._clock.now()
            pull_back(conn, [work.source for work in self._work.values()], now)
            maintenance.after_jump(conn, now, by=by)

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
            if self._blindness is not None:
                self._blindness.failed(str(error))
            if not self._store_is_down:
                log.error("store.unavailable", problem=str(error))  # noqa: TRY400 - a sentence for a person, no traceback
            self._store_is_down = True
        except Exception:
            self._rest(key)
            log.exception("work.failed", work=key)
        else:
            self._holds.pop(key, None)
        finally:
            self._progress.note(key.partition(":")[0])

    def _rest(self, key: str) -> None:
        hold = self._holds.setdefault(key, Backoff())
        hold.seconds = min(max(hold.seconds * 2, FIRST_HOLD), LONGEST_LOOK_HOLD if key == "look" else LONGEST_HOLD)
        hold.until = asyncio.get_running_loop().time() + hold.seconds

    async def _look(self) -> None:
        if self._store_is_down:
            self._progress.owe(POLL, due=False)
            await self._store.run(self._try_to_write)  # nothing is asked of any API that could not be written down
            self._store_is_down = False
            if "look" in self._holds:  # it was away indeed, and no single piece of work that it refused
                self._holds.clear()
            log.info("store.back")
        loop = asyncio.get_running_loop()
        replan = loop.time() - self._planned_at >= PLAN_EVERY
        due = await self._store.run_read(self._due, replan=replan)
        if self._blindness is not None:
            self._blindness.worked()
        if due.probes is not None:
            self._next_probes, self._planned_at = due.probes, loop.time()
        self._progress.owe(POLL, due=any(name in self._work for name in due.polls))
        if due.time:
            self._launch("time", self._advance)
        for name in due.polls:
            if name in self._work:
                self._launch(f"poll:{name}", partial(self._poll, self._work[name]))
        now = self._clock.now()
        for name in [name for name, at in self._next_probes.items() if at <= now]:
            if name in self._work and self._work[name].source.probes_on_schedule:
                self._launch(f"probe:{name}", partial(self._probe, self._work[name]))

    def _try_to_write(self) -> None:
        with self._store.begin_write() as conn:
            meta.set(conn, "last_write_after_trouble", self._clock.now().isoformat())

    def _due(self, *, replan: bool) -> DueWork:
        now = self._clock.now()
        with self._store.begin_read() as conn:
            instants = (connections.next_change_due(conn), incidents.next_look_due(conn))
            return DueWork(
                polls=sources.due_sources(conn, now),
                time=any(instant is not None and instant <= now for instant in instants),
                probes=probes.next_probes(conn) if replan else None,
            )

    async def _poll(self, work: Work) -> None:
        async with self._polls_at_once:
            self._steady_now()
            doubts = self._timekeeper.doubts
            recorded = await self._poller.poll(work.source, work.provider)
        self._steady_now()
        self._timekeeper.trust(work.source.name, since=doubts)
        self._wake(recorded)
        if recorded.changed and work.source.probes_on_schedule:
            await self._plan(work.source.name)

    async def _probe(self, work: Work) -> None:
        self._wake(await self._prober.probe_due(work.source, work.provider))
        await self._plan(work.source.name)

    async def _plan(self, name: str) -> None:
        """Look up when the source's next probe is."""
        found = await self._store.run_read(self._planned, name)
        if found is None:
            self._next_probes.pop(name, None)
        else:
            self._next_probes[name] = found

    def _planned(self, name: str) -> datetime | None:
        with self._store.begin_read() as conn:
            return probes.next_probes(conn, name).get(name)

    async def _advance(self) -> None:
        self._wake(await self._timekeeper.advance(now=self._steady_now()))

    async def _report_due(self) -> None:
        for channel in await self._reporter.run_due():
            self._notifier.wake(channel)
        if self._unpolled is not None:
            self._wake(await self._unpolled.run_due())

    def _wake(self, recorded: Recorded) -> None:
        tell_unrouted(recorded)
        for channel in recorded.channels:
            self._notifier.wake(channel)

    async def prune(self) -> None:
        """Forget what is older than it is kept, unless the clock may be wrong."""
        await self._store.run(self._prune_now)

    def _prune_now(self) -> None:
        if not self._timekeeper.trusts_clock:
            return
        with self._store.begin_write() as conn:
            if any(abs(row.clock_skew or 0) > CLOCK_UNTRUSTED_ABOVE for row in sources.all_sources(conn)):
                return  # by a clock that is a year ahead, everything is old
            maintenance.prune(conn, self._clock.now(), history=self._keep.history, polls_kept=self._keep.polls)
