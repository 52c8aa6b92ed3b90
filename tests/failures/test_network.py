"""N03: packets that vanish, in a network namespace of its own where a packet filter drops them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.acceptance.daemon import ROOT

TOOLS = ("unshare", "ip", "nft")

PROGRAM = """
import asyncio, json
from monitor.providers import HttpLimits, HttpSessions, build_provider
from monitor.domain.clock import SystemClock
from tests.contract.loopback import make_source

SOURCE = make_source("postpost", "http://127.0.0.1:9/api/v1")

async def main():
    limits = HttpLimits(list_timeout=0.5, overall_timeout=1.2, retry_wait=0.01)
    async with HttpSessions(limits=limits) as sessions:
        report = await asyncio.wait_for(build_provider(SOURCE, sessions=sessions, clock=SystemClock()).poll(), timeout=20)
        print(json.dumps([report.outcome.value, report.problem, report.listed]))

asyncio.run(main())
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or any(shutil.which(tool) is None for tool in TOOLS),
    reason="a network namespace takes root, and unshare, ip and nft: vanishing packets are NOT tested here",
)
def test_N03_when_packets_vanish_the_attempt_ends_within_its_deadline() -> None:
    hook = "'{ type filter hook input priority 0; }'"
    drop = f"nft add table inet t; nft add chain inet t in {hook}; nft add rule inet t in tcp dport 9 drop"
    script = f'ip link set lo up; {drop}; exec {sys.executable} -c "$PROGRAM"'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROGRAM": PROGRAM},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    outcome, problem, listed = json.loads(done.stdout)
    assert outcome == "unreachable"
    assert "in time" in problem
    assert listed == 0
