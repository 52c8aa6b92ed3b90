"""The leases of one process: shared by its units, checked before requests, handed over at the end, and lost without doubt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from typing import Any

import pytest

from monitor.daemon.cluster.ownership import STOP_AFTER, Ownership
from monitor.domain.errors import LeaseLost, StoreUnavailable
from monitor.store import Store, cluster_tables
from monitor.store.leases import Lease, Leases
from tests.integration.test_cluster_leases import REPORT, end_time
from tests.support.fakes import Passing


@pytest.fixture
def database(new_postgres: Callable[[], str]) -> Iterator[Store]:
    """A store whose database has the tables of a cluster."""
    with Store(new_postgres()) as store:
        store.upgrade()
        cluster_tables.prepare(store.server)
        yield store


@dataclass(kw_only=True)
class Daemon:
    """A process of a cluster as far as leases go."""

    me: str
    ownership: Ownership
    leases: Leases
    clock: Passing
    resumed: list[Lease] = field(default_factory=list)
    left: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)
    """What it hands over, by lease."""

    async def beat(self) -> None:
        """Renew."""
        await self.ownership.beat(with_changes(REPORT, id=self.me))

    async def dropped(self, name: str) -> None:
        """Drop a lease, and wait until it is released, or until that has failed."""
        self.ownership.drop(name)
        async with asyncio.timeout(20):
            while self.ownership._flushing is not None and not self.ownership._flushing.done():
                await asyncio.sleep(0.02)


@pytest.fixture
async def daemons(database: Store) -> AsyncIterator[tuple[Daemon, Daemon]]:
    """Two processes."""
    made = []
    for me in ("one", "two"):
        clock, store = Passing(), Leases(database.server, me=me)
        resumed, left = list[Lease](), dict[str, Mapping[str, Any] | None]()
        ownership = Ownership(store, resume=resumed.append, handover=left.get, monotonic=clock)
        made.append(Daemon(me=me, ownership=ownership, leases=store, clock=clock, resumed=resumed, left=left))
    yield made[0], made[1]
    for each in made:
        await each.ownership.leave()
        each.ownership.close()


async def test_units_of_a_process_share_a_lease_and_the_last_one_releases_it(daemons: tuple[Daemon, Daemon]) -> None:
    one, two = daemons
    assert await one.ownership.take(["a", "b"]) == {"a", "b"}
    assert await one.ownership.take(["a"]) == {"a"}
    assert await two.ownership.take(["a", "b"]) == set()
    one.left["a"] = {"pause": 5}
    one.ownership.drop("a")
    await asyncio.sleep(0.3)
    assert await two.ownership.take(["a"]) == set()
    one.ownership.guard("a")
    await one.dropped("a")
    assert await two.ownership.take(["a", "b"]) == {"a"}
    assert [(each.name, each.number, each.handover) for each in two.resumed] == [("a", 2, {"pause": 5})]
    with pytest.raises(LeaseLost):
        one.ownership.guard("a")
    two.ownership.guard("a")


async def test_a_lease_that_is_taken_again_before_its_release_stays(daemons: tuple[Daemon, Daemon]) -> None:
    one, two = daemons
    for _ in range(5):
        await one.ownership.take(["a"])
        one.ownership.drop("a")
    await one.ownership.take(["a"])
    await asyncio.sleep(0.3)
    assert [each.number for each in one.resumed] == [1]
    assert await two.ownership.take(["a"]) == set()


async def test_a_release_that_waits_for_another_unit_leaves_that_unit_its_lease(daemons: tuple[Daemon, Daemon]) -> None:
    """One unit ends while another takes the same lease together with a new one, which waits for the database."""
    one, two = daemons
    await one.ownership.take(["a"])
    busy = threading.Event()
    waiting = asyncio.create_task(one.ownership._call(lambda: busy.wait(10)))
    taking = asyncio.create_task(one.ownership.take(["a", "b"]))
    await asyncio.sleep(0.05)
    one.ownership.drop("a")
    await asyncio.sleep(0.3)  # the release is due, and waits
    busy.set()
    assert await taking == {"a", "b"}
    await waiting
    await asyncio.sleep(0.3)
    one.ownership.guard("a")
    assert await two.ownership.take(["a"]) == set()


async def test_P47_work_stops_when_the_leases_were_not_renewed_for_fifteen_seconds(
    database: Store, daemons: tuple[Daemon, Daemon]
) -> None:
    one, _ = daemons
    await one.ownership.take(["a"])
    await one.beat()
    one.clock.now += STOP_AFTER.total_seconds()
    one.ownership.guard("a")
    one.clock.now += 0.1
    assert one.ownership.is_overdue
    assert one.ownership.is_lost("a")
    with pytest.raises(LeaseLost):
        one.ownership.guard("a")
    with pytest.raises(LeaseLost):
        await one.ownership.take(["b"])
    with database.begin_write() as conn:
        one.ownership.require(conn, ["a"])  # what was read before may be stored: no other daemon has the lease
    await one.beat()
    one.ownership.guard("a")


async def test_P46_a_renewal_counts_from_its_beginning(daemons: tuple[Daemon, Daemon]) -> None:
    """The process was stopped after it sent the renewal: the answer shows nothing about the present."""
    one, _ = daemons
    await one.ownership.take(["a"])
    busy = threading.Event()
    waiting = asyncio.create_task(one.ownership._call(lambda: busy.wait(10)))
    renewing = asyncio.create_task(one.beat())
    await asyncio.sleep(0.05)
    one.clock.now += 25
    busy.set()
    await asyncio.gather(waiting, renewing)
    with pytest.raises(LeaseLost):
        one.ownership.guard("a")
    await one.beat()
    one.ownership.guard("a")


async def test_P46_leases_whose_answer_came_too_late_are_not_used(database: Store, daemons: tuple[Daemon, Daemon]) -> None:
    """The process was stopped after it took them, for longer than they last."""
    one, two = daemons
    busy = threading.Event()
    waiting = asyncio.create_task(one.ownership._call(lambda: busy.wait(10)))
    taking = asyncio.create_task(one.ownership.take(["a"]))
    await asyncio.sleep(0.05)
    one.clock.now += 25
    busy.set()
    with pytest.raises(LeaseLost):
        await taking
    await waiting
    await one.beat()
    end_time(database, "a")
    assert await two.ownership.take(["a"]) == {"a"}


async def test_P46_a_lost_lease_is_lost_until_all_work_on_its_basis_has_ended(
    database: Store, daemons: tuple[Daemon, Daemon]
) -> None:
    """A poll that was read under the old lease must not be stored under a newer one: another daemon has stored newer ones."""
    one, two = daemons
    await one.ownership.take(["a"])
    end_time(database, "a")
    assert await two.ownership.take(["a"]) == {"a"}
    one.ownership.guard("a")  # it cannot know yet
    with database.begin_write() as conn, pytest.raises(LeaseLost):
        one.ownership.require(conn, ["a"])
    await one.beat()
    assert one.ownership.is_lost("a")
    await two.dropped("a")
    assert await one.ownership.take(["a"]) == set()
    with database.begin_write() as conn, pytest.raises(LeaseLost):
        one.ownership.require(conn, ["a"])
    one.ownership.drop("a")
    assert await one.ownership.take(["a"]) == {"a"}
    with database.begin_write() as conn:
        one.ownership.require(conn, ["a"])
    assert [each.number for each in one.resumed] == [1, 3]


async def test_what_the_next_holder_must_know_survives_a_crash(database: Store, daemons: tuple[Daemon, Daemon]) -> None:
    one, two = daemons
    await one.ownership.take(["a", "b"])
    one.left["a"] = {"pause": 30}
    one.ownership.save_soon("a")
    await asyncio.sleep(0.4)
    for name in ("a", "b"):
        end_time(database, name)
    await two.ownership.take(["a", "b"])
    assert {each.name: each.handover for each in two.resumed} == {"a": {"pause": 30}, "b": None}
    assert all(each.lapsed is not None and each.lapsed > 0 for each in two.resumed)


async def test_leaving_hands_over_what_is_still_in_use(daemons: tuple[Daemon, Daemon]) -> None:
    one, two = daemons
    await one.ownership.take(["a"])
    await one.beat()
    one.left["a"] = {"next": 2}
    await one.ownership.leave()
    assert await two.ownership.take(["a"]) == {"a"}
    assert [(each.handover, each.lapsed) for each in two.resumed] == [({"next": 2}, None)]
    assert one.ownership.is_lost("a")


async def test_a_release_that_fails_ends_with_the_lease(database: Store, daemons: tuple[Daemon, Daemon]) -> None:
    one, two = daemons
    await one.ownership.take(["a"])
    with database.begin_write() as conn:
        conn.exec_driver_sql("ALTER TABLE token_monitor_cluster.leases RENAME TO gone")
    await one.dropped("a")
    with database.begin_write() as conn:
        conn.exec_driver_sql("ALTER TABLE token_monitor_cluster.gone RENAME TO leases")
    await one.beat()
    assert await two.ownership.take(["a"]) == set()  # nobody could know that it has ended
    end_time(database, "a")
    await one.beat()
    assert await two.ownership.take(["a"]) == {"a"}


async def test_without_the_database_there_are_no_leases(database: Store) -> None:
    with closing(Leases(database.server, me="one")) as store:
        ownership = Ownership(store, resume=lambda _: None, handover=lambda _: None)
        with database.begin_write() as conn:
            conn.exec_driver_sql("DROP TABLE token_monitor_cluster.leases")
        with pytest.raises(StoreUnavailable):
            await ownership.take(["a"])
        await ownership.leave()  # never raises
        ownership.close()
