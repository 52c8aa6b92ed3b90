"""When a failed delivery is tried again: soon, later hourly, within a minute where the service is down; for three days in all."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta

GIVE_UP_AFTER = timedelta(hours=72, minutes=1)
"""A delivery that fails at this age is dead (INTERFACE: Alerts). The minute beyond three days is one more pause of a channel
that is down: what an outage of three days held back from its first moment on is tried once after it."""

LONGEST_WAIT = timedelta(hours=1)
"""No wait is longer, whatever a server asks for."""

RETRY_DOWN_EVERY = timedelta(seconds=45)
"""The longest wait for a service that is down. With its tenth and the try itself it stays under a minute, which is how soon
everything is delivered once the service is back."""

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
    """The instant of the next try after `attempt` (counted from 1) failed at `now`; None means: give up.

    `key` spreads retries by a tenth, the same way each time, so that a restart moves nothing. `retry_after` (seconds) is
    never undercut, but is bounded by an hour. A permanent refusal is tried hourly: somebody may put it right. What is `down`
    has certainly taken nothing, so asking often repeats nothing; where that is not certain the waits grow, because every
    try may be one more copy. The last try falls on the end of the allowance, never after it. Aware instants in, aware
    instant out; never raises.
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
    """A stable number from -1 to 1."""
    return zlib.crc32(key.encode()) / 0x7FFFFFFF - 1
