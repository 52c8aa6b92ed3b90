"""Leases on PostgreSQL: one holder at a time, a number that grows, and a fence that excludes everyone else until the commit."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.domain.errors import LeaseLost, StoreUnavailable
from monitor.store import Store, cluster_tables, leases
from monitor.store.leases import DaemonReport, Leases
from tests.acceptance.daemon import eventually

REPORT = DaemonReport(
    id="one",
    host="alpha",
    pid=1,
    version="0.2",
    workers=4,
    queue="q",
    configuration="c1",
    plans=False,
    state="working",
    detail=None,
    units=0,
    clock_offset=0.0,
)


@pytest.fixture
def database(new_postgres: Callable[[], str]) -> Iterator[Store]:
    """A store whose database has the tables of a cluster."""
    with Store(new_postgres()) as store:
        store.upgrade()
        cluster_tables.prepare(store.server)
        yield store


@pytest.fixture
def holders(database: Store) -> Iterator[tuple[Leases, Leases]]:
    """Two daemons' leases."""
    with closing(Leases(database.server, me="one")) as one, closing(Leases(database.server, me="two")) as two:
        yield one, two


def end_time(database: Store, name: str) -> None:
    """Let a lease's time pass."""
    with database.begin_write() as conn:
        conn.exec_driver_sql(
            "UPDATE token_monitor_cluster.leases SET until = now() - interval '3 seconds' WHERE name = %s", (name,)
        )


def test_a_lease_has_one_holder_and_each_holder_another_number(holders: tuple[Leases, Leases]) -> None:
    one, two = holders
    first = one.acquire(["source:a", "source:b", "source:a"])
    assert sorted((each.name, each.number, each.handover, each.lapsed) for each in first) == [
        ("source:a", 1, None, None),
        ("source:b", 1, None, None),
    ]
    assert two.acquire(["source:a"]) == []
    one.release({"source:a": {"pause": 7.5}})
    [taken] = two.acquire(["source:a", "source:b"])
    assert (taken.name, taken.number, taken.handover, taken.lapsed) == ("source:a", 2, {"pause": 7.5}, None)
    assert 0 <= taken.age < 60
    assert {name: each.live for name, each in one.held().items()} == {"source:a": True, "source:b": True}
    two.leave()
    assert {name: each.live for name, each in one.held().items()} == {"source:b": True}


def test_a_lease_whose_time_has_passed_is_taken_by_another_daemon(database: Store, holders: tuple[Leases, Leases]) -> None:
    one, two = holders
    one.acquire(["source:a"])
    one.save({"source:a": {"next": 3}})
    end_time(database, "source:a")
    [stolen] = two.acquire(["source:a"])
    assert (stolen.number, stolen.handover) == (2, {"next": 3})
    assert stolen.lapsed is not None
    assert 2 < stolen.lapsed < 60
    assert one.beat(REPORT, ["source:a"]).held == frozenset()
    one.release({"source:a": None})  # it has no effect on what is another daemon's
    one.save({"source:a": {"next": 99}})
    assert two.beat(replace(REPORT, id="two"), ["source:a"]).held == {"source:a"}
    two.release({"source:a": {"kept": True}})
    assert one.acquire(["source:a"])[0].handover == {"kept": True}


def test_what_the_holder_does_not_know_of_is_not_renewed_for_ever(database: Store, holders: tuple[Leases, Leases]) -> None:
    """The answer to acquire() or release() was lost: the lease ends like that of a dead daemon, and its holder can take it."""
    one, two = holders
    one.acquire(["source:a", "source:b"])
    end_time(database, "source:a")
    assert one.beat(REPORT, ["source:b"]).held == {"source:b"}
    assert [each.name for each in two.acquire(["source:a", "source:b"])] == ["source:a"]
    [again] = one.acquire(["source:b", "source:a"])
    assert (again.name, again.number) == ("source:b", 2)


def test_a_beat_reports_the_cluster(database: Store, holders: tuple[Leases, Leases]) -> None:
    one, two = holders
    with pytest.raises(StoreUnavailable):  # and the next call opens a new connection
        one._execute("SELECT nothing", {})
    alone = one.beat(REPORT, [])
    assert (alone.planned_configuration, alone.planner_offset, alone.others, alone.workers) == (None, None, 0, 4)
    assert alone.revision is not None
    planner = replace(REPORT, id="two", plans=True, configuration="c2", clock_offset=1.5, workers=2)
    two.beat(planner, [])
    both = one.beat(REPORT, [])
    assert (both.planned_configuration, both.planner_offset, both.others, both.workers) == ("c2", 1.5, 1, 6)
    two.beat(replace(planner, state="waiting", detail="the clock"), [])
    assert one.beat(REPORT, []).others == 0
    assert two.beat(replace(planner, state="waiting", detail="no network"), []).others == 1, "its own state does not count"
    two.leave()
    assert one.beat(REPORT, []).planned_configuration is None
    with database.begin_read() as conn:
        state = cluster_tables.read_state(conn)
    assert state is not None
    assert [(each.id, each.state, each.present) for each in state.daemons] == [("one", "working", True)]


def test_many_threads_never_hold_a_lease_together(database: Store) -> None:
    names, held, together, numbers = ["source:a", "source:b", "source:c"], Counter[str](), list[str](), list[tuple[str, int]]()
    guard, end = threading.Lock(), time.monotonic() + 3

    def work(me: str) -> None:
        with closing(Leases(database.server, me=me)) as mine:
            while time.monotonic() < end:
                for lease in mine.acquire(names):
                    with guard:
                        held[lease.name] += 1
                        numbers.append((lease.name, lease.number))
                        if held[lease.name] > 1:
                            together.append(lease.name)
                    time.sleep(0.002)
                    with guard:
                        held[lease.name] -= 1
                    mine.release({lease.name: {"by": me}})

    threads = [threading.Thread(target=work, args=(f"daemon-{number}",)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert together == []
    assert len(numbers) == len(set(numbers)) > 10


def test_the_fence_refuses_every_number_but_the_present_one(database: Store, holders: tuple[Leases, Leases]) -> None:
    one, two = holders
    one.acquire(["source:a"])
    with database.begin_write() as conn:
        leases.require(conn, {"source:a": 1})
        for name, number in (("source:a", 2), ("source:b", 1)):
            with pytest.raises(LeaseLost):
                leases.require(conn, {name: number})
    one.acquire(["source:b"])
    with database.begin_write() as conn:
        leases.require(conn, {"source:a": 1, "source:b": 1})
    end_time(database, "source:a")
    two.acquire(["source:a"])
    with database.begin_write() as conn:
        leases.require(conn, {"source:b": 1})
        for lost in ({"source:a": 1}, {"source:a": 1, "source:b": 1}, {"source:a": 2, "source:b": 2}):
            with pytest.raises(LeaseLost):
                leases.require(conn, lost)


def test_a_lease_is_not_taken_while_a_transaction_relies_on_it(database: Store, holders: tuple[Leases, Leases]) -> None:
    one, two = holders
    one.acquire(["source:a"])
    end_time(database, "source:a")
    with database.begin_write() as conn:
        leases.require(conn, {"source:a": 1})
        assert two.acquire(["source:a"]) == []  # it does not wait either
    assert [each.number for each in two.acquire(["source:a"])] == [2]


def test_a_renewal_does_not_wait_for_transactions_that_rely_on_a_lease(database: Store, holders: tuple[Leases, Leases]) -> None:
    one, _ = holders
    one.acquire(["source:a"])
    with database.begin_write() as conn:
        leases.require(conn, {"source:a": 1})
        assert one.beat(REPORT, ["source:a"]).held == {"source:a"}


def test_a_holder_whose_transaction_has_taken_the_fence_first_wins(database: Store, holders: tuple[Leases, Leases]) -> None:
    """A daemon that steals while the former holder writes gets the lease after the commit, and not before."""
    one, two = holders
    one.acquire(["source:a"])
    end_time(database, "source:a")
    order, taken = list[str](), threading.Event()

    def steal() -> None:
        eventually(lambda: two.acquire(["source:a"]))
        order.append("stolen")
        taken.set()

    with database.begin_write() as conn:
        leases.require(conn, {"source:a": 1})
        thief = threading.Thread(target=steal)
        thief.start()
        assert not taken.wait(0.5)
        order.append("written")
    thief.join()
    assert order == ["written", "stolen"]


def test_old_leases_and_daemons_are_forgotten(database: Store, holders: tuple[Leases, Leases]) -> None:
    one, two = holders
    one.beat(REPORT, [])
    one.acquire(["source:a", "source:b"])
    one.release({"source:a": {"pause": 1}})
    with database.begin_write() as conn:
        past = timedelta(days=2)
        conn.exec_driver_sql("UPDATE token_monitor_cluster.daemons SET seen_at = seen_at - %s", (past,))
        conn.exec_driver_sql("UPDATE token_monitor_cluster.leases SET handed_over_at = handed_over_at - %s", (past,))
    cluster_tables.prepare(database.server)
    with database.begin_read() as conn:
        state = cluster_tables.read_state(conn)
    assert state is not None
    assert state.daemons == ()
    assert state.leases == 1
    assert [each.number for each in two.acquire(["source:a"])] == [1]
