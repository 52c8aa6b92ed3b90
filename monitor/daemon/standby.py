"""Standby: one daemon works on a PostgreSQL database, the others wait for its lock and take over when it is free.

The server releases the lock when its holder dies, so no timeout has to decide whether a silent daemon is dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

import structlog

from monitor.daemon.signals import RELOAD, SignalQueue
from monitor.domain import threads
from monitor.domain.errors import SchemaOutOfDate, StoreError, StoreHeld
from monitor.domain.threads import NoThread
from monitor.store import Store, revisions
from monitor.store.lock import DaemonLock
from monitor.telemetry.systemd import Notify

log = structlog.get_logger(__name__)

RETRY_EVERY = timedelta(seconds=2)
"""Interval at which a standby daemon tries to take the lock."""
VERIFY_EVERY = timedelta(seconds=2)
"""Interval at which the active daemon verifies that it still holds the lock."""


async def take_lock(lock: DaemonLock, *, signals: SignalQueue) -> bool:
    """Return True once this process holds the lock, False if another daemon does and this one can stand by.

    Raises StopRequested, StoreHeld if the database allows only one daemon (SQLite), and StoreUnavailable.
    """
    try:
        await signals.unless_stopped(threads.run(lock.acquire, name="lock"))
    except StoreHeld:
        if not lock.can_wait:
            raise
        return False
    return True


async def stand_by(lock: DaemonLock, *, notify: Notify, signals: SignalQueue, reload: Callable[[], None]) -> None:
    """Return once this process holds the lock. Nothing is polled or sent meanwhile. Attempts continue indefinitely.

    Raises StopRequested.
    """
    log.info("daemon.standby")
    reported = ""
    while True:
        text = await signals.unless_stopped(threads.run(partial(_try_acquire, lock), name="lock"))
        if text is None:
            log.info("daemon.takeover")
            return
        if text != reported:
            notify.ready(text)
            log.debug("daemon.standing_by", text=text)
            reported = text
        notify.ping_watchdog()  # each attempt ends within seconds, whatever the server does
        received = await signals.unless_stopped(signals.next(within=_pause(notify).total_seconds()))
        if received == RELOAD:
            notify.reloading()
            reload()
            reported = ""


def _try_acquire(lock: DaemonLock) -> str | None:
    """Return None once this process holds the lock, else the status text that names the active daemon."""
    try:
        holder = lock.watch_holder()
        if holder is None:
            lock.acquire()
            return None
    except StoreHeld:
        return "standing by: another daemon just took over"
    except StoreError as error:
        return f"standing by: the active daemon is unknown ({error})"
    return f"standing by: {holder} is active"


def _pause(notify: Notify) -> timedelta:
    return RETRY_EVERY if notify.watchdog is None else min(RETRY_EVERY, notify.watchdog / 3)


def require_usable(url: str) -> None:
    """Raise SchemaOutOfDate if this version can never use the database's schema; a database that cannot be read passes."""
    with Store(url) as store:
        found = None
        with suppress(StoreError):
            found = store.current()
        if found is not None and found not in revisions.KNOWN:
            raise SchemaOutOfDate(revisions.unknown(found))


async def hold_lock(lock: DaemonLock, *, lost: Callable[[], object]) -> None:
    """Retake the lock whenever the server drops it (as in a restart); call `lost` and return if another daemon was faster."""
    while True:
        await asyncio.sleep(VERIFY_EVERY.total_seconds())
        try:
            await threads.run(lock.keep, name="lock")
        except StoreHeld as error:
            log.warning("daemon.lost_lock", problem=str(error))
            lost()
            return
        except (StoreError, NoThread) as error:
            log.debug("lock.unreachable", problem=str(error))


async def await_lock(lock: DaemonLock, *, taken: Callable[[], object]) -> None:
    """Try to take the lock until this process holds it, then call `taken` and return. The daemon works meanwhile."""
    while True:
        await asyncio.sleep(RETRY_EVERY.total_seconds())
        with suppress(NoThread):
            if await threads.run(partial(_try_acquire, lock), name="lock") is None:
                log.info("daemon.takeover")
                taken()
                return


@asynccontextmanager
async def watchdog_fed(notify: Notify, *, within: timedelta) -> AsyncIterator[None]:
    """Feed systemd's watchdog inside the block, before the health reporter runs, but no longer than `within`."""

    async def feed(every: timedelta) -> None:
        async with asyncio.timeout(within.total_seconds()):
            while True:
                notify.ping_watchdog()
                await asyncio.sleep(every.total_seconds())

    task = asyncio.create_task(feed(notify.watchdog / 3), name="starting") if notify.watchdog is not None else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
