"""When to poll and probe next, and how probes are paced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil, floor
from zlib import crc32

from monitor.domain import ProviderInfo

HEADROOM = 1.25
"""Answers do not all take the same time."""


BURST_CONCURRENCY = 8
"""Answers that come together wake the process once. More of them gain nothing."""

PROBES_PER_CONNECTION = 100
"""A large burst may open so many connections: a new TLS connection costs as much as nine probes."""


def concurrent_probes(per_second: float, fastest: float | None, *, burst: int) -> int:
    """How many probes to have under way so that `per_second` end, where the fastest answer took so many seconds.

    The fastest, not the usual one: it does not grow when the other side, or we, are what is slow, so that a busy API
    is not asked by ever more at once. A burst of hundreds gets some anyway, one in a hundred. The request budget
    bounds it further.
    """
    anyway = min(burst // PROBES_PER_CONNECTION, BURST_CONCURRENCY)
    needed = 1 if fastest is None else ceil(per_second * fastest * HEADROOM)
    return max(1, anyway, needed)


def poll_requests(provider: ProviderInfo, *, connections: int, scopes: int) -> int:
    """Return roughly how many requests one poll needs, judged by the source's latest list."""
    if provider.rows_per_page is not None:
        return max(1, ceil(connections / provider.rows_per_page))
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
