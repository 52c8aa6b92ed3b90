"""How fast a source may and should be asked: what its request budget comes to in time, and how many probes go side by side.

Pure. Both are Little's law: what is under way at once is the pace times how long one takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from monitor.domain import ProviderKind

HEADROOM = 1.25
"""Answers do not all take the same time."""


SIDE_BY_SIDE = 8
"""Answers that come together wake the process once. More of them gain nothing."""

PROBES_PER_CONNECTION = 100
"""A large burst may open so many connections: a new TLS connection costs as much as nine probes."""


def probes_at_once(per_second: float, quickest: float | None, *, burst: int) -> int:
    """How many probes to have under way so that `per_second` end, where the quickest answer took so many seconds.

    The quickest, not the usual one: it does not grow when the other side, or we, are what is slow, so that a busy API
    is not asked by ever more at once. A burst of hundreds gets some anyway, one in a hundred. The request budget
    bounds it further.
    """
    anyway = min(burst // PROBES_PER_CONNECTION, SIDE_BY_SIDE)
    needed = 1 if quickest is None else ceil(per_second * quickest * HEADROOM)
    return max(1, anyway, needed)


ROWS_PER_PAGE = 100
"""PostPeer lists in pages; the others give a scope's whole list at once."""


def poll_requests(provider: ProviderKind, *, connections: int, scopes: int) -> int:
    """About how many requests one poll needs, by what the source listed last."""
    if provider is ProviderKind.POSTPEER:
        return max(1, ceil(connections / ROWS_PER_PAGE))
    return max(1, scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a source's request budget comes to: one poll and, where it has probes, one probe of every connection."""

    requests_per_minute: int
    polled: timedelta
    """How long the requests of one poll take."""
    probed: timedelta | None
    """How long probing every connection once takes; None without probes."""
    probe_every: timedelta | None
    """None where probes are off."""

    @property
    def lasts(self) -> timedelta:
        """Both together: after so long everything was read and asked once."""
        return self.polled if self.probed is None else self.polled + self.probed

    @property
    def room(self) -> int | None:
        """How many connections can be probed within an interval; None where there are no probes, or they are off."""
        if self.probed is None or self.probe_every is None:
            return None
        return int(self.probe_every / timedelta(minutes=1) * self.requests_per_minute)

    @property
    def too_slow(self) -> bool:
        """Whether probing all of it takes longer than the interval in which it should happen."""
        return self.probed is not None and self.probe_every is not None and self.probed > self.probe_every


def full_round(
    connections: int, *, requests_per_minute: int, probes: bool, probe_every: timedelta | None, polling: int = 1
) -> Round:
    """How long a full round of so many connections takes, where one poll needs `polling` requests."""
    minute = timedelta(minutes=1)
    return Round(
        requests_per_minute=requests_per_minute,
        polled=minute * polling / requests_per_minute,
        probed=minute * connections / requests_per_minute if probes else None,
        probe_every=probe_every if probes else None,
    )
