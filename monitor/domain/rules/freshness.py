"""Overdue sources and gaps in monitoring."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from monitor.domain import SourceStatus
from monitor.domain.rules.expiry import CLOCK_UNTRUSTED_ABOVE
from monitor.domain.timefmt import span

STALE_AFTER_INTERVALS = 3
"""Poll intervals after which a source counts as overdue, what is known of it as stale, and its history as interrupted."""

LONGEST_WAIT = timedelta(hours=1)
"""A source that asked for patience is excused_delay for as long as it asked, and never for longer than this."""

_REPORTED = frozenset({SourceStatus.FAILING, SourceStatus.UNAUTHORIZED})


class Overdue(NamedTuple):
    """Why somebody should look after a source."""

    reason: str
    message: str


def excused_delay(wait: timedelta, poll_every: timedelta) -> timedelta:
    """How much later than an interval after the poll before a poll that is planned to come in `wait` is rightly due."""
    return max(min(wait, max(LONGEST_WAIT, poll_every)) - poll_every, timedelta(0))


def is_reported(status: SourceStatus) -> bool:
    """Whether people know already that the source cannot be read."""
    return status in _REPORTED


def overdue(
    *,
    status: SourceStatus,
    last_success_at: datetime | None,
    unpolled_for: timedelta,
    observed_for: timedelta,
    poll_every: timedelta,
) -> Overdue | None:
    """What is wrong with how a source is watched; None where nothing is, or where it is told already.

    The spans are time that passed while this process watched, not differences of the clock's times: a clock that is moved,
    a machine that slept and a daemon that was down make no source overdue. Nor does a wait that the source asked for, which
    the caller leaves out of both. A source that cannot be read has its own alert.
    """
    if is_reported(status):
        return None
    patience = STALE_AFTER_INTERVALS * poll_every
    if unpolled_for > patience:
        return Overdue(
            "not_polled",
            f"It was not polled for {span(unpolled_for)}, which is more than {STALE_AFTER_INTERVALS} intervals of "
            f"{span(poll_every)}: the monitor does not get on with its work.",
        )
    if last_success_at is None and observed_for > patience:
        return Overdue(
            "never_read",
            f"No poll of it has succeeded since it was added; that is {span(observed_for)}, "
            f"more than {STALE_AFTER_INTERVALS} intervals.",
        )
    return None


SHORTEST_GAP = timedelta(minutes=1)
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
    longest = max(STALE_AFTER_INTERVALS * poll_every, SHORTEST_GAP)
    if last_success_at is None or now - last_success_at <= longest:
        return None
    if clock_skew is not None and abs(clock_skew) > CLOCK_UNTRUSTED_ABOVE:
        return None
    asked = failures > 0 and last_poll_at is not None and now - last_poll_at <= longest
    return Gap(began_at=last_success_at, ended_at=None, reason=NOT_READ if asked else NOT_POLLED)


def describe_gap(gap: Gap, *, until: datetime) -> str:
    """A gap in words."""
    lasted = span(until - gap.began_at)
    if gap.reason == NOT_READ:
        return f"Not observed for {lasted}: the source could not be read."
    return f"Not observed for {lasted}: no poll was made, because the monitor was off, asleep or without its database."
