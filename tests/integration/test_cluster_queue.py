"""The queue of units on PostgreSQL, and the planner's side of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from monitor.daemon.cluster import queue_runner
from monitor.daemon.cluster.ownership import Ownership
from monitor.daemon.cluster.queue_runner import FEWEST_POLLED, MANY_POLLED, MOST_SOURCES, QueueRunner
from monitor.daemon.work import Work
from monitor.domain.errors import StoreUnavailable
from monitor.store import Store, cluster_tables, work_queue
from monitor.store.leases import Leases
from monitor.store.work_queue import Unit, WorkQueue
from tests.integration.test_cluster_leases import end_time
from tests.support.fakes import Passing

DRAIN = timedelta(seconds=2)
PLACES: dict[tuple[str, ...], int] = {("polls", "probes", "deliveries"): 2}


@pytest.fixture
def database(new_postgres: Callable[[], str]) -> Iterator[Store]:
    """A store whose database has the tables of a cluster."""
    with Store(new_postgres()) as store:
        store.upgrade()
        cluster_tables.prepare(store.server)
        yield store


@dataclass
class Units:
    """What ran."""

    ran: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """Units end once it is set."""

    def handler(self, kind: str) -> Callable[[Sequence[str], str], Awaitable[None]]:
        """Return what records the units of a kind."""

        async def run(names: Sequence[str], configuration: str) -> None:
            self.ran.append((kind, tuple(names), configuration))
            await self.hold.wait()

        return run


@asynccontextmanager
async def opened(store: Store, units: Units) -> AsyncIterator[WorkQueue]:
    """A queue of one daemon."""
    queue = WorkQueue(store.server, connections=3)
    queue.prepare()
    await queue.open({kind: units.handler(kind) for kind in ("polls", "probes", "deliveries")})
    try:
        yield queue
    finally:
        await queue.close()


@asynccontextmanager
async def working(queue: WorkQueue) -> AsyncIterator[None]:
    """Units are taken inside the block."""
    task = asyncio.create_task(queue.work(PLACES, drain=DRAIN))
    try:
        yield
    finally:
        queue.stop_work()
        with suppress(StoreUnavailable):
            await asyncio.wait_for(task, 30)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def unit(kind: str = "polls", *names: str, configuration: str = "c1") -> Unit:
    """Return a unit, of source `a` if no names are given."""
    return Unit(kind=kind, names=names or ("a",), configuration=configuration)


async def test_a_unit_waits_once_and_runs_once(database: Store) -> None:
    units = Units()
    units.hold.set()
    async with opened(database, units) as queue, opened(database, units) as other:
        [first] = await queue.defer([unit()])
        assert await queue.defer([unit()]) == []
        assert await other.defer([unit("probes", "b"), unit()]) == []  # all or none
        assert await queue.unfinished([first, first + 1000]) == {first}
        async with working(queue), working(other):
            await until(lambda: units.ran)
            async with asyncio.timeout(30):
                while await queue.unfinished([first]):
                    await asyncio.sleep(0.05)
        assert units.ran == [("polls", ("a",), "c1")]
        assert len(await queue.defer([unit(), unit("probes")])) == 2


async def test_a_unit_that_runs_may_wait_again_but_a_channel_is_served_by_one_unit_at_a_time(database: Store) -> None:
    units = Units()
    async with opened(database, units) as queue:
        await queue.defer([unit(), unit("deliveries", "ops")])
        async with working(queue):
            await until(lambda: len(units.ran) == 2)
            assert len(await queue.defer([unit("deliveries", "ops")])) == 1
            await asyncio.sleep(3)  # it is looked for several times
            assert len(units.ran) == 2
            units.hold.set()
            await until(lambda: len(units.ran) == 3)
    assert units.ran[2] == ("deliveries", ("ops",), "c1")


async def test_polls_come_before_probes(database: Store) -> None:
    units = Units()
    units.hold.set()
    async with opened(database, units) as queue:
        await queue.defer([unit("probes", str(number)) for number in range(5)])
        await queue.defer([unit("polls", str(number)) for number in range(5)])
        async with working(queue):
            await until(lambda: len(units.ran) == 10)
    assert [kind for kind, _, _ in units.ran[:5]] == ["polls"] * 5


async def test_P45_units_of_a_daemon_that_was_killed_are_dropped(database: Store) -> None:
    async with opened(database, Units()) as planner:
        [lost] = await planner.defer([unit()])
        with database.begin_write() as conn:  # as a worker takes it that is killed then: it reports nothing more
            conn.exec_driver_sql("SELECT set_config('search_path', %s, true)", (planner.schema,))
            worker = conn.exec_driver_sql("SELECT worker_id FROM procrastinate_register_worker_v1()").scalar_one()
            conn.exec_driver_sql("SELECT procrastinate_fetch_job_v2(NULL, %s)", (worker,))
        assert await planner.drop_lost() == []
        assert await planner.drop_waiting() == 0
        with database.begin_write() as conn:
            conn.exec_driver_sql("SELECT set_config('search_path', %s, true)", (planner.schema,))
            ago = work_queue.DEAD_AFTER + timedelta(seconds=1)
            conn.exec_driver_sql("UPDATE procrastinate_workers SET last_heartbeat = now() - %s", (ago,))
        assert await planner.unfinished([lost]) == {lost}
        assert await planner.drop_lost() == ["polls"]
        assert await planner.unfinished([lost]) == set()
        assert len(await planner.defer([unit()])) == 1


async def test_a_new_planner_drops_what_waits_and_not_what_runs(database: Store) -> None:
    units = Units()
    async with opened(database, units) as queue:
        [running] = await queue.defer([unit()])
        async with working(queue):
            await until(lambda: units.ran)
            await queue.defer([unit("deliveries", "ops"), unit("probes", "b"), unit("probes", "c")])
            await until(lambda: len(units.ran) >= 2)
            await queue.defer([unit("polls", "z")])
            assert await queue.drop_waiting() >= 1
            assert running in await queue.unfinished([running])
            units.hold.set()


async def test_a_unit_whose_handler_fails_is_gone(database: Store) -> None:
    queue = WorkQueue(database.server, connections=2)
    queue.prepare()
    failed = list[str]()

    async def fail(names: Sequence[str], _configuration: str) -> None:
        failed.extend(names)
        raise RuntimeError("a defect")

    await queue.open({"polls": fail})
    [at] = await queue.defer([unit()])
    async with working(queue):
        await until(lambda: failed)
        async with asyncio.timeout(30):
            while await queue.unfinished([at]):
                await asyncio.sleep(0.05)
    await queue.close()
    assert failed == ["a"]


async def test_two_versions_of_the_queue_live_side_by_side(database: Store) -> None:
    """During a rolling upgrade the old daemons go on with their tables; the tables of a version that no daemon uses go."""
    units = Units()
    units.hold.set()
    async with opened(database, units) as queue:
        [at] = await queue.defer([unit()])
        newer = f"{cluster_tables.QUEUE_SCHEMA}newer"
        with database.begin_write() as conn:
            report = (
                "INSERT INTO token_monitor_cluster.daemons VALUES (%s, 'h', 1, '0.3', 4, %s, 'c', false, 'working', NULL, 0, 0"
            )
            for name, schema in (("old", queue.schema), ("new", newer)):
                conn.exec_driver_sql(f"{report}, now(), now(), now())", (name, schema))
        cluster_tables.prepare_queue(database.server, newer, "CREATE TABLE jobs (id int)")
        assert schemas(database) == {queue.schema, newer}
        assert await queue.unfinished([at]) == {at}
        with database.begin_write() as conn:
            conn.exec_driver_sql("DELETE FROM token_monitor_cluster.daemons WHERE id = 'old'")
        cluster_tables.prepare_queue(database.server, newer, "CREATE TABLE jobs (id int)")
        assert schemas(database) == {newer}
        with pytest.raises(StoreUnavailable):
            await queue.defer([unit()])


def schemas(store: Store) -> set[str]:
    """Return the names of the queues' schemas."""
    with store.begin_read() as conn:
        return {
            name
            for (name,) in conn.exec_driver_sql("SELECT nspname FROM pg_namespace")
            if name.startswith(cluster_tables.QUEUE_SCHEMA)
        }


# --- the planner


@dataclass(frozen=True)
class Named:
    """As much of a source as the planner needs."""

    name: str


def work_of(name: str) -> Work:
    """Return work of a source."""
    source: Any = Named(name)
    provider: Any = None
    return Work(source=source, provider=provider)


@asynccontextmanager
async def planning(store: Store, queue: WorkQueue, *, workers: int = 4) -> AsyncIterator[QueueRunner]:
    """A planner."""
    ownership = Ownership(Leases(store.server, me="planner"), resume=lambda _: None, handover=lambda _: None, monotonic=Passing())
    runner = QueueRunner(queue, ownership, configuration="c7", workers=lambda: workers)
    await runner.start()
    try:
        yield runner
    finally:
        await runner.close()
        ownership.close()


async def test_the_planner_waits_for_its_units_and_queues_many_sources_in_few(database: Store) -> None:
    units = Units()
    async with opened(database, units) as queue, planning(database, queue) as planner:
        names = [f"source-{number}" for number in range(500)]
        waiting = [asyncio.create_task(planner.poll(work_of(name))) for name in names]
        probing = asyncio.create_task(planner.probe(work_of("source-1")))
        async with working(queue):
            await until(lambda: units.ran)
            await asyncio.sleep(0.7)
            assert not any(each.done() for each in waiting)
            units.hold.set()
            async with asyncio.timeout(60):
                recorded = await asyncio.gather(*waiting)
                await probing
    assert all(each.changed for each in recorded)
    polled = [ran for ran in units.ran if ran[0] == "polls"]
    assert sorted(name for _, each, _ in polled for name in each) == sorted(names)
    assert len(polled) <= 2 * len(names) // MOST_SOURCES
    assert max(len(each) for _, each, _ in polled) <= MOST_SOURCES
    assert {configuration for _, _, configuration in units.ran} == {"c7"}


async def test_few_sources_to_poll_are_one_unit_and_each_source_to_probe_is_its_own(database: Store) -> None:
    units = Units()
    units.hold.set()
    names = [f"source-{number}" for number in range(FEWEST_POLLED)]
    async with opened(database, units) as queue, planning(database, queue) as planner, working(queue), asyncio.timeout(60):
        await asyncio.gather(
            *(planner.poll(work_of(name)) for name in names), *(planner.probe(work_of(name)) for name in names[:4])
        )
    assert [len(each) for kind, each, _ in units.ran if kind == "polls"] == [FEWEST_POLLED]
    assert [len(each) for kind, each, _ in units.ran if kind == "probes"] == [1] * 4


async def test_many_sources_to_poll_are_collected_until_they_fill_a_unit(
    database: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit costs as much for one source as for fifty."""
    units = Units()
    units.hold.set()
    names = [f"source-{number}" for number in range(MOST_SOURCES)]
    with monkeypatch.context() as patched:
        patched.setattr(queue_runner, "COLLECT_MANY_FOR", timedelta(hours=1))
        async with opened(database, units) as queue, planning(database, queue) as planner, working(queue), asyncio.timeout(60):
            few = [asyncio.create_task(planner.poll(work_of(name))) for name in names[: MANY_POLLED - 1]]
            await asyncio.gather(*few)
            many = [asyncio.create_task(planner.poll(work_of(name))) for name in names[:-1]]
            await planner.probe(work_of("source-1"))  # queued at the same times
            assert not any(each.done() for each in many)
            await asyncio.gather(*many, planner.poll(work_of(names[-1])))
    assert [len(each) for kind, each, _ in units.ran if kind == "polls"] == [MANY_POLLED - 1, MOST_SOURCES]


async def test_many_sources_to_poll_do_not_wait_for_further_ones_for_long(database: Store) -> None:
    units = Units()
    units.hold.set()
    names = [f"source-{number}" for number in range(MANY_POLLED)]
    async with opened(database, units) as queue, planning(database, queue) as planner, working(queue), asyncio.timeout(60):
        await asyncio.gather(*(planner.poll(work_of(name)) for name in names))
    assert sorted(name for _, each, _ in units.ran for name in each) == sorted(names)


async def test_the_planner_knows_what_others_work_on_and_which_channels_pause(database: Store) -> None:
    leases = Leases(database.server, me="other")
    leases.acquire(["source:a", "source:b", "channel:ops", "channel:mail", "channel:sms"])
    leases.release({"source:b": {"pause": 99}, "channel:ops": {"hold": 60.0}, "channel:mail": {"hold": 0.0}, "channel:sms": None})
    async with opened(database, Units()) as queue, planning(database, queue) as planner:
        assert await planner.busy() == {"source:a", "channel:ops"}
    leases.close()


async def test_P45_channels_whose_daemon_died_or_was_cut_off_are_delivered_to_again(database: Store) -> None:
    """What was being sent is not due for minutes, so that nothing else would start it."""
    leases, units = Leases(database.server, me="other"), Units()
    units.hold.set()
    leases.acquire(["channel:died", "channel:cut", "channel:live", "channel:done", "source:died"])
    leases.release({"channel:cut": {"cut": True}, "channel:done": {"hold": 0.0, "down": True}})
    end_time(database, "channel:died")
    end_time(database, "source:died")
    async with opened(database, units) as queue, planning(database, queue), working(queue):
        await until(lambda: len(units.ran) >= 2)
    assert {(kind, names) for kind, names, _ in units.ran} == {("deliveries", ("died",)), ("deliveries", ("cut",))}
    leases.close()


async def test_a_queue_that_is_unavailable_delays_the_planner_and_no_more(database: Store) -> None:
    units = Units()
    units.hold.set()
    async with opened(database, units) as queue, planning(database, queue) as planner:
        with database.begin_write() as conn:
            conn.exec_driver_sql(f'ALTER TABLE "{queue.schema}".procrastinate_jobs RENAME TO gone')
        async with asyncio.timeout(30):
            await planner.poll(work_of("a"))  # it ends, and is due still
        with database.begin_write() as conn:
            conn.exec_driver_sql(f'ALTER TABLE "{queue.schema}".gone RENAME TO procrastinate_jobs')
        async with working(queue), asyncio.timeout(60):
            await planner.poll(work_of("a"))
    assert [names for _, names, _ in units.ran] == [("a",)]
