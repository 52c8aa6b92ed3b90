"""Queue of signals: stop, reload, poll, and what concerns the lock and the schema."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

RELOAD, POLL, STOP, LOCK_LOST = "reload", "poll", "stop", "lock_lost"
LOCK_TAKEN = "lock_taken"
"""This daemon, which worked beside the holder of the lock, has got it."""
NEWER_SCHEMA = "newer_schema"
"""A newer version has migrated the database."""


class StopRequested(Exception):
    """A stop signal arrived before the daemon had started."""


class SignalQueue:
    """Signals in order of arrival. A second stop signal ends the process immediately."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._stopping_since = 0.0

    def install_handlers(self, loop: asyncio.AbstractEventLoop) -> None:
        """Receive SIGTERM, SIGINT, SIGHUP and SIGUSR1 from now on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._queue.put_nowait, RELOAD)
        loop.add_signal_handler(signal.SIGUSR1, self._queue.put_nowait, POLL)

    def remove_handlers(self, loop: asyncio.AbstractEventLoop) -> None:
        """Restore the default signal handlers."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            loop.remove_signal_handler(number)

    async def next(self, *, within: float | None = None) -> str | None:
        """Return the next signal, or None if none arrives within this many seconds."""
        try:
            return await asyncio.wait_for(self._queue.get(), within)
        except TimeoutError:
            return None

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`. Cancel it and raise StopRequested if a stop signal arrives, or has arrived, first.

        For calls that wait for a database: one that does not respond must not delay the stop.
        """
        task, stopping = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (task, stopping):
                each.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)
        if self._stopping.is_set():
            raise StopRequested
        return task.result()

    def stopping_for(self) -> timedelta:
        """Return the time since the first stop signal; 0 before it."""
        return timedelta(seconds=time.monotonic() - self._stopping_since if self._stopping.is_set() else 0)

    def put(self, signal: str) -> None:
        """Add an event that this process itself detected: LOCK_LOST, LOCK_TAKEN or NEWER_SCHEMA."""
        self._queue.put_nowait(signal)

    def _stop(self) -> None:
        if self._stopping.is_set():
            raise SystemExit(1)
        self._stopping_since = time.monotonic()
        self._stopping.set()
        self._queue.put_nowait(STOP)
