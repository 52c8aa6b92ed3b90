"""A run of the benchmarks, as small as can be: the harness ends well and prints figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        ("poll-unchanged", "times bare, x"),
        ("poll-changed", "times floor, x"),
        ("probes-fast", "times bare, x"),
        ("status", "times imports, x"),
    ],
)
def test_a_tiny_run_ends_well(name: str, ratio: str) -> None:
    """Simulator, bare loop, floors, daemon and watch are real processes; the figures have no meaning, but they are there."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--plan", "tiny", "--only", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert f"| case | {ratio} |" in done.stdout
    if name != "status":  # which starts no daemon
        assert "| the event loop blocked, longest, in all of the above | ≤ 100 ms |" in done.stdout
    assert "BROKEN" not in done.stderr
