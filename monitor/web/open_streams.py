"""The open streams of changes: one query a second finds out for all of them if something changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from monitor.domain.errors import StoreError
from monitor.store.change_marks import ChangeMark

MOST_STREAMS = 200
"""Open streams of all clients. Each takes one file descriptor in addition to those of the other connections."""
LOOK_EVERY = 1.0
"""Seconds between two queries while a stream is open."""

ReadMark = Callable[[], Awaitable[ChangeMark]]


class TooManyStreams(Exception):
    """There is no room for another stream."""


class Streams:
    """Counts the open streams and wakes them when the mark of the store's state changes."""

    def __init__(self) -> None:
        self.mark: ChangeMark | None = None
        """The newest mark; None until one is read."""
        self.generation = 0
        """Changes when all streams must end."""
        self._open = 0
        self._closed = False
        self._woken = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def number(self) -> int:
        """The number of open streams."""
        return self._open

    @asynccontextmanager
    async def opened(self, read: ReadMark) -> AsyncIterator[None]:
        """Count a stream while it is open. Raise TooManyStreams if there is no room for it, StoreError as `read` does."""
        if self._open >= MOST_STREAMS or self._closed:
            raise TooManyStreams
        self._open += 1
        try:
            if self._watcher is None:
                self.mark = None
                self._watcher = asyncio.create_task(self._watch(read), name="web-streams")
            if self.mark is None:
                self.mark = await read()
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._stop_watching()

    async def wait(self, seconds: float) -> None:
        """Wait until something changed or all streams must end, at most this long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)

    def end_all(self) -> None:
        """End every open stream; clients open new ones, with the current configuration."""
        self.generation += 1
        self._wake()

    def close(self) -> None:
        """End every stream and refuse new ones. May be called twice."""
        self._closed = True
        self.end_all()

    def _wake(self) -> None:
        woken, self._woken = self._woken, asyncio.Event()
        woken.set()

    async def _watch(self, read: ReadMark) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                mark = await read()
            except StoreError:  # pages show the outage; the next query finds what changed meanwhile
                continue
            if mark != self.mark:
                self.mark = mark
                self._wake()

    def _stop_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
