"""Daemons that share the work are killed at random instants; the others go on, and nothing is lost, repeated or overdone.

`make chaos` kills two hundred times.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.cluster_kills import BUSY_SOURCE, PER_MINUTE, arrivals, most_within, run_cluster_kills

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = 20


def test_P45_daemons_of_a_cluster_are_killed_and_the_others_do_their_work(
    tmp_path: Path, new_postgres: Callable[[], str]
) -> None:
    found, running = run_cluster_kills(tmp_path, new_postgres(), kills=KILLS, seed=random.randrange(1_000_000))
    assert found.violations == []
    assert found.alerts >= found.transitions > 0
    assert running.planner_away
    assert most_within(arrivals(running.made.world)[BUSY_SOURCE], 60)[0] > PER_MINUTE / 12  # the budget was in use
