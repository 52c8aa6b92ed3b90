"""What keeps messages few: reminders, acknowledgements, silences, flapping, and many things that are one. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.source import Trouble
from monitor.demo.world import World, populate
from monitor.domain import Ack, EventKind, Status
from monitor.domain.records import replace
from monitor.domain.rules.silences import Silence
from monitor.store import Store, incidents, silences
from tests.support.fakes import ManualClock
from tests.support.incidents import all_open
from tests.support.poll_cycle import CHANNEL, Cycle, running

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
POLL = timedelta(minutes=15)
CROWD = 8


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """One PostPost source with eight Mastodon connections that never expire."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    for number in range(CROWD):
        world.connect("agency", "mastodon", account=str(number), username=f"@u{number}", display_name=f"User {number}")
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        yield cycle


def said(cycle: Cycle) -> list[tuple[str, str]]:
    """Take what was said since the last call, as (event, reason)."""
    words = [(alert.event.value, alert.reason) for alert in cycle.alerts]
    cycle.alerts.clear()
    return words


def incident_of(cycle: Cycle) -> incidents.Incident:
    """The only open incident."""
    with cycle.store.begin_read() as conn:
        (found,) = all_open(conn)
    return found


def acknowledge(cycle: Cycle, *, until: timedelta | None = None) -> None:
    """Somebody knows of the only open incident."""
    incident = incident_of(cycle)
    assert incident.last_notified is not None
    now = cycle.clock.now()
    ack = Ack(
        status=incident.last_notified.status,
        stage=incident.last_notified.stage,
        at=now,
        until=None if until is None else now + until,
    )
    with cycle.store.begin_write() as conn:
        incidents.acknowledge(conn, incident.id, ack)


def silence(cycle: Cycle, *, lasting: timedelta, **matchers: tuple[str, ...]) -> int:
    """Silence from now on."""
    now = cycle.clock.now()
    wanted = Silence(id=0, comment="maintenance", starts_at=now, ends_at=now + lasting, **matchers)  # type: ignore[arg-type]  # by name
    with cycle.store.begin_write() as conn:
        number = silences.add(conn, wanted, now)
        incidents.review_all(conn, now)
    return number


async def test_reminders_come_by_the_clock_until_recovery(agency: Cycle) -> None:
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    assert said(agency) == [("expired", "first")]
    await agency.pass_time(24 * HOUR - MINUTE)
    assert said(agency) == []
    await agency.pass_time(MINUTE)
    assert said(agency) == [("expired", "reminder")]
    await agency.poll(after=POLL)
    await agency.pass_time(24 * HOUR - POLL)
    assert said(agency) == [("expired", "reminder")]
    agency.world.renew("agency", "mastodon-0")
    await agency.poll(after=POLL)
    assert said(agency)[0][0] == "recovered"
    await agency.pass_time(3 * DAY)
    assert said(agency) == []


async def test_an_acknowledgement_ends_reminders_until_it_gets_worse(agency: Cycle) -> None:
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    acknowledge(agency)
    await agency.pass_time(3 * DAY)
    assert said(agency) == [("expired", "first")]
    agency.world.vanish("agency", "mastodon-0")
    await agency.poll(after=POLL)
    await agency.poll(after=POLL)
    assert said(agency) == [("disconnected", "worse")]
    assert incident_of(agency).ack is None
    assert unacknowledged(agency) == ["worse"]


async def test_an_acknowledgement_with_a_date_lets_reminders_go_on_after_it(agency: Cycle) -> None:
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    acknowledge(agency, until=2 * DAY)
    await agency.pass_time(2 * DAY - MINUTE)
    assert said(agency) == [("expired", "first")]
    await agency.pass_time(MINUTE)
    assert said(agency) == [("expired", "reminder")]
    assert unacknowledged(agency) == ["until"]


async def test_an_acknowledgement_covers_no_return_to_what_was_acknowledged(agency: Cycle) -> None:
    """Expired and acknowledged, better, and days later expired again: that is news."""
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    acknowledge(agency)
    agency.world.renew("agency", "mastodon-0")
    agency.world.state_word("agency", "mastodon-0", "expiring_soon")
    await agency.poll(after=POLL)
    assert said(agency) == [("expired", "first")]
    agency.world.expire("agency", "mastodon-0")
    agency.world.state_word("agency", "mastodon-0", "expired")
    await agency.poll(after=HOUR)
    assert said(agency) == [("expired", "worse")]
    assert unacknowledged(agency) == ["worse"]
    await agency.pass_time(DAY)
    assert said(agency) == [("expired", "reminder")]


async def test_the_end_of_an_acknowledgement_reports_the_improvement(agency: Cycle) -> None:
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    acknowledge(agency, until=DAY)
    agency.world.renew("agency", "mastodon-0")
    agency.world.state_word("agency", "mastodon-0", "expiring_soon")
    await agency.poll(after=POLL)
    silence(agency, lasting=HOUR, connections=("another/*",))  # has everything looked at again
    await agency.pass_time(DAY - POLL - MINUTE)
    assert said(agency) == [("expired", "first")]
    await agency.pass_time(MINUTE)
    assert said(agency) == [("expiring_soon", "changed")]


def unacknowledged(cycle: Cycle) -> list[str | None]:
    """Why acknowledgements of the first connection ended, by its history."""
    return [entry.reason for entry in cycle.history("mastodon-0") if entry.kind is EventKind.UNACKNOWLEDGED]


async def test_a_recovery_is_notified_although_the_problem_was_acknowledged(agency: Cycle) -> None:
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    acknowledge(agency)
    agency.world.renew("agency", "mastodon-0")
    await agency.poll(after=POLL)
    assert [word[0] for word in said(agency)] == ["expired", "recovered"]
    assert unacknowledged(agency) == []


async def test_a_problem_is_notified_at_the_end_of_a_silence_only_if_it_lasts_beyond_it(agency: Cycle) -> None:
    silence(agency, lasting=4 * HOUR, sources=("agency",))
    agency.world.expire("agency", "mastodon-0")
    agency.world.expire("agency", "mastodon-1")
    await agency.poll(after=POLL)
    agency.world.renew("agency", "mastodon-1")
    await agency.poll(after=POLL)
    assert said(agency) == []
    assert agency.statuses()["agency/mastodon-0"] == "expired"  # it is recorded all the same
    await agency.pass_time(4 * HOUR)
    assert said(agency) == [("expired", "first")]
    assert agency.alerts == []


async def test_a_silence_matches_by_connection_and_leaves_the_others_loud(agency: Cycle) -> None:
    silence(agency, lasting=DAY, connections=("agency/mastodon-0",))
    for number in (0, 1):
        agency.world.expire("agency", f"mastodon-{number}")
    recorded = await agency.poll(after=POLL)
    assert [alert.external_id for alert in recorded.alerts] == ["mastodon-1"]


async def test_a_recovery_inside_a_silence_is_notified_at_its_end(agency: Cycle) -> None:
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    silence(agency, lasting=2 * HOUR, sources=("agency",))
    agency.world.renew("agency", "mastodon-0")
    await agency.poll(after=POLL)
    assert said(agency) == [("expired", "first")]
    await agency.pass_time(2 * HOUR)
    assert [word[0] for word in said(agency)] == ["recovered"]


async def test_removing_a_silence_releases_its_alert_immediately(agency: Cycle) -> None:
    number = silence(agency, lasting=DAY, sources=("agency",))
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    with agency.store.begin_write() as conn:
        silences.remove(conn, number, agency.clock.now())
        incidents.review_all(conn, agency.clock.now())
    await agency.pass_time(timedelta(0))
    assert said(agency) == [("expired", "first")]


async def test_A10_a_flapping_connection_alerts_at_most_once_an_hour_with_the_net_change(agency: Cycle) -> None:
    for _ in range(12):
        agency.world.expire("agency", "mastodon-0")
        await agency.poll(after=5 * MINUTE)
        await agency.pass_time(timedelta(0))
        agency.world.renew("agency", "mastodon-0")
        await agency.poll(after=5 * MINUTE)
        await agency.pass_time(timedelta(0))
    assert len(said(agency)) <= 4 + 2  # the changes that the policy allows, then one an hour for two hours
    await agency.pass_time(2 * HOUR)
    assert agency.statuses()["agency/mastodon-0"] == "valid"
    await agency.pass_time(DAY)
    with agency.store.begin_read() as conn:
        assert all_open(conn) == []


async def test_N27_most_connections_missing_at_once_is_one_alert_and_a_hold(agency: Cycle) -> None:
    for number in range(6):
        agency.world.vanish("agency", f"mastodon-{number}")
    await agency.poll(after=POLL)
    (alert,) = agency.alerts
    assert (alert.event.value, alert.reason, alert.count) == ("source_failing", "suspicious_list", 6)
    assert set(agency.statuses().values()) == {"valid"}
    await agency.poll(after=POLL)
    assert set(agency.statuses().values()) == {"valid"}
    for number in range(6):
        agency.world.restore("agency", f"mastodon-{number}")
    agency.alerts.clear()
    await agency.poll(after=POLL)
    assert said(agency) == [("source_recovered", "suspicious_list")]


async def test_N27_two_further_lists_that_agree_make_them_disconnected_together(agency: Cycle) -> None:
    for number in range(6):
        agency.world.vanish("agency", f"mastodon-{number}")
    for _ in range(2):
        await agency.poll(after=POLL)
    agency.alerts.clear()
    recorded = await agency.poll(after=POLL)
    assert sorted(alert.event.value for alert in recorded.alerts) == ["disconnected"] * 6
    assert list(agency.statuses().values()).count("disconnected") == 6
    assert said(agency) == [("disconnected", "first")] * 6
    await agency.poll(after=POLL)
    assert said(agency) == []


async def test_half_is_not_most_and_four_are_no_mass_failure(agency: Cycle) -> None:
    for number in range(4):
        agency.world.vanish("agency", f"mastodon-{number}")
    await agency.poll(after=POLL)
    assert said(agency) == []
    await agency.poll(after=POLL)
    assert said(agency) == [("disconnected", "first")] * 4


async def test_a_status_that_the_provider_states_is_never_held(agency: Cycle) -> None:
    for number in range(6):
        agency.world.expire("agency", f"mastodon-{number}")
    await agency.poll(after=POLL)
    assert said(agency) == [("expired", "first")] * 6


async def test_a_platforms_outage_is_one_alert_and_ends_with_one(agency: Cycle) -> None:
    for number in range(7):
        agency.world.refuse("agency", f"mastodon-{number}")
    await agency.probe()
    await agency.probe(after=MINUTE)
    assert said(agency) == [("source_failing", "platform_outage")]
    assert list(agency.statuses().values()).count("failing") == 7
    for number in range(6):
        agency.world.renew("agency", f"mastodon-{number}")
    await agency.probe(after=HOUR)
    assert said(agency) == [("source_recovered", "platform_outage")]
    await agency.pass_time(70 * MINUTE)
    assert said(agency) == [("failing", "first")], "the one that is still refused has its own alert"


@pytest.fixture
async def three(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """Three sources, told to be on three hosts."""
    from monitor.store import sources

    world = World(clock=clock)
    for name in ("one", "two", "three"):
        world.add_source(name, "publora")
        world.connect(name, "mastodon", account=name, username=name, display_name=name)
    quick = dict.fromkeys(world.sources, "requests_per_minute = 6000")
    async with running(store, clock, world, tmp_path, per_source=quick) as cycle:
        with store.begin_write() as conn:
            for row in sources.all_sources(conn):
                sources.save_source(conn, replace(row, host=f"{row.name}.example"))
        await cycle.poll()
        yield cycle


async def test_every_source_unreachable_at_once_is_the_monitors_own_network(three: Cycle) -> None:
    for name in three.world.sources:
        three.world.break_source(name, Trouble.CUT)
    for _ in range(4):
        await three.poll(after=5 * MINUTE)
    assert said(three) == [("monitor_problem", "own_network")]
    for name in three.world.sources:
        three.world.recover_source(name)
    await three.poll(after=5 * MINUTE)
    assert said(three) == [("monitor_recovered", "own_network")]


async def test_one_source_unreachable_is_that_source(three: Cycle) -> None:
    three.world.break_source("two", Trouble.CUT)
    for _ in range(3):
        await three.poll(after=5 * MINUTE)
    assert said(three) == [("source_failing", "first")]


async def test_a_source_of_a_thousand_down_for_an_hour_is_one_alert_down_and_one_up(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    world = World(clock=clock)
    populate(world, 1_000, source="agency")
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        before = cycle.statuses()
        world.break_source("agency", Trouble.SERVER_ERROR)
        for _ in range(5):
            await cycle.poll(after=POLL)
            await cycle.pass_time(timedelta(0))
        assert cycle.notified() == [("source_failing", "first", "agency")]
        world.recover_source("agency")
        await cycle.poll(after=POLL)
        await cycle.poll(after=POLL)
        assert cycle.notified() == [("source_failing", "first", "agency"), ("source_recovered", "recovered", "agency")]
        assert len(before) == 1_000
        assert cycle.statuses() == before


async def test_a_source_that_stays_down_when_the_network_is_back_alerts_separately(three: Cycle) -> None:
    for name in three.world.sources:
        three.world.break_source(name, Trouble.CUT)
    for _ in range(3):
        await three.poll(after=5 * MINUTE)
    said(three)
    for name in ("one", "three"):
        three.world.recover_source(name)
    await three.poll(after=5 * MINUTE)
    await three.poll(after=5 * MINUTE)
    assert said(three) == [("monitor_recovered", "own_network"), ("source_failing", "first")]


async def test_an_open_incident_survives_its_silence_by_status(agency: Cycle) -> None:
    """An incident that was held from the start has said nothing, and closes as quietly as it began."""
    silence(agency, lasting=HOUR, sources=("agency",))
    agency.world.expire("agency", "mastodon-0")
    await agency.poll(after=POLL)
    assert incident_of(agency).last_notified is None
    agency.world.renew("agency", "mastodon-0")
    await agency.poll(after=POLL)
    with agency.store.begin_read() as conn:
        assert all_open(conn) == []
    await agency.pass_time(DAY)
    assert said(agency) == []
    assert agency.statuses()["agency/mastodon-0"] == Status.VALID


async def test_recoveries_go_only_where_the_problem_went(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    from monitor.store import alerts, outbox

    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.connect("agency", "mastodon", account="0", username="@u", display_name="U")
    late = CHANNEL + '[[channels]]\nname = "boss"\nurl = "json://127.0.0.1:9/boss"\nafter = "2h"\n'
    async with running(store, clock, world, tmp_path, extra=late) as cycle:
        await cycle.poll()
        world.expire("agency", "mastodon-0")
        await cycle.poll(after=POLL)
        world.renew("agency", "mastodon-0")
        await cycle.poll(after=POLL)
    with store.begin_read() as conn:
        rows = {row.alert.event.value: outbox.deliveries_of(conn, row.alert.id) for row in alerts.list_alerts(conn)}
    assert sorted((each.channel, each.state.value) for each in rows["expired"]) == [("boss", "skipped"), ("ops", "pending")]
    assert [each.channel for each in rows["recovered"]] == ["ops"]
