"""A machine of a cluster without a network: it reaches the database and no service, and must not report every source."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.store import Store, cluster_tables, sources
from tests.acceptance.daemon import PATIENCE, ROOT, Setting, eventually, setting
from tests.chaos.oracle import CHANNEL, judge, settled
from tests.chaos.random_kills import TOP, new_world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("unshare") is None,
        reason="a network namespace takes root and unshare: a machine without a network is NOT tested here",
    ),
]


def launch_without_network(made: Setting) -> subprocess.Popen[bytes]:
    """Start a daemon that has no network. The database's socket is a file, so it reaches the database."""
    command = ["unshare", "--net", "--kill-child", sys.executable, "-m", "monitor", "--config", str(made.config), "run"]
    with (made.folder / "cut.log").open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=made.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
    made.processes.append(process)
    return process


def states(store: Store) -> dict[str, int]:
    """Return the number of present daemons by state."""
    with store.begin_read() as conn:
        found = cluster_tables.read_state(conn)
    counts: dict[str, int] = {}
    for each in found.daemons if found is not None else ():
        if each.present:
            counts[each.state] = counts.get(each.state, 0) + 1
    return counts


def test_a_machine_without_a_network_leaves_its_sources_to_the_others(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    database, turner = new_postgres(), new_world(random.Random(3))
    top = f"{TOP}[cluster]\nworkers = 2\n"
    with setting(tmp_path, turner.world, database=database, top=top, channel=CHANNEL) as made, Store(database) as store:
        made.start()
        made.await_polls(2)
        launch_without_network(made)
        cut = made.folder / "cut.log"
        # Also while it starts it is "waiting", and tries deliveries until its polls have failed.
        eventually(lambda: "poll.handed_back" in cut.read_text("utf-8"), within=3 * PATIENCE)
        eventually(lambda: states(store) == {"working": 1, "waiting": 1}, within=3 * PATIENCE)
        known = len(cut.read_text("utf-8"))
        for _ in range(4):
            turner.turn()
            made.await_polls(2)
        # A delivery that the machine tried before it had polled anything is repeated later.
        eventually(lambda: settled(store, turner.states), within=8 * PATIENCE)
        with store.begin_read() as conn:
            found = sources.find_source(conn, "agency")
        assert found is not None
        assert found.status == "ok", "a source is unreachable only if every machine says so"
        assert "unreachable" not in made.log()
        assert "channel.failing" not in cut.read_text("utf-8")[known:], "it leaves deliveries to others"
        findings = judge(store, made.receiver.posts, turner.states, kills=0)
        assert findings.violations == []


def test_a_source_that_no_machine_reaches_is_recorded_as_failing(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    database, turner = new_postgres(), new_world(random.Random(4))
    top = f"{TOP}[cluster]\nworkers = 2\n"
    with setting(tmp_path, turner.world, database=database, top=top) as made, Store(database) as store:
        first = made.start()
        made.await_polls(2)
        made.stop(first)
        launch_without_network(made)
        launch_without_network(made)

        def failing() -> bool:
            with store.begin_read() as conn:
                found = sources.find_source(conn, "agency")
            return found is not None and found.status == "failing"

        eventually(failing, within=6 * PATIENCE)
