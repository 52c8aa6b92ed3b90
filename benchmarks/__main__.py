"""Measure: `make bench`. `ARGS=--quick` takes about a minute, `ARGS="--only NAME"` runs one benchmark.

A full run keeps its figures in benchmarks/results.json, docs/performance.md and docs/performance.svg. One that is ended by
SIGTERM keeps those of the benchmarks that it finished, beside the others' earlier ones.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import cluster, delivery, figures, idle, pages, polling, probing, prometheus
from benchmarks.bench import Bench
from benchmarks.chart import draw, growth
from benchmarks.figures import Results
from benchmarks.machine import OTHERS, describe, pin
from benchmarks.plan import FULL, PLANS
from benchmarks.report import block, placed
from benchmarks.simulated import ROOT
from benchmarks.targets import judge, missed

RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"
STOPPED = "It was stopped."

BENCHMARKS: dict[str, Callable[[Bench], None]] = {
    "probes-fast": probing.as_fast_as_they_go,
    "probes-paced": probing.once_a_minute,
    "poll-unchanged": polling.unchanged,
    "poll-changed": polling.changed,
    "custom-list": polling.custom,
    "many-sources": polling.many_sources,
    "memory": idle.memory,
    "start": idle.start,
    "status": idle.status,
    "transition-to-webhook": delivery.transitions,
    "date-to-webhook": delivery.dates,
    "pages": pages.run,
    "prometheus": prometheus.run,
    "cluster-cost": cluster.cost,
    "cluster-speed": cluster.speed_up,
    "cluster-million": cluster.million,
    "cluster-upgrade": cluster.upgrade,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, store. Exit 1 if a benchmark failed; a missed target is reported and is no failure."""
    arguments = _arguments(argv)
    plan = PLANS[arguments.plan]
    pin(OTHERS)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: sys.exit(128 + received))  # what was started is ended on the way out
    results, broken = measure(plan.name, only=arguments.only, databases=arguments.database)
    print(block(results))
    late = missed(judge(results))
    print(f"{len(late)} bounds missed." if late else "No bound was missed.")
    if (plan is FULL and not arguments.only) or arguments.write:
        keep(results, whole=not arguments.only and STOPPED not in broken.values())
    for name, why in broken.items():
        print(f"BROKEN {name}: {why}", file=sys.stderr)
    return 1 if broken else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", dest="plan", action="store_const", const="quick", help="about a minute: smaller and fewer")
    parser.add_argument("--plan", dest="plan", choices=list(PLANS), help=argparse.SUPPRESS)
    parser.add_argument(
        "--only", action="append", default=[], choices=list(BENCHMARKS), metavar="NAME", help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--database", action="append", choices=["sqlite", "postgres"], help="only this one; may be repeated")
    parser.add_argument("--write", action="store_true", help="keep the figures of --only too, beside those of the last full run")
    parser.set_defaults(plan="full")
    arguments = parser.parse_args(argv)
    if arguments.write and arguments.plan != "full":
        parser.error("only figures of the full plan are kept")
    return arguments


def measure(
    plan_name: str, *, only: Sequence[str] = (), databases: Sequence[str] | None = None
) -> tuple[Results, dict[str, str]]:
    """Run the benchmarks. Return the figures, and the benchmarks that failed."""
    broken: dict[str, str] = {}
    with Bench(PLANS[plan_name], databases=databases) as bench:
        results = Results(at=bench.at, plan=plan_name, machine=describe(bench.folder))
        for name, benchmark in BENCHMARKS.items():
            if name not in (only or BENCHMARKS) or (not only and name in bench.plan.without):
                continue
            began = time.monotonic()
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                benchmark(bench)
            except (pages.NothingServed, prometheus.NotInstalled) as reason:
                results.missing[name] = str(reason)
                print(f"SKIPPED {name}: {reason}", file=sys.stderr, flush=True)
            except SystemExit:
                broken[name] = STOPPED
                results.measurements = [each for each in bench.measurements if each.benchmark != name]
                return results, broken
            except Exception as error:  # noqa: BLE001 - one broken benchmark must not cost the figures of the others
                broken[name] = results.missing[name] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                traceback.print_exc()
            print(f"  ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
        results.measurements = bench.measurements
        return results, broken


def keep(results: Results, *, whole: bool, results_file: Path = RESULTS, page: Path = PAGE, picture: Path = CHART) -> None:
    """Write JSON, page and chart; a run of a part is laid over what was kept."""
    before = None if whole else figures.load(results_file)
    kept = results if before is None else figures.merged(before, results)
    results_file.write_text(figures.to_json(kept), encoding="utf-8")
    panels = growth(kept)
    if panels:
        picture.write_text(draw(panels), encoding="utf-8")
    page.write_text(
        placed(page.read_text("utf-8"), block(kept, chart=picture.name if panels else None, whole=True)), encoding="utf-8"
    )


if __name__ == "__main__":
    sys.exit(main())
