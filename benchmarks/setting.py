"""What the benchmarks share: the simulated APIs as a process of their own, a configuration for them, and figures of processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).parent.parent
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Apis:
    """The simulated APIs' addresses and how to make something happen there."""

    urls: dict[str, str]
    control: str
    key: str

    def do(self, **deed: Any) -> None:
        """Perform one deed in the world (see monitor.demo.deeds)."""
        request = Request(self.control, data=json.dumps(deed).encode(), headers={"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            answer.read()


@contextmanager
def apis(*, connections: int, sources: int = 1) -> Iterator[Apis]:
    """The four APIs on the other core, with a crowd at PostPost."""
    command = [sys.executable, "-m", "monitor.demo.server", "--connections", str(connections), "--sources", str(sources)]
    process = subprocess.Popen(pinned(command, core=1), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Apis(urls=told["urls"], control=told["control"], key=next(iter(told["keys"].values())))
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def pinned(command: list[str], *, core: int) -> list[str]:
    """The command bound to one core, where the machine can do that."""
    if (os.cpu_count() or 1) < 2 or not Path("/usr/bin/taskset").exists():
        return command
    return ["/usr/bin/taskset", "-c", str(core), *command]


def write_config(folder: Path, api: Apis, *, database: str, poll_every: str = "15m", channel: str = "", policy: str = "") -> Path:
    """A configuration of one PostPost source without probes."""
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(
        f"""
[database]
url = "{database}"
[schedule]
poll_every = "{poll_every}"
probe_every = "off"
requests_per_minute = 60000
{policy}
[web]
listen = "off"
[[sources]]
name = "source-0"
provider = "postpost"
api_key = "{api.key}"
base_url = "{api.urls["postpost"]}"
{channel}
""",
        encoding="utf-8",
    )
    return path


def spread(values: list[float]) -> dict[str, float]:
    """Median and range of several runs."""
    return {"median": round(median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


def until(true: Any, *, within: float = PATIENCE) -> float:
    """Wait until something is true; the monotonic instant at which it was seen."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(str(true))
        time.sleep(0.002)
    return time.monotonic()
