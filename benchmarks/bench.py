"""One run: where benchmarks find their plan, databases, simulators and the baseline loop, and where their figures go."""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Self

from benchmarks import settings
from benchmarks.daemon import BenchmarkFailed, Daemon, command, running
from benchmarks.databases import Databases, listed
from benchmarks.figures import Figure, Measurement, figure
from benchmarks.machine import MEASURED, spawn
from benchmarks.plan import Plan
from benchmarks.settings import Settings
from benchmarks.simulated import ROOT, Certificate, Simulated, certificate, simulator
from monitor.store import Store
from tests.support.ports import free_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Cost of the same requests in the baseline loop."""

    cpu_each: float
    """Median CPU seconds of one request."""
    resident: float
    """Megabytes."""


class Bench:
    """One run of a plan. A context: its folder, databases and servers are gone when it ends."""

    def __init__(self, plan: Plan, *, databases: Sequence[str] | None = None) -> None:
        self.plan = plan
        self.kinds = tuple(databases or plan.databases)
        self.measurements: list[Measurement] = []
        # All rows of a run are reckoned from one instant, so that a copied database and a later simulator agree.
        self.at = datetime.now(UTC).isoformat(timespec="seconds")
        self._stack = ExitStack()
        self._baselines: dict[tuple[str, bool, float, int], Baseline] = {}
        self._made = 0
        self._port = free_port()

    def __enter__(self) -> Self:
        for package in ("monitor", "migrations"):  # as an installation does: else each start compiles what has changed
            compileall.compile_dir(ROOT / package, quiet=1)
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="token-monitor-bench-")))
        self.databases = self._stack.enter_context(Databases(self.folder))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @cached_property
    def certificate(self) -> Certificate:
        """The certificate of every simulator that serves HTTPS."""
        return certificate(self.folder)

    def report(self, text: str) -> None:
        """Print progress to standard error."""
        print(f"  {text}", file=sys.stderr, flush=True)

    def add(
        self, benchmark: str, *, figures: dict[str, Figure], case: str = "", database: str | None = None, size: int | None = None
    ) -> None:
        """Keep figures."""
        self.measurements.append(Measurement(benchmark=benchmark, case=case, database=database, size=size, figures=figures))
        shown = ", ".join(f"{name.replace('_', ' ')} {each.median:g} {each.unit}".rstrip() for name, each in figures.items())
        named = " ".join(part for part in (database, case, "" if size is None else f"{size:,}") if part)
        self.report(f"{benchmark} {named}: {shown}")

    @contextmanager
    def simulated(
        self, *populations: str, tls: bool = False, latency_ms: float = 0.0, soon: int = 0, own_port: bool = False
    ) -> Iterator[Simulated]:
        """Start a simulator on the other core.

        All take the same port, one after the other: a source that moves to another address is evaluated anew with
        all its connections, which would be measured as well. `own_port` is for those that run beside each other.
        """
        certificate = self.certificate if tls else None
        port = 0 if own_port else self._port
        with simulator(populations, at=self.at, latency_ms=latency_ms, tls=certificate, soon=soon, port=port) as made:
            yield made

    def config(self, wanted: Settings, *, database: str, simulated: Simulated) -> Path:
        """Write a configuration file in a new folder. Return its path."""
        self._made += 1
        return settings.write(self.folder / f"run-{self._made}", wanted, database=database, simulated=simulated)

    @contextmanager
    def daemon(self, wanted: Settings, *, database: str, simulated: Simulated, with_loop_watch: bool = True) -> Iterator[Daemon]:
        """Start the daemon and stop it when the block ends."""
        with running(self.config(wanted, database=database, simulated=simulated), with_loop_watch=with_loop_watch) as started:
            yield started

    def populated(self, kind: str, size: int) -> str:
        """Return the URL of a database with a population of this size, whose source is due for a poll."""
        self.populate(kind, size)
        return self.databases.copy(kind, size)

    def populate(self, kind: str, size: int) -> None:
        """Make sure that such a database can be copied. Takes a simulator, so none may be running."""
        if self.databases.template(kind, size) is None:
            self.report(f"filling a {kind} database with {size:,} connections")
            url = self.databases.empty(kind)
            with self.simulated(f"population:1:{size}") as simulated:
                line = command(self.config(Settings(), database=url, simulated=simulated), "check", "--no-probe")
                with spawn(line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as done:
                    _, output = done.communicate(timeout=300)
            with Store(url) as store:
                if listed(store) != size:
                    raise BenchmarkFailed(f"check stored no population (exit {done.returncode}): {output[-1000:]}")
            self.databases.keep(kind, size, url)

    def baseline(self, kind: str, *, tls: bool = False, latency_ms: float = 0.0, size: int = 0) -> Baseline:
        """Return the baseline loop's cost of one request and the simulator's ceiling; measured once a run.

        `kind` is probes or lists; `size` is that of the list.
        """
        key = (kind, tls, latency_ms, size)
        if key not in self._baselines:
            self._baselines[key] = self._measure_baseline(kind, tls=tls, latency_ms=latency_ms, size=size)
        return self._baselines[key]

    def floor(self, kind: str, *words: str) -> list[dict[str, float]]:
        """Run a floor (benchmarks.floors) on the measured core. Return what it printed about each repeat."""
        return self._rounds("floors", kind, *words)

    @staticmethod
    def _rounds(module: str, *words: str) -> list[dict[str, float]]:
        line = [sys.executable, "-m", f"benchmarks.{module}", *words, "--core", str(MEASURED)]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkFailed(f"benchmarks.{module} failed: {done.stderr[-1000:]}")
        return [json.loads(each) for each in done.stdout.splitlines()]

    def _measure_baseline(self, kind: str, *, tls: bool, latency_ms: float, size: int) -> Baseline:
        count = self.plan.accounts if kind == "probes" else (5 if size > 1_000 else 200 if size > 100 else 2_000)
        at_once = (50 if latency_ms == 0 else 500) if kind == "probes" else (1 if size > 1_000 else 50)
        sources = 1 if kind == "probes" or size > 1_000 else 50
        with self.simulated(f"population:{sources}:{max(size, 1)}", tls=tls, latency_ms=latency_ms) as simulated:
            words = [kind, "--url", simulated.address, "--source", "population"]
            words += ["--count", str(count), "--at-once", str(at_once), "--sources", str(sources)]
            words += ["--repeats", str(max(self.plan.repeats, 2))]
            if tls:
                words += ["--ca-file", str(self.certificate.authority)]
            before = simulated.cpu()
            rounds = self._rounds("baseline", *words)
            served = count * (len(rounds) + 1)  # one round warms up
            ceiling = served / max(simulated.cpu() - before, 0.01)
        each = "per_10000" if kind == "probes" else "per_list"
        scale = 10_000 if kind == "probes" else 1
        figures = {
            f"cpu_{each}": figure((one["cpu"] / count * scale for one in rounds), "s"),
            "a_second": figure((count / one["wall"] for one in rounds), "/s"),
            "resident": figure((one["resident"] for one in rounds), "MB"),
            "simulator_ceiling": figure([ceiling], "/s"),
        }
        case = variant(tls=tls, latency_ms=latency_ms)
        self.add("bare", figures=figures, case=f"{kind}, {case}", size=size or None)
        return Baseline(cpu_each=median(one["cpu"] for one in rounds) / count, resident=median(one["resident"] for one in rounds))


def variant(*, tls: bool, latency_ms: float) -> str:
    """Return the name of a case."""
    return f"{'TLS' if tls else 'plain'}, {latency_ms:.0f} ms"
