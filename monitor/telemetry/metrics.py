"""Counters and histograms of this process, and their export in Prometheus's text format.

Counting costs a few dictionary operations, so it can accompany every probe. prometheus_client is imported at the first
scrape only: a monitor that is never scraped does not load it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "token_monitor_"
PROBE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of probe durations."""
POLL_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets of poll durations: a poll of many scopes is limited by its request budget."""
TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric, named without the prefix, with all its samples."""

    name: str
    help: str
    kind: Literal["gauge", "counter"] = "gauge"
    labels: tuple[str, ...] = ()
    samples: Sequence[tuple[tuple[str, ...], float]] = ()
    """Label values in the order of `labels`, and the number. Label values are unique."""


@dataclass(slots=True)
class Histogram:
    """Durations in seconds, counted by bucket."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    """Not cumulative; the last one counts durations above every bound."""
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class Metrics:
    """The counters of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.config_is_current = True
        """True if the last reload, or else the start, accepted the configuration."""
        self._polls: Counter[tuple[str, str]] = Counter()
        self._probes: Counter[tuple[str, str]] = Counter()
        self._hooks: Counter[tuple[str, str]] = Counter()
        self._deliveries: Counter[tuple[str, str]] = Counter()
        self._poll_seconds = Histogram(POLL_SECONDS)
        self._probe_seconds = Histogram(PROBE_SECONDS)

    def poll_done(self, source: str, outcome: str, *, seconds: float | None = None) -> None:
        """Count a poll of a source by its PollOutcome, and its duration if given."""
        with self._lock:
            self._polls[source, str(outcome)] += 1
            if seconds is not None:
                self._poll_seconds.add(seconds)

    def probe_done(self, source: str, outcome: str, seconds: float) -> None:
        """Count a probe by its ProbeFinding, or `unanswered`, and its duration."""
        self.probes_done(source, [(outcome, seconds)])

    def probes_done(self, source: str, results: Iterable[tuple[str, float]]) -> None:
        """Count several probes of a source: pairs of outcome and seconds."""
        with self._lock:
            for outcome, seconds in results:
                self._probes[source, str(outcome)] += 1
                self._probe_seconds.add(seconds)

    def delivery_done(self, channel: str, outcome: str, *, count: int = 1) -> None:
        """Count deliveries of a channel by outcome: sent, failed (to be retried) or dead."""
        if count > 0:
            with self._lock:
                self._deliveries[channel, str(outcome)] += count

    def hook_done(self, source: str, outcome: str) -> None:
        """Count a delivery of a service by outcome: accepted, ignored or refused. The source is empty if it is unknown."""
        with self._lock:
            self._hooks[source, outcome] += 1

    def hooks(self) -> dict[tuple[str, str], int]:
        """Return the number of deliveries of services by source and outcome."""
        with self._lock:
            return dict(self._hooks)

    def reload_done(self, *, ok: bool) -> None:
        """Record if a reload accepted the configuration."""
        self.config_is_current = ok

    def polls(self) -> dict[tuple[str, str], int]:
        """Return the number of polls by source and outcome."""
        with self._lock:
            return dict(self._polls)

    def probes(self) -> dict[tuple[str, str], int]:
        """Return the number of probes by source and outcome."""
        with self._lock:
            return dict(self._probes)

    def deliveries(self) -> dict[tuple[str, str], int]:
        """Return the number of deliveries by channel and outcome."""
        with self._lock:
            return dict(self._deliveries)

    def durations(self) -> dict[str, tuple[tuple[float, ...], tuple[int, ...], float]]:
        """Return bounds, counts and sum of each histogram, by its name without the prefix."""
        with self._lock:
            return {
                "poll_duration_seconds": (POLL_SECONDS, tuple(self._poll_seconds.counts), self._poll_seconds.total),
                "probe_duration_seconds": (PROBE_SECONDS, tuple(self._probe_seconds.counts), self._probe_seconds.total),
            }


_DURATION_HELP = {
    "poll_duration_seconds": "Duration of polls, from the first request to the complete list.",
    "probe_duration_seconds": "Duration of probes, including the wait in the request budget.",
}


def render(metrics: Metrics, families: Iterable[Family]) -> bytes:
    """Return these families, the histograms and the process metrics in Prometheus's text format (TEXT_FORMAT)."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected([*map(_metric, families), *_histograms(metrics)]))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Collected:
    """Collector of metrics that were computed already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _metric(family: Family) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(PREFIX + family.name, family.help, labels=family.labels)
    for values, number in family.samples:
        metric.add_metric(values, number)
    return metric


def _histograms(metrics: Metrics) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    for name, (bounds, counts, total) in metrics.durations().items():
        reached = list(accumulate(counts))
        limits = [*(format(bound, "g") for bound in bounds), "+Inf"]
        metric = HistogramMetricFamily(PREFIX + name, _DURATION_HELP[name])
        metric.add_metric([], list(zip(limits, reached, strict=True)), total)
        yield metric
