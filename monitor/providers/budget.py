"""How often one source may be asked: its requests per minute, its requests at once, and the provider's own Retry-After."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

from monitor.errors import ProviderRateLimited

WITHOUT_HINT = 60.0
"""Seconds of silence after a 429 that does not say how long (the services' own samples wait this long)."""

_USUAL_RATE = 600
_LARGEST_BURST = 20
_MOST_AT_ONCE = 100
_LISTS_AT_ONCE = 2


class Budget:
    """One source's allowance. Waits are FIFO; what must wait for long is refused instead of delayed."""

    def __init__(self, requests_per_minute: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        # A burst of one at 60 a minute: a bucket that starts full would break a hard limit in its first minute.
        burst = max(1, min(requests_per_minute // 60, _LARGEST_BURST))
        self._limiter = AsyncLimiter(burst, burst * 60 / requests_per_minute)
        at_once = 2 if requests_per_minute <= _USUAL_RATE else min(math.ceil(requests_per_minute / 300), _MOST_AT_ONCE)
        # Lists have places of their own, or a poll would stand behind every waiting probe.
        self._places = {"POST": asyncio.Semaphore(at_once), "GET": asyncio.Semaphore(_LISTS_AT_ONCE)}
        self._monotonic = monotonic
        self._not_before = -math.inf

    @asynccontextmanager
    async def request(self, method: str) -> AsyncIterator[None]:
        """Hold a place for one exchange. Raises ProviderRateLimited, with the seconds left, while told to wait."""
        self.require_open()
        async with self._places[method]:
            await self._limiter.acquire()
            self.require_open()  # another request may have been told to wait meanwhile
            yield

    def require_open(self) -> None:
        """Raises ProviderRateLimited while the provider wants to be left alone."""
        left = self._not_before - self._monotonic()
        if left > 0:
            raise ProviderRateLimited(f"The API asked us to slow down; {math.ceil(left)} s are left.", retry_after=left)

    def wait(self, seconds: float) -> None:
        """Ask nothing for so long. Never shortens a wait that is in force."""
        self._not_before = max(self._not_before, self._monotonic() + seconds)
