"""What the operating system asks of the daemon, as words in order: stop, reload; and that the database was lost."""

from __future__ import annotations

import asyncio
import signal

RELOAD, STOP, LOST = "reload", "stop", "lost"


class SignalQueue:
    """Signals as words. A second request to stop ends the process at once."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._stopping = False

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the signals from here on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._queue.put_nowait, RELOAD)

    def deafen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave the signals to their defaults again."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)

    async def next(self, *, within: float | None = None) -> str | None:
        """The next word; None where there is none within so many seconds."""
        try:
            return await asyncio.wait_for(self._queue.get(), within)
        except TimeoutError:
            return None

    def lose(self) -> None:
        """The database is somebody else's now."""
        self._queue.put_nowait(LOST)

    def _stop(self) -> None:
        if self._stopping:
            raise SystemExit(1)
        self._stopping = True
        self._queue.put_nowait(STOP)
