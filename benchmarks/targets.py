"""What must hold, row by row, and where a run's results show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, Measurement, Results

PLAIN = "plain, 0 ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One bound: `figure` of `benchmark` (in `case` and `size`, where given) is at most, or at least, so much."""

    work: str
    unit: str = "x"
    """x for a ratio to the floor."""
    benchmark: str
    figure: str
    of: str | None = None
    """The figure that a ratio is of. The table shows it, and the floor, beside the ratio."""
    with_floor: bool = False
    """True if the floor is shown beside a value that is no ratio."""
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
    of: Figure | None = None
    """The figure that the ratio is of; None if the value is no ratio, or if the results do not have it."""
    floor: Figure | None = None
    """The floor of the same run, if the results have it."""
    case: str = ""
    """The case that the value is from, where the worst of several counts."""

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
_CHANGED = "100,000 changed connections in one poll, events, alerts and deliveries stored"
_MANY = "10,000 sources of 10 connections, each polled once in a minute"
_DEFINED = "100,000 connections in a list that is read by a definition"
_NOTIFIED = "a transition seen by a poll, to the webhook"
_SHARED = "work shared by 2 daemons of 4 workers"
_MILLION = "1,000,000 connections of 2,000 sources, shared by 2 daemons"
_SQLITE = ("sqlite",)
_POSTGRES = ("postgres",)
CALLBACK = "the longest callback of the event loop in all of the above: CPU"
BLOCKED = "the event loop blocked, longest, in all of the above"

TARGETS: tuple[Target, ...] = (
    Target(work=f"{_FAST}: CPU", benchmark="probes-fast", case=PLAIN, figure="times_bare", of="cpu_per_10000", at_most=1.5),
    Target(work=f"{_PACED}: CPU", benchmark="probes-paced", case=PLAIN, figure="times_bare", of="cpu_per_10000", at_most=2.0),
    Target(work=f"{_SAME}: CPU", benchmark="poll-unchanged", size=100_000, figure="times_bare", of="cpu", at_most=2.5),
    Target(work=f"{_CHANGED}: CPU", benchmark="poll-changed", size=100_000, figure="times_floor", of="cpu", at_most=3),
    Target(
        work="the same where the bare loop takes 1.3 s for 10,000 probes",
        benchmark="poll-changed",
        size=100_000,
        figure="cpu_scaled",
        unit="s",
        at_most=9,
    ),
    Target(work=f"{_MANY}: CPU", benchmark="many-sources", size=100_000, figure="times_bare", of="cpu", at_most=8),
    Target(
        work=f"{_DEFINED}, unchanged: CPU, compared with PostPost's",
        benchmark="custom-list",
        case="unchanged, by definition",
        size=100_000,
        figure="times_postpost",
        of="cpu",
        at_most=1.5,
    ),
    Target(
        work=f"{_DEFINED}, changed: CPU, more than PostPost's",
        benchmark="custom-list",
        case="changed, by definition",
        size=100_000,
        figure="cpu_more",
        unit="s",
        at_most=9,
    ),
    Target(work="start to first poll, empty database", benchmark="start", size=0, figure="times_imports", of="took", at_most=2.4),
    Target(work="the same, 100,000 connections", benchmark="start", size=100_000, figure="times_imports", of="took", at_most=2.6),
    Target(
        work="`status` in the terminal, 10 connections: CPU",
        benchmark="status",
        size=10,
        figure="times_imports",
        of="cpu",
        at_most=1.1,
    ),
    Target(work="the same, 100,000 connections", benchmark="status", size=100_000, figure="times_imports", of="cpu", at_most=1.6),
    Target(
        work="CPU per probe, compared with Prometheus and blackbox_exporter",
        benchmark="prometheus",
        figure="cpu_share",
        of="cpu_per_10000",
        at_most=0.125,
    ),
    Target(
        work="memory with 10,000 accounts, compared with the same",
        benchmark="prometheus",
        figure="memory_share",
        of="resident",
        at_most=0.1,
    ),
    Target(
        work=f"{_PACED}: bytes written per unchanged probe",
        benchmark="probes-paced",
        case=PLAIN,
        figure="written_each",
        unit="B",
        at_most=45,
        databases=_SQLITE,
    ),
    Target(
        work="the same, probed every 20 s",
        benchmark="probes-paced",
        case=f"{PLAIN}, every 20 s",
        figure="written_each",
        unit="B",
        at_most=45,
        databases=_SQLITE,
    ),
    Target(
        work="pages and API with 100,000 connections, the slowest: median",
        benchmark="pages",
        with_floor=True,
        size=100_000,
        figure="took",
        unit="ms",
        at_most=100,
    ),
    Target(
        work="pages and API with 100,000 connections, the slowest: 99th percentile",
        benchmark="pages",
        with_floor=True,
        size=100_000,
        figure="p99",
        unit="ms",
        at_most=250,
    ),
    Target(
        work=f"{_NOTIFIED}: median",
        benchmark="transition-to-webhook",
        with_floor=True,
        case="alone",
        figure="median",
        unit="ms",
        at_most=60,
    ),
    Target(
        work=f"{_NOTIFIED}: 99th percentile",
        benchmark="transition-to-webhook",
        with_floor=True,
        case="alone",
        figure="p99",
        unit="ms",
        at_most=120,
    ),
    Target(
        work=f"{_NOTIFIED}, beside 100,000 that are polled: median",
        benchmark="transition-to-webhook",
        with_floor=True,
        case="beside 100,000",
        figure="median",
        unit="ms",
        at_most=120,
    ),
    Target(
        work=f"{_NOTIFIED}, beside 100,000 that are polled: 99th percentile",
        benchmark="transition-to-webhook",
        with_floor=True,
        case="beside 100,000",
        figure="p99",
        unit="ms",
        at_most=240,
    ),
    Target(
        work="memory, settled 60 s after a poll, 10,000 connections",
        benchmark="memory",
        with_floor=True,
        size=10_000,
        figure="resident",
        unit="MB",
        at_most=95,
    ),
    Target(
        work="the same, 100,000 connections",
        benchmark="memory",
        with_floor=True,
        size=100_000,
        figure="resident",
        unit="MB",
        at_most=110,
    ),
    Target(
        work=f"{_SAME}: peak above rest",
        benchmark="poll-unchanged",
        size=100_000,
        figure="peak",
        unit="MB",
        at_most=120,
    ),
    Target(
        work=f"{_SAME}: rows written",
        benchmark="poll-unchanged",
        size=100_000,
        figure="rows",
        unit="",
        at_most=10,
        judged=_worst,
    ),
    Target(
        work=f"{_MANY}: the latest poll, late by",
        benchmark="many-sources",
        size=100_000,
        figure="latest",
        unit="s",
        at_most=2,
    ),
    Target(
        work="10,000 accounts, one a minute, killed and started again: all probed after",
        benchmark="restart",
        figure="all_probed_after",
        unit="s",
        at_most=60,
    ),
    Target(
        work="new TLS connections per probe, steady state",
        benchmark="probes-paced",
        case="TLS, 0 ms",
        figure="connections_each",
        unit="",
        at_most=0.01,
        databases=_SQLITE,
    ),
    Target(
        work=f"a poll, {_SHARED}: CPU, compared with one daemon alone",
        benchmark="cluster-cost",
        case="polls, 2 daemons, 4 workers each",
        figure="times_single",
        of="cpu_each",
        at_most=1.5,
        databases=_POSTGRES,
    ),
    Target(
        work=f"a probe, {_SHARED}: CPU, compared with the same",
        benchmark="cluster-cost",
        case="probes, 2 daemons, 4 workers each",
        figure="times_single",
        of="cpu_each",
        at_most=1.35,
        databases=_POSTGRES,
    ),
    Target(
        work="polls of a provider that answers after 200 ms: two daemons of one worker, compared with one",
        benchmark="cluster-speed",
        figure="times_faster",
        of="took",
        at_least=1.7,
        databases=_POSTGRES,
    ),
    Target(
        work=f"{_MILLION}, nothing due: planner's share of a core",
        unit="%",
        benchmark="cluster-million",
        case="nothing due",
        figure="planner",
        at_most=5,
        databases=_POSTGRES,
    ),
    Target(
        work="the same during a round of unchanged polls",
        unit="%",
        benchmark="cluster-million",
        case="a round of unchanged polls",
        figure="planner",
        at_most=5,
        databases=_POSTGRES,
    ),
    Target(
        work=f"{_MILLION}: memory of each daemon",
        unit="MB",
        benchmark="cluster-million",
        figure="resident",
        at_most=250,
        databases=_POSTGRES,
    ),
    Target(
        work=f"{_MILLION}: status page",
        unit="ms",
        benchmark="cluster-million",
        case="status page",
        figure="took_page",
        at_most=500,
        databases=_POSTGRES,
    ),
    Target(work=CALLBACK, benchmark="", figure="callback", unit="ms", at_most=60, judged=_worst),
    Target(work=BLOCKED, benchmark="", figure="blocked", unit="ms", at_most=100, judged=_worst),
)


def judge(results: Results) -> list[TargetResult]:
    """Every target on each of its databases that took part."""
    present = [kind for kind in ("sqlite", "postgres") if any(each.database == kind for each in results.measurements)]
    return [_one(target, kind, results) for target in TARGETS for kind in present if kind in target.databases]


def _one(target: Target, database: str, results: Results) -> TargetResult:
    found = [each for each in results.measurements if _shows(each, target, database)]
    if not found:
        return TargetResult(target=target, database=database, value=None)
    furthest = max if target.at_least is None else min
    worst = furthest(found, key=lambda each: target.judged(each.figures[target.figure]))
    figures = worst.figures
    return TargetResult(
        target=target,
        database=database,
        value=target.judged(figures[target.figure]),
        of=figures.get(target.of or ""),
        floor=figures.get("floor") if target.of or target.with_floor else None,
        case=worst.case if target.benchmark and target.case is None and len(found) > 1 else "",
    )


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


def longest(results: Results, figure: str) -> Measurement | None:
    """Return the measurement with the longest block ("blocked") or callback ("callback") of the event loop."""
    found = [each for each in results.measurements if figure in each.figures]
    return max(found, key=lambda each: each.figures[figure].high, default=None)
