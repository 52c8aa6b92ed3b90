"""Several daemons that share the work on one PostgreSQL database: what operators see of them, restarts and upgrades."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from monitor.demo.world import World
from monitor.store import Store, revisions
from tests.acceptance.daemon import PATIENCE, ROOT, Setting, eventually, setting
from tests.acceptance.test_recheck import answered_after
from tests.chaos.oracle import CHANNEL, judge, settled
from tests.chaos.random_kills import SOURCE, TOP, new_world
from tests.support import prometheus_text
from tests.support.launcher import Process
from tests.support.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CLUSTER = f"{TOP}\n[cluster]\nworkers = 4\n"
BEAT = 4.0
"""Seconds between two reports of a daemon."""


class Daemons:
    """The daemons of a cluster, each with a page."""

    def __init__(self, made: Setting, database: str, environ: pytest.MonkeyPatch) -> None:
        self.made, self.database, self._environ = made, database, environ
        self.pages: dict[int, str] = {}
        """The URL of each daemon's page, by its pid."""

    def start(self, *, config: Path | None = None) -> Process:
        """Start a daemon that serves pages, and wait until it reports its start."""
        listen = f"127.0.0.1:{free_port()}"
        started = self.made.log().count("daemon.started")
        self._environ.setenv("TOKEN_MONITOR_WEB__LISTEN", listen)
        process = self.made.launch_module("monitor", "--config", str(config or self.made.config), "run")
        eventually(lambda: self.made.log().count("daemon.started") > started or process.poll() is not None, within=40)
        assert process.poll() is None, self.made.log()[-4000:]
        self.pages[process.pid] = f"http://{listen}"
        return process

    def get(self, process: Process, path: str) -> httpx.Response:
        """Return what a daemon answers."""
        return httpx.get(self.pages[process.pid] + path, trust_env=False, timeout=20)

    def shown(self) -> dict[str, Any]:
        """Return what `cluster --json` writes."""
        done = self.made.call("cluster", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        return dict(json.loads(done.stdout))

    def states(self) -> dict[int, str]:
        """Return the state of each daemon that `cluster` shows, by its pid."""
        return {each["pid"]: each["state"] for each in self.shown()["daemons"]}

    def shown_as(self, process: Process) -> dict[str, Any]:
        """Return the row of a daemon; an empty one if there is none."""
        return next((dict(each) for each in self.shown()["daemons"] if each["pid"] == process.pid), {})

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the database."""
        with psycopg.connect(self.database.replace("postgresql+psycopg", "postgresql"), autocommit=True) as conn:
            done = conn.execute(statement.encode())
            return done.fetchall() if done.description else []


@contextmanager
def cluster_of(
    folder: Path, world: World, database: str, environ: pytest.MonkeyPatch, *, top: str = CLUSTER
) -> Iterator[Daemons]:
    with setting(folder, world, database=database, top=top, channel=CHANNEL) as made:
        text = made.config.read_text("utf-8").replace('[web]\nlisten = "off"\n', "")
        made.config.write_text(text, "utf-8")
        yield Daemons(made, database, environ)


def copy_of(config: Path, name: str, *edits: tuple[str, str]) -> Path:
    """Return another configuration beside the first."""
    text = config.read_text("utf-8")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    other = config.with_name(name)
    other.touch(mode=0o600)
    other.write_text(text, "utf-8")
    return other


def test_without_a_cluster_one_sentence_explains_who_does_the_work(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    turner = new_world(random.Random(1))
    sqlite, server = f"sqlite:///{tmp_path / 'monitor.db'}", new_postgres()
    for number, (database, why) in enumerate(
        [(sqlite, "a cluster needs PostgreSQL."), (server, "no daemon with cluster.workers above 0 has used this database.")]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with setting(folder, turner.world, database=database, top=TOP) as made:
            empty = made.call("cluster")
            assert empty.returncode == 1
            assert "is empty" in empty.stderr
            made.call("check")
            done = made.call("cluster")
            assert (done.returncode, done.stdout, done.stderr) == (0, f"One daemon does all the work: {why}\n", "")
            found = json.loads(made.call("cluster", "--json").stdout)
            assert (found["planner"], found["daemons"], found["queues"], found["leases"]) == (None, [], [], 0)


def test_two_daemons_are_shown_serve_pages_and_survive_the_end_of_one(
    tmp_path: Path, new_postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turner = new_world(random.Random(2))
    with cluster_of(tmp_path, turner.world, new_postgres(), monkeypatch) as run:
        first = run.start()
        second = run.start()
        run.made.await_polls(2)
        eventually(lambda: run.states() == {first.pid: "working", second.pid: "working"})
        found = run.shown()
        planner, other = found["daemons"]
        assert (planner["pid"], other["pid"], found["planner"]) == (first.pid, second.pid, planner["id"])
        assert (planner["plans"], other["plans"]) == (True, False)
        assert (planner["workers"], planner["configuration"]) == (4, other["configuration"])
        assert [each["kind"] for each in found["queues"]] == ["polls", "probes", "deliveries"]
        text = run.made.call("cluster").stdout
        assert text.startswith(f"2 daemons: 2 working. Process {first.pid} on {socket.gethostname()} plans.\n")
        assert re.search(rf"^working .* {second.pid} ", text, re.MULTILINE)
        for process in (first, second):
            eventually(lambda process=process: run.get(process, "/readyz").status_code == 200)  # type: ignore[misc]
            assert run.get(process, "/healthz").status_code == 200
            assert run.get(process, "/").status_code == 200
            assert len(run.get(process, "/api/v1/connections").json()["connections"]) == len(turner.states)
            metrics = prometheus_text.read(run.get(process, "/metrics").text)
            prometheus_text.lint(metrics, prefix="token_monitor_")
            daemons = {given["state"]: number for _, given, number in metrics["token_monitor_cluster_daemons"].samples}
            assert daemons == {"working": 2, "waiting": 0, "draining": 0, "dead": 0}
            assert [number for *_, number in metrics["token_monitor_cluster_planner_up"].samples] == [1]
            assert {"token_monitor_cluster_units_waiting", "token_monitor_cluster_leases"} <= metrics.keys()
        used = run.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'token-monitor%'")[0][0]
        assert used <= 2 * 12, "the number that the documentation states"
        assert run.made.stop(first, signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: run.states() == {first.pid: "dead", second.pid: "working"}, within=40)
        assert run.shown()["planner"] == run.shown_as(second)["id"]
        assert "it no longer reports" in run.made.call("cluster").stdout
        run.made.await_polls(2)
        turner.turn()
        with Store(run.database) as store:
            with suppress(AssertionError):  # the oracle describes a fault better than a wait that ran out
                eventually(lambda: settled(store, turner.states))
            assert run.made.stop(second) == 0
            assert judge(store, run.made.receiver.posts, turner.states, kills=1).violations == []
        assert "No daemon of the cluster is running." in run.made.call("cluster").stdout


def test_a_source_that_is_polled_every_second_is_probed_too(
    tmp_path: Path, new_postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turner = new_world(random.Random(3))
    with cluster_of(tmp_path, turner.world, new_postgres(), monkeypatch) as run:
        run.start()
        run.made.await_polls(8)
        log = run.made.log()
        assert log.count("probes.done") >= log.count("poll.done") // 2


def test_a_stopped_daemon_finishes_its_units_and_the_others_go_on(
    tmp_path: Path, new_postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turner = new_world(random.Random(3))
    with cluster_of(tmp_path, turner.world, new_postgres(), monkeypatch) as run:
        processes = [run.start(), run.start()]
        run.made.await_polls(2)
        under_way = turner.world.hold_lists(SOURCE)
        run.made.await_polls(1)
        later = turner.world.hold_lists(SOURCE)  # the polls of the other daemon
        before = run.execute("SELECT outcome FROM polls ORDER BY id")
        [[holder]] = run.execute("SELECT holder FROM token_monitor_cluster.leases WHERE name = 'source:agency'")
        busy = next(each for each in processes if f"/{each.pid}/" in holder)
        busy.send_signal(signal.SIGTERM)
        state = f"SELECT state FROM token_monitor_cluster.daemons WHERE pid = {busy.pid}"  # noqa: S608 - a number
        eventually(lambda: run.execute(state) == [("draining",)])
        under_way.set()
        assert busy.wait(timeout=PATIENCE) == 0
        assert run.execute("SELECT outcome FROM polls ORDER BY id") == [*before, ("ok",)], "the poll under way was recorded"
        [left] = [each for each in processes if each is not busy]
        later.set()
        eventually(lambda: run.states() == {left.pid: "working"} and run.shown()["planner"])
        run.made.await_polls(2)
        assert run.made.stop(left) == 0
        assert "Traceback" not in run.made.log()


def test_a_daemon_with_another_configuration_waits_until_all_are_equal(
    tmp_path: Path, new_postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turner = new_world(random.Random(4))
    with cluster_of(tmp_path, turner.world, new_postgres(), monkeypatch) as run:
        planner = run.start()
        mine = copy_of(run.made.config, "second.toml")
        second = run.start(config=mine)
        eventually(lambda: run.states() == {planner.pid: "working", second.pid: "working"})
        equal = mine.read_text("utf-8")
        copy_of(run.made.config, "second.toml", ("confirm_missing = 1", "confirm_missing = 3"))
        second.send_signal(signal.SIGHUP)
        eventually(lambda: run.states() == {planner.pid: "working", second.pid: "waiting"})
        reason = run.shown_as(second)["reason"]
        assert re.fullmatch(
            r"Its configuration \(\w+\) differs from that of the planner \(\w+\): reload the same one everywhere\.", reason
        )
        text = run.made.call("cluster").stdout
        assert "2 daemons: 1 working, 1 waiting." in text
        assert f"! process {second.pid} on {socket.gethostname()}: {reason}" in text
        refused = run.get(second, "/readyz")
        assert (refused.status_code, refused.json()["reasons"]) == (503, [reason])
        assert run.get(second, "/healthz").status_code == 200
        assert run.get(planner, "/readyz").status_code == 200
        run.made.await_polls(2)  # by the planner
        mine.write_text(equal, "utf-8")
        second.send_signal(signal.SIGHUP)
        eventually(lambda: run.states() == {planner.pid: "working", second.pid: "working"})
        eventually(lambda: run.get(second, "/readyz").status_code == 200)
        copy_of(run.made.config, "second.toml", ("confirm_missing = 1", "confirm_missing = 2"))
        copy_of(run.made.config, run.made.config.name, ("confirm_missing = 1", "confirm_missing = 2"))
        planner.send_signal(signal.SIGHUP)  # the planner's configuration applies: the other one waits
        eventually(lambda: run.states().get(second.pid) == "waiting")
        second.send_signal(signal.SIGHUP)
        eventually(lambda: run.states() == {planner.pid: "working", second.pid: "working"} and run.shown()["planner"])
        run.made.await_polls(2)
        assert [run.made.stop(each) for each in (second, planner)] == [0, 0]
        assert "Traceback" not in run.made.log()


def test_kinds_of_work_can_be_divided_and_rechecks_are_answered_within_seconds(
    tmp_path: Path, new_postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turner = new_world(random.Random(5))
    with cluster_of(tmp_path, turner.world, new_postgres(), monkeypatch) as run:
        workers = "[cluster]\nworkers = 4"
        queues = copy_of(run.made.config, "polls.toml", (workers, f'{workers}\nqueues = ["polls", "probes"]'))
        planner = run.start(config=queues)
        run.made.await_polls(1)
        turner.world.expire(SOURCE, next(iter(turner.states)))
        eventually(lambda: any(each["waiting"] for each in run.shown()["queues"] if each["kind"] == "deliveries"))
        assert run.made.titles() == []
        sender = run.start(config=copy_of(run.made.config, "sender.toml", (workers, f'{workers}\nqueues = ["deliveries"]')))
        eventually(run.made.titles)
        for name in list(turner.states)[1:3]:
            done = run.made.call("recheck", name, "--json")
            assert done.returncode == 0, done.stdout + done.stderr
            [found] = json.loads(done.stdout)["rechecks"]
            assert found["outcome"] == "healthy"
            assert answered_after(found) <= 5, found
        assert [run.made.stop(each) for each in (sender, planner)] == [0, 0]


def test_a_daemon_without_workers_stands_by_beside_a_cluster(
    tmp_path: Path, new_postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turner = new_world(random.Random(6))
    with cluster_of(tmp_path, turner.world, new_postgres(), monkeypatch) as run:
        first = run.start()
        run.made.await_polls(1)
        alone = copy_of(run.made.config, "alone.toml", ("workers = 4", "workers = 0"))
        standby = run.made.launch_module("monitor", "--config", str(alone), "run")
        eventually(lambda: "daemon.standby" in run.made.log())
        assert run.states() == {first.pid: "working"}
        assert run.made.stop(first) == 0
        eventually(lambda: "daemon.takeover" in run.made.log())
        run.made.await_polls(2)
        text = run.made.call("cluster").stdout
        assert "No daemon of the cluster is running. A daemon with cluster.workers = 0 does the work: process" in text
        assert f"process {standby.pid} on" in text
        assert run.made.stop(standby) == 0


def test_members_wait_while_a_daemon_without_workers_has_the_lock_until_a_reload_lets_it_join(
    tmp_path: Path, new_postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turner = new_world(random.Random(10))
    with cluster_of(tmp_path, turner.world, new_postgres(), monkeypatch) as run:
        mine = copy_of(run.made.config, "alone.toml", ("workers = 4", "workers = 0"))
        alone = run.start(config=mine)
        member = run.start()
        eventually(lambda: run.states() == {member.pid: "waiting"}, within=40)
        text = run.made.call("cluster").stdout
        assert f"A daemon with cluster.workers = 0 does the work: process {alone.pid} on" in text
        assert "! process" in text
        mine.write_text(mine.read_text("utf-8").replace("workers = 0", "workers = 4"), "utf-8")
        alone.send_signal(signal.SIGHUP)
        eventually(lambda: run.states() == {alone.pid: "working", member.pid: "working"})
        run.made.await_polls(2)
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = f'\n[hooks]\nlisten = "127.0.0.1:{other.getsockname()[1]}"\n'
            joined = mine.read_text("utf-8")
            mine.write_text(joined + taken, "utf-8")
            alone.send_signal(signal.SIGHUP)
            eventually(lambda: "config.reload_refused" in run.made.log())
            assert run.states() == {alone.pid: "working", member.pid: "working"}
            rejected = "token_monitor_config_last_reload_successful 0.0"
            eventually(lambda: rejected in run.get(alone, "/metrics").text)
        mine.write_text(joined, "utf-8")
        alone.send_signal(signal.SIGHUP)
        eventually(lambda: rejected not in metrics_of(run, alone))
        assert [run.made.stop(each) for each in (member, alone)] == [0, 0]
        assert "Traceback" not in run.made.log()


def metrics_of(run: Daemons, process: Process) -> str:
    """What a daemon exports; the sentence that stands for a failure while its pages start again."""
    with suppress(httpx.TransportError):
        return run.get(process, "/metrics").text
    return "token_monitor_config_last_reload_successful 0.0"


def test_a_missing_extra_is_a_configuration_error(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    turner = new_world(random.Random(7))
    package = tmp_path / "without" / "procrastinate"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ModuleNotFoundError('No module named procrastinate', name=__name__)\n", "utf-8")
    path = os.pathsep.join([str(package.parent), str(ROOT)])
    with setting(tmp_path, turner.world, database=new_postgres(), top=CLUSTER) as made:
        done = made.call("run", environment={"PYTHONPATH": path})
    assert done.returncode == 2
    [sentence] = [line for line in done.stderr.splitlines() if line.startswith("token-monitor: ")]
    assert "pip install 'token-expiry-monitor[cluster]'" in sentence
    assert "Traceback" not in done.stderr


def test_a_role_that_may_not_create_schemas_gets_the_grant(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    turner, database = new_world(random.Random(8)), new_postgres()
    name, role = str(make_url(database).database), f"limited_{random.randrange(10**9)}"
    with psycopg.connect(database.replace("postgresql+psycopg", "postgresql"), autocommit=True) as admin:
        for statement in (f"CREATE ROLE {role} LOGIN", f"GRANT ALL ON SCHEMA public TO {role}"):
            admin.execute(statement.encode())
        limited = make_url(database).set(username=role).render_as_string(hide_password=False)
        try:
            with setting(tmp_path, turner.world, database=limited, top=CLUSTER) as made:
                done = made.call("run")
                assert done.returncode == 2, done.stderr
                [sentence] = [line for line in done.stderr.splitlines() if line.startswith("token-monitor: ")]
                assert f'GRANT CREATE ON DATABASE "{name}" TO' in sentence
                assert "Traceback" not in done.stderr
                admin.execute(f'GRANT CREATE ON DATABASE "{name}" TO {role}'.encode())
                assert made.stop(made.start()) == 0
        finally:
            admin.execute(f"DROP OWNED BY {role}".encode())
            admin.execute(f"DROP ROLE {role}".encode())


def test_daemons_of_an_older_version_wait_for_their_upgrade(
    tmp_path: Path, new_postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turner = new_world(random.Random(9))
    with cluster_of(tmp_path, turner.world, new_postgres(), monkeypatch) as run:
        processes = [run.start(), run.start()]
        run.made.await_polls(2)
        run.execute("UPDATE alembic_version SET version_num = '9999_later'")
        eventually(lambda: run.states() == dict.fromkeys((each.pid for each in processes), "waiting"), within=60)
        for each in processes:
            assert "A newer version has migrated the database" in run.shown_as(each)["reason"]
        processes[0].send_signal(signal.SIGHUP)  # nothing to reload, and no reason to end
        content = stored(run)
        calls = dict(run.made.world.sources[SOURCE].calls)
        turner.turn()
        time.sleep(2 * BEAT)
        assert stored(run) == content, "nothing is written to the schema of another version"
        assert dict(run.made.world.sources[SOURCE].calls) == calls
        assert [each.poll() for each in processes] == [None, None]
        late = run.made.call("run")
        assert late.returncode == 2
        assert "9999_later" in late.stderr
        run.execute(f"UPDATE alembic_version SET version_num = '{revisions.HEAD}'")  # noqa: S608 - a constant
        assert run.made.stop(processes.pop()) == 0
        again = run.start()
        eventually(lambda: run.states().get(again.pid) == "working" and run.shown_as(again)["plans"])
        run.made.await_polls(2)
        assert [run.made.stop(each) for each in (*processes, again)] == [0, 0]
        assert "Traceback" not in run.made.log()


def stored(run: Daemons) -> list[list[tuple[Any, ...]]]:
    """Everything that changes in the monitor's tables while it works."""
    tables = ("sources", "scopes", "connections", "cohorts", "events", "polls", "alerts", "deliveries", "meta")
    return [run.execute(f"TABLE {table} ORDER BY 1, 2") for table in tables]
