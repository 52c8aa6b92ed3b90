"""A run of the benchmarks, as small as can be: the harness ends well and tells figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poll-unchanged", "probes-fast"])
def test_a_tiny_run_ends_well(name: str) -> None:
    """Simulator, bare loop, daemon and watch are real processes; the figures are of no worth, but they are there."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--plan", "tiny", "--only", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert "### The bare loop, and the simulator's own ceiling" in done.stdout
    assert "| the event loop blocked, longest, in all of the above | ≤ 100 ms |" in done.stdout
    assert "BROKEN" not in done.stderr
