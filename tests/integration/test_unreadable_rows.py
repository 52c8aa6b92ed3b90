"""Rows that stay unreadable are one problem of the source, and no view shows it as healthy meanwhile. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.domain import SourceStatus
from monitor.engine import config_sync
from monitor.store import Store
from monitor.views.sources import SourceView, source_views
from monitor.views.status import Overview, PluginState, overview
from tests.support.fakes import ManualClock
from tests.support.incidents import all_open
from tests.support.poll_cycle import Cycle, running
from tests.support.web_client import serving

POLL = timedelta(minutes=15)
FAILING = ("source_failing", "rows_unreadable")
RECOVERED = ("source_recovered", "rows_unreadable")


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """Six connections."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    for number in range(6):
        world.connect("agency", "mastodon", account=str(number), username=f"@u{number}", display_name=f"U{number}")
    async with running(store, clock, world, tmp_path) as cycle:
        yield cycle


def damage(cycle: Cycle, *numbers: int) -> None:
    """The reported status of these connections has another type."""
    for number in numbers:
        cycle.world.state_word("agency", f"mastodon-{number}", word=5)


def repair(cycle: Cycle, *numbers: int) -> None:
    for number in numbers:
        cycle.world.renew("agency", f"mastodon-{number}")


async def poll(cycle: Cycle) -> list[tuple[str, str]]:
    recorded = await cycle.poll(after=POLL)
    return [(alert.event.value, alert.reason) for alert in recorded.alerts]


def seen(cycle: Cycle) -> tuple[Overview, SourceView]:
    with cycle.store.begin_read() as conn:
        (view,) = source_views(conn, cycle.config, now=cycle.clock.now())
        return overview(conn, cycle.config, now=cycle.clock.now()), view


async def test_N21_rows_that_stay_unreadable_are_notified_once_and_end_with_a_recovery(agency: Cycle) -> None:
    await agency.poll()
    damage(agency, 0, 1)
    assert await poll(agency) == [], "one list proves nothing"
    assert seen(agency)[1].status is SourceStatus.OK
    assert await poll(agency) == [FAILING]
    alert = agency.alerts[-1]
    assert (alert.subject, alert.status, alert.count) == ("unreadable:", "rows_unreadable", 2)
    assert alert.message.startswith("2 of 6 rows cannot be read (")
    damage(agency, 2)
    for _ in range(4):
        assert await poll(agency) == []
    assert (await agency.pass_time(timedelta(days=3))).alerts == [], "not reminded"
    repair(agency, 0, 1)
    assert await poll(agency) == [], "one row is still unreadable"
    repair(agency, 2)
    assert await poll(agency) == [RECOVERED]
    assert seen(agency)[1].status is SourceStatus.OK
    assert await poll(agency) == []


async def test_no_view_shows_a_healthy_source_meanwhile(agency: Cycle) -> None:
    await agency.poll()
    damage(agency, 0)
    await poll(agency)
    await poll(agency)
    found, view = seen(agency)
    assert found.plugin_state() is PluginState.UNKNOWN
    assert (view.status, view.reason) == (SourceStatus.FAILING, "rows_unreadable")
    assert view.json().status == "failing"
    assert view.json().message == agency.alerts[-1].message
    assert next(view.problems()) == agency.alerts[-1].message
    assert view.advice.startswith("Check these connections in PostPost.")
    assert {source.status for source in found.sources} == {SourceStatus.FAILING}
    async with serving(agency.store, agency.config, agency.clock) as site:
        (listed,) = (await site.json("/api/v1/sources"))["sources"]
        status, sources = [(await site.get(path, headers={"accept": "text/html"})).text for path in ("/", "/sources")]
        metrics = (await site.get("/metrics")).text
    assert (listed["status"], listed["reason"]) == ("failing", "rows_unreadable")
    assert 'token_monitor_source_status{source="agency",status="failing"} 1' in metrics
    for page in (status, sources):
        assert "1 of 6 rows cannot be read (" in page
        assert "Check these connections in PostPost." in page
    assert "No action needed." not in status


async def test_N21_a_source_of_which_nothing_was_ever_readable_is_not_healthy_at_first_sight(agency: Cycle) -> None:
    damage(agency, *range(6))
    assert await poll(agency) == []
    found, view = seen(agency)
    assert found.plugin_state() is PluginState.UNKNOWN
    assert view.status is SourceStatus.FAILING
    assert (view.message or "").startswith("6 of 6 rows cannot be read (")
    assert await poll(agency) == [FAILING]


async def test_a_restart_and_a_poll_that_fails_neither_repeat_nor_end_it(agency: Cycle) -> None:
    await agency.poll()
    damage(agency, 0)
    await poll(agency)
    assert await poll(agency) == [FAILING]
    with agency.store.begin_write() as conn:
        config_sync.sync(conn, agency.config, agency.clock.now())
    agency.world.break_source("agency", Trouble.HTML)
    assert await poll(agency) == []
    agency.world.recover_source("agency")
    assert await poll(agency) == []
    with agency.store.begin_read() as conn:
        assert [incident.subject for incident in all_open(conn)] == ["unreadable:"]


async def test_a_readable_list_in_between_starts_the_count_again(agency: Cycle) -> None:
    await agency.poll()
    for _ in range(3):
        damage(agency, 0)
        assert await poll(agency) == []
        repair(agency, 0)
        assert await poll(agency) == []
