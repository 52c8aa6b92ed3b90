"""The daemon is killed while programs push: what was answered is in the store."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.push_kills import run_push_kills

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILLS = 20


def test_whatever_was_answered_is_stored_after_a_kill(tmp_path: Path, empty_database: str) -> None:
    found = run_push_kills(tmp_path, empty_database, kills=KILLS, seed=random.randrange(1_000_000))
    assert len(found.answered) > KILLS
    assert found.lost == []
