"""When it is said that nobody looks at a source: a table, one comment a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from monitor.domain import SourceStatus
from monitor.domain.rules.freshness import excused_delay, overdue

EVERY = timedelta(minutes=15)
READ_ONCE = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
OK, PENDING = SourceStatus.OK, SourceStatus.PENDING


@pytest.mark.parametrize(
    ("status", "read", "unpolled", "watched", "reason"),
    [
        (OK, READ_ONCE, 1, 100, None),  # all is well
        (OK, READ_ONCE, 3, 100, None),  # exactly three intervals are still patience
        (OK, READ_ONCE, 3.01, 100, "not_polled"),  # more are not
        (PENDING, None, 0.5, 2, None),  # new, and its first polls failed: it may be
        (PENDING, None, 0.5, 3.01, "never_read"),  # polled all the time, and never read
        (PENDING, None, 3.01, 3.01, "not_polled"),  # not even polled: that comes first
        (SourceStatus.FAILING, None, 5, 5, None),  # has an alert of its own
        (SourceStatus.UNAUTHORIZED, READ_ONCE, 5, 5, None),  # likewise
    ],
)
def test_overdue(status: SourceStatus, read: datetime | None, unpolled: float, watched: float, reason: str | None) -> None:
    found = overdue(
        status=status, last_success_at=read, unpolled_for=unpolled * EVERY, observed_for=watched * EVERY, poll_every=EVERY
    )
    assert (found.reason if found else None) == reason


@pytest.mark.parametrize(
    ("wait", "every", "minutes"),
    [
        (15, 15, 0),  # the ordinary wait
        (5, 15, 0),  # tried again sooner, after a failure
        (-500, 15, 0),  # overdue long since
        (60, 15, 45),  # it asked for an hour
        (60, 120, 0),  # an hour is less than its interval
        (600_000, 15, 45),  # a date far ahead is no excuse
        (600_000, 120, 0),
    ],
)
def test_a_source_is_excused_for_what_it_asked_beyond_its_interval(wait: float, every: float, minutes: float) -> None:
    minute = timedelta(minutes=1)
    assert excused_delay(wait * minute, every * minute) == minutes * minute
