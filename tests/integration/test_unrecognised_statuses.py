"""A status that this version does not know is one problem of the monitor for each source and status. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.world import World
from monitor.engine import config_sync
from monitor.engine.recording.unrecognised_statuses import MAX_STATUSES, close_removed
from monitor.notify.messages import Dispatch, compose, render
from monitor.store import Store, incidents, maintenance
from tests.support.fakes import ManualClock
from tests.support.incidents import all_open
from tests.support.poll_cycle import Cycle, running

POLL, DAY = timedelta(minutes=15), timedelta(days=1)
PROBLEM, RECOVERED = ("monitor_problem", "unrecognised_status"), ("monitor_recovered", "unrecognised_status")


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """Six valid connections."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    for number in range(6):
        world.connect("agency", "mastodon", account=str(number), username=f"@u{number}", display_name=f"U{number}")
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        yield cycle


def state(cycle: Cycle, word: str, *numbers: int) -> None:
    for number in numbers:
        cycle.world.state_word("agency", f"mastodon-{number}", word)


async def poll(cycle: Cycle) -> list[tuple[str, str]]:
    recorded = await cycle.poll(after=POLL)
    return [(alert.event.value, alert.reason) for alert in recorded.alerts]


def subjects(cycle: Cycle) -> list[str]:
    with cycle.store.begin_read() as conn:
        return [incident.subject for incident in all_open(conn, source="")]


async def test_N22_an_unknown_status_is_notified_once_and_ends_with_the_last_connection_that_has_it(agency: Cycle) -> None:
    state(agency, "needs_a_cup_of_tea", 0, 1)
    assert await poll(agency) == [PROBLEM]
    alert = agency.alerts[-1]
    assert alert.message == (
        "PostPost (source agency) reports the status 'needs_a_cup_of_tea' on 2 connections; this version does not know it. "
        "They keep their last status."
    )
    assert set(agency.statuses().values()) == {"valid"}
    state(agency, "needs_a_cup_of_tea", 2)
    for _ in range(3):
        assert await poll(agency) == []
    with agency.store.begin_write() as conn:
        config_sync.sync(conn, agency.config, agency.clock.now())
    assert (await agency.pass_time(timedelta(days=3))).alerts == [], "neither a restart nor time repeats it"
    for number in (0, 1):
        agency.world.renew("agency", f"mastodon-{number}")
        assert await poll(agency) == []
    agency.world.vanish("agency", "mastodon-2")
    assert await poll(agency) == [], "it may come back"
    assert [alert.reason for alert in (await agency.pass_time(DAY - POLL)).alerts] == []
    assert await poll(agency) == [("disconnected", "first")]
    recorded = await agency.pass_time(POLL)
    assert [(alert.event.value, alert.reason) for alert in recorded.alerts] == [RECOVERED]
    assert recorded.alerts[0].message == "PostPost (source agency) no longer reports the status 'needs_a_cup_of_tea'."
    assert subjects(agency) == []


async def test_N22_each_status_is_a_problem_of_its_own(agency: Cycle) -> None:
    state(agency, "strange", 0)
    state(agency, "odd", 1)
    assert await poll(agency) == [PROBLEM, PROBLEM]
    state(agency, "odd", 0)
    assert await poll(agency) == []
    await agency.pass_time(DAY)
    assert agency.alerts[-1].message == "PostPost (source agency) no longer reports the status 'strange'."
    assert subjects(agency) == ["status:agency:odd"]


async def test_a_status_that_comes_and_goes_is_one_problem(agency: Cycle) -> None:
    for number in range(5):
        state(agency, "checking", 0)
        assert await poll(agency) == ([] if number else [PROBLEM])
        assert (await agency.pass_time(8 * POLL)).alerts == []
        agency.world.renew("agency", "mastodon-0")
        assert await poll(agency) == []
        assert (await agency.pass_time(DAY - 8 * POLL)).alerts == []
    with agency.store.begin_write() as conn:
        state(agency, "checking", 0)
        incidents.review_all(conn, agency.clock.now())
    assert await poll(agency) == []
    assert (await agency.pass_time(timedelta(0))).alerts == [], "a review changes nothing while a connection has it"
    assert subjects(agency) == ["status:agency:checking"]


async def test_the_text_of_a_status_is_bounded_and_harmless_and_so_is_their_number(agency: Cycle) -> None:
    state(agency, "\x1b[31m@everyone " + "x" * 5000, 0)
    assert await poll(agency) == [PROBLEM]
    (subject,) = subjects(agency)
    assert len(subject) <= len("status:agency:") + 64
    part = render(compose([Dispatch(alert=agency.alerts[-1])], timezone="UTC", now=agency.clock.now()))
    assert part.title.startswith("[MONITOR PROBLEM] unknown status ")
    assert "@everyone" not in part.title + part.body
    assert "Check these accounts at the provider, and report the status to the project" in part.body
    for number in range(MAX_STATUSES + 10):
        word, account = f"word{number}", f"more{number}"
        agency.world.connect("agency", "mastodon", account=account, username=account, display_name=account)
        agency.world.state_word("agency", f"mastodon-{account}", word)
    await poll(agency)
    assert len(subjects(agency)) <= MAX_STATUSES


async def test_a_start_notifies_what_was_stored_before_this_was_notified(agency: Cycle) -> None:
    state(agency, "odd", 0)
    await poll(agency)
    with agency.store.begin_write() as conn:
        close_removed(conn, [], agency.clock.now())
    assert subjects(agency) == []
    assert await poll(agency) == [], "an unchanged list is not counted"
    with agency.store.begin_write() as conn:
        config_sync.sync(conn, agency.config, agency.clock.now())
    assert subjects(agency) == ["status:agency:odd"]


async def test_the_incident_follows_its_source_to_a_new_name(agency: Cycle) -> None:
    state(agency, "odd", 0)
    await poll(agency)
    with agency.store.begin_write() as conn:
        assert maintenance.rename_source(conn, "agency", "studio", agency.clock.now())
    assert subjects(agency) == ["status:studio:odd"]
    with agency.store.begin_write() as conn:
        close_removed(conn, ["studio"], agency.clock.now())
    assert subjects(agency) == ["status:studio:odd"]
