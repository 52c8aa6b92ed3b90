"""P01, A14: the daemon is killed at random instants, over and over; nothing is lost and nothing is repeated in vain.

This is the quick version; `make chaos` kills a thousand times on each database.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.random_kills import run_kills

pytestmark = pytest.mark.slow

KILLS = 10


def test_P01_A14_killed_at_random_instants_it_reports_every_problem_and_every_recovery(
    tmp_path: Path, empty_database: str
) -> None:
    found = run_kills(tmp_path, empty_database, kills=KILLS, seed=random.randrange(1_000_000))
    assert found.violations == []
    assert found.transitions > 0
    assert found.alerts >= found.transitions
