"""Units of work on PostgreSQL: run twice, by two daemons, with leases that are lost in the middle, or of another revision."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from monitor.config import ChannelConfig
from monitor.daemon.cluster.host_reach import HostReach
from monitor.daemon.cluster.ownership import Ownership
from monitor.daemon.cluster.units import Parts, UnitRunner
from monitor.daemon.work import Work, build_engine
from monitor.demo.receivers import WebhookReceiver, WebhookReply
from monitor.demo.world import World
from monitor.domain.errors import LeaseLost
from monitor.engine.connection_links import ConnectionLinks
from monitor.notify.delivery_settings import Hold
from monitor.providers import HttpLimits, HttpSessions, build_provider
from monitor.store import Store, cluster_tables, outbox
from monitor.store.leases import Leases
from monitor.telemetry.metrics import Metrics
from tests.integration.test_cluster_leases import REPORT, end_time
from tests.support.delivery import channel, make_notifier, numbered, queue, states
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, quick
from tests.support.poll_cycle import running as running_cycle

HOUR = timedelta(hours=1)
SLOW = timedelta(seconds=0.5)
LEASE = "source:agency"


@pytest.fixture
def database(new_postgres: Callable[[], str]) -> Iterator[Store]:
    """A store whose database has the tables of a cluster."""
    with Store(new_postgres()) as store:
        store.upgrade()
        cluster_tables.prepare(store.server)
        yield store


@pytest.fixture
def world(clock: ManualClock) -> World:
    """An agency with three accounts."""
    made = World(clock=clock)
    made.add_source("agency", "postpost")
    for number in range(3):
        made.connect("agency", "linkedin", account=f"a{number}", lifetime=50 * timedelta(days=1))
    return made


@dataclass(kw_only=True)
class Member:
    """A daemon of a cluster as far as units go."""

    me: str
    units: UnitRunner
    ownership: Ownership
    refused: list[str] = field(default_factory=list)

    async def poll(self, configuration: str = "c1") -> None:
        """Run a unit that polls."""
        await self.units.poll(["agency"], configuration)

    async def probe(self) -> None:
        """Run a unit that probes."""
        await self.units.probe(["agency"], "c1")

    async def beat(self) -> None:
        """Renew the leases."""
        await self.ownership.beat(with_changes(REPORT, id=self.me))

    async def idle(self) -> None:
        """Wait until its leases are released."""
        async with asyncio.timeout(20):
            while self.ownership._owned or self.units.running:
                await asyncio.sleep(0.02)
            await self.ownership.held()


@dataclass(kw_only=True)
class Members:
    """Two daemons that share the work of one agency."""

    cycle: Cycle
    one: Member
    two: Member

    @property
    def asked(self) -> dict[str, int]:
        """The requests that the agency got, by kind."""
        return self.cycle.world.sources["agency"].calls

    def stored(self) -> int:
        """Return the number of recorded polls."""
        return int(self.value("SELECT count(*) FROM polls"))

    def value(self, query: str) -> Any:
        """Return what a query of one value finds."""
        with self.cycle.store.begin_read() as conn:
            return conn.execute(text(query)).scalar_one()

    async def asked_for(self, kind: str, count: int) -> None:
        """Wait for requests."""
        async with asyncio.timeout(20):
            while self.asked[kind] < count:
                await asyncio.sleep(0.01)

    async def steal(self) -> None:
        """Let the second daemon take the agency, as if the first had been silent for longer than its leases last."""
        end_time(self.cycle.store, LEASE)
        assert await self.two.ownership.take([LEASE]) == {LEASE}


@asynccontextmanager
async def member(cycle: Cycle, me: str, *given: ChannelConfig) -> AsyncIterator[Member]:
    """A daemon, with these channels if any are given."""
    store, clock, channels = cycle.store, cycle.clock, given or cycle.config.channels
    async with HttpSessions(limits=HttpLimits(retry_wait=0.01)) as sessions:
        refused: list[str] = []
        units = UnitRunner(me=me, store=store, clock=clock, reach=HostReach(), others=lambda: 1, refuse=refused.append)
        ownership = Ownership(Leases(store.server, me=me), resume=units.resume, handover=units.handover)
        work = {}
        for name, each in cycle.work.items():
            budget = quick()
            provider = build_provider(each.source, sessions=sessions, clock=clock, budget=budget)
            work[name] = Work(source=each.source, provider=provider, budget=budget)
        parts = partial(build_engine, store=store, clock=clock, channels=channels, metrics=Metrics(), links=ConnectionLinks())
        engine = parts(fence=units.require, is_doubtful=units.is_doubtful)
        notifier = make_notifier(store, clock, *channels)
        units.use(Parts(work=work, configuration="c1", engine=engine, notifier=notifier), ownership)
        try:
            yield Member(me=me, units=units, ownership=ownership, refused=refused)
        finally:
            await units.drain(timedelta(seconds=5))
            await ownership.leave()
            ownership.close()


@pytest.fixture
async def members(database: Store, clock: ManualClock, world: World, tmp_path: Path) -> AsyncIterator[Members]:
    """Two daemons."""
    async with AsyncExitStack() as stack:
        cycle = await stack.enter_async_context(running_cycle(database, clock, world, tmp_path))
        one = await stack.enter_async_context(member(cycle, "one"))
        two = await stack.enter_async_context(member(cycle, "two"))
        yield Members(cycle=cycle, one=one, two=two)


async def test_a_unit_that_two_daemons_run_is_done_once(members: Members) -> None:
    for done in range(1, 6):
        await asyncio.gather(members.one.poll(), members.two.poll(), members.one.poll())
        await asyncio.gather(members.one.idle(), members.two.idle())
        await members.two.poll()  # and run again by another daemon it changes nothing
        await asyncio.gather(members.one.idle(), members.two.idle())
        assert (members.stored(), members.asked["list"]) == (done, done)
        members.cycle.clock.advance(HOUR)


async def test_a_poll_that_another_daemon_did_meanwhile_is_not_due_any_more(members: Members) -> None:
    """The unit waits for its lease while the holder polls; what is due is read after that."""
    await members.one.ownership.take([LEASE])
    busy = threading.Event()
    occupied = asyncio.create_task(members.two.ownership._call(lambda: busy.wait(20)))
    waiting = asyncio.create_task(members.two.poll())
    await members.one.poll()
    members.one.ownership.drop(LEASE)
    await members.one.idle()
    busy.set()
    await asyncio.gather(waiting, occupied)
    await members.two.idle()
    assert (members.stored(), members.asked["list"]) == (1, 1)


async def test_a_unit_of_another_revision_is_refused(members: Members) -> None:
    await members.one.poll("c2")
    await members.one.units.probe(["agency"], "c2")
    await members.one.units.deliver(["ops"], "c2")
    assert members.one.refused == ["c2"] * 3
    assert members.asked["list"] == 0
    assert members.value("SELECT count(*) FROM token_monitor_cluster.leases") == 0


async def test_sources_that_this_daemon_does_not_know_are_left_out(members: Members) -> None:
    await members.one.units.poll(["nothing", "agency"], "c1")
    assert members.stored() == 1


async def test_P46_a_poll_whose_lease_was_lost_is_not_recorded(members: Members) -> None:
    members.cycle.world.slow_source("agency", SLOW)
    polling = asyncio.create_task(members.one.poll())
    await members.asked_for("list", 1)
    await members.steal()
    await polling
    assert members.stored() == 0
    await members.two.poll()
    assert members.stored() == 1


async def lose_lease_while_probing(members: Members) -> asyncio.Task[None]:
    """Let the second daemon take the source over while the first one probes; return the probing."""
    await members.one.poll()
    await members.one.idle()
    members.cycle.clock.advance(HOUR * 24)
    members.cycle.world.slow_source("agency", SLOW)
    probing = asyncio.create_task(members.one.probe())
    await members.asked_for("probe", 1)
    await members.steal()
    return probing


async def test_P46_probes_whose_lease_was_lost_are_not_recorded(members: Members) -> None:
    await (await lose_lease_while_probing(members))
    assert members.value("SELECT count(*) FROM probe_rollups") == 0
    await members.two.probe()
    assert members.value("SELECT count(*) FROM probe_rollups") > 0


async def test_P46_nothing_more_is_asked_once_the_loss_of_a_lease_is_known(members: Members) -> None:
    probing = await lose_lease_while_probing(members)
    await members.one.beat()
    before = members.asked["probe"]
    await probing
    assert members.asked["probe"] == before
    with pytest.raises(LeaseLost):
        members.one.ownership.guard(LEASE)


async def test_a_unit_that_is_cancelled_keeps_no_lease(members: Members) -> None:
    with members.cycle.store.begin_write() as conn:
        conn.execute(text("LOCK TABLE sources IN ACCESS EXCLUSIVE MODE"))
        polling = asyncio.create_task(members.one.poll())
        async with asyncio.timeout(20):
            while not members.one.ownership._owned:
                await asyncio.sleep(0.02)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    await members.one.idle()
    await members.two.poll()
    assert members.stored() == 1


async def test_P45_deliveries_of_a_daemon_that_died_are_sent_by_the_next_one_and_marked(
    database: Store, clock: ManualClock
) -> None:
    async with WebhookReceiver() as receiver:
        queue(database, numbered(2))
        with database.begin_write() as conn:
            outbox.claim(conn, channel="ops", now=clock.now(), owner="dead", lease=HOUR, limit=2)
        assert states(database) == {"sending": 2}
        notifier = make_notifier(database, clock, channel(receiver.apprise_url))
        await notifier.deliver("ops", Hold(), is_lost=lambda: False, within=timedelta(seconds=5))
        assert states(database) == {"sent": 2}
        assert all("may be a repeat" in post.body.decode() for post in receiver.posts)


async def test_P45_a_delivery_that_was_cut_off_is_left_to_the_next_daemon_as_such(members: Members) -> None:
    cycle = members.cycle
    async with WebhookReceiver() as receiver:
        receiver.reply = WebhookReply(after=3)
        queue(cycle.store, numbered(1))
        async with member(cycle, "three", channel(receiver.apprise_url)) as three:
            delivering = asyncio.create_task(three.units.deliver(["ops"], "c1"))
            await receiver.wait_for(1)
            await three.units.drain(timedelta(seconds=0.1))
            await delivering
            await three.idle()
        left = (await members.one.ownership.held())["channel:ops"]
        assert (left.live, left.lapsed, left.handover) == (False, False, {"cut": True})
        receiver.reply = WebhookReply()
        async with member(cycle, "four", channel(receiver.apprise_url)) as four:
            await four.units.deliver(["ops", "removed"], "c1")
            await four.idle()
        held = await members.one.ownership.held()
        assert {name: each.handover for name, each in held.items()} == {"channel:ops": None, "channel:removed": None}
        assert states(cycle.store) == {"sent": 1}
        assert "may be a repeat" in receiver.posts[-1].body.decode()


async def test_P46_nothing_is_sent_once_the_lease_of_the_channel_is_lost(database: Store, clock: ManualClock) -> None:
    async with WebhookReceiver() as receiver:
        queue(database, numbered(3))
        notifier = make_notifier(database, clock, channel(receiver.apprise_url))
        await notifier.deliver("ops", Hold(), is_lost=lambda: True, within=timedelta(seconds=5))
        assert receiver.posts == []
        assert states(database) == {"pending": 3}


async def test_a_pause_of_a_channel_goes_with_its_lease(database: Store, clock: ManualClock) -> None:
    async with WebhookReceiver() as receiver:
        receiver.reply = WebhookReply(status=503)
        queue(database, numbered(1))
        first, second = (make_notifier(database, clock, channel(receiver.apprise_url)) for _ in range(2))
        hold = await first.deliver("ops", Hold(), is_lost=lambda: False, within=timedelta(seconds=5))
        assert hold.until is not None
        assert hold.until > clock.now()
        tried = len(receiver.posts)
        assert await second.deliver("ops", hold, is_lost=lambda: False, within=timedelta(seconds=5)) == hold
        assert len(receiver.posts) == tried
