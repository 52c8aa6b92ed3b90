"""The scheduler: due dates are kept in the store; every half second it reads them and starts the work that is due.

So a restart causes neither a burst nor a gap, and a late tick runs overdue work once. APScheduler's jobs hold no state;
they start tasks that the scheduler tracks, because APScheduler cancels what it runs when it shuts down.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from monitor.config import RetentionConfig
from monitor.daemon.clock_watch import ClockWatch
from monitor.daemon.database_outage import DatabaseOutageAlert
from monitor.daemon.overdue_sources import OverdueSources
from monitor.daemon.work import Runner, Work, channel_lease, log_unrouted, source_lease
from monitor.domain.clock import Clock
from monitor.domain.errors import StoreError
from monitor.domain.records import Record
from monitor.domain.rules.expiry import CLOCK_UNTRUSTED_ABOVE
from monitor.engine.recording import Recorded
from monitor.engine.time_changes import TimeChanges
from monitor.notify import Notifier
from monitor.notify.reports import Reporter
from monitor.store import Connection, Store, due_work, maintenance, meta, outbox, probes, sources
from monitor.telemetry.progress import POLL, SCHEDULER, Progress

log = structlog.get_logger(__name__)

TICK = timedelta(seconds=0.5)
PRUNE_EVERY = timedelta(hours=1)
REPORTS_EVERY = timedelta(seconds=20)
"""Interval at which due drills and reports, and overdue sources, are checked."""

REPLAN_EVERY = 60.0
"""Seconds between readings of all planned probes. In between, a source's plan is read when its own work ends."""

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 30.0
"""Seconds that work waits after a failure (store unavailable, a defect), doubling in between."""
LONGEST_TICK_BACKOFF = 4.0
"""The same for the tick itself: all other work waits for it when the store is back."""


class DueWork(Record, frozen=True, kw_only=True):
    """Work that is due now, according to the store."""

    polls: list[str]
    time: bool
    """True if a connection or an incident changes by time alone."""
    rechecks: list[str]
    """Sources with requested rechecks."""
    probes: dict[str, datetime] | None
    """When each source's next probe is due; None if that was not read."""
    channels: list[str]
    """Channels with due deliveries; empty if that was not read."""


class Backoff(Record):
    """The wait of work that failed."""

    until: float = 0.0
    seconds: float = 0.0


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Fires one interval from now, whatever happened before: missed runs are skipped, however far the clock jumped."""

    def __init__(self, every: timedelta) -> None:
        self._every = every

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:  # noqa: ARG002 - its interface
        """Return one interval from now."""
        return now + self._every


class Scheduler:
    """Starts polls, probes and time-driven changes when they are due. The work of one source runs one at a time."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        work: Mapping[str, Work],
        runner: Runner,
        time_changes: TimeChanges,
        notifier: Notifier,
        retention: RetentionConfig,
        reporter: Reporter,
        overdue_sources: OverdueSources,
        outage_alert: DatabaseOutageAlert,
        progress: Progress,
        tick: timedelta = TICK,
    ) -> None:
        """`tick` is the interval at which due work is read; simulations that span weeks use longer ones."""
        self._store, self._clock, self._work, self._retention = store, clock, work, retention
        self._runner, self._time_changes, self._notifier = runner, time_changes, notifier
        self._reporter, self._overdue_sources, self._outage_alert = reporter, overdue_sources, outage_alert
        self._progress, self._tick_every = progress, tick
        self._ticker = AsyncIOScheduler(timezone="UTC")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._next_probes: dict[str, datetime] = {}
        """When each source's next probe is due. Reading it at every tick would cost more than the probes."""
        self._passed_over: set[str] = set()
        """Sources of a shared runner whose due probe waited for a poll: it comes before their next poll."""
        self._planned_at = -math.inf
        self._to_replan: set[str] = set()
        self._replanning = asyncio.Lock()
        self._store_is_down = False
        self._stopping = False
        self._clock_watch = ClockWatch(
            store=store,
            clock=clock,
            sources=[item.source for item in work.values()],
            time_changes=time_changes,
            jumped=self._clock_jumped,
        )
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tick. Must be called inside a running event loop."""
        self._clock_watch.start()
        rules = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._ticker.add_job(self._tick, Every(self._tick_every), id="tick", next_run_time=self._clock.now(), **rules)
        self._ticker.add_job(self._prune_tick, Every(PRUNE_EVERY), id="care", **rules)
        self._ticker.add_job(self._report_tick, Every(max(REPORTS_EVERY, self._tick_every)), id="report", **rules)
        self._ticker.start()
        self._watching = asyncio.create_task(self._clock_watch.run(max(1.0, self._tick_every.total_seconds())), name="clock")

    def halt(self) -> None:
        """Start no more work, effective immediately. stop() must still follow."""
        self._stopping = True
        self._runner.stop()

    async def stop(self, timeout: timedelta) -> None:
        """Start no more work; let running work finish for up to `timeout`, then cancel it.

        Nothing is lost: work that was not recorded is still due.
        """
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
        if self._ticker.running:
            self._ticker.shutdown(wait=False)
            await asyncio.sleep(0)
        self._runner.stop()
        waiting = set(self._running.values())
        if not waiting:
            return
        _, late = await asyncio.wait(waiting, timeout=timeout.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _tick(self) -> None:
        self._launch(SCHEDULER, self._start_due_work)

    async def _prune_tick(self) -> None:
        self._launch("care", self.prune)

    async def _report_tick(self) -> None:
        self._launch("report", self._send_due_reports)

    def _clock_jumped(self, now: datetime) -> None:
        for job in self._ticker.get_jobs():
            job.modify(next_run_time=now)
        self._launch("jump", self._repair_times)

    async def _repair_times(self) -> None:
        await self._clock_watch.repair()
        self._planned_at = -math.inf
        self._notifier.forget_holds()

    def _launch(self, key: str, action: Callable[[], Awaitable[None]]) -> None:
        """Start one piece of work unless it is still running or backing off."""
        backoff = self._backoffs.get(key)
        if self._stopping or key in self._running or (backoff is not None and backoff.until > asyncio.get_running_loop().time()):
            return
        task = asyncio.create_task(self._guarded(key, action), name=key)
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def _guarded(self, key: str, action: Callable[[], Awaitable[None]]) -> None:
        """Run one piece of work; a failure is logged and followed by a backoff, and never affects the rest."""
        try:
            await action()
        except StoreError as error:
            self._back_off(key)
            self._outage_alert.store_failed(str(error))
            if not self._store_is_down:
                log.error("store.unavailable", problem=str(error))  # noqa: TRY400 - an expected failure: no traceback
            self._store_is_down = True
        except Exception:
            self._back_off(key)
            log.exception("work.failed", work=key)
        else:
            self._backoffs.pop(key, None)
        finally:
            self._progress.note(key.partition(":")[0])

    def _back_off(self, key: str) -> None:
        backoff = self._backoffs.setdefault(key, Backoff())
        longest = LONGEST_TICK_BACKOFF if key == SCHEDULER else LONGEST_BACKOFF
        backoff.seconds = min(max(backoff.seconds * 2, FIRST_BACKOFF), longest)
        backoff.until = asyncio.get_running_loop().time() + backoff.seconds

    async def _start_due_work(self) -> None:
        if self._store_is_down:
            self._progress.set_due(POLL, due=False)
            await self._store.write(self._try_to_write)  # no API is asked for anything that could not be stored
            self._store_is_down = False
            if SCHEDULER in self._backoffs:  # the store was away, rather than refusing a single piece of work
                self._backoffs.clear()
            log.info("store.back")
        loop = asyncio.get_running_loop()
        replan = loop.time() - self._planned_at >= REPLAN_EVERY
        running = set(self._running)  # the read may still list what ends meanwhile as due
        due = await self._store.read(partial(self._due, replan=replan))
        busy = await self._runner.busy()
        self._outage_alert.store_available()
        if due.probes is not None:
            self._next_probes, self._planned_at = due.probes, loop.time()
        self._progress.set_due(POLL, due=any(name in self._work for name in due.polls))
        if due.time:
            self._launch("time", self._apply_time_changes)
        now = self._clock.now()
        due_probes = [name for name, at in self._next_probes.items() if at <= now]
        self._passed_over.intersection_update(due_probes)
        for name in due.polls:
            if name in self._passed_over or source_lease(name) in busy:
                continue
            if name in self._work and f"poll:{name}" not in running:
                self._launch(f"poll:{name}", partial(self._poll, self._work[name]))
        for name in due.rechecks:
            if name in self._work:
                self._launch(f"recheck:{name}", partial(self._recheck, self._work[name]))
        for name in due_probes:
            if name not in self._work or not self._work[name].source.probes_on_schedule:
                continue
            if self._runner.is_shared and f"poll:{name}" in self._running:
                self._passed_over.add(name)
            elif source_lease(name) not in busy:
                self._launch(f"probe:{name}", partial(self._probe, self._work[name]))
        for name in due.channels:
            if channel_lease(name) not in busy:
                self._launch(f"deliver:{name}", partial(self._runner.deliver, name))

    def _try_to_write(self, conn: Connection) -> None:
        meta.set(conn, "last_write_after_trouble", self._clock.now().isoformat())

    def _due(self, conn: Connection, *, replan: bool) -> DueWork:
        now = self._clock.now()
        planned = due_work.read(conn, now)
        return DueWork(
            polls=planned.polls,
            rechecks=planned.rechecks,
            time=any(instant is not None and instant <= now for instant in (planned.next_change, planned.next_review)),
            probes=probes.next_probes(conn) if replan else None,
            channels=outbox.channels_due(conn, now) if self._runner.is_shared else [],
        )

    async def _poll(self, work: Work) -> None:
        self._clock_watch.now()
        doubts = self._time_changes.doubts
        recorded = await self._runner.poll(work)
        self._clock_watch.now()
        self._time_changes.trust(work.source.name, since=doubts)
        self.wake_channels(recorded)
        if recorded.changed and work.source.probes_on_schedule:
            await self._replan(work.source.name)

    async def _probe(self, work: Work) -> None:
        try:
            self.wake_channels(await self._runner.probe(work))
            await self._replan(work.source.name)
        finally:
            self._passed_over.discard(work.source.name)

    async def _recheck(self, work: Work) -> None:
        while (recorded := await self._runner.recheck(work)) is not None:
            self.wake_channels(recorded)
            if work.source.probes_on_schedule:
                await self._replan(work.source.name)

    async def _replan(self, name: str) -> None:
        """Read when the source's next probe is due. Sources whose work ends during a read share the next one."""
        self._to_replan.add(name)
        async with self._replanning:
            if name not in self._to_replan:
                return  # read by another call, after this one began
            names, self._to_replan = self._to_replan, set()
            try:
                planned = await self._store.read(partial(probes.next_probes, only=names))
            except BaseException:
                self._to_replan |= names
                raise
            for each in names:
                if each in planned:
                    self._next_probes[each] = planned[each]
                else:
                    self._next_probes.pop(each, None)

    async def _apply_time_changes(self) -> None:
        self.wake_channels(await self._time_changes.advance(now=self._clock_watch.now()))

    async def _send_due_reports(self) -> None:
        for channel in await self._reporter.run_due():
            self._notifier.wake(channel)
        self.wake_channels(await self._overdue_sources.run_due())

    def wake_channels(self, recorded: Recorded) -> None:
        """Start the deliveries of what was recorded, and log the alerts that no channel takes."""
        log_unrouted(recorded)
        for channel in recorded.channels:
            self._notifier.wake(channel)

    async def prune(self) -> None:
        """Delete what is past its retention, unless the clock may be wrong."""
        await self._store.write(self._prune)

    def _prune(self, conn: Connection) -> None:
        if not self._time_changes.trusts_clock:
            return
        if any(abs(row.clock_skew or 0) > CLOCK_UNTRUSTED_ABOVE for row in sources.all_sources(conn)):
            return  # to a clock that is a year ahead, everything looks old
        maintenance.prune(conn, self._clock.now(), history=self._retention.history, polls_kept=self._retention.polls)
