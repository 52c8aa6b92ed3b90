"""Runs a channel's blocking calls in a thread of its own, one at a time and never waited for longer than promised."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from monitor.notify.apprise import Channel, Sent
from monitor.notify.messages import ChannelProfile, Part

T = TypeVar("T")

ABANDON_AFTER = 900.0
"""Seconds after which a call that never ended no longer keeps its channel from a fresh start."""


class Sender:
    """The asynchronous side of one channel.

    A call that outlasts its bound raises TimeoutError and goes on in its thread; until it ends the channel is `busy` and
    must be given no more. The threads are daemons: a server that never stops talking cannot keep the process alive.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._running: asyncio.Future[Any] | None = None
        self._started = 0.0
        self._free_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether an earlier call is still under way."""
        if self._running is None or self._running.done():
            return False
        if asyncio.get_running_loop().time() - self._started < ABANDON_AFTER:
            return True
        self._channel = Channel(self._channel.name, self._channel.url)
        self._running = None
        return False

    async def idle(self) -> None:
        """Waits until no call is under way."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def profile(self, *, within: float) -> ChannelProfile:
        """What the channel can carry. Raises ConfigError where the URL is no use, TimeoutError after `within` seconds."""
        return await self._call(lambda: self._channel.profile, within=within)

    async def send(self, part: Part, *, within: float, done: frozenset[str] = frozenset()) -> Sent:
        """Sends one message at the channel's pace, to every recipient of the channel that is not `done`.

        Raises DeliveryError, which names those who have it all the same, or TimeoutError after `within` seconds.
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
        # A result that nobody waits for any more is fetched all the same, else asyncio reports it as lost.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        thread = threading.Thread(
            target=_settle, args=(loop, future, work), name=f"monitor-channel-{self._channel.name}", daemon=True
        )
        thread.start()  # may fail where memory runs out: then nothing is under way
        self._running, self._started = future, loop.time()
        return await asyncio.wait_for(asyncio.shield(future), within)


def _settle(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], work: Callable[[], T]) -> None:
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
    except Exception as error:  # noqa: BLE001 - carried over to the waiting side, whatever it is
        failure = error
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(finish, result, failure)
