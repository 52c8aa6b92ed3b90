"""Crash notification, sent by a separate process (systemd's OnFailure=) on the same channels, with or without the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial

import structlog

from monitor.config import ChannelConfig
from monitor.domain import IncidentReason, IncidentSubject, threads
from monitor.domain.clock import Clock
from monitor.domain.errors import MonitorError, StoreError, StoreHeld
from monitor.domain.records import Record
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.recording.system_alerts import record_monitor_alert
from monitor.notify import DeliverySettings, Notifier
from monitor.store import Connection, Store
from monitor.store.lock import DaemonLock
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress

log = structlog.get_logger(__name__)

SEND_WITHIN = timedelta(seconds=45)


class CrashReportResult(Record, frozen=True, kw_only=True):
    """Outcome of one report."""

    new: bool
    """False if this failure was reported before and the service has not recovered since."""
    undelivered: int
    """Deliveries that no channel has accepted yet."""
    daemon: str | None = None
    """The daemon that is running again and delivers the report; None if there is none."""


async def report(
    message: str,
    *,
    database: str,
    channels: Sequence[ChannelConfig],
    settings: DeliverySettings,
    clock: Clock,
    within: timedelta = SEND_WITHIN,
) -> CrashReportResult:
    """Send a monitor_problem with this message on every channel that takes one, and wait for delivery for up to `within`.

    The alert is stored like any other, so the daemon delivers the rest when it runs again. If the store cannot be used,
    which may be the cause of the crash, one in memory takes its place.
    """
    with ExitStack() as stack:
        store, holder, new = await threads.run(
            partial(_record_in_any_store, stack, database, message, channels, clock), name="report"
        )
        if holder is not None:
            return CrashReportResult(new=new, undelivered=0, daemon=holder)
        notifier = Notifier(
            store=store,
            channels=channels,
            clock=clock,
            settings=settings,
            metrics=Metrics(),
            progress=Progress(),
            links=ConnectionLinks(),
        )
        return CrashReportResult(new=new, undelivered=(await notifier.drain(within)).left)


async def recover(store: Store, *, message: str, channels: Sequence[ChannelConfig], clock: Clock) -> Collection[str]:
    """Queue the recovery on the channels that got the crash report; return the channels to wake. Raises StoreError."""

    def write(conn: Connection) -> Collection[str]:
        recorded = record_monitor_alert(
            conn,
            subject=IncidentSubject.SERVICE,
            problem=False,
            reason=IncidentReason.SERVICE_BACK,
            message=message,
            channels=channels,
            now=clock.now(),
        )
        return frozenset(recorded.channels)

    return await store.write(write)


def _record_in_any_store(
    stack: ExitStack, database: str, message: str, channels: Sequence[ChannelConfig], clock: Clock
) -> tuple[Store, str | None, bool]:
    """Record the report; return the store that holds it, the daemon that holds that store, and True if the report is new.

    If the real store cannot be used, it is an empty one in memory.
    """
    try:
        with ExitStack() as attempt:
            store, holder = _real_store(attempt, database)
            new = _record(store, message, channels, clock)
            stack.push(attempt.pop_all())
            return store, holder, new
    except MonitorError as error:
        log.warning("failure.store_unusable", problem=str(error))
    from monitor.store.memory import MemoryStore  # rarely needed

    store = stack.enter_context(MemoryStore())
    store.upgrade()
    return store, None, _record(store, message, channels, clock)


def _real_store(stack: ExitStack, database: str) -> tuple[Store, str | None]:
    """Return the monitor's store, locked for this process, or with the daemon that holds it. Raises StoreError."""
    if not database:
        raise StoreError("The configuration names no usable database.")
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
            reason=IncidentReason.SERVICE_FAILED,
            message=message,
            channels=channels,
            now=clock.now(),
        )
        return bool(recorded.alerts)
