"""Daemons of a cluster that are stopped for a while, lose the database, or learn that an API demands a pause."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from monitor.demo.receivers import WebhookReply
from monitor.demo.source import Trouble
from monitor.store import Store
from monitor.store.postgres import WRITERS_LOCK
from tests.acceptance.daemon import Setting, eventually, setting
from tests.chaos import cluster_audit
from tests.chaos.cluster_kills import SOURCES, TOP, ClusterTurner, new_world
from tests.chaos.cluster_proxy import DatabaseWay
from tests.chaos.oracle import CHANNEL, judge, settled
from tests.support.launcher import Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PATIENCE = 60.0
PAUSE = 25.0
STOPS_ASKING_WITHIN = 15.0
A_MOMENT = 1.0
"""Seconds in which a request that was under way may still arrive."""


@dataclass(kw_only=True)
class Pair:
    """A daemon that plans, and one that only works."""

    made: Setting
    store: Store
    turner: ClusterTurner
    planner: Process
    worker: Process

    @property
    def pids(self) -> dict[str, int]:
        """The processes by the names in their requests."""
        return {"planner": self.planner.pid, "worker": self.worker.pid}

    def asked(self, daemon: str, *, since: datetime) -> list[cluster_audit.Request]:
        """Return the requests of a daemon that arrived after an instant."""
        return [each for each in cluster_audit.requests(self.made.world) if each.daemon == daemon and each.at > since]

    def held_by_worker(self) -> set[str]:
        """Return the leases that the worker holds."""
        query = text("SELECT name FROM token_monitor_cluster.leases WHERE holder LIKE :holder")
        with self.store.begin_read() as conn:
            return set(conn.scalars(query, {"holder": f"%/{self.worker.pid}/%"}))

    def turn(self, *, seconds: float) -> None:
        """Let things happen for some time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turner.turn()
            time.sleep(min(1.0, max(end - time.monotonic(), 0)))

    def await_settled(self) -> None:
        """Wait until everything is delivered, and the store agrees with the world."""
        eventually(lambda: settled(self.store, self.turner.expected), within=2 * PATIENCE)


def launch(made: Setting, name: str, config: Path | None = None) -> Process:
    """Start a daemon with this name."""
    return made.launch_module("tests.chaos.cluster_daemon", name, str(config or made.config))


@contextmanager
def pair(folder: Path, database: str, *, worker_database: str | None = None) -> Iterator[Pair]:
    """Two daemons at slow services, so that something is always under way; the second may reach the database another way."""
    turner = new_world(random.Random(5))
    with setting(folder, turner.world, database=database, top=TOP, channel=CHANNEL) as made, Store(database) as store:
        cluster_audit.prepare(store)
        for name in SOURCES:
            turner.world.slow_source(name, timedelta(seconds=0.4))
        made.receiver.reply = WebhookReply(after=0.3)
        config = folder / "worker.toml"
        config.touch(mode=0o600)
        config.write_text(made.config.read_text("utf-8").replace(database, worker_database or database), encoding="utf-8")
        planner = launch(made, "planner")
        eventually(lambda: made.log().count("daemon.started") == 1, within=PATIENCE)
        worker = launch(made, "worker", config)
        found = Pair(made=made, store=store, turner=turner, planner=planner, worker=worker)
        begun = turner.world.clock.now()
        eventually(lambda: len(found.asked("worker", since=begun)) > 20, within=2 * PATIENCE)
        yield found
        assert [each.poll() for each in (found.planner, found.worker)] == [None, None], made.log()[-4000:]


def stop_in_the_middle(daemons: Pair) -> set[str]:
    """Stop the worker while it works on sources, and return its leases; it must not hold up the others' transactions."""

    def is_stopped() -> set[str]:
        if not any(name.startswith("source:") for name in daemons.held_by_worker()):
            daemons.turner.turn()
            return set()
        os.kill(daemons.worker.pid, signal.SIGSTOP)
        time.sleep(0.1)
        held = daemons.held_by_worker()
        if any(name.startswith("source:") for name in held) and not _is_writing(daemons):
            return held
        os.kill(daemons.worker.pid, signal.SIGCONT)
        return set()

    return eventually(is_stopped, within=PATIENCE)


def _is_writing(daemons: Pair) -> bool:
    """Return True if any transaction holds the writers' lock for longer than one takes."""
    query = text(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) + objid::bigint = :key"
    )
    seen = []
    for _ in range(5):
        with daemons.store.begin_read() as conn:
            seen.append(set(conn.scalars(query, {"key": WRITERS_LOCK})))
        time.sleep(0.1)
    return bool(set.intersection(*seen))


def test_P46_a_daemon_that_was_stopped_goes_on_without_its_old_leases(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    with pair(tmp_path, new_postgres()) as daemons:
        daemons.turn(seconds=3)
        held = stop_in_the_middle(daemons)
        stopped = daemons.turner.world.clock.now()
        daemons.turn(seconds=PAUSE)
        taken = {each.name for each in cluster_audit.tenures(daemons.store) if each.began > stopped}
        os.kill(daemons.worker.pid, signal.SIGCONT)
        continued = daemons.turner.world.clock.now()
        assert {name for name in held if name.startswith("source:")} <= taken
        eventually(lambda: daemons.asked("worker", since=continued), within=PATIENCE)  # it takes part again
        daemons.turn(seconds=5)
        daemons.await_settled()
        with daemons.store.begin_read() as conn:
            rows = conn.execute(text("SELECT source, at, duration_ms FROM polls")).all()
        across = [row for row in rows if row.at > continued and row.at - timedelta(milliseconds=row.duration_ms) < stopped]
        assert across == []
        stale = list(cluster_audit.without_lease(daemons.made.world, daemons.store, daemons.pids))
        assert [each for each in stale if each.at > continued + timedelta(seconds=A_MOMENT)] == []
        assert len(stale) <= 2  # one that was being sent for each kind of request
        assert cluster_audit.repeated_numbers(daemons.store) == []
        assert judge(daemons.store, daemons.made.receiver.posts, daemons.turner.expected, kills=2).violations == []


@pytest.mark.parametrize("how", ["close", "silence"])
def test_P47_a_daemon_without_the_database_stops_asking_within_fifteen_seconds(
    how: str, tmp_path: Path, new_postgres: Callable[[], str]
) -> None:
    database = new_postgres()
    with DatabaseWay(database) as way, pair(tmp_path, database, worker_database=way.url) as daemons:
        daemons.turn(seconds=3)
        getattr(way, how)()
        cut = daemons.turner.world.clock.now()
        daemons.turn(seconds=PAUSE + 10)
        late = cut + timedelta(seconds=STOPS_ASKING_WITHIN + A_MOMENT)
        assert daemons.asked("worker", since=late) == []
        taken_over = cut + timedelta(seconds=PAUSE)
        eventually(lambda: {each.source for each in daemons.asked("planner", since=taken_over)} == set(SOURCES), within=PATIENCE)
        way.restore()
        restored = daemons.turner.world.clock.now()
        eventually(lambda: daemons.asked("worker", since=restored), within=2 * PATIENCE)
        daemons.await_settled()
        assert list(cluster_audit.without_lease(daemons.made.world, daemons.store, daemons.pids)) == []
        assert judge(daemons.store, daemons.made.receiver.posts, daemons.turner.expected, kills=2).violations == []


def test_a_pause_that_an_api_demands_of_one_daemon_holds_for_all(tmp_path: Path, new_postgres: Callable[[], str]) -> None:
    """The daemon that was asked to wait is killed; the others have to know, although all sources are to be polled now."""
    wait = 40
    with pair(tmp_path, new_postgres()) as daemons:
        world, begun = daemons.turner.world, daemons.turner.world.clock.now()
        world.break_source("agency", Trouble.RATE_LIMITED, retry_after=str(wait))
        eventually(lambda: re.search(r"HTTP 429", daemons.made.log()), within=PATIENCE)
        refused = world.clock.now()
        world.recover_source("agency")
        [asker] = {each.daemon for each in cluster_audit.requests(world) if each.source == "agency" and each.at > begun}
        time.sleep(A_MOMENT)
        started = daemons.made.log().count("daemon.started")
        third = launch(daemons.made, "third")
        eventually(lambda: daemons.made.log().count("daemon.started") > started, within=wait / 2)
        victim = daemons.worker if asker == "worker" else daemons.planner
        victim.send_signal(signal.SIGKILL)
        survivors = [each for each in (daemons.planner, daemons.worker, third) if each is not victim]
        while (world.clock.now() - refused).total_seconds() < wait - 2:
            for each in survivors:
                each.send_signal(signal.SIGUSR1)
            time.sleep(1)
        early = [each for each in cluster_audit.requests(world) if each.source == "agency" and each.at > refused]
        assert [each for each in early if each.at > refused + timedelta(seconds=A_MOMENT)] == []
        others = {each.source for each in cluster_audit.requests(world) if each.at > refused + timedelta(seconds=wait - 10)}
        assert others == set(SOURCES) - {"agency"}
        after = world.clock.now()
        eventually(
            lambda: any(each.source == "agency" and each.at > after for each in cluster_audit.requests(world)), within=PATIENCE
        )
        daemons.planner, daemons.worker = survivors
