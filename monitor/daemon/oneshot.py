"""Commands that do the daemon's work once: `check`, `config check --live` and `test-alert`."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from monitor.config import ChannelConfig, Config
from monitor.daemon.app import align, build_notifier, build_work, opened
from monitor.daemon.scheduler import Work, tell_unrouted
from monitor.domain import AlertEvent, PollOutcome
from monitor.domain.clock import SystemClock
from monitor.domain.errors import MonitorError, StoreHeld
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.poller import Poller
from monitor.engine.prober import Prober
from monitor.engine.time_changes import TimeChanges
from monitor.notify.apprise import Channel
from monitor.providers import HttpSessions
from monitor.store import Store, sources
from monitor.store.lock import DaemonLock
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress


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


def _held(stack: AsyncExitStack, config: Config) -> None:
    """The right to be the one process at work on this database. It comes before the schema: two may start at once."""
    lock = DaemonLock(config.database.url.reveal())
    try:
        lock.acquire()
    except StoreHeld as error:
        raise StoreHeld(f"{error} It polls by itself; `token-monitor status --exit-code` only looks.") from None
    stack.callback(lock.release)


async def check_once(config: Config, *, only: str | None, probe: bool) -> CheckOutcome:
    """One cycle now: poll, probe, record, alert without group_wait, and wait up to 30 s for the deliveries.

    `only` names one source. Raises StoreHeld while a daemon holds the database, StoreError where it cannot be used.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        _held(stack, config)
        store = opened(stack, config)
        sessions = await stack.enter_async_context(HttpSessions())
        await align(store, config, clock)
        work = build_work(config, sessions=sessions, clock=clock)
        chosen = [item for name, item in work.items() if only in (None, name)]
        links = ConnectionLinks()
        poller = Poller(store=store, clock=clock, channels=config.channels, links=links, metrics=Metrics())
        prober = Prober(store=store, clock=clock, channels=config.channels, metrics=Metrics())

        async def cycle(item: Work) -> None:
            tell_unrouted(await poller.poll(item.source, item.provider))
            if probe and item.provider.probes:
                tell_unrouted(await prober.probe_all(item.source, item.provider))

        await asyncio.gather(*(cycle(item) for item in chosen))
        configured = {name: item.source for name, item in work.items()}
        tell_unrouted(await TimeChanges(store=store, clock=clock, configured=configured, channels=config.channels).advance())
        notifier = build_notifier(config, store=store, clock=clock, progress=Progress(), links=links, metrics=Metrics())
        drained = await notifier.drain(timedelta(seconds=30))
        unread = await store.run_read(_unread, store, {item.source.name for item in chosen})
        return CheckOutcome(unread=unread, undelivered=drained.left)


def _unread(store: Store, names: set[str]) -> dict[str, str]:
    with store.begin_read() as conn:
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


async def send_test(config: Config, channel: str | None, *, event: AlertEvent | None = None) -> list[LiveFinding]:
    """Send a test message through the real path, to one channel or to all. Raises ConfigError for an unknown channel."""
    with Store(config.database.url.reveal()) as store:
        notifier = build_notifier(
            config, store=store, clock=SystemClock(), progress=Progress(), links=ConnectionLinks(), metrics=Metrics()
        )
        results = await notifier.send_test(channel, event=event)
    return [
        LiveFinding(kind="channel", name=name, ok=problem is None, text=problem or "took the message")
        for name, problem in results.items()
    ]
