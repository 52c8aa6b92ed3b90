"""What `token-monitor cluster` shows, from rows as daemons report them."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from monitor.store import cluster_tables, open_store
from monitor.store.leases import DaemonReport, Leases
from monitor.store.work_queue import Unit, WorkQueue
from tests.support.command_line import token_monitor, write_config
from tests.support.terminal import in_terminal

REASON = "Its clock is 5 minutes ahead of the planner's: correct the clock."
HOSTILE = "beta\x1b[31m\u202e"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def report(me: str, host: str, *, state: str = "working", detail: str | None = None, plans: bool = False) -> DaemonReport:
    return DaemonReport(
        id=me,
        host=host,
        pid=4711,
        version="0.2.0",
        workers=4,
        queue="",
        configuration="b4ebf194ea48",
        plans=plans,
        state=state,
        detail=detail,
        units=3,
        clock_offset=0.25,
    )


@pytest.fixture
def folder(tmp_path: Path, new_postgres_url: str) -> Path:
    """A configuration beside a cluster of four daemons: one of each state."""
    write_config(tmp_path, url=new_postgres_url)
    with open_store(new_postgres_url) as store:
        server = store.server
    cluster_tables.prepare(server)
    for each in (
        report("a", "alpha", plans=True),
        report("b", HOSTILE, state="waiting", detail=f"{REASON}\x1b[2J"),
        report("c", "gamma", state="draining"),
        report("d", "delta"),
    ):
        with closing(Leases(server, me=each.id)) as leases:
            leases.beat(each, [])
            if each.id == "a":
                leases.acquire(["source:agency", "channel:ops"])
    with psycopg.connect(new_postgres_url.replace("postgresql+psycopg", "postgresql"), autocommit=True) as conn:
        conn.execute("UPDATE token_monitor_cluster.daemons SET seen_at = now() - interval '5 minutes' WHERE id = 'd'")
    return tmp_path


@pytest.fixture
def new_postgres_url(request: pytest.FixtureRequest) -> str:
    """An empty database."""
    url = request.getfixturevalue("new_postgres")()
    assert isinstance(url, str)
    return url


def test_each_state_is_shown_with_its_reason_and_no_text_controls_the_terminal(folder: Path) -> None:
    done = token_monitor("cluster", folder=folder)
    assert (done.status, done.err) == (0, "")
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    lines = done.out.splitlines()
    assert lines[0] == "3 daemons: 1 working, 1 waiting, 1 draining. Process 4711 on alpha plans."
    assert lines[1].startswith("! process 4711 on beta")
    assert REASON in lines[1]
    rows = {line.split()[0]: line for line in lines if re.match(r"working|waiting|draining|dead", line)}
    assert re.search(r"alpha +4711 +0\.2\.0 +4 +3 +b4ebf194ea48 .* plans$", rows["working"])
    assert re.search(r"delta .* 5 minutes ago +it no longer reports$", rows["dead"])
    assert "2 sources and channels are in work (leases)." in lines


def test_the_json_has_the_same(folder: Path) -> None:
    found = token_monitor("cluster", "--json", folder=folder).json
    rows = {each["id"]: each for each in found["daemons"]}
    assert found["planner"] == "a"
    assert {me: row["state"] for me, row in rows.items()} == {"a": "working", "b": "waiting", "c": "draining", "d": "dead"}
    assert rows["b"]["reason"].startswith(REASON)
    assert (rows["a"]["reason"], rows["a"]["clock_offset_seconds"], rows["d"]["units"]) == (None, 0.25, 0)
    assert found["leases"] == 2


def test_a_narrow_terminal_shows_blocks(folder: Path) -> None:
    shown = ESCAPE.sub("", in_terminal(folder, "cluster", width=80)).replace("\r", "")
    assert "process 4711 on alpha · plans" in shown
    assert "version 0.2.0, 4 workers, 3 in work" in shown


async def test_what_waits_in_the_queue_is_counted_by_kind_with_the_age_of_the_oldest(folder: Path, new_postgres_url: str) -> None:
    with open_store(new_postgres_url) as store:
        queue = WorkQueue(store.server, connections=2)
        queue.prepare()
        with closing(Leases(store.server, me="a")) as leases:
            leases.beat(report("a", "alpha", plans=True), [])
    with psycopg.connect(new_postgres_url.replace("postgresql+psycopg", "postgresql"), autocommit=True) as conn:
        conn.execute("UPDATE token_monitor_cluster.daemons SET queue = %s WHERE id = 'a'", (queue.schema,))
    await queue.open({})
    try:
        await queue.defer([Unit(kind="polls", names=(name,), configuration="x") for name in ("agency", "studio")])
        found = token_monitor("cluster", "--json", folder=folder).json["queues"]
        assert [(each["kind"], each["waiting"], each["running"]) for each in found] == [
            ("polls", 2, 0), ("probes", 0, 0), ("deliveries", 0, 0),
        ]  # fmt: skip
        assert found[0]["waiting_since"] is not None
        assert re.search(r"^polls +2 +0 +\d+ seconds? ago$", token_monitor("cluster", folder=folder).out, re.MULTILINE)
    finally:
        await queue.close()
