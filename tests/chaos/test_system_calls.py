"""P02: one cycle from poll to delivery is killed at single system calls; the next cycle makes it whole.

This is a sample of the points; `make chaos` takes every one of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.chaos.system_calls import rehearsal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: kills at system calls are NOT tested here"),
]

SAMPLE = 4


def test_P02_killed_at_a_write_a_sync_or_a_send_the_next_cycle_loses_nothing(tmp_path: Path, empty_database: str) -> None:
    with rehearsal(tmp_path, empty_database) as cycle:
        points = cycle.points()
        assert len(points) > SAMPLE
        for point in points[:: len(points) // SAMPLE]:
            found = cycle.kill_at(point)
            assert found.violations == [], point
            assert found.transitions > 0
