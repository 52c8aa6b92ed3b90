"""Costs of an idle installation: memory at rest, the start, and the command line."""

from __future__ import annotations

import os
import pty
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks import machine
from benchmarks.bench import Bench
from benchmarks.daemon import BenchmarkFailed, Daemon, command, running, until
from benchmarks.databases import recorded_polls
from benchmarks.figures import figure
from benchmarks.floors import IMPORTS
from benchmarks.settings import Settings
from benchmarks.simulated import ROOT, Simulated
from monitor.store import Store
from tests.support.ports import free_port

SMALL = 10
RUNS = 5


def memory(bench: Bench) -> None:
    """Measure the daemon's resident set (status page on, default pace) a minute after its first poll."""
    plan = bench.plan
    sizes = sorted({plan.large // 10, plan.large})
    baseline = bench.baseline("probes")
    with ExitStack() as stack:
        waiting = []
        # They rest side by side, so that a minute is waited for once.
        for kind in bench.kinds:
            for size in sizes:
                simulated = stack.enter_context(bench.simulated(f"population:1:{size}", own_port=True))
                database = bench.databases.empty(kind)
                wanted = Settings(probe_every="6h", requests_per_minute=None, web=free_port())
                daemon = stack.enter_context(bench.daemon(wanted, database=database, simulated=simulated, with_loop_watch=False))
                with Store(database) as store:
                    until(lambda store=store: recorded_polls(store) >= 1, what="the first poll was written down")  # type: ignore[misc]
                polled = time.monotonic()
                daemon.await_quiet()
                waiting.append((kind, size, daemon, polled, machine.cpu_seconds(daemon.pid)))
        for kind, size, daemon, polled, cpu in waiting:
            time.sleep(max(polled + plan.settled - time.monotonic(), 0.0))
            daemon.require_running()
            resident = machine.resident_mb(daemon.pid)
            used = machine.cpu_seconds(daemon.pid) - cpu
            figures = {
                "resident": figure([resident], "MB"),
                "times_bare": figure([resident / baseline.resident], "x"),
                "floor": figure([baseline.resident], "MB"),
                "peak": figure([machine.peak_mb(daemon.pid)], "MB"),
                "at_rest": figure([used / max(time.monotonic() - polled, 0.1) * 100], "% of a core"),
            }
            bench.add("memory", figures=figures, database=kind, size=size)


def start(bench: Bench) -> None:
    """From the start of the process to the first list request, on an empty database and on a full one."""
    for kind in bench.kinds:
        _, floor = _imports(bench)
        for size in (0, bench.plan.large):
            took, cpu = [], []
            if size:
                bench.populate(kind, size)
            with bench.simulated(f"population:1:{size or 1}") as simulated:
                for _ in range(max(bench.plan.repeats, 1)):
                    database = bench.populated(kind, size) if size else bench.databases.empty(kind)
                    config = bench.config(Settings(web=free_port()), database=database, simulated=simulated)
                    simulated.ask("reset")
                    began = time.monotonic()
                    with running(config, with_loop_watch=False, ready=False) as daemon:
                        _await_first_list(daemon, simulated)
                        cpu.append(machine.cpu_seconds(daemon.pid))
                        took.append(simulated.counts()["first_list"] - began)
                        daemon.await_start()
                    bench.databases.drop(database)
            figures = {
                "times_imports": figure((each / floor for each in took), "x"),
                "took": figure(took, "s"),
                "floor": figure([floor], "s"),
                "cpu": figure(cpu, "s"),
            }
            bench.add("start", figures=figures, database=kind, size=size)


def _await_first_list(daemon: Daemon, simulated: Simulated) -> None:
    def asked() -> bool:
        daemon.require_running()
        return bool(simulated.counts()["lists"])

    until(asked, what="the first poll", within=60, step=0.01)


def status(bench: Bench) -> None:
    """`token-monitor status` on a terminal: CPU of the whole process."""
    for kind in bench.kinds:
        floor, _ = _imports(bench)
        for size in sorted({SMALL, *bench.plan.sizes, bench.plan.large}):
            database = bench.populated(kind, size)
            with bench.simulated() as simulated:
                line = command(bench.config(Settings(), database=database, simulated=simulated), "status")
                runs = [_on_a_terminal(line) for _ in range(bench.plan.repeats + 2)][1:]
            figures = {
                "times_imports": figure((cpu / floor for cpu, _ in runs), "x"),
                "cpu": figure((cpu for cpu, _ in runs), "s"),
                "floor": figure([floor], "s"),
                "took": figure((took for _, took in runs), "s"),
            }
            bench.add("status", figures=figures, database=kind, size=size)
            bench.databases.drop(database)


def _imports(bench: Bench) -> tuple[float, float]:
    """CPU seconds and seconds of importing the libraries that every command needs, the median of a few runs."""
    runs = [_on_a_terminal(list(IMPORTS)) for _ in range(bench.plan.repeats + 2)][1:]
    return median(cpu for cpu, _ in runs), median(took for _, took in runs)


def _on_a_terminal(line: list[str]) -> tuple[float, float]:
    """CPU seconds and seconds of a command that runs on a terminal."""
    ours, theirs = pty.openpty()
    output: list[bytes] = []

    def drain() -> None:
        try:
            while text := os.read(ours, 65_536):
                output.append(text)
        except OSError:  # the terminal is gone
            return

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    began = time.monotonic()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50"}
    process = machine.spawn(line, stdout=theirs, stderr=theirs, stdin=theirs, cwd=ROOT, env=env)
    _, ended, usage = os.wait4(process.pid, 0)
    took = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(ended)
    os.close(theirs)
    reader.join(timeout=1)
    os.close(ours)
    if process.returncode:
        raise BenchmarkFailed(f"{Path(line[-1])} ended with {process.returncode}: {b''.join(output)[-500:]!r}")
    return usage.ru_utime + usage.ru_stime, took
