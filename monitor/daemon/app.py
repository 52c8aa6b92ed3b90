"""Composition root: builds every part from the configuration, starts them in order and stops them in reverse."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

import structlog

from monitor import __version__
from monitor.config import Config, Loaded
from monitor.daemon import crash_report, standby
from monitor.daemon.database_outage import DatabaseOutageAlert
from monitor.daemon.health_reporting import START_WITHIN, HealthReporter
from monitor.daemon.overdue_sources import OverdueSources
from monitor.daemon.scheduler import Scheduler, Work
from monitor.daemon.signals import LOCK_LOST, POLL, RELOAD, STOP, SignalQueue, StopRequested
from monitor.daemon.startup_wait import StartupWait
from monitor.domain import threads
from monitor.domain.clock import Clock, SystemClock
from monitor.domain.errors import ConfigError, MonitorError, StoreError, StoreRefused, StoreUnavailable
from monitor.engine import applied_config, config_sync
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.intake import Intake
from monitor.engine.poller import Poller
from monitor.engine.prober import Prober
from monitor.engine.time_changes import TimeChanges
from monitor.notify import DeliverySettings, Notifier
from monitor.notify.reports import Reporter
from monitor.providers import HttpSessions, build_provider
from monitor.store import Connection, Store, open_store, sources
from monitor.store.lock import DaemonLock
from monitor.telemetry import logs, memory
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from monitor.telemetry.systemd import Notify
from monitor.web.server import Hosting

log = structlog.get_logger(__name__)

T = TypeVar("T")

SERVICE_BACK = f"The monitor is running again (version {__version__})."
"""Recovery text for channels that got the crash report."""

SWAP_WITHIN = timedelta(seconds=3)
"""Longest wait of a reload for running polls and probes."""

STOP_WITHIN = timedelta(seconds=8)
"""Longest wait of a stop for running work, all parts together: the process ends within 10 s."""

LEAST_STOP = timedelta(seconds=2)
"""The same, if a reload that was under way when the signal arrived has used the time."""

CLOSE_WITHIN = timedelta(milliseconds=500)
"""Longest wait at the end of the process for transactions of a database that does not respond."""

SWITCH_INTERVAL = timedelta(milliseconds=1)
"""Python's thread switch interval, so that deliveries are not delayed while a large list is parsed."""


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop if it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def run(loaded: Loaded, *, reload: Callable[[], Loaded]) -> None:
    """Run the daemon until SIGTERM or SIGINT. SIGHUP calls `reload` and applies the new configuration; SIGUSR1 polls all sources.

    While another daemon works on the same PostgreSQL database, this one stands by and takes over when the other ends. It
    waits for a database that is unavailable. Raises StoreHeld if another daemon holds a SQLite database, StoreRefused,
    SchemaOutOfDate or another StoreError if the database is unusable.
    """
    logs.configure(level=loaded.config.logging.level, format=loaded.config.logging.format)
    for warning in loaded.warnings:
        log.warning("config.warning", text=warning)
    logs.redirect_output_of_python()
    memory.prepare()
    sys.setswitchinterval(SWITCH_INTERVAL.total_seconds())
    run = _Run(config=loaded.config, reload=reload)
    loop = asyncio.get_running_loop()
    run.signals.install_handlers(loop)
    try:
        await run.until_stopped()
    except StopRequested:
        run.stopping()
    finally:
        run.lock.release()
        run.signals.remove_handlers(loop)
    log.info("daemon.stopped")


class _Run:
    """One daemon process, standing by or active, with the configuration that it read last."""

    def __init__(self, *, config: Config, reload: Callable[[], Loaded]) -> None:
        self.config, self._reload = config, reload
        self.signals, self._notify, self._metrics = SignalQueue(), Notify(), Metrics()
        self.lock = DaemonLock(config.database.url.reveal())
        self._wait = StartupWait(
            notify=self._notify, signals=self.signals, reload=self._reload_in_standby, build_alert=self._build_outage_alert
        )

    async def until_stopped(self) -> None:
        """Stand by, work, or wait for the database, until asked to stop: StopRequested is raised unless the daemon is at work."""
        while True:
            try:
                async with standby.watchdog_fed(self._notify, within=START_WITHIN):
                    await self._require_usable()
                    active = await standby.take_lock(self.lock, signals=self.signals)
                if not active:
                    await self._wait.hand_over()
                    await standby.stand_by(self.lock, notify=self._notify, signals=self.signals, reload=self._reload_in_standby)
                if await self._work() != LOCK_LOST:
                    return
            except StoreRefused:
                raise
            except StoreUnavailable as error:
                self.lock.release()
                await self._wait.pause(error)

    def stopping(self) -> None:
        """Report that the stop begins."""
        self._notify.stopping()
        log.info("daemon.stopping")

    async def _require_usable(self) -> None:
        if self.lock.can_wait:
            check = partial(standby.require_usable, self.config.database.url.reveal())
            await self.signals.unless_stopped(threads.run(check, name="lock"))

    async def _work(self) -> str:
        """Run as the active daemon until a signal ends it, and return that signal. A lost lock ends it immediately."""
        config, notify, progress, clock = self.config, self._notify, Progress(), SystemClock()
        notify.extend_timeout(START_WITHIN, "Opening the database")
        async with AsyncExitStack() as stack:
            hosting = Hosting(clock=clock, metrics=self._metrics, progress=progress)
            await self.signals.unless_stopped(hosting.prepare(config))
            stack.push_async_callback(hosting.stop)
            async with standby.watchdog_fed(notify, within=START_WITHIN):
                store = await self.signals.unless_stopped(threads.run(partial(opened, stack, config), name="store-open"))
                sessions = await stack.enter_async_context(HttpSessions())
                daemon = Daemon(
                    store=store, sessions=sessions, clock=clock, progress=progress, metrics=self._metrics, hosting=hosting
                )
                health = HealthReporter(store=store, sessions=sessions, clock=clock, progress=progress, notify=notify)
                stack.push_async_callback(self._stop, daemon)
                holding = asyncio.create_task(standby.hold_lock(self.lock, lost=partial(self._lose_lock, daemon)), name="lock")
                stack.callback(holding.cancel)
                await self.signals.unless_stopped(daemon.start(config))
                await self._wait.end()
                await stack.enter_async_context(health)
                await health.ready(config)
            memory.freeze_loaded()
            trimming = asyncio.create_task(memory.trim_periodically(), name="memory")
            stack.callback(trimming.cancel)
            log.info("daemon.started", version=__version__, sources=len(config.sources), channels=len(config.channels))
            while (received := await self.signals.next()) in (RELOAD, POLL):
                if received == POLL:
                    await daemon.poll_now()
                    continue
                health.reloading()
                self.config = await _reload(daemon, self.config, self._reload, health)
                await health.ready(self.config)
            if received == LOCK_LOST:
                await daemon.abandon()
                return LOCK_LOST
            health.stopping()
            log.info("daemon.stopping")
        return STOP

    def _build_outage_alert(self) -> DatabaseOutageAlert:
        """Return the alert for a database that is unavailable before the daemon has started; it opens nothing yet."""
        config, clock = self.config, SystemClock()
        store = Store(config.database.url.reveal())
        notifier = build_notifier(
            config, store=store, clock=clock, progress=Progress(), links=ConnectionLinks(), metrics=self._metrics
        )
        alert = DatabaseOutageAlert(store=store, clock=clock, notifier=notifier)
        alert.configure([source.poll_every for source in config.sources], config.channels)
        return alert

    async def _stop(self, daemon: Daemon) -> None:
        """Stop the daemon within what is left of the time since the stop signal."""
        await daemon.stop(max(STOP_WITHIN - self.signals.stopping_for(), LEAST_STOP))

    def _lose_lock(self, daemon: Daemon) -> None:
        """Stop starting work immediately; the shutdown follows when the signal is handled."""
        daemon.halt()
        self.signals.put_lock_lost()

    def _reload_in_standby(self) -> None:
        """Replace the configuration; nothing else is running."""
        try:
            self.config = _read_again(self.config, self._reload).config
        except MonitorError as error:
            log.error("config.reload_refused", problem=str(error))  # noqa: TRY400 - an expected failure: no traceback


def opened(stack: AsyncExitStack, config: Config) -> Store:
    """Return the store with its schema up to date; the stack closes it."""
    store = open_store(config.database.url.reveal())
    stack.callback(partial(store.close, within=CLOSE_WITHIN))
    return store


class _InForce(NamedTuple):
    """The configuration in force and what was built from it, needed again if a reload fails."""

    config: Config
    work: dict[str, Work]


class Daemon:
    """The running parts, which a reload swaps together."""

    def __init__(
        self, *, store: Store, sessions: HttpSessions, clock: Clock, progress: Progress, metrics: Metrics, hosting: Hosting
    ) -> None:
        self._store, self._sessions, self._clock, self._progress = store, sessions, clock, progress
        self._metrics, self._hosting = metrics, hosting
        self._links, self._intake = ConnectionLinks(), Intake(store=store, clock=clock)
        self._notifier: Notifier | None = None
        self._scheduler: Scheduler | None = None
        self._in_force: _InForce | None = None
        self._outage_alert: DatabaseOutageAlert | None = None
        self._outage_task: asyncio.Task[None] | None = None
        self._halted = False

    async def start(self, config: Config) -> None:
        """Start every part. Raises if one cannot start; nothing is left running then."""
        work = build_work(config, sessions=self._sessions, clock=self._clock, spent=await self._spent(config))
        await align(self._store, config, self._clock)
        self._notifier = build_notifier(
            config, store=self._store, clock=self._clock, progress=self._progress, links=self._links, metrics=self._metrics
        )
        await crash_report.recover(self._store, message=SERVICE_BACK, channels=config.channels, clock=self._clock)
        await self._notifier.start()
        self._outage_alert = DatabaseOutageAlert(store=self._store, clock=self._clock, notifier=self._notifier)
        self._outage_alert.configure([source.poll_every for source in config.sources], config.channels)
        self._outage_task = asyncio.create_task(self._outage_alert.run(), name="database-outage")
        self._in_force = _InForce(config, work)
        self._start_scheduler(self._build_scheduler(config, work, self._notifier, self._outage_alert), config)
        await self._hosting.follow(config, self._store, self._intake)

    async def swap(self, config: Config) -> None:
        """Apply another configuration: every part is built first, then swapped.

        Running work gets a moment to finish under the old one before anything is written, so that no result of the old
        settings is recorded after the new ones apply. Raises StoreError, and then keeps the old configuration in force.
        """
        if self._notifier is None or self._scheduler is None or self._in_force is None or self._outage_alert is None:
            return
        before, spent = self._in_force, await self._spent(config)
        work = build_work(config, sessions=self._sessions, clock=self._clock, spent=spent)
        scheduler = self._build_scheduler(config, work, self._notifier, self._outage_alert)
        await self._hosting.prepare(config)
        self._intake.close()
        await self._scheduler.stop(SWAP_WITHIN)
        try:
            await align(self._store, config, self._clock)
            await self._notifier.reconfigure(config.channels, settings=DeliverySettings.of(config))
        except Exception:
            with suppress(StoreError):  # undo what was written for the new configuration
                await align(self._store, before.config, self._clock)
            old = self._build_scheduler(before.config, before.work, self._notifier, self._outage_alert)
            self._start_scheduler(old, before.config)
            raise
        self._in_force = _InForce(config, work)
        self._outage_alert.configure([source.poll_every for source in config.sources], config.channels)
        self._links.keep_only({source.name for source in config.sources if source.connection_links})
        self._start_scheduler(scheduler, config)
        self._metrics.reload_done(ok=True)
        await self._hosting.follow(config, self._store, self._intake)

    async def stop(self, within: timedelta = STOP_WITHIN) -> None:
        """Stop polling first, then delivery. Bounded; running work is recorded or still due. May be called twice."""
        self._intake.close()
        if self._outage_task is not None:
            self._outage_task.cancel()
        if self._scheduler is not None:
            await asyncio.gather(self._scheduler.stop(within / 2), self._hosting.stop())
        if self._notifier is not None:
            await self._notifier.stop(within / 2)

    async def poll_now(self) -> None:
        """Make every source's next poll due now. A database that is unavailable is logged."""
        try:
            await self._store.write(lambda conn: sources.poll_all_now(conn, self._clock.now()))
        except StoreError as error:
            log.error("polls.not_requested", problem=str(error))  # noqa: TRY400 - an expected failure: no traceback
        else:
            log.info("polls.requested")

    async def reject_reload(self, problem: str) -> None:
        """Record that a reload was rejected, and why, for `status` and for Prometheus."""
        self._metrics.reload_done(ok=False)
        with suppress(StoreError):
            await self._store.write(lambda conn: applied_config.save_reload(conn, self._clock.now(), problem=problem))

    def halt(self) -> None:
        """Start no more work, effective immediately."""
        self._halted = True
        self._intake.close()
        if self._scheduler is not None:
            self._scheduler.halt()
        if self._notifier is not None:
            self._notifier.halt()

    async def abandon(self) -> None:
        """Stop immediately, whatever is running: another daemon has the database now."""
        await self.stop(timedelta(0))
        if self._outage_alert is not None:
            await self._outage_alert.hand_over()

    async def _spent(self, config: Config) -> dict[str, list[tuple[float, int]]]:
        """Return the requests of the last 24 hours by source that limits them: how many seconds ago, and their number."""
        limited, now = [each.name for each in config.sources if each.requests_per_day is not None], self._clock.now()
        if not limited:
            return {}

        def read(conn: Connection) -> dict[str, list[tuple[float, int]]]:
            polls = {name: sources.requests_since(conn, name, now - timedelta(days=1)) for name in limited}
            return {name: [((now - at).total_seconds(), number) for at, number, _ in each] for name, each in polls.items()}

        return await self._store.read(read)

    def _start_scheduler(self, scheduler: Scheduler, config: Config) -> None:
        self._scheduler = scheduler
        if not self._halted:  # the lock may be lost during a reload
            scheduler.start()
            self._intake.open(config, recorded=scheduler.wake_channels)

    def _build_scheduler(
        self, config: Config, work: dict[str, Work], notifier: Notifier, outage_alert: DatabaseOutageAlert
    ) -> Scheduler:
        store, clock, channels = self._store, self._clock, config.channels
        configured = {name: item.source for name, item in work.items()}
        return Scheduler(
            store=store,
            clock=clock,
            work=work,
            poller=Poller(store=store, clock=clock, channels=channels, metrics=self._metrics, links=self._links),
            prober=Prober(store=store, clock=clock, channels=channels, metrics=self._metrics),
            time_changes=TimeChanges(store=store, clock=clock, configured=configured, channels=channels),
            notifier=notifier,
            retention=config.retention,
            reporter=Reporter(store=store, clock=clock, channels=channels, sources=config.sources, timezone=config.timezone),
            overdue_sources=OverdueSources(store=store, clock=clock, configured=configured, channels=channels),
            outage_alert=outage_alert,
            progress=self._progress,
        )


def build_work(
    config: Config, *, sessions: HttpSessions, clock: Clock, spent: Mapping[str, Sequence[tuple[float, int]]] | None = None
) -> dict[str, Work]:
    """Return each configured source with the client of its API, by the source's name; `spent` by source as in build_provider."""
    known = spent or {}
    return {
        source.name: Work(
            source=source,
            provider=build_provider(source, sessions=sessions, clock=clock, spent=known.get(source.name, ())),
        )
        for source in config.sources
    }


def build_notifier(
    config: Config, *, store: Store, clock: Clock, progress: Progress, links: ConnectionLinks, metrics: Metrics
) -> Notifier:
    """Return the delivery side, with every configured channel."""
    return Notifier(
        store=store,
        channels=config.channels,
        clock=clock,
        settings=DeliverySettings.of(config),
        progress=progress,
        links=links,
        metrics=metrics,
    )


async def align(store: Store, config: Config, clock: Clock) -> None:
    """Make the store follow the configuration."""

    def write(conn: Connection) -> None:
        config_sync.sync(conn, config, clock.now())
        applied_config.save_reload(conn, clock.now(), problem=None)

    await store.write(write)


async def _reload(daemon: Daemon, config: Config, reload: Callable[[], Loaded], health: HealthReporter) -> Config:
    """Read and apply the configuration; return the one in force afterwards, the old one if the new one is unusable."""
    try:
        loaded = _read_again(config, reload)
        await daemon.swap(loaded.config)
    except MonitorError as error:
        log.error("config.reload_refused", problem=str(error))  # noqa: TRY400 - an expected failure: no traceback
        health.reload_rejected(str(error))
        await daemon.reject_reload(str(error))
        return config
    logs.configure(level=loaded.config.logging.level, format=loaded.config.logging.format)
    for warning in loaded.warnings:
        log.warning("config.warning", text=warning)
    log.info("config.reloaded", sources=len(loaded.config.sources), channels=len(loaded.config.channels))
    return loaded.config


def _read_again(config: Config, reload: Callable[[], Loaded]) -> Loaded:
    """Return the configuration as the files have it now. Raises MonitorError if a running process cannot apply it."""
    loaded = reload()
    if loaded.config.database != config.database:
        raise ConfigError("database.url changed, which requires a restart; nothing was reloaded.")
    return loaded
