"""Whole cycles on both databases: the simulated APIs, the real adapters, rules and store; only the clock is moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.source import Trouble
from monitor.demo.world import DEFAULT_WORKSPACE, World
from monitor.domain import EventKind, SourceStatus
from monitor.store import Store
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import CHANNEL, Cycle, count_rows, running

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
POLL = timedelta(minutes=15)

CLIENT = "65f0c0ffee0000000000a11c"


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """One PostPost source with a LinkedIn connection that expires in 20 days, a Mastodon one, and a managed user's."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.add_user("agency", user=CLIENT, display_name="A client")
    world.connect("agency", "linkedin", account="li", username="Northwind", display_name="Northwind", lifetime=20 * DAY)
    world.connect("agency", "mastodon", account="ma", username="@fern", display_name="Fern & Fable")
    world.connect("agency", "threads", account="th", scope=CLIENT, username="lumen", display_name="Lumen", lifetime=40 * DAY)
    async with running(store, clock, world, tmp_path, per_source={"agency": 'users = "all"'}) as cycle:
        yield cycle


LINKEDIN = "agency/linkedin-li"


async def test_first_sight_of_healthy_connections_is_silent(agency: Cycle) -> None:
    recorded = await agency.poll()
    assert agency.statuses() == {LINKEDIN: "valid", "agency/mastodon-ma": "valid", f"agency/{CLIENT}/threads-th": "valid"}
    assert recorded.alerts == []
    assert [entry.kind for entry in agency.history("linkedin-li")] == [EventKind.APPEARED]


async def test_unchanged_polls_write_the_poll_and_nothing_else(agency: Cycle) -> None:
    await agency.poll()
    before = count_rows(agency.store)
    for _ in range(3):
        assert (await agency.poll(after=POLL)).changed == 0
    assert count_rows(agency.store) - before == 3


async def test_each_stage_of_an_expiring_token_is_notified_once_at_its_instant(agency: Cycle) -> None:
    await agency.poll()
    expiry = agency.states()[LINKEDIN].token.expires_at
    assert expiry is not None
    await agency.server.refuse()  # the API is down: time alone must tell
    for left, expected in [
        (7 * DAY + SECOND, []),
        (7 * DAY, [("expiring_soon", "first")]),
        (3 * DAY, [("expiring_soon", "stage")]),
        (3 * DAY - SECOND, []),
        (DAY, [("expiring_soon", "stage")]),
        (SECOND, []),
        (timedelta(0), [("expired", "worse")]),
        (-HOUR, []),
    ]:
        recorded = await agency.pass_time(expiry - left - agency.clock.now())
        assert [(alert.event.value, alert.reason) for alert in recorded.alerts] == expected, left
    state = agency.states()[LINKEDIN]
    assert (state.verdict.reason, state.verdict.since) == ("date_passed", expiry)


async def test_A11_only_the_tightest_stage_crossed_while_the_monitor_was_off_is_notified_late_and_once(agency: Cycle) -> None:
    await agency.poll()
    agency.clock.advance(19 * DAY + 12 * HOUR)
    recorded = await agency.pass_time(timedelta(0))
    assert [(alert.event.value, alert.reason, alert.stage) for alert in recorded.alerts] == [("expiring_soon", "first", DAY)]
    assert (await agency.poll(after=POLL)).alerts == []


async def test_a_renewal_ends_the_incident_and_is_notified(agency: Cycle) -> None:
    await agency.poll()
    await agency.pass_time(15 * DAY)
    agency.world.renew("agency", "linkedin-li", lifetime=60 * DAY)
    recorded = await agency.poll(after=POLL)
    assert [(alert.event.value, alert.reason, alert.previous) for alert in recorded.alerts] == [
        ("recovered", "renewed", "expiring_soon")
    ]
    assert agency.statuses()[LINKEDIN] == "valid"
    assert EventKind.RENEWED in [entry.kind for entry in agency.history("linkedin-li")]


async def test_the_first_answer_after_a_passed_date_decides(agency: Cycle) -> None:
    await agency.poll()
    await agency.pass_time(20 * DAY)
    assert agency.statuses()[LINKEDIN] == "expired"
    agency.world.change("agency", "linkedin-li", overrides={"tokenStatus": "valid"})
    await agency.poll(after=POLL)
    state = agency.states()[LINKEDIN]
    assert (state.verdict.status, "conflict" in state.verdict.flags) == ("expired", True)
    agency.world.change("agency", "linkedin-li", overrides={"tokenStatus": "valid", "accessTokenExpiresAt": None})
    recorded = await agency.poll(after=POLL)
    assert [alert.event.value for alert in recorded.alerts] == ["recovered"]


async def test_a_vanished_connection_is_disconnected_after_two_complete_lists_and_recovers_by_presence(agency: Cycle) -> None:
    await agency.poll()
    agency.world.vanish("agency", "mastodon-ma")
    assert (await agency.poll(after=POLL)).alerts == []
    recorded = await agency.poll(after=POLL)
    assert [(alert.event.value, alert.reason) for alert in recorded.alerts] == [("disconnected", "first")]
    assert (await agency.poll(after=POLL)).alerts == []
    agency.world.restore("agency", "mastodon-ma")
    recorded = await agency.poll(after=POLL)
    assert [(alert.event.value, alert.previous) for alert in recorded.alerts] == [("recovered", "disconnected")]


async def test_a_failed_poll_is_no_evidence_and_two_make_the_source_failing(agency: Cycle) -> None:
    await agency.poll()
    agency.world.vanish("agency", "mastodon-ma")
    agency.world.break_source("agency", Trouble.HTML)
    for _ in range(4):
        await agency.poll(after=POLL)
    assert agency.states()["agency/mastodon-ma"].missing == 0
    assert agency.notified() == [("source_failing", "first", "agency")]
    assert agency.source("agency").status is SourceStatus.FAILING
    agency.world.recover_source("agency")
    await agency.poll(after=POLL)
    assert agency.notified()[1:] == [("source_recovered", "recovered", "agency")]


async def test_a_rejected_key_is_notified_immediately_and_expires_nothing(agency: Cycle) -> None:
    await agency.poll()
    agency.world.break_source("agency", Trouble.UNAUTHORIZED)
    recorded = await agency.poll(after=POLL)
    assert [(alert.event.value, alert.status) for alert in recorded.alerts] == [("source_failing", "unauthorized")]
    assert set(agency.statuses().values()) == {"valid"}


async def test_a_detached_user_costs_only_that_scope(agency: Cycle) -> None:
    await agency.poll()
    del agency.world.sources["agency"].users[CLIENT]
    agency.world.expire("agency", "linkedin-li")
    for _ in range(3):
        await agency.poll(after=POLL)
    assert agency.statuses() == {LINKEDIN: "expired", "agency/mastodon-ma": "valid", f"agency/{CLIENT}/threads-th": "valid"}


async def test_a_refusal_by_the_platform_is_confirmed_within_a_minute_and_an_ok_ends_it(agency: Cycle) -> None:
    await agency.poll()
    await agency.probe(due=True)
    agency.world.revoke("agency", "mastodon-ma", noticed=False)
    assert (await agency.probe()).alerts == []
    state = agency.states()["agency/mastodon-ma"]
    assert (state.verdict.status, "probe_refused" in state.verdict.flags) == ("valid", True)
    recorded = await agency.probe(after=MINUTE, due=True)
    assert [(alert.event.value, alert.reason) for alert in recorded.alerts] == [("revoked", "first")]
    agency.world.renew("agency", "mastodon-ma")
    recorded = await agency.probe(after=HOUR, due=True)
    assert [(alert.event.value, alert.previous) for alert in recorded.alerts] == [("recovered", "revoked")]


async def test_the_same_problem_is_notified_once_however_often_it_is_seen(agency: Cycle) -> None:
    await agency.poll()
    agency.world.expire("agency", "linkedin-li")
    for _ in range(5):
        await agency.poll(after=POLL)
        await agency.probe()
    assert agency.notified() == [("expired", "first", LINKEDIN)]
    assert agency.stored_alerts() == 1


async def test_probes_that_change_nothing_write_no_row_of_their_own(agency: Cycle) -> None:
    await agency.poll()
    await agency.probe(due=True)
    await agency.probe(after=6 * HOUR, due=True)
    before = count_rows(agency.store)
    for _ in range(4):
        agency.clock.advance(6 * HOUR)
        assert (await agency.probe(due=True)).changed == 0
    assert count_rows(agency.store) - before <= 4  # the hourly counts


async def test_a_clock_that_disagrees_by_minutes_delays_a_date_by_minutes(agency: Cycle) -> None:
    await agency.poll()
    agency.world.sources["agency"].clock_skew = timedelta(minutes=-6)
    await agency.poll(after=POLL)
    assert (await agency.pass_time(13 * DAY - POLL + timedelta(minutes=5))).alerts == []
    recorded = await agency.pass_time(timedelta(minutes=2))
    assert [alert.event.value for alert in recorded.alerts] == ["expiring_soon"]


async def test_a_reconnect_under_a_new_id_carries_the_history_over(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    world = World(clock=clock)
    world.add_source("retail", "postbreeze")
    world.connect(
        "retail", "instagram", account="178", external_id="soc_old", scope=DEFAULT_WORKSPACE, username="@glow", lifetime=60 * DAY
    )
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        world.expire("retail", "soc_old")
        await cycle.poll(after=POLL)
        world.reconnect("retail", "soc_old", new_id="soc_new")
        for _ in range(3):
            await cycle.poll(after=POLL)
        assert cycle.statuses() == {"retail/soc_new": "valid"}
        assert [word[0] for word in cycle.notified()] == ["expired", "recovered"]
        kinds = [entry.kind for entry in cycle.history("soc_new")]
        assert EventKind.APPEARED in kinds
        assert EventKind.RECONNECTED in kinds


async def test_alerts_are_queued_for_the_channels_that_take_them_in_the_same_transaction(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    """A channel for warnings of another source takes nothing; what nobody takes is kept with a note."""
    from monitor.store import alerts, outbox

    world = World(clock=clock)
    for name in ("agency", "other"):
        world.add_source(name, "publora")
        world.connect(name, "linkedin", account=name, username=name, display_name=name, lifetime=3 * DAY)
    extra = CHANNEL + 'sources = ["agency"]\n'
    async with running(store, clock, world, tmp_path, extra=extra) as cycle:
        await cycle.poll()
    with store.begin_read() as conn:
        notes = {row.alert.source: row.note for row in alerts.list_alerts(conn)}
        assert outbox.pending_counts(conn) == {"ops": 1}
    assert notes["agency"] is None
    assert notes["other"] == "No channel accepts this alert. Check the channels' events, severity and filters."
