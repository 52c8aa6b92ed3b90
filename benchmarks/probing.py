"""Probes: as fast as they go, once a minute, and after a restart."""

from __future__ import annotations

import time

from benchmarks import machine
from benchmarks.bench import Baseline, Bench, variant
from benchmarks.daemon import BenchmarkFailed, Window, loop_figures, running, watching
from benchmarks.databases import size_on_disk
from benchmarks.figures import Figure, figure
from benchmarks.settings import Settings
from benchmarks.simulated import Simulated


def as_fast_as_they_go(bench: Bench) -> None:
    """Every account is due every second, and no budget delays a probe."""
    for kind in bench.kinds:
        _fast(bench, kind, tls=False, latency_ms=0)
    if bench.plan.variants:
        _fast(bench, bench.kinds[0], tls=True, latency_ms=0)
        _fast(bench, bench.kinds[0], tls=False, latency_ms=200)
        _fast(bench, bench.kinds[0], tls=True, latency_ms=200)


def _fast(bench: Bench, kind: str, *, tls: bool, latency_ms: float) -> None:
    plan = bench.plan
    baseline = bench.baseline("probes", tls=tls, latency_ms=latency_ms)
    database = bench.databases.empty(kind)
    with bench.simulated(f"population:1:{plan.backlog}", tls=tls, latency_ms=latency_ms) as simulated:
        wanted = Settings(probe_every="1s", poll_every="1h")
        with bench.daemon(wanted, database=database, simulated=simulated) as daemon:
            _await_all(simulated, plan.backlog, within=60.0)
            time.sleep(min(plan.window / 2, 2.0))
            windows = []
            for _ in range(plan.repeats):
                with watching(daemon, simulated) as found:
                    time.sleep(plan.window)
                windows += found
    figures = _figures(windows, baseline) | {
        "a_second": figure((each.probes / each.seconds for each in windows), "/s"),
        "a_second_per_core": figure((each.probes / each.cpu for each in windows), "/s"),
        "simulator_busy": figure((each.simulator_cpu / each.seconds * 100 for each in windows), "%"),
    }
    bench.add("probes-fast", figures=figures, case=variant(tls=tls, latency_ms=latency_ms), database=kind)


def once_a_minute(bench: Bench) -> None:
    """Probe at the pace of a large installation, over few connections; then restart after kill -9."""
    plan = bench.plan
    for kind in bench.kinds:
        _paced(bench, kind, tls=False, every=plan.minute)
    if plan.variants:
        _paced(bench, bench.kinds[0], tls=True, every=plan.minute)
        _paced(bench, bench.kinds[0], tls=False, every=plan.often)


def _paced(bench: Bench, kind: str, *, tls: bool, every: float) -> None:
    plan = bench.plan
    baseline = bench.baseline("probes", tls=tls)
    database = bench.databases.empty(kind)
    with bench.simulated(f"population:1:{plan.accounts}", tls=tls) as simulated:
        config = bench.config(Settings(probe_every=f"{every:.0f}s", poll_every="1h"), database=database, simulated=simulated)
        with running(config) as daemon:
            _await_all(simulated, plan.accounts, within=every * 1.5)
            time.sleep(min(5.0, plan.paced_window))
            windows, grown = [], []
            daemon.pause_loop_watch()
            for _ in range(max(plan.repeats - 1, 1)):
                disk = size_on_disk(database)
                with watching(daemon, simulated) as found:
                    time.sleep(plan.paced_window)
                windows += found
                grown.append((size_on_disk(database) - disk) / _probes(found[0]))
            resident = machine.resident_mb(daemon.pid)
            daemon.continue_loop_watch()
            with watching(daemon, simulated) as watched:
                time.sleep(plan.paced_window)
            daemon.kill()
        figures = _figures(windows, baseline, watched=watched) | {
            "grown_each": figure(grown, "B"),
            "connections_each": figure((each.connections / _probes(each) for each in windows), ""),
            "a_second": figure((each.probes / each.seconds for each in windows), "/s"),
            "resident": figure([resident], "MB"),
        }
        case = variant(tls=tls, latency_ms=0) + (f", every {every:.0f} s" if every != plan.minute else "")
        bench.add("probes-paced", figures=figures, case=case, database=kind)
        if not tls and plan.variants and every == plan.minute:
            simulated.ask("reset")
            started = time.monotonic()
            with running(config):
                _await_all(simulated, plan.accounts, within=plan.minute * 1.5)
                everyone = time.monotonic() - started
                found_count = simulated.counts()["distinct"]
            again = {"all_probed_after": figure([everyone], "s"), "probed": figure([found_count / plan.accounts * 100], "%")}
            bench.add("restart", figures=again, database=kind)


def _await_all(simulated: Simulated, accounts: int, *, within: float) -> None:
    """Until every account was probed, or so many seconds went by."""
    deadline = time.monotonic() + within
    while simulated.counts()["distinct"] < accounts and time.monotonic() < deadline:
        time.sleep(0.1)


def _figures(windows: list[Window], baseline: Baseline, *, watched: list[Window] | None = None) -> dict[str, Figure]:
    """Return the figures of these windows; `watched` are those in which the loop was watched, if they are others."""
    return {
        "times_bare": figure((each.cpu / _probes(each) / baseline.cpu_each for each in windows), "x"),
        "cpu_per_10000": figure((each.cpu / _probes(each) * 10_000 for each in windows), "s"),
        "floor": figure([baseline.cpu_each * 10_000], "s"),
        "written_each": figure((each.written / _probes(each) for each in windows), "B"),
        **loop_figures(windows if watched is None else watched),
    }


def _probes(window: Window) -> int:
    if window.probes == 0:
        raise BenchmarkFailed("No probe was seen.")
    return window.probes
