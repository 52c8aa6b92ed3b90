"""The daemon process: takes the lock or works beside its holder, follows signals, and waits for the database."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog

from monitor import __version__
from monitor.config import Config, Loaded
from monitor.daemon import standby
from monitor.daemon.database_outage import DatabaseOutageAlert
from monitor.daemon.health_reporting import START_WITHIN, HealthReporter
from monitor.daemon.parts import STOP_WITHIN, Daemon, build_notifier, opened
from monitor.daemon.signals import LOCK_LOST, LOCK_TAKEN, NEWER_SCHEMA, POLL, RELOAD, STOP, SignalQueue, StopRequested
from monitor.daemon.startup_wait import StartupWait
from monitor.domain import threads
from monitor.domain.clock import SystemClock
from monitor.domain.errors import ConfigError, MonitorError, SchemaOutOfDate, StoreRefused, StoreUnavailable
from monitor.engine.connection_links import ConnectionLinks
from monitor.providers import HttpSessions
from monitor.store import Store
from monitor.store.lock import DaemonLock
from monitor.telemetry import logs, memory
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from monitor.telemetry.systemd import Notify
from monitor.web.server import Hosting

log = structlog.get_logger(__name__)

T = TypeVar("T")

LEAST_STOP = timedelta(seconds=2)
"""Longest wait of a stop for running work, if a reload that was under way when the signal arrived has used the time."""

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
    _require_queue(loaded.config)
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
        self._was_member = False
        """True once it has worked in a cluster: then it does not exit if the schema is newer when its parts start again."""
        self._wait = StartupWait(
            notify=self._notify, signals=self.signals, reload=self._reload_in_standby, build_alert=self._build_outage_alert
        )

    async def until_stopped(self) -> None:
        """Stand by, work, or wait for the database, until asked to stop: StopRequested is raised unless the daemon is at work."""
        while True:
            try:
                async with standby.watchdog_fed(self._notify, within=START_WITHIN):
                    active = await standby.take_lock(self.lock, signals=self.signals)
                    if not active:  # who holds the lock finds the same out by opening the database
                        check = partial(standby.require_usable, self.config.database.url.reveal())
                        await self.signals.unless_stopped(threads.run(check, name="lock"))
                if not active:
                    await self._wait.hand_over()
                    if not self.config.cluster.workers:
                        await standby.stand_by(
                            self.lock, notify=self._notify, signals=self.signals, reload=self._reload_in_standby
                        )
                        active = True
                ended_by = await self._work(plans=active)
                if ended_by == NEWER_SCHEMA:
                    await self._await_upgrade()
                if ended_by in (STOP, NEWER_SCHEMA):
                    return
                self._was_member = bool(self.config.cluster.workers)
            except SchemaOutOfDate:
                if not self._was_member:
                    raise
                await self._await_upgrade()
                return
            except StoreRefused:
                raise
            except StoreUnavailable as error:
                self.lock.release()
                await self._wait.pause(error)

    async def _await_upgrade(self) -> None:
        """Do nothing more until asked to stop: a newer version has migrated the database of this cluster."""
        from monitor.daemon.cluster.upgrade_wait import await_upgrade

        self.lock.release()
        await await_upgrade(self.config, notify=self._notify, signals=self.signals)
        self.stopping()

    def stopping(self) -> None:
        """Report that the stop begins."""
        self._notify.stopping()
        log.info("daemon.stopping")

    async def _work(self, *, plans: bool) -> str:
        """Run until a signal ends it, and return that signal. A lost lock ends it immediately.

        `plans` is True for the daemon that holds the lock. In a cluster the others work beside it until they get the lock, and a
        reload ends the work: it begins again with the new configuration.
        """
        config, notify, progress, clock = self.config, self._notify, Progress(), SystemClock()
        notify.extend_timeout(START_WITHIN, "Opening the database")
        async with AsyncExitStack() as stack:
            hosting = Hosting(clock=clock, metrics=self._metrics, progress=progress)
            await self.signals.unless_stopped(hosting.prepare(config))
            stack.push_async_callback(hosting.stop)
            async with standby.watchdog_fed(notify, within=START_WITHIN):
                store = await self.signals.unless_stopped(threads.run(partial(opened, stack, config), name="store-open"))
                sessions = await stack.enter_async_context(HttpSessions())
                build: Callable[..., Daemon] = Daemon
                if config.cluster.workers:
                    from monitor.daemon.cluster.cluster_daemon import ClusterDaemon

                    build = partial(ClusterDaemon, plans=plans, on_newer_schema=partial(self.signals.put, NEWER_SCHEMA))
                daemon = build(
                    store=store, sessions=sessions, clock=clock, progress=progress, metrics=self._metrics, hosting=hosting
                )
                health = HealthReporter(store=store, sessions=sessions, clock=clock, progress=progress, notify=notify)
                stack.push_async_callback(self._stop, daemon)
                if plans:
                    keeping = standby.hold_lock(self.lock, lost=partial(self._lose_lock, daemon))
                else:
                    keeping = standby.await_lock(self.lock, taken=partial(self.signals.put, LOCK_TAKEN))
                holding = asyncio.create_task(keeping, name="lock")
                stack.callback(holding.cancel)
                await self.signals.unless_stopped(daemon.start(config))
                await self._wait.end()
                await stack.enter_async_context(health)
                await health.ready(config)
            trimming = asyncio.create_task(memory.keep_small(), name="memory")
            stack.callback(trimming.cancel)
            log.info("daemon.started", version=__version__, sources=len(config.sources), channels=len(config.channels))
            while (received := await self.signals.next()) in (RELOAD, POLL):
                if received == POLL:
                    await daemon.poll_now()
                    continue
                health.reloading()
                before, self.config = self.config, await _reload(daemon, self.config, self._reload, health)
                if self.config is not before and (before.cluster.workers or self.config.cluster.workers):
                    return RELOAD
                await health.ready(self.config)
            if received == LOCK_LOST:
                await daemon.abandon()
            if received in (LOCK_LOST, LOCK_TAKEN, NEWER_SCHEMA):
                return received
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
        self.signals.put(LOCK_LOST)

    def _reload_in_standby(self) -> None:
        """Replace the configuration; nothing else is running."""
        try:
            self.config = _read_again(self.config, self._reload).config
        except MonitorError as error:
            log.error("config.reload_refused", problem=str(error))  # noqa: TRY400 - an expected failure: no traceback


async def _reload(daemon: Daemon, config: Config, reload: Callable[[], Loaded], health: HealthReporter) -> Config:
    """Read and apply the configuration; return the one in force afterwards, the old one if the new one is unusable."""
    try:
        loaded = _read_again(config, reload)
        if config.cluster.workers or loaded.config.cluster.workers:
            await daemon.require_startable(loaded.config)  # it is started again
        else:
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
    _require_queue(loaded.config)
    return loaded


def _require_queue(config: Config) -> None:
    """Raise ConfigError if the daemon is to join a cluster and the queue is not installed."""
    if config.cluster.workers:
        from monitor.store.work_queue import require_procrastinate

        require_procrastinate()
