"""Request budgets and `Retry-After`."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import TracebackType
from typing import Any

from monitor.domain.errors import ProviderRateLimited

SHORTEST = 1.0
LONGEST = 3600.0

_WHITE_SPACE = " \t"
"""White space allowed around a header's value; Python's strip() would accept more."""

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
    """Return the seconds to wait, from one second to one hour; None if the response contains no known form of a wait.

    The header has precedence (ASCII digits, or an HTTP date relative to the response's Date), then the body's
    `retryAfter` (seconds) or `retryAfterMs`, then `X-RateLimit-Reset` (Unix seconds). `now` is this machine's time, used
    if the response has no Date. `headers` must be case-insensitive; `body` is decoded JSON or any other object.
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
    """Return the instant of an HTTP date in one of its three forms, aware UTC; None for anything else.

    Cached, because all responses of one second have the same text and parsing it costs as much as sending a request.
    """
    if text is None or _HTTP_DATE.fullmatch(text.strip(_WHITE_SPACE)) is None:
        return None
    try:
        instant = parsedate_to_datetime(text.strip(_WHITE_SPACE))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _from_header(text: str | None, now: datetime) -> float | None:
    if text is None:
        return None
    seconds = _digits(text.strip(_WHITE_SPACE))
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
    instant = None if text is None else _digits(text.strip(_WHITE_SPACE))
    # A small number is not an instant: read as one, it would lie in the past and cause immediate retries.
    if instant is None or instant < _UNIX_SECONDS_FROM:
        return None
    seconds = instant / 1000 if instant >= _UNIX_MILLISECONDS_FROM else instant
    return seconds - now.timestamp()


def _digits(text: str) -> float | None:
    if _DIGITS.fullmatch(text) is None:
        return None
    # The length is bounded because int() of thousands of digits is slow, and an error beyond 4,300.
    return float(text[:15]) if len(text) <= 15 else math.inf


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return _digits(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if value != value or value < 0:  # noqa: PLR0124 - only NaN differs from itself
        return None
    return LONGEST * 1000 if value > LONGEST * 1000 else float(value)


DEFAULT_WAIT = 60.0
"""Seconds to wait after a 429 without a stated wait, as in the services' documentation."""

_USUAL_RATE = 600
_LARGEST_BURST = 20
_MAX_CONCURRENT = 100
_CONCURRENT_LISTS = 2

_ahead: ContextVar[bool] = ContextVar("ahead_of_others", default=False)
"""True in tasks whose requests do not wait for other requests of their source."""


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """Send the requests of this block, and of the tasks that it starts, before all other requests of the same source.

    They count towards the budget like any other request, and wait for its next burst if the current one is used up.
    """
    token = _ahead.set(True)
    try:
        yield
    finally:
        _ahead.reset(token)


DAY = 24 * 3600.0
_MINUTE = 60.0


class DayLimit:
    """Limit on the requests of 24 hours, counted by minute."""

    def __init__(
        self, most: int, *, spent: Iterable[tuple[float, int]] = (), monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`spent` are requests of an earlier process: how many seconds ago, and their number."""
        self._most, self._monotonic = most, monotonic
        self._minutes: deque[list[float]] = deque()
        self._total = 0
        self.resume(spent)

    def spent(self) -> list[tuple[float, int]]:
        """Return the requests of the last 24 hours for a successor: how many seconds ago, and their number.

        Their instants stay exact: rounded at each of many handovers, a request would never be 24 hours old.
        """
        now = self._monotonic()
        return [(round(now - at, 1), int(number)) for at, number in self._minutes if now - at < DAY]

    def resume(self, spent: Iterable[tuple[float, int]]) -> None:
        """Continue with the requests that another process has counted."""
        now = self._monotonic()
        self._minutes = deque([now - ago, number] for ago, number in sorted(spent, reverse=True))
        self._total = sum(int(number) for _, number in self._minutes)

    def take(self) -> None:
        """Count one request. Raises ProviderRateLimited if there were too many within 24 hours."""
        now = self._monotonic()
        while self._minutes and self._minutes[0][0] <= now - DAY:
            self._total -= int(self._minutes.popleft()[1])
        if self._total >= self._most:
            wait = max(self._minutes[0][0] + DAY - now, SHORTEST) if self._minutes else LONGEST
            raise ProviderRateLimited(
                f"The limit of {self._most:,} requests in 24 hours (requests_per_day) is used up.", retry_after=min(wait, LONGEST)
            )
        if not self._minutes or now - self._minutes[-1][0] > _MINUTE:
            self._minutes.append([now, 0])
        self._minutes[-1][1] += 1
        self._total += 1


class RequestBudget:
    """Request budget of one source. Waits are FIFO, except for requests ahead of others.

    While the API demands a pause, requests fail instead of waiting.

    Requests are sent in bursts: after one burst, the next request waits for the next whole burst. With a timer for each,
    a thousand waiting requests would cost a thousand timers, which is more than sending them.
    """

    def __init__(
        self, requests_per_minute: int, *, day: DayLimit | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._day = day
        # At 60 per minute the burst is one: a larger initial burst would exceed a hard limit in the first minute.
        self.burst = max(1, min(requests_per_minute // 60, _LARGEST_BURST))
        """Number of requests that may be sent together."""
        self.period = self.burst * 60 / requests_per_minute
        """Seconds from one burst to the next."""
        concurrent = 2 if requests_per_minute <= _USUAL_RATE else min(math.ceil(requests_per_minute / 300), _MAX_CONCURRENT)
        # Lists have separate slots, or a poll would wait for every queued probe.
        self._places = {"POST": asyncio.Semaphore(concurrent), "GET": asyncio.Semaphore(_CONCURRENT_LISTS)}
        self._places_ahead = asyncio.Semaphore(_CONCURRENT_LISTS)
        self._waiting_ahead = 0
        self._turnstile = asyncio.Lock()
        self._left, self._next_at = 0, -math.inf
        """Requests left in the current burst, and the monotonic time of the next one."""
        self._monotonic = monotonic
        self._not_before = -math.inf
        self.guard: Callable[[], None] | None = None
        """Called before each request; raises if this process may not send to the API any more."""
        self.paused: Callable[[], None] | None = None
        """Called when the API demands a pause."""

    def request(self, method: str) -> BudgetSlot:
        """Return a slot for one exchange, to be held by `async with`.

        Entering it raises ProviderRateLimited with the seconds left while the API demands a pause.
        """
        return BudgetSlot(self, self._places_ahead if _ahead.get() else self._places[method])

    async def take(self) -> None:
        """Wait until one more request may be sent. Raises ProviderRateLimited while the API demands a pause.

        Raises it as well if the requests of 24 hours are used up.
        """
        if self._day is not None:
            self._day.take()
        if _ahead.get():
            await self._take_ahead()
        elif self._is_left(kept=self._waiting_ahead) and not self._turnstile.locked():
            self._left -= 1
            return
        else:
            async with self._turnstile:
                while not self._is_left(kept=self._waiting_ahead):
                    await self._next_burst()
                self._left -= 1
        self.require_open()  # another response may have demanded a pause meanwhile

    async def _take_ahead(self) -> None:
        """Take the next request that may be sent, before those that wait at the turnstile."""
        self._waiting_ahead += 1
        try:
            while not self._is_left(kept=0):
                await self._next_burst()
        finally:
            self._waiting_ahead -= 1
        self._left -= 1

    def _is_left(self, *, kept: int) -> bool:
        """Return True if the current burst has a request left, besides `kept` ones."""
        return self._left > kept and time.monotonic() < self._next_at

    async def _next_burst(self) -> None:
        """Wait until the next burst has begun. Unused requests of the previous one are lost."""
        due = self._next_at
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        if self._next_at != due:
            return  # another request that waited has begun it
        # A late wake-up shortens the next wait.
        self._next_at = due + self.period if wait > 0 else time.monotonic() + self.period
        self._left = self.burst

    def require_open(self) -> None:
        """Raise ProviderRateLimited while the API demands a pause, and what the guard raises."""
        if self.guard is not None:
            self.guard()
        left = self._not_before - self._monotonic()
        if left > 0:
            raise ProviderRateLimited(f"The API limits the request rate; next request in {math.ceil(left)} s.", retry_after=left)

    def wait(self, seconds: float) -> None:
        """Send nothing for this long. Never shortens a pause in force."""
        self._not_before = max(self._not_before, self._monotonic() + seconds)
        if self.paused is not None:
            self.paused()

    def handover(self) -> dict[str, Any]:
        """Return what a process that continues with this budget must know, as JSON: seconds from now."""
        now = self._monotonic()
        kept: dict[str, Any] = {"next": max(self._next_at - time.monotonic(), 0), "pause": max(self._not_before - now, 0)}
        kept = {name: round(seconds, 3) for name, seconds in kept.items() if seconds > 0}
        if self._day is not None:
            kept["day"] = self._day.spent()
        return kept

    def resume(self, handover: Mapping[str, Any], *, age: float, lapsed: float | None) -> None:
        """Continue with the budget as another process left it `age` seconds ago.

        `lapsed` is the time since that process had to stop if it left nothing at its end: it may have sent a burst until then.
        """
        pause, wait = (float(handover.get(name, 0.0)) - age for name in ("pause", "next"))
        if pause > 0:
            self._not_before = max(self._not_before, self._monotonic() + pause)
        if lapsed is not None:
            wait = max(wait, self.period - lapsed)
        if wait > 0:
            self._next_at, self._left = max(self._next_at, time.monotonic() + wait), 0
        if self._day is not None and "day" in handover:
            self._day.resume((ago + age, number) for ago, number in handover["day"])


class BudgetSlot:
    """Slot of one exchange in a budget. A class, because a generator-based context manager costs as much as the rest."""

    __slots__ = ("_budget", "_places")

    def __init__(self, budget: RequestBudget, scope_ids: asyncio.Semaphore) -> None:
        self._budget, self._places = budget, scope_ids

    async def __aenter__(self) -> None:
        self._budget.require_open()  # before waiting for a free slot
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
