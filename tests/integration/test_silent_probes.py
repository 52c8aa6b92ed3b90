"""Probes that give no evidence for a day are one problem of the source. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.config import load
from monitor.demo.world import World
from monitor.domain import ProbeFinding
from monitor.engine import config_sync
from monitor.store import Store, probes
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import CHANNEL, Cycle, config_text, running

HOUR = timedelta(hours=1)
PROBLEM, RECOVERED = "source_failing probes_unanswered", "source_recovered probes_unanswered"
PASSING = "fetch failed"


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """Three connections on Mastodon and three on Threads, all tested once."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    for platform in ("mastodon", "threads"):
        for number in range(3):
            world.connect("agency", platform, account=str(number), username=f"@u{number}", display_name=f"U{number}")
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        await cycle.probe()
        yield cycle


async def later(cycle: Cycle, hours: int) -> list[str]:
    """Let hours pass with a probe of every connection and a poll in each; return what is notified."""
    found: list[str] = []
    for _ in range(hours):
        recorded = await cycle.probe(after=HOUR)
        recorded.add(await cycle.poll())
        found += [f"{alert.event} {alert.reason}" for alert in recorded.alerts]
    return found


def silence(cycle: Cycle, *accounts: str) -> None:
    for account in accounts:
        cycle.world.refuse("agency", account, detail=PASSING)


async def test_connections_that_cannot_be_tested_for_a_day_are_notified_once(agency: Cycle) -> None:
    silence(agency, "mastodon-0", "mastodon-1", "mastodon-2", "threads-0")
    assert await later(agency, 24) == []
    assert await later(agency, 2) == [PROBLEM]
    alert = agency.alerts[-1]
    assert (alert.subject, alert.count, alert.platform) == ("probes", 4, None)
    assert alert.message == (
        "4 connections (all of Mastodon) could not be tested since 2026-03-10 13:00 UTC "
        "(answer: 'fetch failed'). Their status in the list still applies."
    )
    assert set(agency.statuses().values()) == {"valid"}
    silence(agency, "threads-1")
    with agency.store.begin_write() as conn:
        config_sync.sync(conn, agency.config, agency.clock.now())
    assert await later(agency, 48) == [], "neither reminded nor repeated"
    for account in ("mastodon-0", "mastodon-1", "mastodon-2", "threads-0"):
        agency.world.renew("agency", account)
    assert await later(agency, 3) == [], "one is left"
    agency.world.renew("agency", "threads-1")
    assert await later(agency, 3) == [RECOVERED]


async def test_one_success_in_between_starts_the_day_again(agency: Cycle) -> None:
    for _ in range(3):
        silence(agency, "mastodon-0")
        assert await later(agency, 20) == []
        agency.world.renew("agency", "mastodon-0")
        assert await later(agency, 1) == []


async def test_a_connection_with_a_problem_of_its_own_is_not_counted(agency: Cycle) -> None:
    silence(agency, "mastodon-0")
    agency.world.state_word("agency", "mastodon-0", "expired")
    assert await later(agency, 1) == ["expired first"]
    assert [each for each in await later(agency, 30) if "probes" in each] == []


async def test_where_only_one_platform_is_concerned_the_alert_names_it(agency: Cycle) -> None:
    silence(agency, "threads-0")
    assert await later(agency, 26) == [PROBLEM]
    assert agency.alerts[-1].platform == "threads"


async def test_it_ends_when_probing_is_switched_off(agency: Cycle, tmp_path: Path) -> None:
    silence(agency, "threads-0")
    await later(agency, 26)
    path = tmp_path / "config.toml"
    text = config_text(agency.world, agency.server, extra=CHANNEL, per_source={"agency": "probe = false"})
    path.write_text(text, encoding="utf-8")
    before = agency.stored_alerts()
    with agency.store.begin_write() as conn:
        config_sync.sync(conn, load(path, {"HOME": str(tmp_path)}).config, agency.clock.now())
    assert agency.stored_alerts() == before + 1


async def test_nothing_is_counted_where_every_probe_gave_a_result(agency: Cycle) -> None:
    await later(agency, 2)
    with agency.store.begin_write() as conn:
        assert not probes.had_silent(conn, "agency", since=agency.clock.now() - timedelta(days=2))
        hour = agency.clock.now() - 3 * HOUR
        probes.add_rollup(conn, "agency", hour, ProbeFinding.TRANSIENT, count=1, total_ms=1)
        assert probes.had_silent(conn, "agency", since=agency.clock.now() - timedelta(days=2))
        assert not probes.had_silent(conn, "agency", since=agency.clock.now())
