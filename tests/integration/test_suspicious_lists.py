"""Most connections missing at once: only a list that was read to its end confirms it, or ends it. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.domain import PollOutcome, PollReport, ScopeReport, Snapshot, Unreadable
from monitor.domain.rules import suppression
from monitor.engine.recording import Recorded
from monitor.engine.recording.polls import Poll, record_poll
from monitor.providers.scopes import scope_report
from monitor.store import Store, connection_queries, connections
from tests.support.factories import make_snapshot
from tests.support.fakes import ManualClock
from tests.support.incidents import all_open
from tests.support.poll_cycle import Cycle, running

POLL = timedelta(minutes=15)
USER = "65f0c0ffee0000000000a11c"
FAILING = ("source_failing", "suspicious_list")
RECOVERED = ("source_recovered", "suspicious_list")


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """A managed user with eight connections, and one of the key's owner."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.add_user("agency", user=USER, display_name="client")
    for number in range(8):
        world.connect("agency", "mastodon", account=str(number), username=f"@u{number}", display_name=f"U{number}", scope=USER)
    world.connect("agency", "mastodon", account="own", username="@own", display_name="Own")
    async with running(store, clock, world, tmp_path, per_source={"agency": f'users = ["{USER}"]'}) as cycle:
        await cycle.poll()
        yield cycle


def vanish(cycle: Cycle, count: int) -> None:
    """So many of the user's connections are gone."""
    for number in range(count):
        cycle.world.vanish("agency", f"mastodon-{number}")


async def poll(cycle: Cycle, *, unread: bool = False) -> list[tuple[str, str]]:
    """Poll a quarter of an hour later, with the user's list unread or not: what is said, as (event, reason)."""
    cycle.clock.advance(POLL)
    work = cycle.work["agency"]
    report = await work.provider.poll()
    if unread:
        told = tuple(
            each if each.scope is None else ScopeReport(scope=each.scope, complete=False, problem="HTTP 500")
            for each in report.scopes
        )
        report = replace(report, outcome=PollOutcome.PARTIAL, scopes=told)
    now = cycle.clock.now()
    with cycle.store.begin_write() as conn:
        poll = Poll(report=report, started_at=now, now=now)
        recorded = record_poll(conn, work.source, poll, channels=cycle.config.channels)
    cycle.alerts += recorded.alerts
    return words(recorded)


def words(recorded: Recorded) -> list[tuple[str, str]]:
    return [(alert.event.value, alert.reason) for alert in recorded.alerts]


async def test_a_list_that_could_not_be_read_ends_no_suspicion_and_confirms_none(agency: Cycle) -> None:
    vanish(agency, 7)
    assert await poll(agency) == [FAILING]
    assert await poll(agency, unread=True) == []
    assert await poll(agency) == []
    assert set(agency.statuses().values()) == {"valid"}, "two complete lists agree, and it takes three"
    assert await poll(agency) == [("disconnected", "first")] * 7


async def test_one_unread_list_in_three_does_not_keep_connections_from_being_gone(agency: Cycle) -> None:
    vanish(agency, 7)
    said = [await poll(agency, unread=number % 3 == 2) for number in range(6)]
    assert said == [[FAILING], [], [], [("disconnected", "first")] * 7, [], []]


@pytest.mark.parametrize("nameless", [False, True], ids=["truncated", "nameless-row"])
async def test_a_list_that_is_not_whole_proves_no_absence(agency: Cycle, *, nameless: bool) -> None:
    """Neither of what it lacks, although many such lists lack it, nor for a suspicion, which it does not end."""
    other = "65f0c0ffee0000000000b22d"
    rows = [make_snapshot(external_id=f"x-{number}", scope=other, profile_url=None) for number in range(8)]
    unreadable = (Unreadable(external_id=None, why="bad_id"),) if nameless else ()

    def take(*listed: Snapshot, whole: bool = True) -> list[tuple[str, str]]:
        agency.clock.advance(POLL)
        now, problem = agency.clock.now(), None if whole or nameless else "Page 2 could not be read."
        report = PollReport(
            outcome=PollOutcome.OK, scopes=(scope_report(other, listed, () if whole else unreadable, problem=problem),)
        )
        with agency.store.begin_write() as conn:
            poll = Poll(report=report, started_at=now, now=now)
            return words(record_poll(conn, agency.work["agency"].source, poll, channels=()))

    take(*rows)
    for _ in range(suppression.AGREEING_POLLS + 1):
        take(*rows[:6], whole=False)
    assert {status for key, status in agency.statuses().items() if "x-" in key} == {"valid"}
    take(*rows)
    assert take(rows[0]) == [FAILING]
    assert RECOVERED not in take(rows[0], whole=False)


@pytest.mark.parametrize("trouble", [Trouble.CUT, Trouble.SERVER_ERROR, Trouble.HTML])
async def test_an_api_that_is_down_returns_no_connection(agency: Cycle, trouble: Trouble) -> None:
    vanish(agency, 7)
    await poll(agency)
    agency.world.break_source("agency", trouble)
    assert await poll(agency) == []
    assert await poll(agency) == [("source_failing", "first")]
    agency.world.recover_source("agency")
    for number in range(7):
        agency.world.restore("agency", f"mastodon-{number}")
    assert await poll(agency) == [RECOVERED, ("source_recovered", "recovered")]
    assert agency.alerts[-2].message == f"The connections of {USER} are listed again."


async def test_when_only_some_return_the_others_are_named_and_notified_separately(agency: Cycle) -> None:
    vanish(agency, 6)
    await poll(agency)
    for number in range(2):
        agency.world.restore("agency", f"mastodon-{number}")
    assert await poll(agency) == [RECOVERED]
    assert agency.alerts[-1].message == (
        f"Some connections of {USER} are listed again; 4 of 8 are still missing. "
        "Each of them causes an alert if it remains missing."
    )
    assert await poll(agency) == [("disconnected", "first")] * 4
    with agency.store.begin_read() as conn:
        assert [incident.subject for incident in all_open(conn)] == [""] * 4


def connect_new(cycle: Cycle, *numbers: int) -> None:
    """Other accounts are listed under the same key."""
    for number in numbers:
        account, name = f"new{number}", f"N{number}"
        cycle.world.connect("agency", "mastodon", account=account, username=f"@{name}", display_name=name, scope=USER)


async def test_a_changed_key_is_named_and_its_accounts_never_count_as_a_recovery(agency: Cycle) -> None:
    vanish(agency, 8)
    connect_new(agency, *range(8))
    assert await poll(agency) == [FAILING]
    assert agency.alerts[-1].message == (
        f"8 of 8 known connections of {USER} are gone, 8 new ones appeared: was the key changed? "
        "The known connections keep their status until two more lists agree."
    )
    assert await poll(agency) == []
    with agency.store.begin_read() as conn:
        assert [incident.subject for incident in all_open(conn)] == [f"missing:{USER}"], "still suspected"
    assert await poll(agency) == [("disconnected", "first")] * 8
    assert await poll(agency) == []
    with agency.store.begin_read() as conn:
        assert [incident.subject for incident in all_open(conn)] == [""] * 8


async def test_new_accounts_and_their_loss_do_not_count_while_the_known_ones_are_gone(agency: Cycle) -> None:
    vanish(agency, 7)
    connect_new(agency, 1)
    assert await poll(agency) == [FAILING]
    assert "7 of 8 known connections" in agency.alerts[-1].message
    assert "1 new one appeared" in agency.alerts[-1].message
    connect_new(agency, *range(2, 20))
    assert await poll(agency) == [], "26 are listed now, and still 7 of the 8 known ones are gone"
    agency.world.vanish("agency", "mastodon-new1")
    agency.world.restore("agency", "mastodon-0")
    agency.world.restore("agency", "mastodon-1")
    agency.world.restore("agency", "mastodon-2")
    assert await poll(agency) == [RECOVERED]
    assert "4 of 8 are still missing" in agency.alerts[-1].message


async def test_a_suspicion_that_only_shrinks_because_connections_were_forgotten_ends_without_a_recovery(agency: Cycle) -> None:
    vanish(agency, 8)
    connect_new(agency, *range(8))
    assert await poll(agency) == [FAILING]
    with agency.store.begin_write() as conn:
        rows = [row for row in connection_queries.list_connections(conn) if row.state.snapshot.external_id[9:] in "012345"]
        assert len(rows) == 6
        for row in rows:
            connections.retire(conn, row.id, agency.clock.now())
    assert await poll(agency) == []
    assert await poll(agency) == [("disconnected", "first")] * 2


async def test_without_new_accounts_the_message_is_about_missing_ones(agency: Cycle) -> None:
    vanish(agency, 6)
    await poll(agency)
    assert agency.alerts[-1].message == (
        f"6 of 8 connections of {USER} are suddenly missing from the list. They keep their status until two more lists agree."
    )
