"""A lasting difference between the clocks of this machine and of sources: when it began, and which clock is probably wrong.

The clock that dates are compared with is `expiry.Context.date_now`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from monitor.domain.records import Record
from monitor.domain.rules.expiry import CLOCK_SUSPECT_ABOVE, CLOCK_UNTRUSTED_ABOVE
from monitor.domain.text import MAX_TEXT
from monitor.domain.timefmt import span

LASTING = timedelta(hours=1)
"""Time for which a difference must last before it is notified: a shorter one is a jump that is corrected."""
LASTING_POLLS = 3
"""Minimum number of polls that must show it."""
_NAMED = 3


class SourceClock(Record, frozen=True, kw_only=True):
    """The clock of a source's API, according to its last answer with a Date header."""

    name: str
    host: str
    skew: float
    """Server time minus local time in seconds."""

    @property
    def is_off(self) -> bool:
        """True if the difference is too large to be ignored."""
        return abs(self.skew) > CLOCK_UNTRUSTED_ABOVE


def skewed_since(before: datetime | None, skew: float | None, now: datetime) -> datetime | None:
    """Return the time since which the clocks have differed at every poll; None if they agree. A skew of None changes nothing."""
    if skew is None:
        return before
    if abs(skew) <= CLOCK_UNTRUSTED_ABOVE:
        return None
    return now if before is None else min(before, now)


def describe(clocks: Sequence[SourceClock]) -> str:
    """Return which clocks differ, by how much, and which one is probably wrong. At least one of them is off."""
    off = [clock for clock in clocks if clock.is_off]
    named = [f"{clock.name} ({_difference(clock.skew)})" for clock in off[:_NAMED]]
    if len(off) > _NAMED:
        named.append(f"{len(off) - _NAMED} more")
    listed = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
    subject = f"The clock of {listed} differs" if len(off) == 1 else f"The clocks of {listed} differ"
    rest = f"{_cause(clocks, off)} Until this is corrected, expiry is judged by the more lenient clock."
    text = f"{subject} from this machine's. {rest}"
    if len(text) <= MAX_TEXT:
        return text
    most = span(timedelta(seconds=max(abs(clock.skew) for clock in off)))
    return f"The clocks of {len(off)} sources differ from this machine's by up to {most}. {rest}"


def _difference(skew: float) -> str:
    return f"{span(timedelta(seconds=abs(skew)))} {'ahead' if skew > 0 else 'behind'}"


def _cause(clocks: Sequence[SourceClock], off: Sequence[SourceClock]) -> str:
    """Return the probable cause. Sources on one host are one clock."""
    right = {clock.host for clock in clocks} - {clock.host for clock in off}
    if right:
        return "Other sources agree with this machine: that server, or a proxy, states a wrong time."
    if len({clock.host for clock in off}) == 1:
        return "This machine's clock is wrong, or that server's."
    skews = [clock.skew for clock in off]
    if max(skews) - min(skews) <= CLOCK_SUSPECT_ABOVE:
        return "All sources agree: this machine's clock is wrong."
    return "The sources also disagree with each other: several clocks are wrong."
