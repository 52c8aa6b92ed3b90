"""Running a channel's blocking calls in a thread, one at a time and with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from monitor.domain.threads import DaemonThread, NoThread
from monitor.notify.apprise import Channel, Sent
from monitor.notify.messages import ChannelProfile, Part

T = TypeVar("T")

ABANDON_AFTER = 900.0
"""Seconds after which a call that does not end is abandoned, and the channel is built anew."""


class Sender:
    """The asynchronous side of one channel.

    A call that exceeds its time limit raises TimeoutError and goes on in its thread; until it ends the channel is `busy` and
    must not be used. The threads are daemon threads, so a server that keeps a call open cannot keep the process alive.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._running: asyncio.Future[Any] | None = None
        self._started = 0.0
        self._free_at = 0.0

    @property
    def busy(self) -> bool:
        """True if an earlier call has not ended."""
        if self._running is None or self._running.done():
            return False
        if asyncio.get_running_loop().time() - self._started < ABANDON_AFTER:
            return True
        self._channel = self._channel.rebuilt()
        self._running = None
        return False

    async def idle(self) -> None:
        """Wait until no call is running."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def profile(self, *, within: float) -> ChannelProfile:
        """Return the channel's capabilities. Raises ConfigError for an unusable URL, else as send()."""
        return await self._call(lambda: self._channel.profile, within=within)

    async def send(self, part: Part, *, within: float, done: frozenset[str] = frozenset()) -> Sent:
        """Send one message at the channel's pace to every recipient that is not in `done`.

        Raises DeliveryError, which holds the recipients that have nevertheless received the message, TimeoutError after
        `within` seconds, or NoThread: then nothing was sent.
        """
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(self._free_at - loop.time(), 0))
        try:
            return await self._call(lambda: self._channel.send(part, done=done), within=within)
        finally:
            self._free_at = loop.time() + self._channel.pace

    async def _call(self, work: Callable[[], T], *, within: float) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        # The result of an abandoned call is fetched as well, or asyncio logs an error about it.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Raises NoThread without memory: then no call is running.
        thread = DaemonThread(
            partial(_run, loop, future, work), name=f"channel-{self._channel.name}", start_within=timedelta(seconds=within / 2)
        )
        self._running, self._started = future, loop.time()
        try:
            return await asyncio.wait_for(asyncio.shield(future), within)
        except TimeoutError:
            if thread.abandon_if_late():
                self._running = None
                raise NoThread("no thread has started in time") from None
            raise


def _run(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], work: Callable[[], T]) -> None:
    def finish(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where T is

    result: T | None = None
    failure: BaseException | None = None
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - any error is raised on the waiting side
        failure = error
    with contextlib.suppress(RuntimeError):  # the loop is closed, so nothing waits
        loop.call_soon_threadsafe(finish, result, failure)
