"""Times of the next polls and probes, and the concurrency of probes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil, floor
from zlib import crc32

from monitor.domain import ProviderInfo
from monitor.domain.records import Record

HEADROOM = 1.25
"""Factor on the computed concurrency, because responses do not all take the same time."""


BURST_CONCURRENCY = 8
"""Maximum concurrency for a burst: responses that arrive together wake the process once, and more gain nothing."""

PROBES_PER_CONNECTION = 100
"""Probes of a burst per concurrent connection: a new TLS connection costs as much as nine probes."""


def concurrent_probes(per_second: float, fastest: float | None, *, burst: int) -> int:
    """Return the number of concurrent probes needed for `per_second`, given the fastest response time in seconds.

    The fastest, not the usual one: it does not grow when the API or this machine is slow, so that a busy API never gets
    more concurrent requests. A burst of hundreds gets at least one per hundred. The request budget limits it further.
    """
    least = min(burst // PROBES_PER_CONNECTION, BURST_CONCURRENCY)
    needed = 1 if fastest is None else ceil(per_second * fastest * HEADROOM)
    return max(1, least, needed)


def poll_requests(provider: ProviderInfo, *, connections: int, scopes: int) -> int:
    """Return roughly how many requests one poll needs, judged by the source's latest list."""
    if provider.rows_per_page is not None:
        return max(1, ceil(connections / provider.rows_per_page))
    return max(1, scopes)


class Round(Record, frozen=True, kw_only=True):
    """The time that a source's request budget allows for one poll and, if it has probes, one probe of every connection."""

    requests_per_minute: int
    polled: timedelta
    """Duration of the requests of one poll."""
    probed: timedelta | None
    """Duration of one probe of every connection; None without probes."""
    probe_every: timedelta | None
    """None if probes are off."""

    @property
    def lasts(self) -> timedelta:
        """The time after which everything has been polled and probed once."""
        return self.polled if self.probed is None else self.polled + self.probed

    @property
    def room(self) -> int | None:
        """The number of connections that can be probed within an interval; None without probes."""
        if self.probed is None or self.probe_every is None:
            return None
        return int(self.probe_every / timedelta(minutes=1) * self.requests_per_minute)

    @property
    def too_slow(self) -> bool:
        """True if probing every connection takes longer than the probe interval."""
        return self.probed is not None and self.probe_every is not None and self.probed > self.probe_every


def full_round(
    connections: int, *, requests_per_minute: int, probes: bool, probe_every: timedelta | None, polling: int = 1
) -> Round:
    """Return the duration of a full round of this many connections, if one poll needs `polling` requests."""
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
"""Number of groups into which a source's connections are spread over the probe interval."""

MARGIN = 0.1
"""Minimum distance between two turns, as a share of the interval."""

LEAD = 1 / 16
"""Cohorts that are due within this share of the interval are probed with one that is due. Less than MARGIN, so that none is
probed twice."""

RETRY_CAP = timedelta(minutes=15)
"""Maximum wait before a failing source is retried."""

CONFIRM_WITHIN = timedelta(seconds=60)
"""Maximum time until the first refusal of a probe is probed again."""


UNCLEAR_EVERY = timedelta(minutes=30)
"""Maximum time between the probes that show if an unclear refusal lasts."""


def unit(key: str) -> float:
    """Return a number in [0, 1) that is fixed for the key."""
    return crc32(key.encode("utf-8", "surrogatepass")) / 2**32


def cohort_of(scope: str | None, external_id: str) -> int:
    """Return the probe cohort of a connection, 0 to 255, fixed for its id."""
    return crc32(f"{scope or ''}/{external_id}".encode("utf-8", "surrogatepass")) % COHORTS


def next_on_grid(now: datetime, every: timedelta, *, phase: float) -> datetime:
    """Return the next grid time that is at least a tenth of an interval away: never later than an interval and a tenth."""
    seconds = every.total_seconds()
    elapsed = (now - _EPOCH).total_seconds() / seconds - phase
    turns = floor(elapsed + MARGIN) + 1
    return _later(_EPOCH, (turns + phase) * seconds)


def next_poll(now: datetime, every: timedelta, *, key: str, jitter: float) -> datetime:
    """Return the next poll after a successful one: the source's place in the interval, moved by up to `jitter` of it."""
    offset = (unit(f"{key}/jitter") * 2 - 1) * jitter
    return next_on_grid(now, every, phase=(unit(key) + offset) % 1.0)


def next_poll_after_failure(now: datetime, every: timedelta, *, failures: int, retry_after: float | None) -> datetime:
    """Return the next poll after `failures` failed polls in a row.

    A third of the interval first, then doubling, at most the interval and 15 minutes; never before the provider's
    own Retry-After (seconds).
    """
    first = max(min(every, RETRY_CAP) / 3, timedelta(seconds=1))
    doublings = min(max(failures, 1) - 1, 16)
    wait = min(first * (1 << doublings), every, RETRY_CAP)
    return _later(now, max(wait.total_seconds(), retry_after or 0.0))


def next_cohort_probe(now: datetime, every: timedelta, *, source: str, cohort: int, jitter: float) -> datetime:
    """Return the next probe of a cohort: its place in the interval, moved by up to `jitter` of its distance to the next."""
    offset = (unit(f"{source}/{cohort}") * 2 - 1) * jitter
    phase = (unit(source) + (cohort + offset) / COHORTS) % 1.0
    return next_on_grid(now, every, phase=phase)


def lead(every: timedelta | None) -> timedelta:
    """Return how much earlier than due a cohort may be probed together with others."""
    return timedelta(0) if every is None else every * LEAD


def next_failing_probe(now: datetime, every: timedelta, *, confirmed: bool, unclear: bool = False) -> datetime:
    """Return the next probe of a refused connection: within 60 s to confirm, then at most hourly, to notice a recovery.

    Refusals that are still `unclear` after two must last, and are confirmed half-hourly.
    """
    longest = timedelta(hours=1) if confirmed else UNCLEAR_EVERY if unclear else CONFIRM_WITHIN / 2
    wait = min(every, longest)
    return _later(now, wait.total_seconds())


def latest(now: datetime, every: timedelta) -> datetime:
    """Return the latest time at which something with this interval can rightly be due next."""
    return now + every * (1 + 2 * MARGIN)


def postponed(now: datetime, seconds: float) -> datetime:
    """Return when a request that the API postponed is retried."""
    return _later(now, max(seconds, 1.0))


def _later(instant: datetime, seconds: float) -> datetime:
    """Return the instant this many seconds later; at most the last one of the calendar."""
    try:
        return instant + timedelta(seconds=seconds)
    except OverflowError:
        return _LAST
