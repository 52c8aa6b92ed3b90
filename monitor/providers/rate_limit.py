"""How often one source may be asked: its requests per minute, its requests at once, and the provider's own Retry-After."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from types import TracebackType

from monitor.domain.errors import ProviderRateLimited

WITHOUT_HINT = 60.0
"""Seconds of silence after a 429 that does not say how long (the services' own samples wait this long)."""

_USUAL_RATE = 600
_LARGEST_BURST = 20
_MOST_AT_ONCE = 100
_LISTS_AT_ONCE = 2


class Budget:
    """One source's allowance. Waits are FIFO; what must wait for long is refused instead of delayed.

    Requests leave in bursts: once a burst is used up, nothing goes until the next whole one may. Woken one by one, a
    thousand waiting requests would cost a thousand timers, which is more than sending them.
    """

    def __init__(self, requests_per_minute: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        # A burst of one at 60 a minute: a bucket that starts full would break a hard limit in its first minute.
        self.burst = max(1, min(requests_per_minute // 60, _LARGEST_BURST))
        """So many requests may leave together."""
        self.period = self.burst * 60 / requests_per_minute
        """Seconds from one burst to the next."""
        at_once = 2 if requests_per_minute <= _USUAL_RATE else min(math.ceil(requests_per_minute / 300), _MOST_AT_ONCE)
        # Lists have places of their own, or a poll would stand behind every waiting probe.
        self._places = {"POST": asyncio.Semaphore(at_once), "GET": asyncio.Semaphore(_LISTS_AT_ONCE)}
        self._turnstile = asyncio.Lock()
        self._left, self._next_at = 0, -math.inf
        """What is left of the burst that may leave now, and from when on there is another."""
        self._monotonic = monotonic
        self._not_before = -math.inf

    def request(self, method: str) -> Place:
        """A place for one exchange, held by `async with`.

        Entering it raises ProviderRateLimited, with the seconds left, while told to wait.
        """
        return Place(self, self._places[method])

    async def take(self) -> None:
        """Wait until one more request may leave. Raises ProviderRateLimited as request does."""
        if self._left and not self._turnstile.locked() and time.monotonic() < self._next_at:
            self._left -= 1
            return
        async with self._turnstile:
            if self._left == 0 or time.monotonic() >= self._next_at:
                await self._next_burst()
            self._left -= 1
        self.require_open()  # another request may have been told to wait meanwhile

    async def _next_burst(self) -> None:
        """Wait for it. What is left of the one before lapses."""
        wait = self._next_at - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
            self._next_at += self.period  # a late wake-up is made good by the next one
        else:
            self._next_at = time.monotonic() + self.period
        self._left = self.burst

    def require_open(self) -> None:
        """Raises ProviderRateLimited while the provider wants to be left alone."""
        left = self._not_before - self._monotonic()
        if left > 0:
            raise ProviderRateLimited(f"The API asked us to slow down; {math.ceil(left)} s are left.", retry_after=left)

    def wait(self, seconds: float) -> None:
        """Ask nothing for so long. Never shortens a wait that is in force."""
        self._not_before = max(self._not_before, self._monotonic() + seconds)


class Place:
    """One exchange's place in a budget. A class of its own: a generator's context manager costs as much as all the rest."""

    __slots__ = ("_budget", "_places")

    def __init__(self, budget: Budget, places: asyncio.Semaphore) -> None:
        self._budget, self._places = budget, places

    async def __aenter__(self) -> None:
        self._budget.require_open()  # at once, not only when a place is free
        await self._places.acquire()
        try:
            self._budget.require_open()
            await self._budget.take()
        except BaseException:
            self._places.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._places.release()
