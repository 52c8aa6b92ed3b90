"""The ids of alerts and incidents."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from monitor.domain.records import fresh_id

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
FAMILY = """
import os
from datetime import UTC, datetime
from monitor.domain.records import fresh_id
now = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
fresh_id(now)
if child := os.fork():
    os.waitpid(child, 0)
print("\\n".join(fresh_id(now) for _ in range(500)), flush=True)
"""


def test_ids_sort_as_they_are_made_and_by_their_second() -> None:
    made = [fresh_id(NOW) for _ in range(1000)]
    made += [fresh_id(NOW + timedelta(seconds=number)) for number in range(1, 1000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {len(each) for each in made} == {20}


@pytest.mark.slow
def test_a_process_and_its_child_do_not_make_the_same_ids() -> None:
    done = subprocess.run([sys.executable, "-c", FAMILY], capture_output=True, text=True, check=True, timeout=60)
    made = done.stdout.split()
    assert len(made) == 1000
    assert len(set(made)) == 1000
