"""A lasting difference between clocks is one alert, however many sources show it. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.world import World
from monitor.domain import PollReport
from monitor.engine import config_sync
from monitor.engine.recording.polls import Poll, record_poll
from monitor.store import Store
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, running

POLL, HOUR = timedelta(minutes=15), timedelta(hours=1)
PROBLEM, RECOVERED = ("monitor_problem", "clock_skew"), ("monitor_recovered", "clock_skew")


@pytest.fixture
async def two(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """Two sources on two hosts."""
    from monitor.store.schema import sources

    world = World(clock=clock)
    for name in ("agency", "studio"):
        world.add_source(name, "publora")
        world.connect(name, "mastodon", account=name, username=name, display_name=name)
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        with store.begin_write() as conn:
            for name in cycle.work:
                conn.execute(sources.update().where(sources.c.name == name).values(host=name))
        yield cycle


async def poll(cycle: Cycle, *, after: timedelta = POLL, **skews: float) -> list[tuple[str, str]]:
    """Poll both sources with these differences, and return what is notified."""
    cycle.clock.advance(after)
    found = []
    for name, work in cycle.work.items():
        report: PollReport = replace(await work.provider.poll(), clock_skew=skews.get(name, 0.0))
        now = cycle.clock.now()
        with cycle.store.begin_write() as conn:
            poll = Poll(report=report, started_at=now, now=now)
            recorded = record_poll(conn, work.source, poll, channels=cycle.config.channels)
        cycle.alerts += recorded.alerts
        found += [(alert.event.value, alert.reason) for alert in recorded.alerts]
    return found


async def test_P24_a_lasting_difference_is_notified_once_and_ends_with_the_last_source(two: Cycle) -> None:
    for _ in range(4):
        assert await poll(two, agency=-400, studio=-405) == []
    assert await poll(two, agency=-400, studio=-405) == [PROBLEM], "an hour after the first poll that showed it"
    assert "All sources agree: this machine's clock is wrong." in two.alerts[-1].message
    for _ in range(8):
        assert await poll(two, agency=-400, studio=-405) == []
    with two.store.begin_write() as conn:
        config_sync.sync(conn, two.config, two.clock.now())
    assert await poll(two, agency=-400) == []
    assert (await two.pass_time(timedelta(days=3))).alerts == [], "not reminded"
    assert await poll(two) == [RECOVERED]
    assert await poll(two) == []


async def test_P24_a_single_wrong_server_is_named(two: Cycle) -> None:
    said = [await poll(two, studio=7200) for _ in range(6)]
    assert said == [[], [], [], [], [PROBLEM], []]
    assert two.alerts[-1].message.startswith(
        "The clock of studio (2 hours ahead) differs from this machine's. Other sources agree"
    )


async def test_P23_a_short_jump_is_never_notified(two: Cycle) -> None:
    for _ in range(6):
        assert await poll(two, agency=4000, studio=4000) == []
        assert await poll(two, agency=4000, studio=4000) == []
        assert await poll(two) == []


async def test_two_polls_far_apart_do_not_prove_that_it_lasts(two: Cycle) -> None:
    assert await poll(two, agency=4000) == []
    assert await poll(two, after=6 * HOUR, agency=4000) == []
    assert await poll(two, agency=4000) == [PROBLEM]
