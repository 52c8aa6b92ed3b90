"""One time of the week by the wall clock, right across changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo


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
