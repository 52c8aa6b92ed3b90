"""Polls: unchanged lists of every size, a list in which everything changed, and many sources of few connections."""

from __future__ import annotations

import time
from statistics import median

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.daemon import BenchmarkFailed, Daemon, Mark, until
from benchmarks.databases import planned_polls, recorded_polls, rows_changed, stored_alerts
from benchmarks.figures import figure
from benchmarks.settings import Settings
from benchmarks.simulated import Simulated
from monitor.store import Store

EACH = 10
"""Connections of one of many sources."""


def unchanged(bench: Bench) -> None:
    """Poll the same list repeatedly, at every size."""
    for kind in bench.kinds:
        for size in sorted({*bench.plan.sizes, bench.plan.large}):
            _unchanged(bench, kind, size)


def custom(bench: Bench) -> None:
    """Poll the large list as PostPost's and by a definition, unchanged and changed."""
    for kind in bench.kinds:
        for by_definition in (False, True):
            case = "by definition" if by_definition else "PostPost"
            _unchanged(bench, kind, bench.plan.large, case=case, custom=by_definition)
            _changed(bench, kind, bench.plan.large, case=case, custom=by_definition)


def _unchanged(bench: Bench, kind: str, size: int, *, case: str = "", custom: bool = False) -> None:
    baseline = bench.baseline("lists", size=size)
    database = bench.populated(kind, size)
    every = f"{bench.plan.poll_every:.0f}s" if size <= 10_000 else "5s"
    repeats = bench.plan.repeats + (2 if bench.plan.repeats > 1 and size <= 10_000 else 0)
    cpu, blocked, peaks, written = [], [], [], []
    rows: list[float] = []
    with bench.simulated(f"population:1:{size}") as simulated:
        wanted = Settings(poll_every=every, custom=custom)
        with bench.daemon(wanted, database=database, simulated=simulated) as daemon, Store(database) as store:
            _one_poll(daemon, simulated, store)
            _one_poll(daemon, simulated, store)
            counted, polls = rows_changed(database), recorded_polls(store)
            before = daemon.mark()
            for _ in range(repeats):
                machine.forget_peak(daemon.pid)
                at_rest = machine.resident_mb(daemon.pid)
                _one_poll(daemon, simulated, store)
                after = daemon.mark()
                cpu.append(after.cpu - before.cpu)
                blocked.append(after.blocked * 1000)
                peaks.append(machine.peak_mb(daemon.pid) - at_rest)
                written.append(after.reading.written - before.reading.written)
                rows.append(after.rows - before.rows)
                before = after
            resting = machine.resident_mb(daemon.pid)
            if counted is not None:
                time.sleep(1.5)  # the server's statistics come a second late
                rows = [((rows_changed(database) or 0) - counted) / max(recorded_polls(store) - polls, 1)]
    figures = {
        "cpu": figure(cpu, "s"),
        "times_bare": figure((each / baseline.cpu_each for each in cpu), "x"),
        "peak": figure(peaks, "MB"),
        "resident": figure([resting], "MB"),
        "rows": figure(rows, ""),
        "written": figure((each / 1024 for each in written), "KB"),
        "blocked": figure(blocked, "ms"),
    }
    bench.add("poll-unchanged" if not case else "custom-unchanged", case=case, figures=figures, database=kind, size=size)
    bench.databases.drop(database)


def _one_poll(daemon: Daemon, simulated: Simulated, store: Store, *, quiet: float = 0.3) -> None:
    """Wait for the next poll, until it is written down and the daemon rests."""
    simulated.ask("reset")
    known = recorded_polls(store)
    until(lambda: simulated.counts()["lists"] > 0, what="the list was asked for")
    until(lambda: recorded_polls(store) > known, what="the poll was written down")
    daemon.await_quiet(quiet)


def changed(bench: Bench) -> None:
    """All tokens of a list expire at once, then all are renewed. Deliveries are stored too, and wait for an hour."""
    for kind in bench.kinds:
        _changed(bench, kind, bench.plan.large)


def _changed(bench: Bench, kind: str, size: int, *, case: str = "", custom: bool = False) -> None:
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
    alerts = stored_alerts(database)
    if alerts == 0:
        raise BenchmarkFailed("Everything changed, and no alert was stored.")
    figures = {
        "cpu": figure((after.cpu - before.cpu for before, after in marks), "s"),
        "alerts": figure([alerts / len(marks)], ""),
        "written": figure(((after.reading.written - before.reading.written) / 1_048_576 for before, after in marks), "MB"),
        "peak": figure([peak - marks[0][0].reading.resident], "MB"),
        "blocked": figure((after.blocked * 1000 for _, after in marks), "ms"),
    }
    bench.add("poll-changed" if not case else "custom-changed", case=case, figures=figures, database=kind, size=size)
    bench.databases.drop(database)


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
        "cpu": figure([cpu / (ended - began) * every], "s"),
        "polls": figure([polls], ""),
        "times_bare": figure([cpu / max(polls, 1) / baseline.cpu_each], "x"),
        "latest": figure([max(late)], "s"),
        "late": figure([median(late)], "s"),
        "written_each": figure([(after.reading.written - before.reading.written) / max(polls, 1)], "B"),
        "resident": figure([after.reading.resident], "MB"),
        "blocked": figure([after.blocked * 1000], "ms"),
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
