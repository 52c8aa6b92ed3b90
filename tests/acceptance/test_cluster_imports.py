"""A daemon that works alone loads nothing that only a cluster needs."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.daemon import ROOT, eventually, setting
from tests.chaos.random_kills import TOP, new_world

pytestmark = pytest.mark.slow

ONLY_A_CLUSTERS = {"procrastinate", "psycopg_pool"}
_IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +(\w+)", re.MULTILINE)


def imported(folder: Path, database: str, *, top: str) -> set[str]:
    """Run a daemon until it has polled, probed and delivered; return the top packages that it imported."""
    turner = new_world(random.Random(1))
    with setting(folder, turner.world, database=database, top=TOP + top) as made:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        line = [sys.executable, "-X", "importtime", "-m", "monitor", "--config", str(made.config), "run"]
        with made.log_path.open("ab") as output:
            process = subprocess.Popen(line, stdout=output, stderr=output, cwd=folder, env=environment)
        try:
            made.await_polls(2)
            turner.turn()
            eventually(made.messages)
            eventually(lambda: "probes.done" in made.log())
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            process.wait(timeout=60)
        return set(_IMPORTED.findall(made.log()))


@pytest.mark.parametrize("top", ["", "\n[cluster]\nworkers = 0\n"], ids=["default", "no workers"])
def test_a_daemon_alone_loads_no_queue(tmp_path: Path, database_url: str, top: str) -> None:
    loaded = imported(tmp_path, database_url, top=top)
    assert "monitor" in loaded
    assert not loaded & ONLY_A_CLUSTERS


def test_a_daemon_of_a_cluster_loads_the_queue(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    """The test above would see it."""
    assert imported(tmp_path, new_postgres(), top="\n[cluster]\nworkers = 2\n") >= ONLY_A_CLUSTERS
