"""The daemon as a process of its own on the measured core, and what it did between two instants."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.figures import Figure, figure
from benchmarks.instrumented import PAUSE
from benchmarks.machine import MEASURED, Reading
from benchmarks.simulated import PATIENCE, ROOT, Simulated

_QUIET_STEP = 0.1


class BenchmarkFailed(RuntimeError):
    """What was to be measured did not happen."""


def until(true: Callable[[], object], *, what: str, within: float = PATIENCE, step: float = 0.02) -> None:
    """Wait until something is true. Raises BenchmarkFailed when it takes too long."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"Not within {within:.0f} s: {what}.")
        time.sleep(step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The daemon at one instant, by the watch beside it."""

    at: float
    """Monotonic."""
    cpu: float
    blocked: float
    """The event loop's longest block since the mark before, in seconds."""
    callback: float
    """CPU seconds that the loop's thread used in such a block, at most."""
    rows: int
    """SQLite rows written since the start."""
    reading: Reading


def loop_figures(found: Iterable[Mark | Window]) -> dict[str, Figure]:
    """Return the event loop's longest blocks, and the longest CPU of its callbacks."""
    each = list(found)
    return {
        "blocked": figure((one.blocked * 1000 for one in each), "ms"),
        "callback": figure((one.callback * 1000 for one in each), "ms"),
    }


class Daemon:
    """A running `token-monitor run`."""

    def __init__(self, process: subprocess.Popen[bytes], *, folder: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._report = folder / "watch.jsonl"
        self._log = folder / "daemon.log"

    def log(self) -> str:
        """Return its log so far."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def require_running(self) -> None:
        """Raise BenchmarkFailed, with the end of its log, if the daemon has ended."""
        if self.process.poll() is not None:
            log = self.log().strip()[-3000:]
            raise BenchmarkFailed(f"The daemon ended with {self.process.returncode}: {log.rpartition(chr(10))[2]}\n{log}")

    def await_start(self, *, within: float = PATIENCE) -> None:
        """Wait until the daemon logs that it has started."""

        def started() -> bool:
            self.require_running()
            return "daemon.started" in self.log()

        until(started, what="the daemon's start in its log", within=within)

    def mark(self) -> Mark:
        """Return the present mark. Works only with the loop watch."""
        self.require_running()
        known = len(self._lines())
        os.kill(self.pid, signal.SIGUSR2)
        until(lambda: len(self._lines()) > known, what="the watch answers", within=60, step=0.002)
        window = json.loads(self._lines()[-1])
        return Mark(**window, reading=machine.read(self.pid))

    def pause_loop_watch(self) -> None:
        """Stop the loop watch, whose checks are a large part of the CPU of a daemon that mostly waits."""
        os.kill(self.pid, PAUSE)

    def continue_loop_watch(self) -> None:
        """Continue the loop watch, from a new mark on."""
        os.kill(self.pid, PAUSE)
        self.mark()

    def _lines(self) -> list[str]:
        if not self._report.exists():
            return []
        return [line for line in self._report.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]

    def await_quiet(self, seconds: float = 0.4, *, share: float = 0.15, within: float = PATIENCE) -> None:
        """Wait until it uses less than a share of its core for so long."""
        deadline = time.monotonic() + within
        calm_since = time.monotonic()
        before, at = machine.cpu_seconds(self.pid), calm_since
        while time.monotonic() - calm_since < seconds:
            if time.monotonic() > deadline:
                raise BenchmarkFailed(f"The daemon did not come to rest within {within:.0f} s.")
            time.sleep(_QUIET_STEP)
            now, cpu = time.monotonic(), machine.cpu_seconds(self.pid)
            if cpu - before > share * (now - at) + 0.01:
                calm_since = now
            before, at = cpu, now

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(timeout=PATIENCE)

    def stop(self) -> None:
        """End it as systemd would."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()


def command(config: Path, *words: str) -> list[str]:
    """Return the command line of the program."""
    return [sys.executable, "-m", "monitor", "--config", str(config), *words]


@contextmanager
def running(config: Path, *, with_loop_watch: bool = True, ready: bool = True) -> Iterator[Daemon]:
    """Run the daemon on the measured core until the block ends; `with_loop_watch` adds the loop watch."""
    folder = config.parent
    arguments = ["--config", str(config), "run"]
    line = [sys.executable, "-m", "monitor", *arguments]
    if with_loop_watch:
        line = [sys.executable, "-m", "benchmarks.instrumented", str(folder / "watch.jsonl"), str(MEASURED), *arguments]
    for name in ("watch.jsonl", "daemon.log"):
        (folder / name).unlink(missing_ok=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith("TOKEN_MONITOR_")}
    with (folder / "daemon.log").open("wb") as log:
        process = machine.spawn(line, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT, env=env)
    daemon = Daemon(process, folder=folder)
    try:
        if ready:
            daemon.await_start()
        yield daemon
    finally:
        daemon.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What happened between two instants."""

    seconds: float
    cpu: float
    written: int
    blocked: float
    callback: float
    rows: int
    probes: int
    lists: int
    connections: int
    simulator_cpu: float


@contextmanager
def watching(daemon: Daemon, simulated: Simulated) -> Iterator[list[Window]]:
    """Measure what happens in the block: one Window is in the list when it has ended."""
    found: list[Window] = []
    before_there, before = simulated.cpu(), daemon.mark()
    simulated.ask("reset")
    yield found
    counts, after = simulated.counts(), daemon.mark()
    found.append(
        Window(
            seconds=after.at - before.at,
            cpu=after.cpu - before.cpu,
            written=after.reading.written - before.reading.written,
            blocked=after.blocked,
            callback=after.callback,
            rows=after.rows - before.rows,
            probes=counts["probes"],
            lists=counts["lists"],
            connections=counts["connections"],
            simulator_cpu=simulated.cpu() - before_there,
        )
    )
