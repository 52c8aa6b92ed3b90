"""When something is due next: spread over its interval, the same after every restart, never drifting.

Due instants lie on a grid that is fixed for each key: the epoch plus whole intervals plus the key's own phase. So
restarts neither stampede nor skip, jitter never adds up, and two sources never start in step.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import floor
from zlib import crc32

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)

COHORTS = 256
"""Into so many groups a source's connections are spread over the probe interval."""

MARGIN = 0.1
"""No turn comes sooner than this part of an interval after the one before."""

LEAD = 1 / 16
"""Cohorts due within this part of the interval are probed along with one that is due. Less than MARGIN, or they came twice."""

RETRY_CAP = timedelta(minutes=15)
"""A source that fails is tried again at least this often."""

CONFIRM_WITHIN = timedelta(seconds=60)
"""A first refusal by a probe is probed again within this time."""


def unit(key: str) -> float:
    """A number in [0, 1) that is fixed for the key."""
    return crc32(key.encode("utf-8", "surrogatepass")) / 2**32


def cohort_of(scope: str | None, external_id: str) -> int:
    """The probe cohort of a connection, 0 to 255, fixed for its id."""
    return crc32(f"{scope or ''}/{external_id}".encode("utf-8", "surrogatepass")) % COHORTS


def next_on_grid(now: datetime, every: timedelta, *, phase: float) -> datetime:
    """The next grid instant that is at least a tenth of an interval away: never later than an interval and a tenth."""
    seconds = every.total_seconds()
    elapsed = (now - _EPOCH).total_seconds() / seconds - phase
    turns = floor(elapsed + MARGIN) + 1
    return _later(_EPOCH, (turns + phase) * seconds)


def next_poll(now: datetime, every: timedelta, *, key: str, jitter: float) -> datetime:
    """When a source is polled next after a poll that went well: its own place in the interval, moved by up to `jitter` of it."""
    wobble = (unit(f"{key}/jitter") * 2 - 1) * jitter
    return next_on_grid(now, every, phase=(unit(key) + wobble) % 1.0)


def next_poll_after_failure(now: datetime, every: timedelta, *, failures: int, retry_after: float | None) -> datetime:
    """When a source is polled next after `failures` failed polls in a row.

    A third of the interval first, then doubling, at most the interval and 15 minutes; never before the provider's
    own Retry-After (seconds).
    """
    first = max(min(every, RETRY_CAP) / 3, timedelta(seconds=1))
    doublings = min(max(failures, 1) - 1, 16)
    wait = min(first * (1 << doublings), every, RETRY_CAP)
    return _later(now, max(wait.total_seconds(), retry_after or 0.0))


def next_cohort_probe(now: datetime, every: timedelta, *, source: str, cohort: int, jitter: float) -> datetime:
    """When a cohort is probed next: its own place in the interval, moved by up to `jitter` of its distance to the next."""
    wobble = (unit(f"{source}/{cohort}") * 2 - 1) * jitter
    phase = (unit(source) + (cohort + wobble) / COHORTS) % 1.0
    return next_on_grid(now, every, phase=phase)


def lead(every: timedelta | None) -> timedelta:
    """How much earlier than due a cohort may be probed, in the company of others."""
    return timedelta(0) if every is None else every * LEAD


def next_failing_probe(now: datetime, every: timedelta, *, confirmed: bool) -> datetime:
    """When a refused connection is probed again: within 60 s to confirm, then hourly at most, to see it recover."""
    wait = min(every, timedelta(hours=1)) if confirmed else min(every, CONFIRM_WITHIN / 2)
    return _later(now, wait.total_seconds())


def latest(now: datetime, every: timedelta) -> datetime:
    """The latest instant at which something with this interval can rightly be due next."""
    return now + every * (1 + 2 * MARGIN)


def postponed(now: datetime, seconds: float) -> datetime:
    """When what the API did not want to answer now is tried again."""
    return _later(now, max(seconds, 1.0))


def _later(instant: datetime, seconds: float) -> datetime:
    """The instant so many seconds later, the last one of the calendar where that ends."""
    try:
        return instant + timedelta(seconds=seconds)
    except OverflowError:
        return _LAST
