"""The daemon's work done once, for the commands `check`, `config check --live` and `test-alert`."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

from monitor.config import ChannelConfig, Config, HeartbeatConfig, SourceConfig
from monitor.config.shared_keys import reject_new_overlaps
from monitor.daemon.parts import align, build_notifier, opened
from monitor.daemon.unmatched_filters import unmatched
from monitor.daemon.work import Work, build_engine, build_work, log_unrouted
from monitor.domain import AlertEvent, PollOutcome, PollReport, threads
from monitor.domain.clock import SystemClock
from monitor.domain.errors import MonitorError, ProviderError, StoreHeld
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.poller import Poller
from monitor.engine.prober import Prober
from monitor.engine.recording.unreadable_rows import describe_scope
from monitor.engine.source_hints import hints
from monitor.engine.time_changes import TimeChanges
from monitor.notify.apprise import Channel, Sent
from monitor.notify.report_data import ReportScope
from monitor.notify.reports import report_alert
from monitor.providers import HttpSessions
from monitor.providers.heartbeat import Signal, ping
from monitor.store import Connection, Store, maintenance, rechecks, revisions, sources
from monitor.store.lock import DaemonLock
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from monitor.views.sources import describe_unmonitored_users


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """Sources and deliveries that one cycle left undone."""

    unread: dict[str, str]
    """Sources that could not be read, with the problem."""
    undelivered: int
    """Deliveries that stay queued for the daemon or the next cycle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFinding:
    """Result of a live call to one source or channel."""

    kind: str
    name: str
    ok: bool
    text: str


def _take_lock(stack: AsyncExitStack, config: Config) -> None:
    """Take the daemon lock; the stack releases it. Raises StoreHeld.

    The lock comes before the schema upgrade: two processes may start at the same moment.
    """
    lock = DaemonLock(config.database.url.reveal())
    try:
        lock.acquire()
    except StoreHeld as error:
        raise StoreHeld(f"{error} It polls the sources; use `token-monitor status --exit-code` to read the results.") from None
    stack.callback(lock.release)


async def check_once(config: Config, *, only: str | None, probe: bool) -> CheckOutcome:
    """Run one cycle: poll, probe, record, alert without group_wait, and wait up to 30 s for the deliveries.

    `only` names one source. Raises StoreHeld while a daemon holds the database, StoreError if it cannot be used.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        _take_lock(stack, config)
        store = opened(stack, config)
        sessions = await stack.enter_async_context(HttpSessions())
        await align(store, config, clock)
        work = build_work(config, sessions=sessions, clock=clock)
        chosen = [item for name, item in work.items() if only in (None, name)]
        links, metrics = ConnectionLinks(), Metrics()
        poller = Poller(store=store, clock=clock, channels=config.channels, metrics=metrics, links=links)
        prober = Prober(store=store, clock=clock, channels=config.channels, metrics=metrics)

        async def cycle(item: Work) -> None:
            log_unrouted(await poller.poll(item.source, item.provider))
            if probe and item.provider.probes:
                log_unrouted(await prober.probe_all(item.source, item.provider))

        await asyncio.gather(*(cycle(item) for item in chosen))
        configured = {name: item.source for name, item in work.items()}
        log_unrouted(await TimeChanges(store=store, clock=clock, configured=configured, channels=config.channels).advance())
        notifier = build_notifier(config, store=store, clock=clock, progress=Progress(), links=links, metrics=metrics)
        drained = await notifier.drain(timedelta(seconds=30))
        unread = await store.read(partial(_unread, names={item.source.name for item in chosen}))
        return CheckOutcome(unread=unread, undelivered=drained.left)


async def recheck_once(config: Config, *, within: timedelta) -> int:
    """Answer the pending requests for rechecks, alert, and return the number of deliveries that stay queued.

    The caller holds the daemon's lock. Requests that are not answered `within` this time stay pending. Raises StoreError.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        store = opened(stack, config)
        sessions = await stack.enter_async_context(HttpSessions())
        await align(store, config, clock)
        links, metrics = ConnectionLinks(), Metrics()
        engine = build_engine(store=store, clock=clock, channels=config.channels, metrics=metrics, links=links)
        names = await store.read(lambda conn: rechecks.pending_sources(conn, clock.now()))

        async def answer(item: Work) -> None:
            while (recorded := await engine.rechecker.check_pending(item.source, item.provider)) is not None:
                log_unrouted(recorded)

        work = build_work(config, sessions=sessions, clock=clock)
        with suppress(TimeoutError):
            answers = asyncio.gather(*(answer(work[name]) for name in names if name in work))
            await asyncio.wait_for(answers, within.total_seconds())
        notifier = build_notifier(config, store=store, clock=clock, progress=Progress(), links=links, metrics=metrics)
        return (await notifier.drain(timedelta(seconds=30))).left


def _unread(conn: Connection, *, names: set[str]) -> dict[str, str]:
    return {row.name: row.message for row in sources.all_sources(conn) if row.name in names and row.failures > 0}


@dataclass(frozen=True, slots=True)
class LiveCheck:
    """Results of the live calls, and warnings about rules and filters that match nothing."""

    findings: list[LiveFinding]
    warnings: list[str]


async def verify_live(config: Config) -> LiveCheck:
    """Call every source once, verify every channel, try the database and the heartbeat.

    Nothing is stored and no message is sent.
    """
    async with HttpSessions() as sessions:
        work = build_work(config, sessions=sessions, clock=SystemClock())
        reports = await asyncio.gather(*(item.provider.poll() for item in work.values()))
        heartbeat = [] if config.heartbeat is None else [await _verify_heartbeat(config.heartbeat, sessions)]
    polled = [(item.source, report) for item, report in zip(work.values(), reports, strict=True)]
    found = [_source_finding(source, report, now=SystemClock().now()) for source, report in polled]
    channels = await asyncio.gather(
        *(threads.run(partial(_verify_channel, channel), name="verify") for channel in config.channels)
    )
    database = await threads.run(partial(_verify_database, config), name="verify")
    read = [pair for pair, finding in zip(polled, found, strict=True) if finding.ok]
    return LiveCheck([*found, *channels, *database, *heartbeat], list(unmatched(config, read)))


def _verify_database(config: Config) -> list[LiveFinding]:
    """Try the database without changing it."""
    with Store(config.database.url.reveal()) as store:
        name = store.name.removeprefix("The database ").removeprefix("The PostgreSQL database ")
        try:
            revision = store.current()
            if revision not in (None, *revisions.KNOWN):
                store.check_revision(revision)
            with store.begin_read() if revision == revisions.HEAD else nullcontext() as conn:
                early = maintenance.early_sources(conn) if conn is not None else set()
            if revision in (None, revisions.HEAD):
                reject_new_overlaps(config.sources, early)
        except MonitorError as error:
            return [LiveFinding(kind="database", name=name, ok=False, text=str(error))]
    return [LiveFinding(kind="database", name=name, ok=True, text=_describe_schema(revision))]


def _describe_schema(revision: str | None) -> str:
    if revision is None:
        return "it has no tables yet; the first start creates them"
    return "its schema is current" if revision == revisions.HEAD else "the next start migrates its schema"


async def _verify_heartbeat(config: HeartbeatConfig, sessions: HttpSessions) -> LiveFinding:
    url = config.url.reveal()
    name = urlsplit(url).hostname or "an unknown host"
    try:
        await ping(sessions, url, kind=config.kind, signal=Signal.TEST, text="Test by `token-monitor config check --live`.")
    except ProviderError as error:
        return LiveFinding(kind="heartbeat", name=name, ok=False, text=str(error))
    # Cronitor checks the key after it has answered (its API documentation, "Telemetry API Authentication").
    doubt = "; Cronitor accepts any key: check there that the event arrived" if config.kind == "cronitor" else ""
    return LiveFinding(
        kind="heartbeat", name=name, ok=True, text=f"accepted the call ({config.kind or 'service of unknown kind'}){doubt}"
    )


def _source_finding(source: SourceConfig, report: PollReport, *, now: datetime) -> LiveFinding:
    if report.outcome is not PollOutcome.OK:
        return LiveFinding(kind="source", name=source.name, ok=False, text=report.problem or report.outcome.value)
    unreadable = next(filter(None, map(describe_scope, report.scopes)), None)
    ok, listed = unreadable is None, report.listed
    text = unreadable or f"lists {listed} connection{'' if listed == 1 else 's'}"
    if report.unmonitored_users:
        text += f". {describe_unmonitored_users(report.unmonitored_users)}"
    if questions := hints(source, report, now=now):
        text = f"{text.removesuffix('.')}. {' '.join(questions)}"
    return LiveFinding(kind="source", name=source.name, ok=ok, text=text)


def _verify_channel(settings: ChannelConfig) -> LiveFinding:
    try:
        host = Channel.of(settings).host
    except MonitorError as error:
        return LiveFinding(kind="channel", name=settings.name, ok=False, text=str(error))
    target = f", and messages go to {host}" if host else ""
    return LiveFinding(kind="channel", name=settings.name, ok=True, text=f"the URL is valid for Apprise{target}")


async def send_test(config: Config, channel: str | None, *, event: AlertEvent | None = None) -> list[LiveFinding]:
    """Send a test message, delivered like an alert, to one channel or to all. Raises ConfigError for an unknown channel.

    With the event `report`, send each channel the report that it gets, if there is a database to read it from.
    """
    if event is AlertEvent.REPORT and channel in (None, *(each.name for each in config.channels)) and _has_data(config):
        chosen = [each for each in config.channels if channel in (None, each.name)]
        found = await asyncio.gather(*(send_report(config, each) for each in chosen))
        return [finding for findings in found for finding in findings]
    with Store(config.database.url.reveal()) as store:
        notifier = build_notifier(
            config, store=store, clock=SystemClock(), progress=Progress(), links=ConnectionLinks(), metrics=Metrics()
        )
        results = await notifier.send_test(channel, event=event)
    return [
        LiveFinding(kind="channel", name=name, ok=isinstance(result, Sent), text=_describe_test(result))
        for name, result in results.items()
    ]


def _has_data(config: Config) -> bool:
    with Store(config.database.url.reveal()) as store:
        return store.current() == revisions.HEAD


async def send_report(config: Config, channel: ChannelConfig, *, scope: ReportScope | None = None) -> list[LiveFinding]:
    """Send a channel the report that it gets, or the one with this scope, now. Raises StoreError if it cannot be read."""
    clock = SystemClock()
    with Store(config.database.url.reveal()) as store:
        store.require_current()
        with store.begin_read() as conn:
            alert = report_alert(
                conn,
                channel,
                channels=config.channels,
                sources=config.sources,
                timezone=config.timezone,
                now=clock.now(),
                scope=scope,
            )
        notifier = build_notifier(
            config, store=store, clock=clock, progress=Progress(), links=ConnectionLinks(), metrics=Metrics()
        )
        problems = await notifier.send_unqueued(alert, to=[channel.name])
    return [
        LiveFinding(kind="channel", name=name, ok=problem is None, text=problem or "accepted the report")
        for name, problem in problems.items()
    ]


def _describe_test(result: Sent | str) -> str:
    if isinstance(result, str):
        return result
    if result.confirmed:
        return f"accepted the message at {result.host}" if result.host else "accepted the message"
    return f"sent{f' to {result.host}' if result.host else ''}, not confirmed by the service"
