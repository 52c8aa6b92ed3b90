"""Instants and durations as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def zone(timezone: str) -> ZoneInfo | None:
    """The named time zone, None (read as UTC) where this machine does not know it."""
    try:
        return ZoneInfo(timezone)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return None


def moment(instant: datetime, where: ZoneInfo | None) -> str:
    """An absolute time with its zone: Sat 21 Nov 2026 22:30 CET."""
    try:
        local = instant.astimezone(where or UTC)
    except OverflowError:  # the first and last hours of the calendar have no neighbours
        local = instant
    shown = local.tzname() or "UTC"
    if shown[0] in "+-":
        shown = f"UTC{shown}"
    return f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]} {local.year} {local:%H:%M} {shown}"


def day(instant: datetime, where: ZoneInfo | None) -> str:
    """Return the day without the year: 21 Nov."""
    local = instant.astimezone(where or UTC)
    return f"{local.day} {_MONTHS[local.month - 1]}"


def span(length: timedelta) -> str:
    """A length of time in its two largest units, rounded down: 6 days 23 hours. The sign is not shown."""
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
    """How far away an instant is: "in 6 days 23 hours" or "2 hours ago"."""
    return f"in {span(instant - now)}" if instant > now else f"{span(now - instant)} ago"


__all__ = ["Times"]


class Times:
    """Writes instants in the configured time zone, as seen from one now."""

    def __init__(self, timezone: str, now: datetime) -> None:
        self.zone: ZoneInfo | None = zone(timezone)
        self.now = now

    def near(self, instant: datetime | None) -> str:
        """The distance: in 6 days 23 hours, 2 hours ago, never."""
        return "never" if instant is None else relative(instant, self.now)

    def is_over(self, instant: datetime | None) -> bool:
        """Whether it lies in the past."""
        return instant is not None and instant < self.now

    def exact(self, instant: datetime | None) -> str:
        """The date with its zone: Sat 21 Nov 2026 22:30 CET, or nothing."""
        return "" if instant is None else moment(instant, self.zone)

    def both(self, instant: datetime | None) -> str:
        """The date and the distance, or never."""
        return "never" if instant is None else f"{self.exact(instant)} ({self.near(instant)})"
