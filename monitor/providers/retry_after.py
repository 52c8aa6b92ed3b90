"""How long a provider asks us to wait. Pure. Facts: PROVIDERS 2d (429), FAILURES N8."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

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
