"""When nobody looked: a source without a successful poll for longer than can be called observation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain.rules.context import CLOCK_UNTRUSTED_ABOVE
from monitor.domain.rules.overdue import INTERVALS
from monitor.domain.timefmt import span

LEAST = timedelta(minutes=1)
"""What is shorter than this is no gap, however short the interval."""
NOT_POLLED, NOT_READ = "not_polled", "not_read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A span of time of which a source's history says nothing."""

    began_at: datetime
    """The last successful poll before it."""
    ended_at: datetime | None
    """The first one after it; None while it lasts."""
    reason: str
    """not_polled (the monitor was off, asleep or blind) or not_read (it asked, and was not answered)."""


def find_gap(
    *,
    last_success_at: datetime | None,
    last_poll_at: datetime | None,
    failures: int,
    poll_every: timedelta,
    now: datetime,
    clock_skew: float | None = None,
) -> Gap | None:
    """The gap between the last successful poll and now; None where there is none, or where the clock cannot be believed.

    A source that was never read has no gap: its history has not begun.
    """
    longest = max(INTERVALS * poll_every, LEAST)
    if last_success_at is None or now - last_success_at <= longest:
        return None
    if clock_skew is not None and abs(clock_skew) > CLOCK_UNTRUSTED_ABOVE:
        return None
    asked = failures > 0 and last_poll_at is not None and now - last_poll_at <= longest
    return Gap(began_at=last_success_at, ended_at=None, reason=NOT_READ if asked else NOT_POLLED)


def told(gap: Gap, *, until: datetime) -> str:
    """A gap in words."""
    lasted = span(until - gap.began_at)
    if gap.reason == NOT_READ:
        return f"Not observed for {lasted}: the source could not be read."
    return f"Not observed for {lasted}: no poll was made, because the monitor was off, asleep or without its database."
