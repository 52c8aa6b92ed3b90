"""Play the simulated days and print the figures; exit status 1 where any alert is missing or false."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from benchmarks.accuracy.cast import simulation_of
from benchmarks.accuracy.monitor_run import TICK, monitoring
from benchmarks.accuracy.scoring import Judgement, judge
from monitor.config import parse_duration
from monitor.telemetry import logs

T = TypeVar("T")

_LISTS = ("false_alarms", "misses", "notified_before_the_end_could_be_known")


async def play(
    *, days: int, accounts: int, seed: int, poll_every: str = "1h", probe_every: str = "1d", folder: Path
) -> tuple[Judgement, dict[str, object]]:
    """Run the simulation. Return the judgement and the amount of work."""
    started = time.process_time()
    poll, probe = parse_duration(poll_every), parse_duration(probe_every)
    assert poll is not None, f"{poll_every} is not a duration"
    assert probe is not None, f"{probe_every} is not a duration"
    simulation = simulation_of(days=days, accounts=accounts, seed=seed, poll_every=poll, probe_every=probe)
    steps = 0
    async with monitoring(simulation, folder, poll_every=poll_every, probe_every=probe_every) as monitor:
        due = monitor.next_due()
        while simulation.now < simulation.end:
            simulation.act()
            for intent in simulation.intents:
                monitor.apply(intent, simulation.now)
            simulation.intents.clear()
            if due.first is not None and due.first <= simulation.now:
                await monitor.work(due, simulation.now)
                simulation.act()
                due = monitor.next_due()
                steps += 1
            coming = [at for at in (due.first, simulation.next_due(), simulation.end) if at is not None]
            simulation.clock.set(max(min(coming), simulation.now + TICK))
        alerts, polls = monitor.alerts, monitor.polls
    calls = sum(source.calls["probe"] for source in simulation.world.sources.values())
    work = {
        "days": days,
        "accounts": len(simulation.accounts),
        "seed": seed,
        "poll_every": poll_every,
        "probe_every": probe_every,
        "polls": polls,
        "probes": calls,
        "steps": steps,
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    return judge(simulation, alerts), work


def show(judgement: Judgement, work: dict[str, object]) -> None:
    """Print a table, then the same figures as JSON."""
    figures = judgement.figures()
    table = Table("", "", title="Alerts against the real problems", show_header=False, min_width=60)
    for name, value in {**work, **figures}.items():
        shown = len(value) if isinstance(value, list) else value
        if isinstance(value, dict):
            shown = "\n".join(f"{key}: {count}" for key, count in value.items())
        table.add_row(name.replace("_", " "), str(shown))
    console = Console(width=100)
    console.print(table)
    for name in _LISTS:
        lines = figures[name]
        assert isinstance(lines, list)
        if lines:
            print(f"\n{name.replace('_', ' ').capitalize()}:")
            print("\n".join(f"  {line}" for line in lines))
    print(json.dumps({**work, **figures}))


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop if it is installed, as the daemon does."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--poll-every", default="1h", help='as in [schedule], such as "15m"')
    parser.add_argument("--probe-every", default="1d")
    return parser.parse_args()


def main() -> None:
    """Run and print; exit 1 after false alarms or misses."""
    arguments = _arguments()
    logs.configure(level="error", format="console")
    with tempfile.TemporaryDirectory() as folder:
        judgement, work = run_async(
            play(
                days=arguments.days,
                accounts=arguments.accounts,
                seed=arguments.seed,
                poll_every=arguments.poll_every,
                probe_every=arguments.probe_every,
                folder=Path(folder),
            )
        )
    show(judgement, work)
    sys.exit(0 if judgement.clean else 1)


if __name__ == "__main__":
    main()
