"""Quiet hours: when a channel is not to be disturbed, and until when. Wall-clock times, right on nights when clocks change.

A window begins on its days and may end on the next. Where its beginning or end falls into an hour that a clock skips, the
instant of the change counts; in an hour that comes twice, it begins with the first and ends with the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

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
    return _instant(day, at, zone, fold=0)


def _last(day: date, at: time, zone: tzinfo) -> datetime:
    """The last such instant."""
    return _instant(day, at, zone, fold=1)


def _instant(day: date, at: time, zone: tzinfo, *, fold: int) -> datetime:
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
