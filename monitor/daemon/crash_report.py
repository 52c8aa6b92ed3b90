"""The last word of a daemon that died: said by another process, through the same channels, with the store or without it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from monitor.config import ChannelConfig
from monitor.domain import IncidentSubject
from monitor.domain.clock import Clock
from monitor.domain.errors import MonitorError, StoreError, StoreHeld
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.recording.system_alerts import record_monitor_alert
from monitor.notify import DeliverySettings, Notifier
from monitor.store import Store
from monitor.store.lock import DaemonLock
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress

log = structlog.get_logger(__name__)

SEND_WITHIN = timedelta(seconds=45)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashReportResult:
    """What became of the report."""

    news: bool
    """False: this failure was told before, and nothing has recovered since."""
    undelivered: int
    """Deliveries that were not taken yet."""
    daemon: str | None = None
    """The daemon that runs again already, and delivers it."""


async def report(
    message: str,
    *,
    database: str,
    channels: Sequence[ChannelConfig],
    timezone: str,
    clock: Clock,
    within: timedelta = SEND_WITHIN,
) -> CrashReportResult:
    """Say that the service failed, on every channel that takes a monitor_problem, and wait for that, so long at most.

    It is kept like any alert, so that what is not delivered now goes out when the daemon is back. Where its store cannot
    be used, which may be why it died, a store of the moment takes its place.
    """
    with ExitStack() as stack:
        store, holder, news = await asyncio.to_thread(_recorded, stack, database, message, channels, clock)
        if holder is not None:
            return CrashReportResult(news=news, undelivered=0, daemon=holder)
        notifier = Notifier(
            store=store,
            channels=channels,
            clock=clock,
            settings=DeliverySettings(timezone=timezone),
            metrics=Metrics(),
            progress=Progress(),
            links=ConnectionLinks(),
        )
        return CrashReportResult(news=news, undelivered=(await notifier.drain(within)).left)


async def over(store: Store, *, message: str, channels: Sequence[ChannelConfig], clock: Clock) -> Collection[str]:
    """Say that the service runs again, where it was said that it does not. The channels to wake. Raises StoreError."""

    def write() -> Collection[str]:
        with store.begin_write() as conn:
            recorded = record_monitor_alert(
                conn,
                subject=IncidentSubject.SERVICE,
                problem=False,
                reason="service_back",
                message=message,
                channels=channels,
                now=clock.now(),
            )
            return frozenset(recorded.channels)

    return await store.run(write)


def _recorded(
    stack: ExitStack, database: str, message: str, channels: Sequence[ChannelConfig], clock: Clock
) -> tuple[Store, str | None, bool]:
    """The store that holds the report now, who else holds that store, and whether the report is news.

    Where the real store cannot be used, it is an empty one in a folder of the moment.
    """
    try:
        with ExitStack() as ours:
            store, holder = _real_store(ours, database)
            news = _record(store, message, channels, clock)
            stack.push(ours.pop_all())
            return store, holder, news
    except MonitorError as error:
        log.warning("failure.store_unusable", problem=str(error))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="token-monitor-")))
    store = stack.enter_context(Store(f"sqlite:///{folder / 'report.db'}"))
    store.upgrade()
    return store, None, _record(store, message, channels, clock)


def _real_store(stack: ExitStack, database: str) -> tuple[Store, str | None]:
    """The monitor's store, held for ourselves, or who holds it. Raises StoreError where it cannot be used."""
    if not database:
        raise StoreError("The configuration names no database that could be used.")
    lock, holder = DaemonLock(database), None
    try:
        lock.acquire()
        stack.callback(lock.release)
    except StoreHeld as error:
        holder = str(error)
    store = stack.enter_context(Store(database))
    store.require_current()
    return store, holder


def _record(store: Store, message: str, channels: Sequence[ChannelConfig], clock: Clock) -> bool:
    with store.begin_write() as conn:
        recorded = record_monitor_alert(
            conn,
            subject=IncidentSubject.SERVICE,
            problem=True,
            reason="service_failed",
            message=message,
            channels=channels,
            now=clock.now(),
        )
        return bool(recorded.alerts)
