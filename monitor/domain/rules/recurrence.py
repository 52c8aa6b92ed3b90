"""Recurring time windows: silences, quiet hours and weekly reports, correct across clock changes.

All three go through `wall_instant`, which finds the instant at which clocks show a local time: as much later as the clocks
jump if they skip it, the first or the last if it comes twice. Only quiet hours begin and end with the jump itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from monitor.domain import QuietHours, Severity
from monitor.domain.timefmt import zone as find_zone

_DAY = timedelta(days=1)


def wall_instant(local: datetime, zone: tzinfo, *, last: bool = False) -> datetime:
    """Return the first or last instant, in UTC, at which clocks in the zone show a naive local time.

    A time that the clocks skip is read as if they had not jumped yet.
    """
    readings = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return max(readings) if last else readings[0]


# --- Quiet hours

_MOST_ADJOINING = 16
"""Windows that are joined if they adjoin; a week of whole days has eight."""


def quiet_until(
    windows: Sequence[QuietHours], instant: datetime, *, severity: Severity, timezone: str = "UTC"
) -> datetime | None:
    """Return the end, in UTC, of the quiet hours that hold at `instant` for this severity; None if there are none.

    Windows that overlap or adjoin are one. The beginning of a window is quiet, its end is not. A time zone that this machine
    does not know is read as UTC.
    """
    applying = [window for window in windows if window.except_severity is None or severity.rank < window.except_severity.rank]
    end = instant
    for _ in range(_MOST_ADJOINING):
        ends = [until for window in applying for since, until in _occurrences(window, end, timezone) if since <= end < until]
        if not ends:
            break
        end = max(ends)
    return end.astimezone(UTC) if end > instant else None


def _occurrences(window: QuietHours, instant: datetime, timezone: str) -> Iterator[tuple[datetime, datetime]]:
    """Yield the occurrences of a window that may contain this instant, in UTC."""
    zone = find_zone(window.timezone or timezone) or UTC
    today = instant.astimezone(zone).date()
    for day in (today - 2 * _DAY, today - _DAY, today):
        if window.days is None or day.weekday() in window.days:
            last_day = day if window.to_time > window.from_time else day + _DAY
            yield _edge(day, window.from_time, zone, last=False), _edge(last_day, window.to_time, zone, last=True)


def _edge(day: date, at: time, zone: tzinfo, *, last: bool) -> datetime:
    """Return the instant at which a window begins or ends: the clock change itself if the clocks skip its time."""
    from dateutil import tz  # half a megabyte, and most configurations have no quiet hours

    local = datetime.combine(day, at)
    if tz.datetime_exists(local, zone):
        return wall_instant(local, zone, last=last)
    return _clock_change(local.replace(tzinfo=zone, fold=1).astimezone(UTC), wall_instant(local, zone), zone)


def _clock_change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the instant between these two at which the zone's offset changes, to the second."""
    old = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


# --- Weekly times


def next_weekly(now: datetime, *, weekday: int, at: time, zone: ZoneInfo | None) -> datetime:
    """Return the first instant after `now`, in UTC, with this local time on this weekday (Monday is 0). No zone is UTC."""
    where = zone or UTC
    today = now.astimezone(where).date()
    for days in range(-1, 16):
        day = today + timedelta(days=days)
        instant = wall_instant(datetime.combine(day, at), where)
        if day.weekday() == weekday and instant > now:
            return instant
    raise AssertionError("Every weekday comes within a fortnight.")


# --- Recurrence rules of silences

FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
"""The frequencies that are accepted. Finer ones make no useful window and can take very long to search."""

_PARTS = frozenset(
    {
        "FREQ", "INTERVAL", "COUNT", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS", "BYHOUR",
        "BYMINUTE",
    }
)  # fmt: skip
_DAYS = "MO|TU|WE|TH|FR|SA|SU"
_DAYS_TEXT = "MO, TU, WE, TH, FR, SA or SU"
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
    "WKST": (_DAYS, _DAYS_TEXT),
    "BYDAY": (rf"([+-]?[0-9]{{1,2}})?({_DAYS})", f"{_DAYS_TEXT} (with a number such as 1MO or -1FR by month or year)"),
    "BYMONTH": ("[0-9]{1,2}", "a month from 1 to 12"),
    "BYMONTHDAY": (_SIGNED, "a day from 1 to 31, or from -31 to -1 counted from the end,"),
    "BYYEARDAY": (_SIGNED, "a day from 1 to 366, or from -366 to -1 counted from the end,"),
    "BYWEEKNO": (_SIGNED, "a week from 1 to 53, or from -53 to -1 counted from the end,"),
    "BYSETPOS": (_SIGNED, "a position from 1 to 366, or from -366 to -1 counted from the end,"),
    "BYHOUR": ("[0-9]{1,2}", "an hour from 0 to 23"),
    "BYMINUTE": ("[0-9]{1,2}", "a minute from 0 to 59"),
}
"""The pattern of each part's values, and its text for error messages."""
_EVERY_CALENDAR = range(9932, 9960)
"""Twenty-eight years contain every calendar. A search from there that finds nothing ends soon, with the year 9999."""
_DATEUTIL_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, ArithmeticError)
"""The exceptions that dateutil raises for a text that is not a rule."""


_PROPERTY = re.compile(r"\s*RRULE:", re.IGNORECASE)
_OTHER_PROPERTY = re.compile(r"\s*(DTSTART|DTEND|EXRULE|EXDATE|RDATE)[:;]", re.IGNORECASE)


def bare_rule(text: str) -> str:
    """Return a rule without the property name RRULE: that calendars export in front of it, and without surrounding space."""
    return _PROPERTY.sub("", text, count=1).strip() if _PROPERTY.match(text) else text.strip()


def rule_problem(text: str) -> str | None:
    """Return why a text is not a usable RRULE, as the end of a sentence; None if it is. The text may begin with RRULE:."""
    bare = bare_rule(text)
    if len(bare.splitlines()) > 1:
        return "has more than one line: give one rule, without DTSTART, RDATE, EXRULE or EXDATE."
    other = _OTHER_PROPERTY.match(bare)
    if other is not None:
        return f"begins with {other[1].upper()}, which is not supported: give one rule, such as FREQ=WEEKLY;BYDAY=SA,SU."
    return _form_problem(bare) or next(_value_problems(bare), None)


def _value_problems(text: str) -> Iterator[str]:
    """Yield the values that dateutil would ignore, or reject without a reason. Checked for new rules, not for stored ones."""
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
        return "is not an RRULE, such as FREQ=WEEKLY;BYDAY=SA,SU."
    if "UNTIL" in names:
        return "contains UNTIL: set the end with --until instead."
    unknown = [name for name in names if name not in _PARTS]
    if unknown or len(set(names)) < len(names):
        return f"contains {unknown[0]}, which is not supported." if unknown else "contains a part twice."
    values = {name: value.strip().upper() for name, (_, _, value) in zip(names, parts, strict=True)}
    if values.get("FREQ") not in FREQUENCIES:
        return f"must have FREQ={', '.join(FREQUENCIES[:-1])} or {FREQUENCIES[-1]}."
    for name in ("INTERVAL", "COUNT"):
        digits = values.get(name, "1")
        if not (digits.isascii() and digits.isdigit() and int(digits[:6]) >= 1 and len(digits) <= 6):
            return f"has {name}={values[name][:20]}, but a whole number of at least 1 is needed."
    return None


def recurs(text: str, local_start: datetime) -> bool:
    """Return True if a rule without a problem ever occurs, counted from a naive local time."""
    return _rule(text, local_start) is not None


def windows(text: str, start: datetime, lasts: timedelta, *, zone: ZoneInfo | None, after: datetime) -> Iterator[tuple[Any, Any]]:
    """Yield the windows that end after an instant, as (begin, end) in UTC, in order; none for an unusable rule.

    A window goes from local time to local time: one of 24 hours is the whole day, even if that day has 23 or 25 hours. In an
    hour that comes twice it begins with the first and ends with the second. No window is lost to a time that clocks skip.
    """
    where = zone or UTC
    try:
        rule = _rule(text, _local(start, where))
        if rule is None or lasts <= timedelta(0):
            return
        for local in rule.xafter(_local(after, where) - lasts - 2 * _DAY, inc=True):
            begin, end = wall_instant(local, where), wall_instant(local + lasts, where, last=True)
            end = end if end > begin else begin + lasts
            if end > after:
                yield begin, end
    except _DATEUTIL_ERRORS:
        return


@lru_cache(maxsize=256)
def _rule(text: str, local_start: datetime) -> Any:
    """Return the rule, which caches its occurrences; None if it is unusable or never occurs."""
    if _form_problem(text) is not None:
        return None
    from dateutil.rrule import rrule, rrulestr  # few configurations have silences that recur

    try:
        rule = rrulestr(text, dtstart=local_start, cache=True)
        if not isinstance(rule, rrule):
            return None
        begin = local_start.replace(year=_same_calendar(local_start.year))
        return rule if next(iter(rule.replace(dtstart=begin, count=None)), None) is not None else None
    except _DATEUTIL_ERRORS:
        return None


def _same_calendar(year: int) -> int:
    """Return a late year whose days, and those of the decades after it, fall on the same weekdays."""
    wanted = datetime(year, 1, 1).weekday(), year % 4  # noqa: DTZ001 - a calendar, no instant
    return next(late for late in _EVERY_CALENDAR if (datetime(late, 1, 1).weekday(), late % 4) == wanted)  # noqa: DTZ001


def _local(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)
