"""Overdue sources and gaps in monitoring."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from monitor.domain import IncidentReason, SourceStatus
from monitor.domain.records import Record
from monitor.domain.rules.expiry import CLOCK_UNTRUSTED_ABOVE
from monitor.domain.timefmt import span

STALE_AFTER_INTERVALS = 3
"""Poll intervals after which a source counts as overdue, what is known of it as stale, and its history as interrupted."""

LONGEST_EXCUSED_WAIT = timedelta(hours=1)
"""Maximum wait requested by a source (Retry-After) that does not count as overdue."""

_REPORTED = frozenset({SourceStatus.FAILING, SourceStatus.UNAUTHORIZED})


class Overdue(NamedTuple):
    """Reason for which a source is overdue."""

    reason: str
    message: str


def excused_delay(wait: timedelta, poll_every: timedelta) -> timedelta:
    """Return how much later than an interval after the last poll the next poll, planned in `wait`, may rightly come."""
    return max(min(wait, max(LONGEST_EXCUSED_WAIT, poll_every)) - poll_every, timedelta(0))


def is_reported(status: SourceStatus) -> bool:
    """Return True if an alert has reported that the source cannot be read."""
    return status in _REPORTED


def overdue(
    *,
    status: SourceStatus,
    last_success_at: datetime | None,
    unpolled_for: timedelta,
    observed_for: timedelta,
    poll_every: timedelta,
) -> Overdue | None:
    """Return why a source is overdue; None if it is not, or if an alert has reported that it cannot be read.

    The spans are time that passed while this process was running, not differences of wall-clock times: a clock that is set,
    a machine that slept and a stopped daemon make no source overdue. Nor does a wait that the source requested, which
    the caller leaves out of both.
    """
    if is_reported(status):
        return None
    allowed = STALE_AFTER_INTERVALS * poll_every
    if unpolled_for > allowed:
        return Overdue(
            IncidentReason.NOT_POLLED,
            f"The source was not polled for {span(unpolled_for)}, which is more than {STALE_AFTER_INTERVALS} intervals of "
            f"{span(poll_every)}: the monitor is behind with its work.",
        )
    if last_success_at is None and observed_for > allowed:
        return Overdue(
            IncidentReason.NEVER_READ,
            f"No poll of the source has succeeded since it was added {span(observed_for)} ago, "
            f"more than {STALE_AFTER_INTERVALS} intervals.",
        )
    return None


SHORTEST_GAP = timedelta(minutes=1)
"""Minimum length of a gap, however short the interval."""
NOT_POLLED, NOT_READ = "not_polled", "not_read"


class Gap(Record, frozen=True, kw_only=True):
    """A time for which a source's history has no observations."""

    began_at: datetime
    """The last successful poll before it."""
    ended_at: datetime | None
    """The first successful poll after it; None while it lasts."""
    reason: str
    """not_polled (the monitor was off or suspended, or its database was unavailable) or not_read (polls failed)."""


def find_gap(
    *,
    last_success_at: datetime | None,
    last_poll_at: datetime | None,
    failures: int,
    poll_every: timedelta,
    now: datetime,
    clock_skew: float | None = None,
) -> Gap | None:
    """Return the gap between the last successful poll and now; None if there is none, or if the clock is not trusted.

    A source that was never read has no gap: its history has not begun.
    """
    longest = max(STALE_AFTER_INTERVALS * poll_every, SHORTEST_GAP)
    if last_success_at is None or now - last_success_at <= longest:
        return None
    if clock_skew is not None and abs(clock_skew) > CLOCK_UNTRUSTED_ABOVE:
        return None
    polled = failures > 0 and last_poll_at is not None and now - last_poll_at <= longest
    return Gap(began_at=last_success_at, ended_at=None, reason=NOT_READ if polled else NOT_POLLED)


def describe_gap(gap: Gap, *, until: datetime) -> str:
    """Return a sentence about a gap."""
    lasted = span(until - gap.began_at)
    if gap.reason == NOT_READ:
        return f"Not observed for {lasted}: the source could not be read."
    return f"Not observed for {lasted}: no poll was made. The monitor was off or suspended, or its database was unavailable."
