"""Kill one poll-to-delivery cycle at its Nth write, fsync or send, for any N: strace lets the kernel do it exactly there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from monitor.demo.world import World
from monitor.store import Store
from tests.acceptance.daemon import Setting, eventually, setting
from tests.chaos import cycle
from tests.chaos.oracle import CHANNEL, Findings, judge, settled
from tests.chaos.random_kills import SOURCE, TOP
from tests.support import postgres

CALLS = {"sqlite": ("pwrite64", "fdatasync", "ftruncate", "sendto", "write"), "postgresql": ("sendto", "write")}
"""What changes something outside the process: the database file, or the sockets to the server and to the channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The Nth call of one kind that a thread of the cycle makes."""

    call: str
    number: int


@dataclass(kw_only=True)
class Rehearsal:
    """A monitor at the instant before a cycle with a problem, a recovery and a newcomer in it; it can be put back there."""

    made: Setting
    database: str
    folder: Path
    expected: dict[str, str]
    received_before: int
    """Messages that had arrived by then."""

    def put_back(self) -> None:
        """The database as it was, and nothing received since."""
        del self.made.receiver.posts[self.received_before :]
        _copy(self.database, self.folder / "before", back=True)

    def run(self, step: str = "") -> int:
        """Run the cycle, killed at a step where one is named (see steps.py); its exit status."""
        return self.made.launch_module("tests.chaos.cycle", str(self.made.config), *([step] if step else [])).wait(90)

    def points(self) -> list[Point]:
        """Every point of an undisturbed cycle: for each kind of call, up to the most that one thread makes."""
        self.put_back()
        trace = self.folder / "trace"
        self._traced("-o", str(trace), "-e", f"trace={','.join(self._calls())}")
        counts: dict[tuple[str, str], int] = {}
        for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
            if match := re.match(r"(\d+) +(\w+)\(", line):
                counts[match[1], match[2]] = counts.get((match[1], match[2]), 0) + 1
        most = {call: max((n for (_, each), n in counts.items() if each == call), default=0) for call in self._calls()}
        return [Point(call=call, number=number + 1) for call in self._calls() for number in range(most[call])]

    def kill_at(self, point: Point) -> Findings:
        """Run the cycle until that call, which kills it; run it again undisturbed; and judge."""
        self.put_back()
        how = f"inject={point.call}:signal=SIGKILL:when={point.number}"
        self._traced("-o", os.devnull, "-e", f"trace={point.call}", "-e", how)
        done = self.made.call("check")
        assert "Traceback" not in done.stderr, done.stderr
        # What was in flight waits for its lease before it is sent again.
        for _ in range(3):
            if self._settled():
                break
            self.made.call("check")
        with Store(self.database) as store:
            return judge(store, self.made.receiver.posts, self.expected, kills=1)

    def _calls(self) -> tuple[str, ...]:
        return CALLS[self.database.partition(":")[0]]

    def _traced(self, *options: str) -> None:
        """Run the cycle under strace, which is attached before it begins."""
        process = self.made.launch_module("tests.chaos.cycle", str(self.made.config), cycle.STOPPED)
        eventually(lambda: _stated(process.pid, "State").startswith("T"))
        line = ["strace", "-f", "-qq", *options, "-p", str(process.pid)]
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            eventually(lambda: _stated(process.pid, "TracerPid") != "0")
            os.kill(process.pid, signal.SIGCONT)
            process.wait(90)

    def _settled(self) -> bool:
        with Store(self.database) as store:
            return settled(store)


def _stated(pid: int, name: str) -> str:
    """What the kernel states of a process under this name."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


@contextmanager
def rehearsal(folder: Path, database: str) -> Iterator[Rehearsal]:
    """Prepare two finished cycles (all healthy, then one problem notified); the next one has a change of every kind."""
    world = World()
    world.add_source(SOURCE, "postpost")
    for platform in ("linkedin", "threads", "facebook"):
        world.connect(SOURCE, platform, account=platform, username=f"@{platform}", display_name=platform.title())
    with setting(folder, world, database=database, top=TOP, channel=CHANNEL) as made:
        assert made.call("check").returncode == 0
        world.expire(SOURCE, "threads-threads")
        assert made.call("check").returncode == 2
        _copy(database, folder / "before", back=False)
        world.renew(SOURCE, "threads-threads")
        world.expire(SOURCE, "linkedin-linkedin")
        world.connect(SOURCE, "bluesky", account="b", username="@b", display_name="B")
        yield Rehearsal(
            made=made,
            database=database,
            folder=folder,
            received_before=len(made.receiver.posts),
            expected={
                "linkedin-linkedin": "expired",
                "threads-threads": "valid",
                "facebook-facebook": "valid",
                "bluesky-b": "valid",
            },
        )


def _copy(database: str, store: Path, *, back: bool) -> None:
    """Keep the database aside, or put it back; with PostgreSQL by its own template mechanism."""
    if database.startswith("sqlite"):
        path = Path(database.removeprefix("sqlite:///"))
        if back:
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(*((store, path) if back else (path, store)))
        return
    name = postgres.name_of(database)
    source, target = (f"{name}_before", name) if back else (name, f"{name}_before")
    postgres.replace_database(database, source=source, target=target)
