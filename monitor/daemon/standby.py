"""One daemon works on a PostgreSQL database, the others stand by: they wait for its lock, and take over when it is free.

The server gives the lock back when its holder dies, so nobody has to judge whether a silent daemon is dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import structlog

from monitor.daemon.signals import RELOAD, STOP, SignalQueue
from monitor.domain.errors import SchemaOutOfDate, StoreError, StoreHeld
from monitor.store import Store, revisions
from monitor.store.lock import DaemonLock
from monitor.telemetry.systemd import Notify

log = structlog.get_logger(__name__)

LOOK_EVERY = timedelta(seconds=2)
"""How often a daemon that stands by looks whether the lock is free."""
GUARD_EVERY = timedelta(seconds=2)
"""How often the one at work makes sure that the lock is still its own."""


async def await_turn(lock: DaemonLock, *, notify: Notify, wishes: SignalQueue, reload: Callable[[], None]) -> bool:
    """Wait until the lock is ours: True; False where a stop was asked for first. Meanwhile nothing is polled and nothing sent.

    Raises StoreHeld at once where the database is one that only one daemon may use (SQLite), SchemaOutOfDate where it could
    never be used, and StoreUnavailable where it cannot be reached at the first try; later tries go on for ever.
    """
    try:
        await asyncio.to_thread(lock.acquire)
    except StoreHeld:
        if not lock.can_wait:
            raise
    else:
        return True
    log.info("daemon.standby")
    told = ""
    while True:
        text = await asyncio.to_thread(_look, lock)
        if text is None:
            log.info("daemon.takeover")
            return True
        if text != told:
            notify.ready(text)
            log.debug("daemon.standing_by", text=text)
            told = text
        notify.alive()  # each look ends within seconds, whatever the server does
        wish = await wishes.next(within=_pause(notify).total_seconds())
        if wish == STOP:
            return False
        if wish == RELOAD:
            notify.reloading()
            reload()
            told = ""


def _look(lock: DaemonLock) -> str | None:
    """None once the lock is ours, else who is at work, as people may read it."""
    try:
        holder = lock.look()
        if holder is None:
            lock.acquire()
            return None
    except StoreHeld:
        return "standing by: another one took over just now"
    except StoreError as error:
        return f"standing by: nobody can tell who is active ({error})"
    return f"standing by: {holder} is active"


def _pause(notify: Notify) -> timedelta:
    return LOOK_EVERY if notify.watchdog is None else min(LOOK_EVERY, notify.watchdog / 3)


def require_usable(url: str) -> None:
    """A daemon of an older version would stand by in vain. Raises SchemaOutOfDate; what cannot be read is left for later."""
    with Store(url) as store:
        found = None
        with suppress(StoreError):
            found = store.current()
        if found is not None and found not in revisions.KNOWN:
            raise SchemaOutOfDate(revisions.unknown(found))


async def guard(lock: DaemonLock, *, lost: Callable[[], object]) -> None:
    """Keep the lock. A server that restarts drops it: it is taken again, or `lost` is called, where another was faster."""
    while True:
        await asyncio.sleep(GUARD_EVERY.total_seconds())
        try:
            await asyncio.to_thread(lock.keep)
        except StoreHeld as error:
            log.warning("daemon.lost_lock", problem=str(error))
            lost()
            return
        except StoreError as error:
            log.debug("lock.unreachable", problem=str(error))


@asynccontextmanager
async def fed(notify: Notify, *, within: timedelta) -> AsyncIterator[None]:
    """Signs of life while something long is under way that nobody else watches yet, but for no longer than `within`."""

    async def feed(every: timedelta) -> None:
        async with asyncio.timeout(within.total_seconds()):
            while True:
                notify.alive()
                await asyncio.sleep(every.total_seconds())

    task = asyncio.create_task(feed(notify.watchdog / 3), name="starting") if notify.watchdog is not None else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
