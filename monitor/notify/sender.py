"""Running a channel's blocking calls in a thread, one at a time and with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from monitor.domain import threads
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
        # A thread that never begins must be noticed before the limit: then nothing was sent, and the channel is not busy.
        begin_within = timedelta(seconds=within / 2)
        call = asyncio.create_task(threads.run(work, name=f"channel-{self._channel.name}", start_within=begin_within))
        # The result of an abandoned call is fetched as well, or asyncio logs an error about it.
        call.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._running, self._started = call, asyncio.get_running_loop().time()
        return await asyncio.wait_for(asyncio.shield(call), within)
