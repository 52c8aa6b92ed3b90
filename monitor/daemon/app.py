"""The composition root: builds every part from the configuration, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
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
from monitor.daemon.scheduler import Retention, Scheduler, Work
from monitor.daemon.signals import LOST, RELOAD, STOP, SignalQueue
from monitor.domain.clock import Clock, SystemClock
from monitor.domain.errors import ConfigError, MonitorError, StoreError
from monitor.engine import applied_config, config_sync
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.poller import Poller
from monitor.engine.prober import Prober
from monitor.engine.time_changes import TimeChanges
from monitor.notify import DeliverySettings, Notifier
from monitor.notify.reports import Reporter
from monitor.providers import HttpSessions, build_provider
from monitor.store import Store, open_store
from monitor.store.lock import DaemonLock
from monitor.telemetry import logs, memory
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from monitor.telemetry.systemd import Notify
from monitor.web.hosting import Hosting

log = structlog.get_logger(__name__)

T = TypeVar("T")

FOR_EVER = timedelta(days=36500)
"""What a retention of "off" means."""

SERVICE_BACK = f"The monitor runs again (version {__version__})."
"""Said where people were told that it had died."""

SWAP_WITHIN = timedelta(seconds=3)
"""So long a reload lets polls and probes under way finish."""

STOP_WITHIN = timedelta(seconds=9)
"""A stop ends within 10 s: what is under way gets this long, shared by the parts."""

THREAD_TURN = timedelta(milliseconds=1)
"""So long a thread may keep the others from Python: what is being told must not wait behind a long list that is read."""


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def run(loaded: Loaded, *, reload: Callable[[], Loaded]) -> None:
    """The daemon, until SIGTERM or SIGINT. SIGHUP calls `reload` and swaps what changed.

    Where another daemon works on the same PostgreSQL database, this one stands by and takes over when that is gone. Raises
    StoreHeld where another one holds a SQLite database, SchemaOutOfDate and StoreError where it cannot be used.
    """
    logs.configure(level=loaded.config.logging.level, format=loaded.config.logging.format)
    for warning in loaded.warnings:
        log.warning("config.warning", text=warning)
    memory.prepare()
    sys.setswitchinterval(THREAD_TURN.total_seconds())
    run = _Run(config=loaded.config, reload=reload)
    loop = asyncio.get_running_loop()
    run.wishes.listen(loop)
    try:
        while await run.has_turn():
            if await run.active() != LOST:
                break
    finally:
        run.lock.release()
        run.wishes.deafen(loop)
    log.info("daemon.stopped")


class _Run:
    """One process of the daemon: now standing by, now at work, with the configuration it read last."""

    def __init__(self, *, config: Config, reload: Callable[[], Loaded]) -> None:
        self.config, self._reload = config, reload
        self.wishes, self._notify, self._metrics = SignalQueue(), Notify(), Metrics()
        self.lock = DaemonLock(config.database.url.reveal())

    async def has_turn(self) -> bool:
        """Wait for the right to be the one at work. False: a stop was asked for first."""
        url = self.config.database.url.reveal()
        if self.lock.can_wait:
            await asyncio.to_thread(standby.require_usable, url)
        return await standby.await_turn(self.lock, notify=self._notify, wishes=self.wishes, reload=self._reread)

    async def active(self) -> str:
        """Be at work until a word from Wishes ends that: which one. A lost lock ends it at once, whatever is under way."""
        config, notify, progress, clock = self.config, self._notify, Progress(), SystemClock()
        notify.extend_timeout(START_WITHIN, "Opening the database")
        async with AsyncExitStack() as stack:
            hosting = Hosting(clock=clock, metrics=self._metrics, progress=progress)
            hosting.prepare(config)
            stack.push_async_callback(hosting.stop)
            async with standby.fed(notify, within=START_WITHIN):
                store = await asyncio.to_thread(opened, stack, config)
                sessions = await stack.enter_async_context(HttpSessions())
                daemon = Daemon(
                    store=store, sessions=sessions, clock=clock, progress=progress, metrics=self._metrics, hosting=hosting
                )
                vitals = HealthReporter(store=store, sessions=sessions, clock=clock, progress=progress, notify=notify)
                stack.push_async_callback(daemon.stop)
                guard = asyncio.create_task(standby.guard(self.lock, lost=partial(self._lose, daemon)), name="lock")
                stack.callback(guard.cancel)
                await daemon.start(config)
                await stack.enter_async_context(vitals)
                await vitals.ready(config)
            memory.settle()
            small = asyncio.create_task(memory.stay_small(), name="memory")
            stack.callback(small.cancel)
            log.info("daemon.started", version=__version__, sources=len(config.sources), channels=len(config.channels))
            while (wish := await self.wishes.next()) == RELOAD:
                vitals.reloading()
                self.config = await _reload(daemon, self.config, self._reload, vitals)
                await vitals.ready(self.config)
            if wish == LOST:
                await daemon.lose()
                return LOST
            vitals.stopping()
            log.info("daemon.stopping")
        return STOP

    def _lose(self, daemon: Daemon) -> None:
        """Nothing more is begun from this instant on; the rest follows when the word is heard."""
        daemon.halt()
        self.wishes.lose()

    def _reread(self) -> None:
        """A reload while standing by: only the configuration changes hands."""
        try:
            self.config = _read_again(self.config, self._reload).config
        except MonitorError as error:
            log.error("config.reload_refused", problem=str(error))  # noqa: TRY400 - a sentence for a person, no traceback


def opened(stack: AsyncExitStack, config: Config) -> Store:
    """The database with its schema up to date."""
    store = open_store(config.database.url.reveal())
    stack.callback(store.close)
    return store


class _InForce(NamedTuple):
    """What the running parts were built from, to build them anew where a reload fails."""

    config: Config
    work: dict[str, Work]


class Daemon:
    """The running parts, which a reload swaps as one."""

    def __init__(
        self, *, store: Store, sessions: HttpSessions, clock: Clock, progress: Progress, metrics: Metrics, hosting: Hosting
    ) -> None:
        self._store, self._sessions, self._clock, self._progress = store, sessions, clock, progress
        self._metrics, self._hosting = metrics, hosting
        self._links = ConnectionLinks()
        self._notifier: Notifier | None = None
        self._scheduler: Scheduler | None = None
        self._in_force: _InForce | None = None
        self._halted = False
        self._blindness: DatabaseOutageAlert | None = None
        self._watch: asyncio.Task[None] | None = None

    async def start(self, config: Config) -> None:
        """Start everything. Raises where it cannot; nothing is left running then."""
        work = build_work(config, sessions=self._sessions, clock=self._clock)
        await align(self._store, config, self._clock)
        self._notifier = build_notifier(
            config, store=self._store, clock=self._clock, progress=self._progress, links=self._links, metrics=self._metrics
        )
        await crash_report.over(self._store, message=SERVICE_BACK, channels=config.channels, clock=self._clock)
        await self._notifier.start()
        self._blindness = DatabaseOutageAlert(store=self._store, clock=self._clock, speaker=self._notifier)
        self._blindness.expect([source.poll_every for source in config.sources], config.channels)
        self._watch = asyncio.create_task(self._blindness.run(), name="blindness")
        self._in_force = _InForce(config, work)
        self._begin(self._build_scheduler(config, work, self._notifier))
        await self._hosting.follow(config, self._store)

    async def swap(self, config: Config) -> None:
        """Go over to another configuration: built whole first, then swapped.

        What is under way gets a moment to finish under the old one, before anything is written: so nothing that was judged
        by the old settings can come after what judges it again. Raises StoreError, and then goes on as before.
        """
        if self._notifier is None or self._scheduler is None or self._in_force is None:
            return
        before, work = self._in_force, build_work(config, sessions=self._sessions, clock=self._clock)
        scheduler = self._build_scheduler(config, work, self._notifier)
        self._hosting.prepare(config)
        await self._scheduler.stop(SWAP_WITHIN)
        try:
            await align(self._store, config, self._clock)
            await self._notifier.reconfigure(config.channels, settings=DeliverySettings(timezone=config.timezone))
        except Exception:
            with suppress(StoreError):  # what was written for the other configuration is none of this one's
                await align(self._store, before.config, self._clock)
            self._begin(self._build_scheduler(before.config, before.work, self._notifier))
            raise
        self._in_force = _InForce(config, work)
        if self._blindness is not None:
            self._blindness.expect([source.poll_every for source in config.sources], config.channels)
        self._links.keep_only({source.name for source in config.sources if source.connection_links})
        self._begin(scheduler)
        self._metrics.reload_done(ok=True)
        await self._hosting.follow(config, self._store)

    async def stop(self, within: timedelta = STOP_WITHIN) -> None:
        """Stop intake first, then delivery. Bounded; what is under way is recorded or still due. May be called twice."""
        if self._watch is not None:
            self._watch.cancel()
        if self._scheduler is not None:
            await asyncio.gather(self._scheduler.stop(within / 2), self._hosting.stop())
        if self._notifier is not None:
            await self._notifier.stop(within / 2)

    async def refuse(self, problem: str) -> None:
        """A reload changes nothing, and this is why: for `status` and for Prometheus."""
        self._metrics.reload_done(ok=False)

        def write() -> None:
            with self._store.begin_write() as conn:
                applied_config.note_reload(conn, self._clock.now(), problem=problem)

        with suppress(StoreError):
            await self._store.run(write)

    def halt(self) -> None:
        """Begin nothing more, from this very instant."""
        self._halted = True
        if self._scheduler is not None:
            self._scheduler.halt()
        if self._notifier is not None:
            self._notifier.halt()

    async def lose(self) -> None:
        """The database is another daemon's now: stop at once, whatever is under way, and leave no loose end."""
        await self.stop(timedelta(0))
        if self._blindness is not None:
            await self._blindness.hand_over()

    def _begin(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        if not self._halted:  # as where the lock is lost in the midst of a reload
            scheduler.start()

    def _build_scheduler(self, config: Config, work: dict[str, Work], notifier: Notifier) -> Scheduler:
        store, clock, channels = self._store, self._clock, config.channels
        configured = {name: item.source for name, item in work.items()}
        return Scheduler(
            progress=self._progress,
            unpolled=OverdueSources(store=store, clock=clock, configured=configured, channels=channels),
            blindness=self._blindness,
            store=store,
            clock=clock,
            work=work,
            poller=Poller(store=store, clock=clock, channels=channels, metrics=self._metrics, links=self._links),
            prober=Prober(store=store, clock=clock, channels=channels, metrics=self._metrics),
            timekeeper=TimeChanges(store=store, clock=clock, configured=configured, channels=channels),
            notifier=notifier,
            reporter=Reporter(store=store, clock=clock, channels=channels, sources=config.sources, timezone=config.timezone),
            keep=Retention(history=config.retention.history or FOR_EVER, polls=config.retention.polls or FOR_EVER),
        )


def build_work(config: Config, *, sessions: HttpSessions, clock: Clock) -> dict[str, Work]:
    """Each configured source with its API client, by name."""
    providers = {source.name: build_provider(source, sessions=sessions, clock=clock) for source in config.sources}
    return {source.name: Work(source=source, provider=providers[source.name]) for source in config.sources}


def build_notifier(
    config: Config,
    *,
    store: Store,
    clock: Clock,
    progress: Progress,
    links: ConnectionLinks,
    metrics: Metrics,
) -> Notifier:
    """The delivery side, with every configured channel."""
    return Notifier(
        store=store,
        channels=config.channels,
        clock=clock,
        settings=DeliverySettings(timezone=config.timezone),
        progress=progress,
        links=links,
        metrics=metrics,
    )


async def align(store: Store, config: Config, clock: Clock) -> None:
    """Make the store follow the configuration."""

    def write() -> None:
        with store.begin_write() as conn:
            config_sync.align(conn, config, clock.now())
            applied_config.note_reload(conn, clock.now(), problem=None)

    await store.run(write)


async def _reload(daemon: Daemon, config: Config, reload: Callable[[], Loaded], vitals: HealthReporter) -> Config:
    """Read everything anew; a file that cannot be used changes nothing."""
    try:
        loaded = _read_again(config, reload)
        await daemon.swap(loaded.config)
    except MonitorError as error:
        log.error("config.reload_refused", problem=str(error))  # noqa: TRY400 - a sentence for a person, no traceback
        vitals.refused(str(error))
        await daemon.refuse(str(error))
        return config
    logs.configure(level=loaded.config.logging.level, format=loaded.config.logging.format)
    for warning in loaded.warnings:
        log.warning("config.warning", text=warning)
    log.info("config.reloaded", sources=len(loaded.config.sources), channels=len(loaded.config.channels))
    return loaded.config


def _read_again(config: Config, reload: Callable[[], Loaded]) -> Loaded:
    """What the files say now. Raises MonitorError where a running process cannot go over to that."""
    loaded = reload()
    if loaded.config.database != config.database:
        raise ConfigError("database.url changed: that takes a restart, so nothing was reloaded.")
    return loaded
