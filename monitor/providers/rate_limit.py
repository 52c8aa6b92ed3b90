"""Request budgets and `Retry-After`."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import TracebackType

from monitor.domain.errors import ProviderRateLimited

SHORTEST = 1.0
LONGEST = 3600.0

_BLANKS = " \t"
"""What may stand around a header's value; Python's own idea of blanks is wider."""

_DIGITS = re.compile(r"\d+", re.ASCII)
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT"  # the preferred form
    r"|[A-Z][a-z]+day, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT"  # RFC 850
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}",  # asctime
    re.ASCII,
)
_UNIX_SECONDS_FROM = 1e9
_UNIX_MILLISECONDS_FROM = 1e11


def retry_after(headers: Mapping[str, str], body: object, *, now: datetime) -> float | None:
    """Seconds to wait, between one second and one hour; None where the answer does not say, or not in a known form.

    The header counts first (ASCII digits, or an HTTP date counted from the answer's own Date), then the body's
    `retryAfter` (seconds) or `retryAfterMs`, then `X-RateLimit-Reset` (Unix seconds). `now` is our clock, used
    where the answer has no Date. `headers` must find names whatever their case; `body` is decoded JSON or anything.
    """
    server_now = http_date(headers.get("date")) or now
    for seconds in (
        _from_header(headers.get("retry-after"), server_now),
        _from_body(body),
        _from_reset(headers.get("x-ratelimit-reset"), server_now),
    ):
        if seconds is not None:
            return min(max(seconds, SHORTEST), LONGEST)
    return None


@lru_cache(maxsize=64)
def http_date(text: str | None) -> datetime | None:
    """The instant of an HTTP date in one of its three forms, aware UTC; None for anything else.

    Remembers: all answers of one second carry the same text, and reading it costs as much as sending a request.
    """
    if text is None or _HTTP_DATE.fullmatch(text.strip(_BLANKS)) is None:
        return None
    try:
        instant = parsedate_to_datetime(text.strip(_BLANKS))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _from_header(text: str | None, now: datetime) -> float | None:
    if text is None:
        return None
    seconds = _digits(text.strip(_BLANKS))
    if seconds is not None:
        return seconds
    until = http_date(text)
    return None if until is None else (until - now).total_seconds()


def _from_body(body: object) -> float | None:
    if not isinstance(body, Mapping):
        return None
    seconds = _number(body.get("retryAfter"))
    if seconds is not None:
        return seconds
    milliseconds = _number(body.get("retryAfterMs"))
    return None if milliseconds is None else milliseconds / 1000


def _from_reset(text: str | None, now: datetime) -> float | None:
    instant = None if text is None else _digits(text.strip(_BLANKS))
    # A small number is no instant; read as one it would lie far in the past and make us hammer.
    if instant is None or instant < _UNIX_SECONDS_FROM:
        return None
    seconds = instant / 1000 if instant >= _UNIX_MILLISECONDS_FROM else instant
    return seconds - now.timestamp()


def _digits(text: str) -> float | None:
    if _DIGITS.fullmatch(text) is None:
        return None
    # The length is bounded because int() of thousands of digits is slow, and refused beyond 4,300.
    return float(text[:15]) if len(text) <= 15 else math.inf


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return _digits(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if value != value or value < 0:  # noqa: PLR0124 - NaN is the one number that differs from itself
        return None
    return LONGEST * 1000 if value > LONGEST * 1000 else float(value)


WITHOUT_HINT = 60.0
"""Seconds of silence after a 429 that does not say how long (the services' own samples wait this long)."""

_USUAL_RATE = 600
_LARGEST_BURST = 20
_MOST_AT_ONCE = 100
_LISTS_AT_ONCE = 2


class RequestBudget:
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

    def request(self, method: str) -> BudgetSlot:
        """A place for one exchange, held by `async with`.

        Entering it raises ProviderRateLimited, with the seconds left, while told to wait.
        """
        return BudgetSlot(self, self._places[method])

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


class BudgetSlot:
    """One exchange's place in a budget. A class of its own: a generator's context manager costs as much as all the rest."""

    __slots__ = ("_budget", "_places")

    def __init__(self, budget: RequestBudget, places: asyncio.Semaphore) -> None:
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
