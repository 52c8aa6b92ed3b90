"""Instants in tables: how far away, and when exactly."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from monitor.domain.timefmt import moment, relative, zone

__all__ = ["Times"]


class Times:
    """Writes instants in the configured time zone, as seen from one now."""

    def __init__(self, timezone: str, now: datetime) -> None:
        self._zone: ZoneInfo | None = zone(timezone)
        self._now = now

    def near(self, instant: datetime | None) -> str:
        """The distance: in 6 days 23 hours, 2 hours ago, never."""
        return "never" if instant is None else relative(instant, self._now)

    def is_over(self, instant: datetime | None) -> bool:
        """Whether it lies in the past."""
        return instant is not None and instant < self._now

    def exact(self, instant: datetime | None) -> str:
        """The date with its zone: Sat 21 Nov 2026 22:30 CET, or nothing."""
        return "" if instant is None else moment(instant, self._zone)

    def both(self, instant: datetime | None) -> str:
        """The date and the distance, or never."""
        return "never" if instant is None else f"{self.exact(instant)} ({self.near(instant)})"
