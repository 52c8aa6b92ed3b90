"""Play the simulated days and print the figures; exit status 1 where any alert is missing, late or false."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

from benchmarks.accuracy.cast import simulation_of
from benchmarks.accuracy.living.cast import living_world, world_of
from benchmarks.accuracy.living.catalogue import SCENARIOS
from benchmarks.accuracy.monitor_run import TICK, monitoring
from benchmarks.accuracy.scoring import Judgement, judge
from benchmarks.accuracy.simulation import Simulation
from monitor.config import parse_duration
from monitor.domain import Alert
from monitor.telemetry import logs

T = TypeVar("T")

_LISTS = ("false_alarms", "misses", "late", "notified_before_the_end_could_be_known")


async def play(
    *, days: int, accounts: int, seed: int, poll_every: str = "1h", probe_every: str = "1d", folder: Path, world: str = "first"
) -> tuple[Judgement, dict[str, object]]:
    """Run one of the two worlds, `first` or `living`. Return the judgement and the amount of work."""
    build = simulation_of if world == "first" else living_world
    simulation = build(days=days, accounts=accounts, seed=seed, poll_every=_span(poll_every), probe_every=_span(probe_every))
    judgement, work = await _run(simulation, folder, seed=seed, poll_every=poll_every, probe_every=probe_every)
    return judgement, {"world": world, **work}


async def play_scenario(
    name: str, *, folder: Path, days: int | None = None, seed: int = 1
) -> tuple[Simulation, Judgement, dict[str, object]]:
    """Run one scenario of the living world, on a few accounts. Return its world, the judgement and the amount of work."""
    scenario = SCENARIOS[name]
    poll_every, probe_every = scenario.poll_every, scenario.probe_every
    simulation = world_of(
        scenario, days=days or scenario.days, seed=seed, poll_every=_span(poll_every), probe_every=_span(probe_every)
    )
    judgement, work = await _run(simulation, folder, seed=seed, poll_every=poll_every, probe_every=probe_every)
    return simulation, judgement, {"scenario": name, **work}


def _span(text: str) -> Any:
    span = parse_duration(text)
    assert span is not None, f"{text} is not a duration"
    return span


async def _run(
    simulation: Simulation, folder: Path, *, seed: int, poll_every: str, probe_every: str
) -> tuple[Judgement, dict[str, object]]:
    started = time.process_time()
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
    work = {
        "days": simulation.days,
        "accounts": len(simulation.accounts),
        "seed": seed,
        "poll_every": poll_every,
        "probe_every": probe_every,
        "polls": polls,
        "probes": sum(source.calls["probe"] for source in simulation.world.sources.values()),
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


def show_timeline(simulation: Simulation, alerts: Sequence[Alert]) -> None:
    """Print what was true and what was notified, in the order of time, account by account."""
    names = {(each.source.name, number): each.name for each in simulation.accounts for number in each.ids}
    lines: list[tuple[str, Any, str]] = []
    for problem in simulation.truth.problems:
        subject = f"{problem.source}/{problem.subject}"
        kind = "" if problem.is_real else ", no problem, but an alert is justified"
        due = simulation.truth.due(problem)
        by = f", due {due:%m-%d %H:%M}" if due is not None else ""
        lines.append((subject, problem.start, f"true     {problem.kind}: {problem.why}{kind}{by}"))
        if problem.averted is not None:
            lines.append((subject, problem.averted, f"true     averted: {problem.kind}: {problem.why}"))
        elif problem.end is not None:
            lines.append((subject, problem.end, f"true     ends: {problem.kind}: {problem.why}"))
    for alert in alerts:
        subject = f"{alert.source}/{names.get((alert.source, alert.external_id or ''), alert.external_id or alert.source)}"
        lines.append((subject, alert.at, f"notified {alert.event}/{alert.reason} [{alert.verdict_reason}] {alert.message}"))
    previous = ""
    for subject, at, line in sorted(lines, key=lambda each: each[:2]):
        if subject != previous:
            print(f"\n{subject}")
        print(f"  {at:%m-%d %H:%M:%S} {line}")
        previous = subject
    print()


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, on uvloop if it is installed, as the daemon does."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--world", choices=("first", "living"), default="living")
    parser.add_argument(
        "--scenario", choices=(*SCENARIOS, "all"), help="run one scenario of the living world, and print its timeline"
    )
    parser.add_argument("--days", type=int, help="100 by default; a scenario has its own default")
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--poll-every", default="1h", help='as in [schedule], such as "15m"')
    parser.add_argument("--probe-every", default="6h")
    return parser.parse_args()


def _scenarios(arguments: argparse.Namespace, folder: Path) -> bool:
    """Run one scenario with its timeline, or all with a line for each. Return True if every alert was right."""
    if arguments.scenario != "all":
        simulation, judgement, work = run_async(
            play_scenario(arguments.scenario, days=arguments.days, seed=arguments.seed, folder=folder)
        )
        show_timeline(simulation, judgement.messages)
        show(judgement, work)
        return judgement.clean
    clean = True
    for name in SCENARIOS:
        place = folder / name
        place.mkdir()
        _, judgement, work = run_async(play_scenario(name, days=arguments.days, seed=arguments.seed, folder=place))
        clean &= judgement.clean
        found = f"{len(judgement.misses)} missed, {len(judgement.late)} late, {len(judgement.false_alarms)} false"
        per_problem = judgement.figures()["first_notifications_per_problem"]
        print(
            f"{name:32} {judgement.problems:4} problems: {found}; {per_problem} per problem; {work['cpu_seconds']} s", flush=True
        )
    return clean


def main() -> None:
    """Run and print; exit 1 after false, late or missing alerts."""
    arguments = _arguments()
    logs.configure(level="error", format="console")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.scenario is not None:
            sys.exit(0 if _scenarios(arguments, Path(folder)) else 1)
        judgement, work = run_async(
            play(
                days=arguments.days or 100,
                accounts=arguments.accounts,
                seed=arguments.seed,
                poll_every=arguments.poll_every,
                probe_every=arguments.probe_every,
                folder=Path(folder),
                world=arguments.world,
            )
        )
    show(judgement, work)
    sys.exit(0 if judgement.clean else 1)


if __name__ == "__main__":
    main()
