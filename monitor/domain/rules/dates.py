"""Parsing of the dates and time spans in provider responses. Pure; nothing here raises, whatever the input.

Facts: PROVIDERS 2b (grammar, sanity bounds), FAILURES N23 to N25.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

from monitor.domain import VerdictFlag
from monitor.domain.records import Record

Flags = frozenset[str]

_NONE: Flags = frozenset()
EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)
"""Earliest instant that counts as a date: earlier ones are the zero of a clock, or misread."""
_FAR_AHEAD = timedelta(days=5 * 365 + 2)
_MILLISECONDS_FROM = 1e11
_LARGEST_NUMBER = 1e15
_SHORT = 40
"""Length in characters up to which a text is kept with its date: longer ones than any date could fill the memory."""

_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?(?:[Zz]|[+-]\d{2}:?\d{2})?)?",
    re.ASCII,
)
_WITH_ZONE = re.compile(
    r"(\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?) ?(?:(UTC|GMT)|([+-]\d{2}:?\d{2}))", re.ASCII
)
"""An instant with "UTC", "GMT" or an offset after a space, such as GitHub's header writes it."""

_RFC_1123 = re.compile(r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} (?:GMT|UTC|[+-]\d{4})", re.ASCII)
_DIGITS = re.compile(r"\d{9,14}(?:\.\d{1,9})?", re.ASCII)


def parse_instant(value: object) -> tuple[datetime | None, Flags]:
    """Return the instant that a JSON value states, aware and in UTC, and the flags about how it was read.

    Accepts ISO 8601 (with Z, an offset, or naive: then UTC is assumed and flagged; a date alone is its first instant), also
    with "UTC", "GMT" or an offset after a space, dates of HTTP headers, and Unix seconds or milliseconds. Returns None for
    null, for what is not a date, and for dates before 2015.
    """
    if value is None or value == "":
        return None, _NONE
    if isinstance(value, str):
        return _parse_short_text(value) if len(value) <= _SHORT else _parse_text(value.strip())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _parse_number(value)
    return None, frozenset({VerdictFlag.UNPARSED_DATE})


def parse_expiry(value: object, *, now: datetime) -> tuple[datetime | None, Flags]:
    """Parse an expiry like parse_instant; more than five years after `now` means "does not expire" (None, far_date)."""
    instant, flags = parse_instant(value)
    if instant is not None and instant - now > _FAR_AHEAD:
        return None, flags | {VerdictFlag.FAR_DATE}
    return instant, flags


def plausible_expiry_range(now: datetime) -> tuple[datetime, datetime]:
    """Return the range in which an expiry counts as a date: neither ancient nor far ahead of `now`."""
    return EARLIEST, now + _FAR_AHEAD


@lru_cache(maxsize=1024)
def _parse_short_text(text: str) -> tuple[datetime | None, Flags]:
    """Read a text that may occur again: the connections of an account often have the same dates."""
    return _parse_text(text.strip())


def _parse_text(text: str) -> tuple[datetime | None, Flags]:
    if _ISO.fullmatch(text) is None:
        if (zoned := _WITH_ZONE.fullmatch(text)) is not None:
            return _parse_text(zoned[1] + (zoned[3] or "Z"))
        if _RFC_1123.fullmatch(text) is not None:
            return _parse_mail_date(text)
        if _DIGITS.fullmatch(text) is None:
            return None, frozenset({VerdictFlag.UNPARSED_DATE})
        return _parse_number(float(text))
    try:
        written = datetime.fromisoformat(text.upper().replace(",", "."))
    except ValueError:  # 30 February, a leap second, 24:00, +99:00
        return None, frozenset({VerdictFlag.UNPARSED_DATE})
    if written.tzinfo is None:
        return _bounded(written.replace(tzinfo=UTC), frozenset({VerdictFlag.NAIVE_DATE}))
    try:
        return _bounded(written if written.tzinfo is UTC else written.astimezone(UTC), _NONE)
    except OverflowError:  # year 1 or 9999, and an offset that leads out of the calendar
        return None, frozenset({VerdictFlag.FAR_DATE if written.year > EARLIEST.year else VerdictFlag.ANCIENT_DATE})


def _parse_mail_date(text: str) -> tuple[datetime | None, Flags]:
    """Return the instant of a date as in mail and HTTP headers (RFC 5322, RFC 9110)."""
    try:
        return _bounded(parsedate_to_datetime(text.replace("UTC", "GMT")).astimezone(UTC), _NONE)
    except (ValueError, OverflowError):
        return None, frozenset({VerdictFlag.UNPARSED_DATE})


def _parse_number(number: float) -> tuple[datetime | None, Flags]:
    # Not converted to float before: an int of thousands of digits does not fit.
    if not -_LARGEST_NUMBER < number < _LARGEST_NUMBER or math.isnan(number):
        return None, frozenset({VerdictFlag.UNPARSED_DATE})
    seconds = number / 1000 if abs(number) >= _MILLISECONDS_FROM else number
    try:
        return _bounded(datetime.fromtimestamp(seconds, UTC), frozenset({VerdictFlag.EPOCH_DATE}))
    except (ValueError, OverflowError, OSError):
        return None, frozenset({VerdictFlag.UNPARSED_DATE})


def _bounded(instant: datetime, flags: Flags) -> tuple[datetime | None, Flags]:
    if instant < EARLIEST:
        return None, flags | {VerdictFlag.ANCIENT_DATE}
    return instant, flags


class Remaining(Record, frozen=True, kw_only=True):
    """A span such as "82d 4h", which is rounded down: the time left is at least `at_least` and less than `below`."""

    at_least: timedelta
    below: timedelta

    @property
    def expired(self) -> bool:
        """True if no time is left."""
        return self.below <= timedelta(0)

    @property
    def coarse(self) -> bool:
        """True if the span is wider than an hour ("29 days"), too wide to derive a date from."""
        return self.below - self.at_least > timedelta(hours=1)


_HOUR = timedelta(hours=1)
_EXPIRED = Remaining(at_least=timedelta.min, below=timedelta(0))
_UNDER_AN_HOUR = Remaining(at_least=timedelta(0), below=_HOUR)
_SPAN = re.compile(
    r"(?:(?P<days>\d{1,6}) ?(?:d|days?))?(?: ?(?P<hours>\d{1,6}) ?(?:h|hours?))?(?: ?(?P<minutes>\d{1,6}) ?(?:m|min|minutes?))?",
    re.ASCII,
)


def parse_remaining(text: object) -> Remaining | None:
    """Return the span that a provider's `tokenExpiresIn` states; None for null and for what is not such a span.

    Grammar, in any case: expired; < 1h; 5h; 82d 4h; 82d; 29 days; 40m.
    """
    if not isinstance(text, str):
        return None
    words = " ".join(text[:64].lower().split())
    if words == "expired":
        return _EXPIRED
    if words.replace(" ", "") == "<1h":
        return _UNDER_AN_HOUR
    match = _SPAN.fullmatch(words)
    if match is None or not words:
        return None
    days, hours, minutes = match.group("days", "hours", "minutes")
    at_least = timedelta(days=int(days or 0), hours=int(hours or 0), minutes=int(minutes or 0))
    grain = timedelta(minutes=1) if minutes else _HOUR if hours else timedelta(days=1)
    return Remaining(at_least=at_least, below=at_least + grain)
