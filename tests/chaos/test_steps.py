"""P03: one cycle is killed right before and right after each of its steps; the next cycle makes it whole.

The steps are enumerated from the running program, so that a new transaction is a new test.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from monitor.store import Store
from tests.chaos import steps
from tests.chaos.oracle import judge, settled
from tests.chaos.system_calls import rehearsal

pytestmark = pytest.mark.slow


def test_P03_killed_between_any_two_steps_the_next_cycle_loses_nothing(tmp_path: Path, empty_database: str) -> None:
    with rehearsal(tmp_path, empty_database) as cycle:
        listed = tmp_path / "steps"
        cycle.put_back()
        assert cycle.run(f"{steps.LIST}{listed}") == 0
        names = listed.read_text("utf-8").split()
        for part in ("batch_writer", "prober", "time_changes", "notify.worker"):  # polls are written in batches
            assert any(part in name for name in names), (part, " ".join(names))
        assert "monitor.notify.apprise:send:1:after" in names
        for name in names:
            cycle.put_back()
            assert cycle.run(name) == -signal.SIGKILL, name
            for _ in range(3):
                assert cycle.run() == 0, cycle.made.log()[-3000:]
                with Store(empty_database) as store:
                    if settled(store):
                        break
            with Store(empty_database) as store:
                found = judge(store, cycle.made.receiver.posts, cycle.expected, kills=1)
            assert found.violations == [], name
            assert found.transitions > 0
