"""When nobody looked, the history says so: after a stop, an outage, a night without the machine."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.domain import EventKind
from monitor.domain.rules.freshness import NOT_POLLED, NOT_READ, Gap, find_gap
from monitor.store import Store, connection_queries
from monitor.views.history import EventView, event_views, gaps_of
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, running
from tests.support.web_client import serving

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
QUARTER = 15 * MINUTE
NOW = datetime.fromisoformat("2026-03-10T12:00:00+00:00")


def gap_after(pause: timedelta, *, every: timedelta = QUARTER, **known: object) -> Gap | None:
    facts = {"last_poll_at": NOW, "failures": 0, "clock_skew": None, **known}
    return find_gap(last_success_at=NOW, now=NOW + pause, poll_every=every, **facts)  # type: ignore[arg-type]  # as given


def test_three_intervals_are_no_gap_and_more_are_one() -> None:
    assert gap_after(3 * QUARTER) is None
    assert gap_after(3 * QUARTER + MINUTE) == Gap(began_at=NOW, ended_at=None, reason=NOT_POLLED)


def test_less_than_a_minute_is_no_gap_however_often_it_is_polled() -> None:
    assert gap_after(50 * timedelta(seconds=1), every=timedelta(seconds=1)) is None
    assert gap_after(70 * timedelta(seconds=1), every=timedelta(seconds=1)) is not None


def test_what_was_asked_and_not_answered_has_another_reason_than_what_was_not_asked() -> None:
    found = gap_after(5 * HOUR, last_poll_at=NOW + 5 * HOUR - QUARTER, failures=12)
    assert found is not None
    assert found.reason == NOT_READ


def test_a_clock_that_went_ahead_makes_no_gap() -> None:
    assert gap_after(40 * DAY, clock_skew=-40 * 86400.0) is None
    assert gap_after(40 * DAY, clock_skew=-30.0) is not None


def test_a_source_that_was_never_read_has_none() -> None:
    assert find_gap(last_success_at=None, last_poll_at=NOW, failures=3, poll_every=QUARTER, now=NOW + DAY) is None


def events_of(cycle: Cycle, name: str, **lasting: object) -> list[EventView]:
    with cycle.store.begin_read() as conn:
        (row,) = (row for row in connection_queries.list_connections(conn) if row.state.snapshot.external_id == name)
        return event_views(conn, row, **lasting)  # type: ignore[arg-type]  # as given


@pytest.fixture
def world(clock: ManualClock) -> World:
    made = World(clock=clock)
    made.add_source("agency", "postpost")
    made.connect("agency", "linkedin", account="li", username="N", display_name="N", lifetime=50 * DAY)
    return made


async def test_a_night_without_the_monitor_is_one_entry_in_the_history_of_each_connection(
    store: Store, clock: ManualClock, world: World, tmp_path: Path
) -> None:
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        await cycle.poll(after=QUARTER)
        stopped = clock.now()
        world.connect("agency", "threads", account="th", username="L", display_name="L", lifetime=50 * DAY)
        await cycle.poll(after=9 * HOUR)
        await cycle.poll(after=QUARTER)
        last = events_of(cycle, "linkedin-li")[-1]
        assert (last.entry.kind, last.entry.old, last.entry.reason) == (EventKind.GAP, "2026-03-10T12:15:00Z", "not_polled")
        assert last.entry.message.startswith("Not observed for 9 hours: no poll was made")  # type: ignore[union-attr]  # it has one
        assert EventKind.GAP not in [event.entry.kind for event in events_of(cycle, "threads-th")], "it was not there yet"
        with store.begin_read() as conn:
            found = gaps_of(conn, "agency", now=clock.now(), poll_every=QUARTER)
            assert found == [Gap(began_at=stopped, ended_at=stopped + 9 * HOUR, reason=NOT_POLLED)]
            assert gaps_of(conn, "agency", now=clock.now(), poll_every=QUARTER, since=clock.now() - MINUTE) == []


async def test_the_page_and_the_api_show_gaps_as_gaps_also_one_that_lasts(
    store: Store, clock: ManualClock, world: World, tmp_path: Path
) -> None:
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        await cycle.poll(after=9 * HOUR)
        clock.advance(2 * HOUR)
        async with serving(store, cycle.config, clock) as site:
            page = (await site.get("/connections/agency/linkedin-li", headers={"accept": "text/html"})).text
            (told,) = [each for each in (await site.json("/api/v1/events"))["events"] if each["kind"] == "gap"]
    assert page.count('class="fill-nothing"') == 2, "the picture has no status where nobody looked"
    assert page.count("no data: ") == 2
    assert "Not observed for 9 hours: no poll was made" in page
    assert "Not observed for 2 hours: no poll was made" in page, "it lasts"
    assert (told["source"], told["old"], told["new"]) == ("agency", "2026-03-10T12:00:00Z", "2026-03-10T21:00:00Z")
    assert told["connection"] is None, "one entry for the source, whatever the number of its connections"


async def test_a_gap_that_lasts_is_shown_with_its_reason_until_it_is_written_down(
    store: Store, clock: ManualClock, world: World, tmp_path: Path
) -> None:
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        world.break_source("agency", Trouble.SERVER_ERROR)
        for _ in range(6):
            await cycle.poll(after=QUARTER)
        (last,) = [
            event.entry
            for event in events_of(cycle, "linkedin-li", now=clock.now(), poll_every=QUARTER)
            if event.entry.kind is EventKind.GAP
        ]
        assert (last.new, last.message) == (None, "Not observed for 1 hour 30 minutes: the source could not be read.")
        assert EventKind.GAP not in [event.entry.kind for event in events_of(cycle, "linkedin-li")]
        world.recover_source("agency")
        await cycle.poll(after=QUARTER)
        assert [event.entry.new for event in events_of(cycle, "linkedin-li")][-1] == "2026-03-10T13:45:00Z"
