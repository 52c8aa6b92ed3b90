"""What a judgement needs to know besides the evidence."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import Policy, ProviderKind
from monitor.domain.records import Record

CLOCK_SUSPECT_ABOVE = 120.0
"""Seconds between the server's Date and our clock from which on people are told."""

CLOCK_UNTRUSTED_ABOVE = 300.0
"""Seconds from which on time alone raises nothing for that source."""

LATER_BY = timedelta(hours=1)
"""A date moved later only when it moved by more than this: clocks and coarse spans wobble by less."""


class Context(Record, frozen=True, kw_only=True):
    """One judgement's circumstances. One `now` for the whole cycle."""

    now: datetime
    provider: ProviderKind
    policy: Policy
    polled: bool = False
    """Whether the provider's list was answered just now; False where only time passed or a probe answered."""
    clock_skew: float | None = None
    """Server Date minus our clock in seconds, at this poll or the last one that told."""

    @property
    def clock_suspect(self) -> bool:
        """Whether the clocks differ enough to say so."""
        return self.clock_skew is not None and abs(self.clock_skew) > CLOCK_SUSPECT_ABOVE

    @property
    def clock_trusted(self) -> bool:
        """Whether time alone may raise something."""
        return self.clock_skew is None or abs(self.clock_skew) <= CLOCK_UNTRUSTED_ABOVE
