"""Recurring time windows: silences, quiet hours and weekly reports, correct across clock changes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule, rrulestr

from monitor.domain import Severity

_DAY = timedelta(days=1)
_CHAINED = 16  # windows that follow each other without a gap are one; a week of whole days has eight


class QuietWindow(Protocol):
    """One window of quiet hours, as configured."""

    @property
    def from_time(self) -> time:
        """The local time at which it begins; with an equal `to_time` it lasts a whole day."""
        ...

    @property
    def to_time(self) -> time:
        """The local time at which it ends, on the next day where that is not later than its beginning."""
        ...

    @property
    def days(self) -> AbstractSet[int] | None:
        """The weekdays on which it begins, 0 for Monday; None: every day."""
        ...

    @property
    def except_severity(self) -> Severity | None:
        """What is at least this severe goes out all the same; None: nothing does."""
        ...

    @property
    def timezone(self) -> str | None:
        """Its own IANA time zone; None: the one of the monitor."""
        ...


def quiet_until(
    windows: Sequence[QuietWindow], instant: datetime, *, severity: Severity, timezone: str = "UTC"
) -> datetime | None:
    """When the quiet that holds at `instant` ends for something of this severity, aware UTC; None where it may go out.

    Windows that overlap or touch are one. The beginning of a window is quiet, its end is not. A time zone that this machine
    does not know is read as UTC.
    """
    mine = [window for window in windows if window.except_severity is None or severity.rank < window.except_severity.rank]
    end = instant
    for _ in range(_CHAINED):
        ends = [until for window in mine for since, until in _around(window, end, timezone) if since <= end < until]
        if not ends:
            break
        end = max(ends)
    return end.astimezone(UTC) if end > instant else None


def _around(window: QuietWindow, instant: datetime, timezone: str) -> Iterator[tuple[datetime, datetime]]:
    """The occurrences of a window that may hold this instant, as UTC spans."""
    zone = _zone(window.timezone or timezone)
    today = instant.astimezone(zone).date()
    for day in (today - 2 * _DAY, today - _DAY, today):
        if window.days is None or day.weekday() in window.days:
            last = day if window.to_time > window.from_time else day + _DAY
            yield _first(day, window.from_time, zone), _last(last, window.to_time, zone)


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return UTC


def _first(day: date, at: time, zone: tzinfo) -> datetime:
    """The first instant at which clocks there show this time, or jump over it."""
    return _wall_instant(day, at, zone, fold=0)


def _last(day: date, at: time, zone: tzinfo) -> datetime:
    """The last such instant."""
    return _wall_instant(day, at, zone, fold=1)


def _wall_instant(day: date, at: time, zone: tzinfo, *, fold: int) -> datetime:
    early, late = (datetime.combine(day, at.replace(fold=side), zone).astimezone(UTC) for side in (0, 1))
    if late >= early:
        return late if fold else early
    return _change_between(late, early, zone)  # in a gap the two readings lie on either side of it


def _change_between(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The instant between these two at which the zone's offset changes, to the second."""
    old = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def next_weekly(now: datetime, *, weekday: int, at: time, zone: ZoneInfo | None) -> datetime:
    """The first instant after `now` at which clocks in that zone (None: UTC) show this time on this weekday (Monday is 0).

    A time that a clock skips comes as much later as the clock jumps; of one that comes twice, the first counts. Aware UTC.
    """
    where = zone or UTC
    today = now.astimezone(where).date()
    for days in range(-1, 16):
        day = today + timedelta(days=days)
        instant = datetime.combine(day, at.replace(fold=0), where).astimezone(UTC)
        if day.weekday() == weekday and instant > now:
            return instant
    raise AssertionError("Every weekday comes within a fortnight.")


FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
"""Finer ones make no window that anybody wants, and can take for ever to search."""

_PARTS = frozenset(
    {
        "FREQ", "INTERVAL", "COUNT", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS", "BYHOUR",
        "BYMINUTE",
    }
)  # fmt: skip
_DAYS = "MO|TU|WE|TH|FR|SA|SU"
_DAYS_SAID = "MO, TU, WE, TH, FR, SA or SU"
_SIGNED = r"[+-]?[0-9]{1,3}"
_BOUNDS = {
    "BYDAY": (1, 53),
    "BYMONTH": (1, 12),
    "BYMONTHDAY": (1, 31),
    "BYYEARDAY": (1, 366),
    "BYWEEKNO": (1, 53),
    "BYSETPOS": (1, 366),
    "BYHOUR": (0, 23),
    "BYMINUTE": (0, 59),
}
_VALUES = {
    "WKST": (_DAYS, _DAYS_SAID),
    "BYDAY": (rf"([+-]?[0-9]{{1,2}})?({_DAYS})", f"{_DAYS_SAID} (with a number such as 1MO or -1FR by month or year)"),
    "BYMONTH": ("[0-9]{1,2}", "a month from 1 to 12"),
    "BYMONTHDAY": (_SIGNED, "a day from 1 to 31, or from -31 to -1 counted from the end,"),
    "BYYEARDAY": (_SIGNED, "a day from 1 to 366, or from -366 to -1 counted from the end,"),
    "BYWEEKNO": (_SIGNED, "a week from 1 to 53, or from -53 to -1 counted from the end,"),
    "BYSETPOS": (_SIGNED, "a place from 1 to 366, or from -366 to -1 counted from the end,"),
    "BYHOUR": ("[0-9]{1,2}", "an hour from 0 to 23"),
    "BYMINUTE": ("[0-9]{1,2}", "a minute from 0 to 59"),
}
"""What each part may hold, and how that is said."""
_CYCLE = range(9932, 9960)
"""Twenty-eight years hold every calendar there is. Begun here, a search that finds nothing ends soon: with the year 9999."""
_BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, ArithmeticError)
"""What dateutil raises on a text that is no rule."""


def rule_problem(text: str) -> str | None:
    """Why this is no RRULE that can be used, as the end of a sentence; None where it can."""
    return _form_problem(text) or next(_value_problems(text), None)


def _value_problems(text: str) -> Iterator[str]:
    """What dateutil would pass over in silence or refuse without a word; asked of what is new, not of what is stored."""
    for part in text.strip().upper().split(";"):
        name, _, values = (each.strip() for each in part.partition("="))
        pattern, allowed = _VALUES.get(name, ("", ""))
        for value in values.split(",") if allowed else ():
            if not re.fullmatch(pattern, value) or not _is_within(name, value):
                shown = value[:20] if value.isprintable() else "?"
                yield f"has {name}={shown}, but {allowed} is needed there."


def _is_within(name: str, value: str) -> bool:
    number = value.lstrip("+-").rstrip("ADEFHMORSTUW")
    least, most = _BOUNDS.get(name, (0, 0))
    return not number or least <= int(number) <= most


def _form_problem(text: str) -> str | None:
    parts = [part.partition("=") for part in text.strip().split(";")]
    names = [name.strip().upper() for name, _, _ in parts]
    if any(not mark or not value.strip() for _, mark, value in parts):
        return "is no RRULE, such as FREQ=WEEKLY;BYDAY=SA,SU."
    if "UNTIL" in names:
        return "holds UNTIL: say when it all ends with --until instead."
    unknown = [name for name in names if name not in _PARTS]
    if unknown or len(set(names)) < len(names):
        return f"holds {unknown[0]}, which is not used here." if unknown else "names a part twice."
    values = {name: value.strip().upper() for name, (_, _, value) in zip(names, parts, strict=True)}
    if values.get("FREQ") not in FREQUENCIES:
        return f"must have FREQ={', '.join(FREQUENCIES[:-1])} or {FREQUENCIES[-1]}."
    for name in ("INTERVAL", "COUNT"):
        digits = values.get(name, "1")
        if not (digits.isascii() and digits.isdigit() and int(digits[:6]) >= 1 and len(digits) <= 6):
            return f"has {name}={values[name][:20]}, but a whole number of at least 1 is needed."
    return None


def recurs(text: str, local_start: datetime) -> bool:
    """Whether a rule that has no problem ever comes due, counted from a naive local time."""
    return _rule(text, local_start) is not None


def windows(text: str, start: datetime, lasts: timedelta, *, zone: ZoneInfo | None, after: datetime) -> Iterator[tuple[Any, Any]]:
    """The windows that end after an instant, as (begin, end) in UTC, in order; none for a rule that cannot be used.

    A window goes from wall-clock time to wall-clock time: one of 24 hours is the whole day, also the day of 23 or 25. In an
    hour that comes twice it begins with the first and ends with the second; a time that the clocks jump over is read as if
    they had not jumped yet, and no window is lost to that.
    """
    try:
        rule = _rule(text, _local(start, zone))
        if rule is None or lasts <= timedelta(0):
            return
        for local in rule.xafter(_local(after, zone) - lasts - 2 * _DAY, inc=True):
            begin, end = _instant(local, zone, last=False), _instant(local + lasts, zone, last=True)
            end = end if end > begin else begin + lasts
            if end > after:
                yield begin, end
    except _BROKEN:
        return


@lru_cache(maxsize=256)
def _rule(text: str, local_start: datetime) -> Any:
    """The rule, None where it cannot be used or never comes due. It remembers what it has worked out."""
    if _form_problem(text) is not None:
        return None
    try:
        rule = rrulestr(text, dtstart=local_start, cache=True)
        if not isinstance(rule, rrule):
            return None
        begin = local_start.replace(year=_same_calendar(local_start.year))
        return rule if next(iter(rule.replace(dtstart=begin, count=None)), None) is not None else None
    except _BROKEN:
        return None


def _same_calendar(year: int) -> int:
    """A late year whose days fall on the same weekdays, as do those of the decades after it."""
    wanted = datetime(year, 1, 1).weekday(), year % 4  # noqa: DTZ001 - a calendar, no instant
    return next(late for late in _CYCLE if (datetime(late, 1, 1).weekday(), late % 4) == wanted)  # noqa: DTZ001 - as above


def _local(instant: datetime, zone: ZoneInfo | None) -> datetime:
    return instant.astimezone(zone or UTC).replace(tzinfo=None, fold=0)


def _instant(local: datetime, zone: ZoneInfo | None, *, last: bool) -> datetime:
    """The first or last instant at which the clocks show this time."""
    first, second = (local.replace(tzinfo=zone or UTC, fold=fold).astimezone(UTC) for fold in (0, 1))
    return second if last and second > first else first
