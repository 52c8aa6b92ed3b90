"""A source that cannot be read is reminded like a broken connection, with the number of unmonitored connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.domain import PollOutcome, ScopeReport
from monitor.engine import config_sync
from monitor.engine.recording.polls import Poll, record_poll
from monitor.store import Store, migrate
from monitor.store.schema import incidents
from tests.support import canary
from tests.support.fakes import ManualClock
from tests.support.incidents import all_open
from tests.support.poll_cycle import Cycle, running

POLL, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
USER = "65f0c0ffee0000000000a11c"
CHANNELS = "".join(
    f'[[channels]]\nname = "{name}"\nurl = "{canary.channel_url("127.0.0.1:9")}"\ngroup_wait = "0s"\n{rest}\n'
    for name, rest in {"ops": "", "desk": 'remind_every = "6h"', "mail": 'remind_every = "off"'}.items()
)


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """A managed user with three connections, and two of the key's owner."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.add_user("agency", user=USER, display_name="client")
    for number in range(3):
        world.connect("agency", "mastodon", account=str(number), username=f"@u{number}", display_name=f"U{number}", scope=USER)
    for number in range(2):
        world.connect("agency", "mastodon", account=f"own{number}", username=f"@o{number}", display_name=f"O{number}")
    async with running(store, clock, world, tmp_path, extra=CHANNELS, per_source={"agency": f'users = ["{USER}"]'}) as cycle:
        await cycle.poll()
        yield cycle


async def later(cycle: Cycle, *, hours: int) -> list[str]:
    """Let hours pass with a poll in each, and return what is notified: event, reason and number of the reminder."""
    found: list[str] = []
    for _ in range(hours):
        recorded = await cycle.pass_time(HOUR)
        recorded.add(await cycle.poll())
        found += [f"{alert.event} {alert.reason} {alert.reminder}".removesuffix(" 0") for alert in recorded.alerts]
    return found


@pytest.mark.parametrize("trouble", [Trouble.SERVER_ERROR, Trouble.UNAUTHORIZED])
async def test_a_source_that_cannot_be_read_is_reminded_until_it_can_be_read(agency: Cycle, trouble: Trouble) -> None:
    agency.world.break_source("agency", trouble)
    await agency.poll(after=POLL)
    await agency.poll(after=POLL)
    assert [(alert.event.value, alert.reason) for alert in agency.alerts] == [("source_failing", "first")]
    first = agency.alerts[0]
    assert first.count == 5
    assert first.message.endswith(" 5 connections have not been monitored since 2026-03-10 12:00 UTC.")
    assert await later(agency, hours=5) == []
    assert await later(agency, hours=1) == ["source_failing reminder 1"], "the channel that asks for one every six hours"
    assert await later(agency, hours=16) == ["source_failing reminder 2", "source_failing reminder 3"]
    assert await later(agency, hours=2) == ["source_failing reminder 4"], "a day has passed: both channels"
    reminder = agency.alerts[-1]
    assert (reminder.incident, reminder.status, reminder.count) == (first.incident, first.status, 5)
    assert reminder.message.endswith(" 5 connections have not been monitored since 2026-03-10 12:00 UTC.")
    agency.world.recover_source("agency")
    assert await later(agency, hours=30) == ["source_recovered recovered"]
    with agency.store.begin_read() as conn:
        assert all_open(conn) == []


async def test_each_channel_is_reminded_at_its_own_pace(agency: Cycle) -> None:
    agency.world.break_source("agency", Trouble.UNAUTHORIZED)
    assert (await agency.poll(after=POLL)).channels == {"ops", "desk", "mail"}
    assert (await agency.pass_time(6 * HOUR)).channels == {"desk"}
    assert (await agency.pass_time(18 * HOUR)).channels == {"ops", "desk"}


async def test_a_restart_repeats_no_reminder_and_loses_none(agency: Cycle) -> None:
    agency.world.break_source("agency", Trouble.UNAUTHORIZED)
    await agency.poll(after=POLL)
    assert await later(agency, hours=7) == ["source_failing reminder 1"]
    for _ in range(2):
        with agency.store.begin_write() as conn:
            config_sync.sync(conn, agency.config, agency.clock.now())
        assert (await agency.pass_time(timedelta(0))).alerts == []
    assert await later(agency, hours=4) == []
    assert await later(agency, hours=1) == ["source_failing reminder 2"]


async def test_a_partly_read_source_states_only_the_connections_that_were_not_read(agency: Cycle) -> None:
    for _ in range(2):
        agency.clock.advance(POLL)
        work = agency.work["agency"]
        report = await work.provider.poll()
        unread = tuple(
            each if each.scope is None else ScopeReport(scope=each.scope, complete=False, problem="HTTP 500")
            for each in report.scopes
        )
        report = replace(report, outcome=PollOutcome.PARTIAL, scopes=unread, problem="The user client could not be read")
        with agency.store.begin_write() as conn:
            poll = Poll(report=report, started_at=agency.clock.now(), now=agency.clock.now())
            recorded = record_poll(conn, work.source, poll, channels=agency.config.channels)
    (alert,) = recorded.alerts
    assert alert.count == 3
    assert alert.message == (
        "The user client could not be read. 3 connections have not been monitored since 2026-03-10 12:00 UTC."
    )


async def test_other_incidents_of_a_source_are_not_reminded(agency: Cycle) -> None:
    for number in range(5):
        agency.world.connect("agency", "mastodon", account=f"x{number}", username=f"@x{number}", display_name="X", scope=USER)
    await agency.poll(after=POLL)
    for number in range(5):
        agency.world.vanish("agency", f"mastodon-x{number}")
    agency.world.vanish("agency", "mastodon-0")
    await agency.poll(after=POLL)
    assert [alert.reason for alert in agency.alerts] == ["suspicious_list"]
    with agency.store.begin_write() as conn:
        config_sync.sync(conn, agency.config, agency.clock.now())
    assert (await agency.pass_time(3 * DAY)).alerts == []


async def test_a_source_that_was_unreadable_before_the_upgrade_is_reminded_after_it(agency: Cycle) -> None:
    agency.world.break_source("agency", Trouble.UNAUTHORIZED)
    await agency.poll(after=POLL)
    store = agency.store
    migrate.downgrade(store.target, to="0002")
    with store.begin_write() as conn:
        conn.execute(update(incidents).values(look_at=None))  # as 0.1 stored it
    assert store.upgrade() is True
    assert (await agency.pass_time(timedelta(0))).alerts == []
    assert (await agency.pass_time(DAY)).channels == {"ops", "desk"}
