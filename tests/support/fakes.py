"""Stand-ins that honour the same protocols as the real things."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: datetime) -> None:
        assert now.tzinfo is not None, "a clock returns aware instants"
        self._now = now.astimezone(UTC)

    def now(self) -> datetime:
        """The instant at which it stands."""
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move it, also backwards; returns the new instant."""
        self._now += by
        return self._now

    def set(self, now: datetime) -> None:
        """Put it at an instant."""
        self._now = now.astimezone(UTC)


class Passing:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
