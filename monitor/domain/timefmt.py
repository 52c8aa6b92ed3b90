"""Times and durations as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def zone(timezone: str) -> ZoneInfo | None:
    """Return the named time zone; None, which callers read as UTC, if this machine does not know it."""
    try:
        return ZoneInfo(timezone)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return None


def moment(instant: datetime, where: ZoneInfo | None) -> str:
    """Return an absolute time with its zone: Sat 21 Nov 2026 22:30 CET."""
    try:
        local = instant.astimezone(where or UTC)
    except OverflowError:  # within a day of the first or last date of the calendar
        local = instant
    shown = local.tzname() or "UTC"
    if shown[0] in "+-":
        shown = f"UTC{shown}"
    return f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]} {local.year} {local:%H:%M} {shown}"


def short_moment(instant: datetime, where: ZoneInfo | None, *, now: datetime) -> str:
    """Return an absolute time without its zone: Sat 21 Nov 22:30; with the year where it is not the present one."""
    try:
        local, present = instant.astimezone(where or UTC), now.astimezone(where or UTC)
    except OverflowError:  # within a day of the first or last date of the calendar
        local = present = instant
    year = "" if local.year == present.year else f" {local.year}"
    return f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]}{year} {local:%H:%M}"


def day(instant: datetime, where: ZoneInfo | None) -> str:
    """Return the day without the year: 21 Nov."""
    local = instant.astimezone(where or UTC)
    return f"{local.day} {_MONTHS[local.month - 1]}"


def span(length: timedelta) -> str:
    """Return a duration in its two largest units, rounded down: 6 days 23 hours. The sign is not shown."""
    seconds = int(abs(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} seconds" if seconds != 1 else "1 second"
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes = rest // 60
    units = [(days, "day"), (hours, "hour"), (minutes, "minute")]
    first = next(index for index, (count, _) in enumerate(units) if count)
    return " ".join(f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in units[first : first + 2] if count)


def relative(instant: datetime, now: datetime) -> str:
    """Return the distance of a time from now: "in 6 days 23 hours" or "2 hours ago"."""
    return f"in {span(instant - now)}" if instant > now else f"{span(now - instant)} ago"


class Times:
    """Formats times in the configured time zone, relative to one `now`."""

    def __init__(self, timezone: str, now: datetime) -> None:
        self.zone: ZoneInfo | None = zone(timezone)
        self.now = now

    def near(self, instant: datetime | None) -> str:
        """Return the distance: in 6 days 23 hours, 2 hours ago, or never for None."""
        return "never" if instant is None else relative(instant, self.now)

    def is_over(self, instant: datetime | None) -> bool:
        """Return True if the time is in the past."""
        return instant is not None and instant < self.now

    def exact(self, instant: datetime | None) -> str:
        """Return the date with its zone: Sat 21 Nov 2026 22:30 CET; empty for None."""
        return "" if instant is None else moment(instant, self.zone)

    def both(self, instant: datetime | None) -> str:
        """Return the date and the distance, or never for None."""
        return "never" if instant is None else f"{self.exact(instant)} ({self.near(instant)})"
