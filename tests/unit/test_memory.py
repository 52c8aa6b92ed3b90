"""What a process gives back after large work. The C library does it, so a process of its own is looked at."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta

import pytest

from monitor.telemetry import memory
from tests.support.command_line import ROOT, environment

SCRIPT = """
from monitor.telemetry import memory
memory.prepare()
kept = []
for _ in range(3):
    crowd = [bytearray(700) for _ in range(120_000)]
    kept += crowd[::5_000]  # what stays pins the heap that the others leave behind
    before = memory.resident_bytes()
    del crowd
memory.freeze_loaded()
print(before, memory.resident_bytes())
"""


@pytest.mark.slow
@pytest.mark.skipif(not memory.resident_bytes(), reason="this system does not tell how much memory a process holds")
def test_freed_memory_goes_back_to_the_system_also_from_between_what_is_kept() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 90_000_000
    assert after < before - 60_000_000


async def test_memory_is_given_back_when_it_has_grown_and_not_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given = 0

    def release() -> None:
        nonlocal given
        given += 1

    monkeypatch.setattr(memory, "release", release)  # the real one is proved above
    megabyte = 1024 * 1024
    held = iter([100, 101, 150, 110, 112, 113, 90, 95, 97, 92])
    seen: list[int] = []

    def resident() -> int:
        seen.append(next(held))
        return seen[-1] * megabyte

    with pytest.raises(RuntimeError):  # there is no more to see
        await asyncio.wait_for(memory.trim_periodically(every=timedelta(0), resident=resident), timeout=30)
    assert seen == [100, 101, 150, 110, 112, 113, 90, 95, 97, 92]
    assert given == 2, "at 150, and at 97: seven more than the least since"


def test_a_command_collects_garbage_rarely_and_the_daemon_as_usual_once_it_has_started() -> None:
    code = (
        "import asyncio, gc\n"
        "from datetime import timedelta\n"
        "from monitor.cli import main\n"
        "from monitor.telemetry import memory\n"
        "main(['--version'])\n"
        "print(gc.get_threshold()[0], gc.isenabled())\n"
        "memory.STARTED_AFTER = timedelta(0)\n"
        "async def start():\n"
        "    task = asyncio.create_task(memory.keep_small())\n"
        "    while gc.get_threshold()[0] > 700 or not gc.get_freeze_count():\n"
        "        await asyncio.sleep(0.01)\n"
        "    task.cancel()\n"
        "asyncio.run(asyncio.wait_for(start(), 30))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "50000 True"
