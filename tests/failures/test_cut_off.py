"""N02: the machine loses its network, in a network namespace of its own whose only address is taken away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.daemon import ROOT

pytestmark = pytest.mark.slow
TOOLS = ("unshare", "ip")


@pytest.mark.skipif(
    os.geteuid() != 0 or any(shutil.which(tool) is None for tool in TOOLS),
    reason="a network namespace takes root, and unshare and ip: a machine that is cut off is NOT tested here",
)
def test_N02_a_machine_that_is_cut_off_sends_one_alert_loses_nothing_and_recovers(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            "unshare",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            sys.executable,
            "-m",
            "tests.failures.cut_off",
            str(tmp_path),
            f"sqlite:///{tmp_path / 'monitor.db'}",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=110,
    )
    log = (tmp_path / "daemon.log").read_text("utf-8")
    assert done.returncode == 0, f"{done.stderr[-2000:]}\n{log[-3000:]}"
    result = json.loads(done.stdout)
    valid = {"agency/linkedin-soon": "valid", "agency/threads-well": "valid", "studio/mastodon-well": "valid"}
    expired = {**valid, "agency/linkedin-soon": "expired"}
    assert (result["before"], result["during"], result["after"]) == (valid, expired, expired)
    assert result["received while cut off"] == 0
    problems = [["expired", "date_passed", "linkedin-soon"], ["monitor_problem", "own_network", ""]]
    # A second before the end its window begins; both are one message.
    soon = [each for each in result["decided"] if each[0] == "expiring_soon"]
    assert len(soon) <= 1
    assert sorted(result["decided while cut off"]) == sorted([*soon, *problems]), (
        "one alert is sent, however many sources there are"
    )
    assert sorted(result["decided"]) == sorted([*soon, *problems, ["monitor_recovered", "own_network", ""]])
    once = [text for text in result["messages"] if "linkedin-soon" in text]
    assert len(once) == 1
    assert "may be a repeat" not in once[0]
    assert 1 <= sum("can be reached" in text for text in result["messages"]) <= 2, (
        "the problem and its end, or both in one message"
    )
    assert result["exit"] == 0
    assert "Traceback" not in log
