"""Notification latency: from the answer that shows a change to the webhook, and from a date that passes."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Any

from benchmarks.bench import Bench
from benchmarks.daemon import BenchmarkFailed, Daemon, loop_figures, until
from benchmarks.databases import planned_polls, recorded_polls
from benchmarks.figures import Figure, figure, percentile
from benchmarks.rows import PLATFORMS, external_id
from benchmarks.settings import Settings
from benchmarks.simulated import Simulated
from monitor.store import Store

SOURCES = 10
EACH = 20
"""Connections of a source: few enough change simultaneously not to count as an outage."""
SPAN = 1.37
"""Seconds between the dates that pass."""


def transitions(bench: Bench) -> None:
    """Ten sources are read every second, alone and beside a huge list that is read again and again."""
    for kind in bench.kinds:
        _transitions(bench, kind, beside=0)
        _transitions(bench, kind, beside=bench.plan.large)


def _transitions(bench: Bench, kind: str, *, beside: int) -> None:
    names = [f"team-{number}" for number in range(SOURCES)]
    populations = [f"team:{SOURCES}:{EACH}", *([f"population:1:{beside}"] if beside else [])]
    # The population comes first, so that its numbers are those of the copied database.
    populations.reverse()
    database = bench.populated(kind, beside) if beside else bench.databases.empty(kind)
    wanted = Settings(
        sources=[*names, *(["population"] if beside else [])], poll_every="1s", channel='group_wait = "0s"', policy="[policy]\n"
    )
    with bench.simulated(*populations) as simulated:
        floor = _posts(bench, simulated)
        with bench.daemon(wanted, database=database, simulated=simulated) as daemon:
            with Store(database) as store:
                until(lambda: recorded_polls(store) >= 2 * (SOURCES + bool(beside)), what="every source was polled")
            daemon.mark()
            _one_turn(simulated, daemon, names[:1], number=0, first=beside)  # the first message loads what sends it
            lists, began = simulated.counts()["lists"], time.monotonic()
            for turn in range(1, bench.plan.turns):
                _one_turn(simulated, daemon, names, number=turn, first=beside)
            after, took = daemon.mark(), time.monotonic() - began
            lists = simulated.counts()["lists"] - lists
        first, *waits = _waits(simulated.ask("turns"), simulated.ask("hooks"))
    figures = {
        "times_post": figure([percentile(waits, 0.5) * 1000 / floor.median], "x"),
        "median": figure([percentile(waits, 0.5) * 1000], "ms"),
        "floor": floor,
        "p99": figure([percentile(waits, 0.99) * 1000], "ms"),
        "longest": figure([max(waits) * 1000], "ms"),
        "very_first": figure([first * 1000], "ms"),
        "lists_a_second": figure([lists / took], "/s"),
        **loop_figures([after]),
    }
    case = f"beside {beside:,}" if beside else "alone"
    bench.add("transition-to-webhook", figures=figures, case=case, database=kind)


def _posts(bench: Bench, simulated: Simulated) -> Figure:
    """Milliseconds of a bare POST to the webhook."""
    rounds = bench.floor("post", "--url", f"{simulated.control}/hook", "--repeats", str(bench.plan.turns * SOURCES))
    return figure((each["took"] * 1000 for each in rounds), "ms")


def _one_turn(simulated: Simulated, daemon: Daemon, names: list[str], *, number: int, first: int) -> None:
    """Expire one connection of each source and wait until all alerts arrived."""
    received = simulated.counts()["hooks"]
    for place, name in enumerate(names):
        simulated.ask("turn", source=name, word="expired", number=first + place * EACH + number)

    def all_delivered() -> bool:
        daemon.require_running()
        return _named(simulated.ask("hooks")[received:]) >= len(names)

    until(all_delivered, what="every change was notified", within=30, step=0.05)


def _named(hooks: list[Any]) -> int:
    return len({name for _, _, text in hooks for name in re.findall(r"[a-z]+-1\d{6}", text)})


def _waits(turns: list[dict[str, Any]], hooks: list[Any]) -> list[float]:
    """Seconds from the answer that showed each turn to the first message that names it."""
    waits = []
    for turn in turns:
        delivered = next((at for at, _, text in hooks if at >= (turn["answered_at"] or 0) and str(turn["id"]) in text), None)
        if delivered is None or turn["answered_at"] is None:
            raise BenchmarkFailed(f"No message names {turn['id']}.")
        waits.append(delivered - turn["answered_at"])
    return waits


def dates(bench: Bench) -> None:
    """Dates pass while the API answers nothing at all: the clock alone must raise the alert."""
    for kind in bench.kinds:
        database = bench.databases.empty(kind)
        wanted = Settings(
            sources=["soon"],
            channel='group_wait = "0s"\nevents = ["expired"]',
            policy='[policy]\nexpiring_within = "2s"\nstages = []\n',
        )
        with bench.simulated(soon=bench.plan.dates) as simulated:
            floor = _posts(bench, simulated)
            began = time.time()
            with bench.daemon(wanted, database=database, simulated=simulated) as daemon, Store(database) as store:
                until(lambda: recorded_polls(store) >= 1, what="the source was polled", within=10)
                with store.begin_read() as conn:
                    stated = _stated(conn)
                simulated.ask("silence")
                within = 20 + bench.plan.dates * SPAN
                until(lambda: _named(simulated.ask("hooks")) >= bench.plan.dates, what="every date was notified", within=within)
                daemon.require_running()
            hooks = simulated.ask("hooks")
        waits = [next(wall for _, wall, text in hooks if name in text) - at.timestamp() for name, at in stated.items()]
        if min(waits) < 0 or not planned_polls(database) or began <= 0:
            raise BenchmarkFailed("An alert arrived before the date.")
        figures = {"wait": figure((each * 1000 for each in waits), "ms"), "floor": floor}
        bench.add("date-to-webhook", figures=figures, database=kind)


def _stated(conn: Any) -> dict[str, datetime]:
    from sqlalchemy import select

    from monitor.store.schema import connections

    names = {external_id(number) for number in range(0, 400, len(PLATFORMS))}
    rows = conn.execute(select(connections.c.external_id, connections.c.expires_at))
    return {row.external_id: row.expires_at for row in rows if row.external_id in names}
