"""Polls: unchanged lists of every size, a list in which everything changed, and many sources of few connections."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.daemon import BenchmarkFailed, Daemon, Mark, loop_figures, until
from benchmarks.databases import planned_polls, recorded_polls, rows_changed, stored
from benchmarks.figures import Figure, figure
from benchmarks.settings import Settings
from benchmarks.simulated import Simulated
from monitor.store import Store

EACH = 10
"""Connections of one of many sources."""


REFERENCE = 1.3
"""CPU seconds of the bare loop for 10,000 probes on the machine for which bounds in seconds are stated."""


def unchanged(bench: Bench) -> None:
    """Poll the same list repeatedly, at every size."""
    for kind in bench.kinds:
        for size in sorted({*bench.plan.sizes, bench.plan.large}):
            bench.add("poll-unchanged", figures=_unchanged(bench, kind, size), database=kind, size=size)


def changed(bench: Bench) -> None:
    """All tokens of a list expire at once, then all are renewed. Deliveries are stored too, and wait for an hour."""
    size = bench.plan.large
    for kind in bench.kinds:
        bare = bench.baseline("probes").cpu_each * 10_000
        figures = _changed(bench, kind, size, floors=True)
        scaled = figure([figures["cpu"].median * REFERENCE / bare], "s")
        bench.add("poll-changed", figures={**figures, "cpu_scaled": scaled}, database=kind, size=size)


def custom(bench: Bench) -> None:
    """Poll the large list as PostPost's, which is the floor, and by a definition, unchanged and changed."""
    size = bench.plan.large
    for kind in bench.kinds:
        for what, measure in (("unchanged", _unchanged), ("changed", _changed)):
            own, defined = measure(bench, kind, size), measure(bench, kind, size, custom=True)
            floor, cpu = own["cpu"].median, defined["cpu"].median
            compared = {
                "times_postpost": figure([cpu / floor], "x"),
                "cpu_more": figure([cpu - floor], "s"),
                "floor": figure([floor], "s"),
            }
            for case, figures in (("PostPost", own), ("by definition", {**defined, **compared})):
                bench.add("custom-list", case=f"{what}, {case}", figures=figures, database=kind, size=size)


def _unchanged(bench: Bench, kind: str, size: int, *, custom: bool = False) -> dict[str, Figure]:
    baseline = bench.baseline("lists", size=size)
    database = bench.populated(kind, size)
    every = f"{bench.plan.poll_every:.0f}s" if size <= 10_000 else "5s"
    repeats = bench.plan.repeats + (2 if bench.plan.repeats > 1 and size <= 10_000 else 0)
    marks, peaks, watched = [], [], []
    rows: list[float] = []
    with bench.simulated(f"population:1:{size}") as simulated:
        wanted = Settings(poll_every=every, custom=custom)
        with bench.daemon(wanted, database=database, simulated=simulated) as daemon, Store(database) as store:
            _one_poll(daemon, simulated, store)
            _one_poll(daemon, simulated, store)
            counted, polls = rows_changed(database), recorded_polls(store)
            daemon.pause_loop_watch()
            before = daemon.mark()
            for _ in range(repeats):
                machine.forget_peak(daemon.pid)
                at_rest = machine.resident_mb(daemon.pid)
                _one_poll(daemon, simulated, store)
                after = daemon.mark()
                peaks.append(machine.peak_mb(daemon.pid) - at_rest)
                marks.append((before, after))
                before = after
            resting = machine.resident_mb(daemon.pid)
            rows = [after.rows - before.rows for before, after in marks]
            if counted is not None:
                time.sleep(1.5)  # the server's statistics come a second late
                rows = [((rows_changed(database) or 0) - counted) / max(recorded_polls(store) - polls, 1)]
            daemon.continue_loop_watch()
            for _ in range(min(repeats, 2)):
                _one_poll(daemon, simulated, store)
                watched.append(daemon.mark())
    bench.databases.drop(database)
    return {
        "times_bare": figure(((after.cpu - before.cpu) / baseline.cpu_each for before, after in marks), "x"),
        "cpu": figure((after.cpu - before.cpu for before, after in marks), "s"),
        "floor": figure([baseline.cpu_each], "s"),
        "peak": figure(peaks, "MB"),
        "resident": figure([resting], "MB"),
        "rows": figure(rows, ""),
        "written": figure(((after.reading.written - before.reading.written) / 1024 for before, after in marks), "KB"),
        **loop_figures(watched),
    }


def _one_poll(daemon: Daemon, simulated: Simulated, store: Store, *, quiet: float = 0.3) -> None:
    """Wait for the next poll, until it is written down and the daemon rests."""
    simulated.ask("reset")
    known = recorded_polls(store)
    until(lambda: simulated.counts()["lists"] > 0, what="the list was asked for")
    until(lambda: recorded_polls(store) > known, what="the poll was written down")
    daemon.await_quiet(quiet)


def _changed(bench: Bench, kind: str, size: int, *, custom: bool = False, floors: bool = False) -> dict[str, Figure]:
    database = bench.populated(kind, size)
    marks: list[tuple[Mark, Mark]] = []
    with bench.simulated(f"population:1:{size}") as simulated:
        wanted = Settings(poll_every="15s" if size > 10_000 else "4s", channel='group_wait = "1h"', custom=custom)
        with bench.daemon(wanted, database=database, simulated=simulated) as daemon, Store(database) as store:
            _one_poll(daemon, simulated, store)
            for number in range(max(bench.plan.repeats - 1, 1)):
                machine.forget_peak(daemon.pid)
                simulated.ask("turn", source="population", word="valid" if number % 2 else "expired")
                before = daemon.mark()
                _one_poll(daemon, simulated, store, quiet=1.0)
                marks.append((before, daemon.mark()))
            peak = machine.peak_mb(daemon.pid)
        alerts, deliveries = (count / len(marks) for count in (stored(database, "alerts"), stored(database, "deliveries")))
        if alerts == 0:
            raise BenchmarkFailed("Everything changed, and no alert was stored.")
        bench.databases.drop(database)
        cpu = [after.cpu - before.cpu for before, after in marks]
        compared = _floors(bench, kind, size, simulated, cpu=cpu, deliveries=round(deliveries)) if floors else {}
    return {
        "cpu": figure(cpu, "s"),
        **compared,
        "alerts": figure([alerts], ""),
        "deliveries": figure([deliveries], ""),
        "written": figure(((after.reading.written - before.reading.written) / 1_048_576 for before, after in marks), "MB"),
        "peak": figure([peak - marks[0][0].reading.resident], "MB"),
        **loop_figures(after for _, after in marks),
    }


def _floors(
    bench: Bench, kind: str, size: int, simulated: Simulated, *, cpu: Sequence[float], deliveries: int
) -> dict[str, Figure]:
    """Return the cost of storing the same rows by prepared statements, on PostgreSQL also by COPY, and the ratios to it."""
    figures: dict[str, Figure] = {}
    for name, ratio, words in (("floor", "times_floor", ()), ("floor_by_copy", "times_copy", ("--copy",))):
        if words and kind == "sqlite":
            continue
        database = bench.databases.copy(kind, size)
        wanted = ["--url", simulated.address, "--database", database, "--deliveries", str(deliveries), *words]
        rounds = bench.floor("changed", *wanted, "--repeats", str(len(cpu)))
        bench.databases.drop(database)
        if any(each["alerts"] != size for each in rounds):
            raise BenchmarkFailed("The floor did not store an alert for each connection.")
        figures[name] = figure((each["cpu"] for each in rounds), "s")
        figures[ratio] = figure((each / figures[name].median for each in cpu), "x")
    return figures


def many_sources(bench: Bench) -> None:
    """Many keys of ten connections each, every one read once a minute."""
    for kind in bench.kinds:
        _many(bench, kind, bench.plan.sources)


def _many(bench: Bench, kind: str, sources: int) -> None:
    baseline = bench.baseline("lists", size=EACH)
    database = bench.databases.empty(kind)
    every = bench.plan.round
    names = [f"population-{number}" for number in range(sources)]
    with bench.simulated(f"population:{sources}:{EACH}") as simulated:
        wanted = Settings(sources=names, poll_every=f"{every:.0f}s")
        with bench.daemon(wanted, database=database, simulated=simulated) as daemon:
            until(lambda: simulated.counts()["arrivals"] >= sources, what="every source was polled once", within=240, step=0.2)
            _await_round_written(database, sources)
            _await_punctual(database)
            planned = planned_polls(database)
            simulated.ask("reset")
            before, began = daemon.mark(), time.time()
            time.sleep(every)
            ended, after = time.time(), daemon.mark()
            polls = simulated.counts()["lists"]
            time.sleep(3.0)  # those due at the very end
            arrivals = simulated.ask("arrivals")
    due = {name: at for name, at in planned.items() if began <= at <= ended}
    late = [arrivals.get(name, time.time()) - at for name, at in due.items()]
    if not late:
        raise BenchmarkFailed("No source was due.")
    cpu = after.cpu - before.cpu
    figures = {
        "times_bare": figure([cpu / max(polls, 1) / baseline.cpu_each], "x"),
        "cpu": figure([cpu / (ended - began) * every], "s"),
        "floor": figure([baseline.cpu_each * max(polls, 1) / (ended - began) * every], "s"),
        "polls": figure([polls], ""),
        "latest": figure([max(late)], "s"),
        "late": figure([median(late)], "s"),
        "written_each": figure([(after.reading.written - before.reading.written) / max(polls, 1)], "B"),
        "resident": figure([after.reading.resident], "MB"),
        **loop_figures([after]),
    }
    bench.add("many-sources", figures=figures, database=kind, size=sources * EACH)
    bench.databases.drop(database)


def _await_punctual(database: str) -> None:
    """Until nothing is overdue: meeting so many sources for the first time takes longer than a minute."""
    until(lambda: min(planned_polls(database).values()) > time.time() - 1, what="no poll was late", within=240, step=2.0)


def _await_round_written(database: str, sources: int) -> None:
    """Until each source's first poll is in the store and planned anew."""
    with Store(database) as store:
        until(lambda: recorded_polls(store) >= sources, what="every first poll was written down", within=240, step=0.5)
