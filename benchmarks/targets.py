"""What must hold, row by row, and where a run's results show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, Measurement, Results

PLAIN = "plain, 0 ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One bound. `figure` of `benchmark` (in `case` and `size`, where given) is at most, or at least, so much."""

    work: str
    unit: str = ""
    benchmark: str
    figure: str
    at_most: float | None = None
    at_least: float | None = None
    case: str | None = None
    size: int | None = None
    databases: tuple[str, ...] = ("sqlite", "postgres")
    judged: Callable[[Figure], float] = lambda figure: figure.median

    @property
    def bound(self) -> str:
        """The bound as the table shows it."""
        sign, value = ("≤", self.at_most) if self.at_most is not None else ("≥", self.at_least)
        return f"{sign} {value:,} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetResult:
    """A target beside what was measured for it on one database."""

    target: Target
    database: str
    value: float | None
    """None: there is no such figure in these results."""

    @property
    def met(self) -> bool | None:
        """True if the bound holds; None without a figure."""
        if self.value is None:
            return None
        low, high = self.target.at_least, self.target.at_most
        return (low is None or self.value >= low) and (high is None or self.value <= high)


def _worst(figure: Figure) -> float:
    return figure.high


_FAST = "10,000 probes as fast as they go"
_PACED = "10,000 accounts probed once a minute"
_SAME = "a poll of 100,000 unchanged connections in one list"
_MANY = "10,000 sources of 10 connections, each polled once in a minute"
_NOTIFIED = "a transition seen by a poll, to the webhook"
_SQLITE = ("sqlite",)
BLOCKED = "the event loop blocked, longest, in all of the above"

TARGETS: tuple[Target, ...] = (
    Target(work=f"{_FAST}: CPU", benchmark="probes-fast", case=PLAIN, figure="cpu_per_10000", unit="s", at_most=1.5),
    Target(work=f"{_FAST}: against the bare loop", benchmark="probes-fast", case=PLAIN, figure="times_bare", unit="x", at_most=3),
    Target(work=f"{_FAST}: on one core", benchmark="probes-fast", case=PLAIN, figure="a_second", unit="/s", at_least=3750),
    Target(work=f"{_PACED}: CPU per 10,000", benchmark="probes-paced", case=PLAIN, figure="cpu_per_10000", unit="s", at_most=2.2),
    Target(work=f"{_SAME}: CPU", benchmark="poll-unchanged", size=100_000, figure="cpu", unit="s", at_most=0.6),
    Target(work=f"{_SAME}: peak above rest", benchmark="poll-unchanged", size=100_000, figure="peak", unit="MB", at_most=120),
    Target(work=f"{_SAME}: rows written", benchmark="poll-unchanged", size=100_000, figure="rows", at_most=10, judged=_worst),
    Target(
        work="100,000 changed connections in one poll, events and alerts stored: CPU",
        benchmark="poll-changed",
        size=100_000,
        figure="cpu",
        unit="s",
        at_most=6,
    ),
    Target(work=f"{_MANY}: CPU", benchmark="many-sources", size=100_000, figure="cpu", unit="s", at_most=30),
    Target(
        work=f"{_MANY}: the latest poll, late by", benchmark="many-sources", size=100_000, figure="latest", unit="s", at_most=2
    ),
    Target(
        work="bytes written per unchanged probe, steady state",
        benchmark="probes-paced",
        case=PLAIN,
        figure="written_each",
        unit="B",
        at_most=50,
        databases=_SQLITE,
    ),
    Target(
        work="memory, settled 60 s after a poll, 10,000 connections",
        benchmark="memory",
        size=10_000,
        figure="resident",
        unit="MB",
        at_most=130,
    ),
    Target(work="the same, 100,000 connections", benchmark="memory", size=100_000, figure="resident", unit="MB", at_most=180),
    Target(work="start to first poll, empty database", benchmark="start", size=0, figure="took", unit="s", at_most=1.5),
    Target(work="the same, 100,000 connections", benchmark="start", size=100_000, figure="took", unit="s", at_most=2.5),
    Target(
        work="10,000 accounts, one a minute, killed and started again: all probed after",
        benchmark="restart",
        figure="all_probed_after",
        unit="s",
        at_most=60,
    ),
    Target(
        work="`status` in the terminal, 10 connections: CPU", benchmark="status", size=10, figure="cpu", unit="s", at_most=0.6
    ),
    Target(work="the same, 100,000 connections: CPU", benchmark="status", size=100_000, figure="cpu", unit="s", at_most=1.5),
    Target(work=f"{_NOTIFIED}: median", benchmark="transition-to-webhook", case="alone", figure="median", unit="ms", at_most=150),
    Target(
        work=f"{_NOTIFIED}: 99th percentile",
        benchmark="transition-to-webhook",
        case="alone",
        figure="p99",
        unit="ms",
        at_most=500,
    ),
    Target(
        work="the same beside 100,000 that are polled: median",
        benchmark="transition-to-webhook",
        case="beside 100,000",
        figure="median",
        unit="ms",
        at_most=150,
    ),
    Target(
        work="the same beside 100,000 that are polled: 99th percentile",
        benchmark="transition-to-webhook",
        case="beside 100,000",
        figure="p99",
        unit="ms",
        at_most=500,
    ),
    Target(work=BLOCKED, benchmark="", figure="blocked", unit="ms", at_most=100, judged=_worst),
    Target(
        work="new TLS connections per probe, steady state",
        benchmark="probes-paced",
        case="TLS, 0 ms",
        figure="connections_each",
        at_most=0.01,
        databases=_SQLITE,
    ),
)


def judge(results: Results) -> list[TargetResult]:
    """Every target on each of its databases that took part."""
    present = [kind for kind in ("sqlite", "postgres") if any(each.database == kind for each in results.measurements)]
    return [_one(target, kind, results) for target in TARGETS for kind in present if kind in target.databases]


def _one(target: Target, database: str, results: Results) -> TargetResult:
    found = [each.figures[target.figure] for each in results.measurements if _shows(each, target, database)]
    if not found:
        return TargetResult(target=target, database=database, value=None)
    return TargetResult(target=target, database=database, value=max(target.judged(each) for each in found))


def _shows(measurement: Measurement, target: Target, database: str) -> bool:
    return (
        measurement.database == database
        and target.figure in measurement.figures
        and target.benchmark in ("", measurement.benchmark)
        and target.case in (None, measurement.case)
        and target.size in (None, measurement.size)
    )


def missed(judged: Sequence[TargetResult]) -> list[TargetResult]:
    """Those that do not hold."""
    return [each for each in judged if each.met is False]


def loudest_block(results: Results) -> Measurement | None:
    """Return the measurement with the longest block of the event loop."""
    found = [each for each in results.measurements if "blocked" in each.figures]
    return max(found, key=lambda each: each.figures["blocked"].high, default=None)
