"""Decide if this machine itself has no network, so that its failures are not taken for those of the services."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

REACHED_LATELY = timedelta(minutes=2)
"""A machine that reached any API within this time has a network."""
REST = timedelta(seconds=20)
"""Time for which a machine takes no units after it reached nothing, so that other machines get them."""
CONFIRM_WITHIN = timedelta(minutes=3)
"""A source that no other machine could confirm as unreachable within this time is nevertheless recorded as unreachable."""


class HostReach:
    """The APIs that this machine has reached recently, and the sources that it left to others because it reached none."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._reached_at: float | None = None
        self._resting_until = 0.0
        self._doubted_until = 0.0

    def reached(self) -> None:
        """Record that an API answered, whatever it answered."""
        self._reached_at = self._monotonic()
        self._resting_until = self._doubted_until = 0.0

    @property
    def has_network(self) -> bool:
        """True if an API answered recently."""
        return self._reached_at is not None and self._monotonic() - self._reached_at <= REACHED_LATELY.total_seconds()

    @property
    def rests(self) -> bool:
        """True while this machine leaves the work to others."""
        return self._monotonic() < self._resting_until

    @property
    def is_doubted(self) -> bool:
        """True after a doubtful poll, until this machine reaches an API or another one confirms what it found.

        Deliveries are left to others meanwhile: a failure of this machine would delay the channel for the whole cluster.
        """
        return self._monotonic() < self._doubted_until

    def is_doubtful(self, handover: dict[str, object], *, me: str, others: int, now: float) -> bool:
        """Return True if a source that this machine cannot reach is to be tried by another one first.

        `handover` is what daemons of the cluster left about the source; it remembers who could not reach it, and since when
        (`now`, in seconds). `others` is the number of other daemons at work.
        """
        known = handover.get("unreachable")
        since, by = known if isinstance(known, list) and len(known) == 2 else (now, [])
        confirmed = now - since > CONFIRM_WITHIN.total_seconds() or any(each != me for each in by)
        if self.has_network or others == 0 or confirmed:
            self._doubted_until = 0.0
            return False
        handover["unreachable"] = [since, sorted({*by, me})]
        self._resting_until = self._monotonic() + REST.total_seconds()
        self._doubted_until = self._monotonic() + CONFIRM_WITHIN.total_seconds()
        return True
