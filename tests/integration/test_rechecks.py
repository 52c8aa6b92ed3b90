"""Rechecks on demand, on both databases: what they read, what they record, and what they leave alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.domain import PollReport, ProbeAnswer
from monitor.engine import rechecks as requests
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.poller import Poller
from monitor.engine.prober import Prober
from monitor.engine.rechecks import Rechecker
from monitor.engine.recording import Recorded
from monitor.providers.base import Provider
from monitor.store import Store, connection_queries, maintenance, rechecks
from monitor.store.rechecks import Recheck, RecheckOutcome
from monitor.telemetry.metrics import Metrics
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, running

DAY = timedelta(days=1)
POLL = timedelta(minutes=15)
SECOND = timedelta(seconds=1)
USERS = ["64f1a5b2c3d4e5f6a7b80001", "64f1a5b2c3d4e5f6a7b80002", "64f1a5b2c3d4e5f6a7b80003"]
LINKEDIN = f"agency/{USERS[0]}/linkedin-a"


@dataclass
class Desk:
    """A monitor whose rechecks the test requests and lets run."""

    cycle: Cycle
    rechecker: Rechecker = field(init=False)
    poller: Poller = field(init=False)

    def __post_init__(self) -> None:
        cycle, channels, metrics = self.cycle, self.cycle.config.channels, Metrics()
        self.poller = Poller(store=cycle.store, clock=cycle.clock, channels=channels, metrics=metrics, links=ConnectionLinks())
        prober = Prober(store=cycle.store, clock=cycle.clock, channels=channels, metrics=metrics)
        self.rechecker = Rechecker(store=cycle.store, clock=cycle.clock, poller=self.poller, prober=prober)

    def request(self, *ids: str) -> list[Recheck]:
        """Request rechecks as the page does."""
        with self.cycle.store.begin_write() as conn:
            rows = [row for each in ids if (row := connection_queries.find_by_public_id(conn, each)) is not None]
            assert len(rows) == len(ids)
            return requests.request(conn, rows, now=self.cycle.clock.now(), author="ann")

    async def answer(self, source: str = "agency") -> Recorded:
        """Answer what is pending, as the scheduler does."""
        work, recorded = self.cycle.work[source], Recorded()
        while (more := await self.rechecker.check_pending(work.source, work.provider)) is not None:
            recorded.add(more)
        self.cycle.alerts += recorded.alerts
        return recorded

    async def check(self, public_id: str, *, after: timedelta = SECOND) -> Recheck:
        """Request and answer one recheck."""
        self.cycle.clock.advance(after)
        [made] = self.request(public_id)
        await self.answer(public_id.partition("/")[0])
        return self.find(made.id)

    def find(self, recheck: int) -> Recheck:
        with self.cycle.store.begin_read() as conn:
            return rechecks.find(conn, [recheck])[0]


@pytest.fixture
async def desk(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Desk]:
    """A workspace key of PostPost with three clients, each with two accounts, polled and probed once."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    for number, user in enumerate(USERS):
        world.add_user("agency", user=user, display_name=f"Client {number}")
        letter = "abc"[number]
        world.connect("agency", "linkedin", account=letter, scope=user, lifetime=50 * DAY)
        world.connect("agency", "mastodon", account=letter, scope=user)
    async with running(store, clock, world, tmp_path, per_source={"agency": 'users = "all"'}) as cycle:
        await cycle.poll()
        await cycle.probe()
        yield Desk(cycle)


def lists_read(world: World) -> list[str | None]:
    """The users whose lists were read, in order."""
    return [each.headers.get("x-postpost-user-id") for each in world.seen if each.path.endswith("/platform-connections")]


async def test_a_reconnected_account_recovers_and_only_its_scope_is_read(desk: Desk) -> None:
    cycle, world = desk.cycle, desk.cycle.world
    world.expire("agency", "linkedin-a")
    await cycle.poll(after=POLL)
    assert cycle.statuses()[LINKEDIN] == "expired"
    world.renew("agency", "linkedin-a")
    world.seen.clear()
    found = await desk.check(LINKEDIN)
    assert (found.outcome, found.status_before, found.status_after) == (RecheckOutcome.HEALTHY, "expired", "valid")
    assert lists_read(world) == [USERS[0]]
    assert [each.path for each in world.seen if "test-connection" in each.path] == ["/postpost/api/v1/test-connection/linkedin-a"]
    assert [event for event, _, _ in cycle.notified()] == ["expired", "recovered"]
    for _ in range(3):
        await cycle.poll(after=POLL)
        await cycle.probe()
    assert [event for event, _, _ in cycle.notified()] == ["expired", "recovered"], "nothing follows"


async def test_an_account_that_was_reconnected_under_a_new_id_recovers(desk: Desk) -> None:
    cycle, world = desk.cycle, desk.cycle.world
    world.expire("agency", "linkedin-a")
    await cycle.poll(after=POLL)
    world.reconnect("agency", "linkedin-a", new_id="linkedin-new")
    found = await desk.check(LINKEDIN)
    assert found.outcome is RecheckOutcome.HEALTHY
    assert cycle.notified()[1:] == [("recovered", "reconnected", f"agency/{USERS[0]}/linkedin-new")]
    await cycle.poll(after=POLL)
    assert len(cycle.notified()) == 2


async def test_a_recheck_leaves_the_source_and_its_schedule_alone(desk: Desk) -> None:
    before = desk.cycle.source("agency")
    desk.cycle.world.expire("agency", "linkedin-a")
    found = await desk.check(LINKEDIN)
    assert (found.outcome, found.status_after) == (RecheckOutcome.NEEDS_ATTENTION, "expired")
    assert desk.cycle.source("agency") == before


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Trouble.UNAUTHORIZED, "rejected the key"),
        (Trouble.SERVER_ERROR, "HTTP 500"),
        (Trouble.RATE_LIMITED, "limits the request"),
    ],
)
async def test_a_source_that_cannot_be_read_is_reported_and_nothing_changes(desk: Desk, trouble: Trouble, words: str) -> None:
    before, states = desk.cycle.source("agency"), desk.cycle.states()
    desk.cycle.world.break_source("agency", trouble)
    found = await desk.check(LINKEDIN)
    assert (found.outcome, found.status_before, found.status_after) == (RecheckOutcome.UNREAD, "valid", None)
    assert words in (found.message or "")
    assert (desk.cycle.source("agency"), desk.cycle.states(), desk.cycle.alerts) == (before, states, [])


async def test_pressing_the_button_three_times_confirms_no_refusal(desk: Desk) -> None:
    desk.cycle.world.revoke("agency", "linkedin-a", noticed=False)
    for _ in range(3):
        found = await desk.check(LINKEDIN, after=10 * SECOND)
        assert (found.outcome, found.status_after) == (RecheckOutcome.NEEDS_ATTENTION, "valid")
        assert "refused the test" in (found.message or "")
    assert desk.cycle.states()[LINKEDIN].probe.refusals == 1
    assert desk.cycle.alerts == []
    found = await desk.check(LINKEDIN, after=timedelta(minutes=1))
    assert found.status_after == "revoked"
    assert [event for event, _, _ in desk.cycle.notified()] == ["revoked"]


async def test_the_probe_that_confirms_a_refusal_stays_due(desk: Desk) -> None:
    desk.cycle.world.revoke("agency", "linkedin-a", noticed=False)
    for _ in range(3):
        await desk.check(LINKEDIN, after=15 * SECOND)
    await desk.cycle.probe(after=31 * SECOND, due=True)
    assert desk.cycle.statuses()[LINKEDIN] == "revoked"


async def test_rechecks_confirm_no_absence(desk: Desk) -> None:
    desk.cycle.world.vanish("agency", "linkedin-a")
    for _ in range(4):
        found = await desk.check(LINKEDIN)
        assert (found.outcome, found.status_after) == (RecheckOutcome.NEEDS_ATTENTION, "valid")
        assert "does not list" in (found.message or "")
    assert desk.cycle.states()[LINKEDIN].missing == 0
    for _ in range(2):
        await desk.cycle.poll(after=POLL)
    assert desk.cycle.statuses()[LINKEDIN] == "disconnected"
    desk.cycle.world.restore("agency", "linkedin-a")
    assert (await desk.check(LINKEDIN)).status_after == "valid"
    assert [event for event, _, _ in desk.cycle.notified()] == ["disconnected", "recovered"]


class Held:
    """The adapter of a source whose whole poll the test holds back between reading and returning."""

    def __init__(self, inner: Provider) -> None:
        self._inner, self.read, self.go_on = inner, asyncio.Event(), asyncio.Event()

    @property
    def probes(self) -> bool:
        return self._inner.probes

    async def poll(self) -> PollReport:
        report = await self._inner.poll()
        self.read.set()
        await self.go_on.wait()
        return report

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        return await self._inner.poll_scopes(scopes)

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        return await self._inner.probe(external_id, scope=scope)


async def test_a_poll_that_began_before_does_not_undo_a_recheck(desk: Desk) -> None:
    cycle, world = desk.cycle, desk.cycle.world
    world.expire("agency", "linkedin-a")
    await cycle.poll(after=POLL)
    held = Held(cycle.work["agency"].provider)
    running_poll = asyncio.create_task(desk.poller.poll(cycle.work["agency"].source, held))
    await held.read.wait()
    world.renew("agency", "linkedin-a")
    found = await desk.check(LINKEDIN)
    assert found.status_after == "valid"
    held.go_on.set()
    assert (await running_poll).alerts == []
    assert cycle.statuses()[LINKEDIN] == "valid"
    await cycle.poll(after=POLL)
    assert [event for event, _, _ in cycle.notified()] == ["expired", "recovered"]


async def test_a_poll_that_reads_the_former_list_again_notices(desk: Desk) -> None:
    """The digest of the list before the recheck describes the stored connections no longer."""
    cycle, world = desk.cycle, desk.cycle.world
    world.state_word("agency", "linkedin-a", "expired")
    assert (await desk.check(LINKEDIN)).status_after == "expired"
    world.state_word("agency", "linkedin-a", "valid")
    await cycle.poll(after=POLL)
    assert cycle.statuses()[LINKEDIN] == "valid"


async def test_a_pending_recheck_is_not_requested_twice(desk: Desk) -> None:
    [first], [second] = desk.request(LINKEDIN), desk.request(LINKEDIN)
    assert first == second
    await desk.answer()
    [third] = desk.request(LINKEDIN)
    assert third.id != first.id


async def test_a_request_that_a_daemon_left_behind_is_taken_again(desk: Desk) -> None:
    [made] = desk.request(LINKEDIN)
    with desk.cycle.store.begin_write() as conn:
        rechecks.start(conn, [], desk.cycle.clock.now())
        rechecks.start(conn, [(made.id, desk.cycle.states()[LINKEDIN].verdict.status)], desk.cycle.clock.now())
    await desk.answer()
    assert desk.find(made.id).outcome is RecheckOutcome.HEALTHY


async def test_a_request_expires_after_five_minutes(desk: Desk) -> None:
    cycle = desk.cycle
    [made] = desk.request(LINKEDIN)
    cycle.clock.advance(rechecks.EXPIRES_AFTER)
    with cycle.store.begin_read() as conn:
        assert rechecks.pending_sources(conn, cycle.clock.now()) == []
    [again] = desk.request(LINKEDIN)
    assert again.id != made.id
    assert desk.find(made.id).outcome is RecheckOutcome.EXPIRED


async def test_a_connection_that_was_forgotten_meanwhile_is_not_checked(desk: Desk) -> None:
    [made] = desk.request(LINKEDIN)
    with desk.cycle.store.begin_write() as conn:
        conn.exec_driver_sql("UPDATE connections SET retired_at = added_at WHERE external_id = 'linkedin-a'")
    await desk.answer()
    assert desk.find(made.id).message == "The connection is no longer monitored."


async def test_many_requests_read_each_scope_once(desk: Desk) -> None:
    desk.cycle.world.seen.clear()
    made = desk.request(*desk.cycle.statuses())
    await desk.answer()
    assert lists_read(desk.cycle.world) == USERS
    assert {desk.find(each.id).outcome for each in made} == {RecheckOutcome.HEALTHY}


async def test_the_page_and_the_api_check_a_bounded_number_per_minute(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MOST_PER_MINUTE", 3)
    for public_id in list(desk.cycle.statuses())[:3]:
        desk.request(public_id)
    with pytest.raises(requests.TooManyRechecks, match="within a minute"):
        desk.request(list(desk.cycle.statuses())[3])
    desk.request(next(iter(desk.cycle.statuses())))
    desk.cycle.clock.advance(timedelta(minutes=1))
    desk.request(list(desk.cycle.statuses())[3])


async def test_old_rechecks_are_pruned_with_the_polls(desk: Desk) -> None:
    await desk.check(LINKEDIN)
    desk.cycle.clock.advance(31 * DAY)
    with desk.cycle.store.begin_write() as conn:
        maintenance.prune(conn, desk.cycle.clock.now(), history=400 * DAY, polls_kept=30 * DAY)
        row = connection_queries.find_by_public_id(conn, LINKEDIN)
        assert row is not None
        assert rechecks.latest_of(conn, row.id) is None


@pytest.mark.parametrize("kind", ["postpost", "publora", "postbreeze", "postpeer"])
async def test_every_provider_reads_one_scope(kind: str, store: Store, clock: ManualClock, tmp_path: Path) -> None:
    """Publora by its header, Postbreeze by workspaceId, PostPeer as a whole: it has one scope."""
    world = World(clock=clock)
    world.add_source("agency", kind)
    scope = None
    if kind in ("postpost", "publora"):
        scope = world.add_user("agency", user=USERS[0]).id
        world.add_user("agency", user=USERS[1])
    world.connect("agency", "linkedin", account="x", scope=scope, lifetime=50 * DAY)
    users = {"agency": 'users = "all"'} if scope else None
    async with running(store, clock, world, tmp_path, per_source=users) as cycle:
        await cycle.poll()
        await cycle.probe()
        before = dict(cycle.world.sources["agency"].calls)
        [public_id] = cycle.statuses()
        found = await Desk(cycle).check(public_id)
        assert found.outcome is RecheckOutcome.HEALTHY
        assert cycle.world.sources["agency"].calls["list"] - before["list"] == 1
        assert cycle.alerts == []
