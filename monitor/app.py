"""The composition root: builds every part from the configuration, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from monitor import __version__, alignment, logs
from monitor.channels import Channel
from monitor.clock import Clock, SystemClock
from monitor.config import ChannelConfig, Config, Loaded
from monitor.errors import ConfigError, MonitorError, StoreError, StoreHeld
from monitor.model import Event, PollOutcome
from monitor.notifier import DeliverySettings, Notifier
from monitor.poller import Poller
from monitor.prober import Prober
from monitor.providers import HttpSessions, build_provider
from monitor.reporter import Reporter
from monitor.scheduler import Keep, Scheduler, Work, tell_unrouted
from monitor.store import Store, open_store, sources
from monitor.store.lock import DaemonLock
from monitor.timekeeper import Timekeeper

log = structlog.get_logger(__name__)

T = TypeVar("T")

FOR_EVER = timedelta(days=36500)
"""What a retention of "off" means."""

GUARD_EVERY = 5.0
"""Seconds between looks at whether the lock is still ours."""

SWAP_WITHIN = timedelta(seconds=3)
"""So long a reload lets polls and probes under way finish."""

STOP_WITHIN = timedelta(seconds=9)
"""A stop ends within 10 s: what is under way gets this long, shared by the parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What one cycle could not do."""

    unread: dict[str, str]
    """Sources that could not be read, with the problem."""
    undelivered: int
    """Deliveries that stay queued for the daemon or the next cycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFinding:
    """What a live call to one source or channel showed."""

    kind: str
    name: str
    ok: bool
    text: str


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def run(loaded: Loaded, *, reload: Callable[[], Loaded]) -> None:
    """The daemon, until SIGTERM or SIGINT. SIGHUP calls `reload` and swaps what changed.

    Raises StoreHeld where another daemon holds the database, SchemaOutOfDate and StoreError where it cannot be used.
    """
    config = loaded.config
    logs.configure(level=config.logging.level, format=config.logging.format)
    for warning in loaded.warnings:
        log.warning("config.warning", text=warning)
    wishes = _Wishes()
    async with AsyncExitStack() as stack:
        lock = _held(stack, config)
        store = _opened(stack, config)
        sessions = await stack.enter_async_context(HttpSessions())
        daemon = Daemon(store=store, sessions=sessions, clock=SystemClock())
        wishes.listen(asyncio.get_running_loop())
        stack.callback(wishes.deafen, asyncio.get_running_loop())
        guard = asyncio.create_task(_guard(lock, wishes), name="lock")
        stack.callback(guard.cancel)
        stack.push_async_callback(daemon.stop)
        await daemon.start(config)
        log.info("daemon.started", version=__version__, sources=len(config.sources), channels=len(config.channels))
        while (wish := await wishes.next()) == "reload":
            config = await _reload(daemon, config, reload)
        log.info("daemon.stopping")
        if wish == "lost":
            raise StoreHeld("Another token-monitor took over the database while this one could not reach it; this one stops.")
    log.info("daemon.stopped")


class _Wishes:
    """Signals, as words in order. A second request to stop ends the process at once."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._stopping = False

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._queue.put_nowait, "reload")

    def deafen(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)

    async def next(self) -> str:
        return await self._queue.get()

    def lose(self) -> None:
        """The database is somebody else's now."""
        self._queue.put_nowait("lost")

    def _stop(self) -> None:
        if self._stopping:
            raise SystemExit(1)
        self._stopping = True
        self._queue.put_nowait("stop")


def _held(stack: AsyncExitStack, config: Config) -> DaemonLock:
    """The right to be the one daemon on this database. It comes before the schema: two may start at once."""
    lock = DaemonLock(config.database.url.reveal())
    lock.acquire()
    stack.callback(lock.release)
    return lock


async def _guard(lock: DaemonLock, wishes: _Wishes) -> None:
    """A server that restarts drops the lock: take it again, or stop where somebody else was faster."""
    while True:
        await asyncio.sleep(GUARD_EVERY)
        try:
            await asyncio.to_thread(lock.keep)
        except StoreHeld:
            wishes.lose()
            return
        except StoreError as error:
            log.debug("lock.unreachable", problem=str(error))


def _opened(stack: AsyncExitStack, config: Config) -> Store:
    """The database with its schema up to date."""
    store = open_store(config.database.url.reveal())
    stack.callback(store.close)
    return store


class Daemon:
    """The running parts, which a reload swaps as one."""

    def __init__(self, *, store: Store, sessions: HttpSessions, clock: Clock) -> None:
        self._store, self._sessions, self._clock = store, sessions, clock
        self._notifier: Notifier | None = None
        self._scheduler: Scheduler | None = None

    async def start(self, config: Config) -> None:
        """Start everything. Raises where it cannot; nothing is left running then."""
        work = build_work(config, sessions=self._sessions, clock=self._clock)
        await _align(self._store, config, self._clock)
        self._notifier = build_notifier(config, store=self._store, clock=self._clock)
        await self._notifier.start()
        self._scheduler = self._build_scheduler(config, work, self._notifier)
        self._scheduler.start()

    async def swap(self, config: Config) -> None:
        """Go over to another configuration: built and written whole first, then swapped.

        What is under way gets a moment to finish under the old one. Raises StoreError, and then goes on as before.
        """
        if self._notifier is None or self._scheduler is None:
            return
        work = build_work(config, sessions=self._sessions, clock=self._clock)
        scheduler = self._build_scheduler(config, work, self._notifier)
        await _align(self._store, config, self._clock)
        await self._notifier.reconfigure(config.channels, settings=DeliverySettings(timezone=config.timezone))
        await self._scheduler.stop(SWAP_WITHIN)
        self._scheduler = scheduler
        self._scheduler.start()

    async def stop(self) -> None:
        """Stop intake first, then delivery. Bounded; what is under way is recorded or still due."""
        if self._scheduler is not None:
            await self._scheduler.stop(STOP_WITHIN / 2)
        if self._notifier is not None:
            await self._notifier.stop(STOP_WITHIN / 2)

    def _build_scheduler(self, config: Config, work: dict[str, Work], notifier: Notifier) -> Scheduler:
        store, clock, channels = self._store, self._clock, config.channels
        configured = {name: item.source for name, item in work.items()}
        return Scheduler(
            store=store,
            clock=clock,
            work=work,
            poller=Poller(store=store, clock=clock, channels=channels),
            prober=Prober(store=store, clock=clock, channels=channels),
            timekeeper=Timekeeper(store=store, clock=clock, configured=configured, channels=channels),
            notifier=notifier,
            reporter=Reporter(store=store, clock=clock, channels=channels, sources=config.sources, timezone=config.timezone),
            keep=Keep(history=config.retention.history or FOR_EVER, polls=config.retention.polls or FOR_EVER),
        )


def build_work(config: Config, *, sessions: HttpSessions, clock: Clock) -> dict[str, Work]:
    """Each configured source with its API client, by name."""
    providers = {source.name: build_provider(source, sessions=sessions, clock=clock) for source in config.sources}
    return {source.name: Work(source=source, provider=providers[source.name]) for source in config.sources}


def build_notifier(config: Config, *, store: Store, clock: Clock) -> Notifier:
    """The delivery side, with every configured channel."""
    return Notifier(store=store, channels=config.channels, clock=clock, settings=DeliverySettings(timezone=config.timezone))


async def _align(store: Store, config: Config, clock: Clock) -> None:
    """Make the store follow the configuration."""

    def write() -> None:
        with store.write() as conn:
            alignment.align(conn, config, clock.now())

    await store.run(write)


async def _reload(daemon: Daemon, config: Config, reload: Callable[[], Loaded]) -> Config:
    """Read everything anew; a file that cannot be used changes nothing."""
    try:
        loaded = reload()
        if loaded.config.database != config.database:
            raise ConfigError("database.url changed: that takes a restart, so nothing was reloaded.")
        await daemon.swap(loaded.config)
    except MonitorError as error:
        log.error("config.reload_refused", problem=str(error))  # noqa: TRY400 - a sentence for a person, no traceback
        return config
    logs.configure(level=loaded.config.logging.level, format=loaded.config.logging.format)
    for warning in loaded.warnings:
        log.warning("config.warning", text=warning)
    log.info("config.reloaded", sources=len(loaded.config.sources), channels=len(loaded.config.channels))
    return loaded.config


async def check_once(config: Config, *, only: str | None, probe: bool) -> CheckOutcome:
    """One cycle now: poll, probe, record, alert without group_wait, and wait up to 30 s for the deliveries.

    `only` names one source. Raises StoreHeld while a daemon holds the database, StoreError where it cannot be used.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        _held(stack, config)
        store = _opened(stack, config)
        sessions = await stack.enter_async_context(HttpSessions())
        await _align(store, config, clock)
        work = build_work(config, sessions=sessions, clock=clock)
        chosen = [item for name, item in work.items() if only in (None, name)]
        poller = Poller(store=store, clock=clock, channels=config.channels)
        prober = Prober(store=store, clock=clock, channels=config.channels)

        async def cycle(item: Work) -> None:
            tell_unrouted(await poller.poll(item.source, item.provider))
            if probe and item.provider.probes:
                tell_unrouted(await prober.probe_all(item.source, item.provider))

        await asyncio.gather(*(cycle(item) for item in chosen))
        configured = {name: item.source for name, item in work.items()}
        tell_unrouted(await Timekeeper(store=store, clock=clock, configured=configured, channels=config.channels).advance())
        drained = await build_notifier(config, store=store, clock=clock).drain(timedelta(seconds=30))
        unread = await store.run_read(_unread, store, {item.source.name for item in chosen})
        return CheckOutcome(unread=unread, undelivered=drained.left)


def _unread(store: Store, names: set[str]) -> dict[str, str]:
    with store.read() as conn:
        return {row.name: row.message for row in sources.all_sources(conn) if row.name in names and row.failures > 0}


async def verify_live(config: Config) -> list[LiveFinding]:
    """Call every source once and verify every channel; nothing is stored and no message is sent."""
    async with HttpSessions() as sessions:
        work = build_work(config, sessions=sessions, clock=SystemClock())
        found = await asyncio.gather(*(_verify_source(item) for item in work.values()))
    channels = await asyncio.gather(*(asyncio.to_thread(_verify_channel, channel) for channel in config.channels))
    return [*found, *channels]


async def _verify_source(item: Work) -> LiveFinding:
    report = await item.provider.poll()
    listed = sum(len(scope.snapshots) for scope in report.scopes)
    ok = report.outcome is PollOutcome.OK
    text = f"reads {listed} connections" if ok else report.problem or report.outcome.value
    return LiveFinding(kind="source", name=item.source.name, ok=ok, text=text)


def _verify_channel(settings: ChannelConfig) -> LiveFinding:
    try:
        Channel(settings.name, settings.url).verify()
    except MonitorError as error:
        return LiveFinding(kind="channel", name=settings.name, ok=False, text=str(error))
    return LiveFinding(kind="channel", name=settings.name, ok=True, text="has a URL that Apprise understands")


async def send_test(config: Config, channel: str | None, *, event: Event | None = None) -> list[LiveFinding]:
    """Send a test message through the real path, to one channel or to all. Raises ConfigError for an unknown channel."""
    with Store(config.database.url.reveal()) as store:
        results = await build_notifier(config, store=store, clock=SystemClock()).send_test(channel, event=event)
    return [
        LiveFinding(kind="channel", name=name, ok=problem is None, text=problem or "took the message")
        for name, problem in results.items()
    ]
