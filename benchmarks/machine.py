"""Measurements of processes, and the core that they run on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_LIBRARIES = ("aiohttp", "httpx", "msgspec", "sqlalchemy", "psycopg", "uvloop", "starlette", "uvicorn")

MEASURED, OTHERS = 0, 1
"""The core of what is measured, and that of everything else: simulator, PostgreSQL, receivers, this harness."""


def pin(core: int | None, pid: int = 0) -> bool:
    """Bind a process (0: this one) and what it starts to one core. False where the machine has no second core."""
    if core is None or not hasattr(os, "sched_setaffinity") or (os.cpu_count() or 1) < 2:
        return False
    with suppress(OSError):
        os.sched_setaffinity(pid, {core})
        return True
    return False


def spawn(line: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start what is to be measured, on its core."""
    process: subprocess.Popen[Any] = subprocess.Popen(line, **options)
    pin(MEASURED, process.pid)  # it has hardly begun
    return process


def pin_group(first: int, core: int) -> None:
    """Bind a server of several processes: those that are there, and through their parent those to come."""
    pin(core, first)
    for pid in _children(first):
        pin(core, pid)


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            text = path.read_text(encoding="utf-8", errors="replace")
            if int(text.rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, to the hundredth."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def waited_seconds(pid: int) -> float:
    """Time in which the first thread of a process was ready to run and waited for a core, so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9


def family_cpu(pid: int) -> float:
    """User and system time of a process and of its children, ended ones included."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    spent = sum(int(each) for each in fields[11:15]) / _TICKS
    for child in _children(pid):
        with suppress(OSError):
            spent += cpu_seconds(child)
    return spent


def resident_mb(pid: int) -> float:
    """Return the current resident set in MB."""
    return _status_mb(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """Return the largest resident set since the start, or since `forget_peak`, in MB."""
    return _status_mb(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let the peak begin at the resident set of now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _status_mb(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{name}:"))


def written_bytes(pid: int) -> int:
    """Return the bytes that a process made the kernel write to disk (none on a file system in memory)."""
    text = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("write_bytes:"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A process at one instant."""

    cpu: float
    written: int
    resident: float
    """Megabytes."""


def read(pid: int) -> Reading:
    """Return the current reading of a process."""
    return Reading(cpu=cpu_seconds(pid), written=written_bytes(pid), resident=resident_mb(pid))


def describe(folder: Path) -> dict[str, object]:
    """Return the machine and the versions, for the results."""
    cores = os.cpu_count() or 1
    return {
        "processor": _processor(),
        "cores": cores,
        "pinned": cores >= 2 and hasattr(os, "sched_setaffinity"),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(folder),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    return platform.machine()


def _file_system(folder: Path) -> str:
    done = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
