"""N01, P05: a DNS server that never responds, in a mount namespace with a resolv.conf that names it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.daemon import ROOT
from tests.failures.silent_dns import INTERVAL

pytestmark = pytest.mark.slow
TOOLS = ("unshare", "mount")
NAMES = ("1", "4", "12", "15", "100")


@pytest.mark.skipif(
    os.geteuid() != 0 or any(shutil.which(tool) is None for tool in TOOLS),
    reason="a mount namespace takes root, and unshare and mount: a silent DNS server is NOT tested here",
)
def test_N01_N31_P05_P42_silent_names_delay_neither_a_healthy_source_nor_the_stop(tmp_path: Path) -> None:
    pid = os.getpid()
    address = f"127.{64 + (pid >> 16) % 64}.{(pid >> 8) % 256}.{1 + pid % 254}"
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-m", "tests.failures.silent_dns", str(tmp_path), address],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout)
    assert {names: results[names]["status"] for names in NAMES} == dict.fromkeys(NAMES, 0)
    assert {names: results[names]["seconds"] for names in NAMES if results[names]["seconds"] >= 10} == {}
    assert results["12"]["gap"] < 2 * INTERVAL, "the healthy source was polled later than one interval"
    for result in results.values():
        assert result["healthy"] == ["ok"]
        assert not result["traceback"]
    (cause,) = results["12"]["causes"]
    assert "DNS does not respond" in cause
