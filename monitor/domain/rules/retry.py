"""Retry times of failed deliveries: soon, later hourly, within a minute if the service is down; for three days in all."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta

GIVE_UP_AFTER = timedelta(hours=72, minutes=1)
"""Age at which a failed delivery is dead (INTERFACE: Alerts). The minute beyond three days is one more retry interval of a
channel that is down: a delivery that waited for a whole outage of three days is tried once after it."""

LONGEST_WAIT = timedelta(hours=1)
"""Maximum wait, whatever a server requests."""

RETRY_DOWN_EVERY = timedelta(seconds=45)
"""Maximum wait for a service that is down. With a tenth of jitter and the attempt itself it stays under a minute, which is the
longest time until everything is delivered once the service is back."""

_STEPS = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 60, 120, 300, 600, 1800))
_JITTER = 0.1


def next_attempt(
    attempt: int,
    created_at: datetime,
    *,
    now: datetime,
    key: str,
    retry_after: float | None = None,
    permanent: bool = False,
    down: bool = False,
) -> datetime | None:
    """Return the time of the next attempt after `attempt` (counted from 1) failed at `now`; None means: give up.

    `key` spreads retries by a tenth, the same way each time, so that a restart changes nothing. The wait is at least
    `retry_after` (seconds), bounded by an hour. A permanent rejection is retried hourly: it may be repaired. A service that is
    `down` has certainly accepted nothing, so frequent retries repeat nothing; otherwise the waits grow, because every attempt
    may be one more copy. The last attempt is at the end of the allowed age, never after it. Aware instants in and out; never
    raises.
    """
    deadline = created_at + GIVE_UP_AFTER
    if now >= deadline:
        return None
    wait = LONGEST_WAIT if permanent else _step(attempt)
    if down and not permanent:
        wait = min(wait, RETRY_DOWN_EVERY)
    if wait < LONGEST_WAIT:
        wait *= 1 + _JITTER * _spread(f"{key}/{attempt}")
    if retry_after is not None:
        wait = max(wait, timedelta(seconds=min(max(retry_after, 1.0), LONGEST_WAIT.total_seconds())))
    return min(now + wait, deadline)


def _step(attempt: int) -> timedelta:
    position = max(attempt, 1) - 1
    return _STEPS[position] if position < len(_STEPS) else LONGEST_WAIT


def _spread(key: str) -> float:
    """Return a number from -1 to 1 that is fixed for the key."""
    return zlib.crc32(key.encode()) / 0x7FFFFFFF - 1
