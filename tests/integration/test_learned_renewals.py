"""Renewals that stop are notified before the token expires, and renewals that are always late are not: docs/renewals.md."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from monitor.demo.world import DEFAULT_WORKSPACE, World
from monitor.store import Store, sources
from monitor.store.connection_queries import list_connections
from monitor.views.connections import Reader
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, running

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
POLL = timedelta(minutes=15)


@pytest.fixture
async def studio(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """One Postbreeze source with an X connection, whose token lives for two hours."""
    world = World(clock=clock)
    world.add_source("studio", "postbreeze")
    world.connect("studio", "twitter", external_id="hourly", scope=DEFAULT_WORKSPACE, lifetime=2 * HOUR)
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        yield cycle


def renewal(cycle: Cycle, external_id: str) -> dict[str, Any] | None:
    """The renewals in the JSON of a connection."""
    with cycle.store.begin_read() as conn:
        known = {row.name: row for row in sources.all_sources(conn)}
        reader = Reader(cycle.config, known, now=cycle.clock.now())
        found = {row.state.snapshot.external_id: reader.view(row) for row in list_connections(conn)}
    return to_builtins(found[external_id].json())["renewal"]  # type: ignore[no-any-return]


async def renew_hourly(cycle: Cycle, times: int) -> None:
    for _ in range(times):
        for _ in range(4):
            await cycle.pass_time(POLL)
            await cycle.poll()
        cycle.world.renew("studio", "hourly", lifetime=2 * HOUR)
    cycle.world.state_word("studio", "hourly", "ACTIVE")  # also after its date: the service has not noticed
    await cycle.poll()


async def test_hourly_renewals_that_stop_are_notified_before_the_date_and_at_it(studio: Cycle) -> None:
    await renew_hourly(studio, 5)
    assert studio.alerts == []
    stopped = studio.clock.now()
    known = renewal(studio, "hourly")
    assert known is not None
    assert (known["every"], known["left"]) == (3600, 3600)
    said: list[tuple[float, str, str]] = []
    for _ in range(16):
        for step in (studio.pass_time(POLL), studio.poll()):
            new = (await step).alerts
            said += [((studio.clock.now() - stopped) / HOUR, alert.event.value, alert.verdict_reason) for alert in new]
    assert said == [(1.5, "expiring_soon", "renewal_overdue"), (2.0, "expired", "refresh_overdue")]
    studio.world.renew("studio", "hourly", lifetime=2 * HOUR)
    assert [alert.event.value for alert in (await studio.poll(after=POLL)).alerts] == ["recovered"]


async def test_a_person_may_turn_learned_renewals_off(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    world = World(clock=clock)
    world.add_source("studio", "postbreeze")
    world.connect("studio", "twitter", external_id="hourly", scope=DEFAULT_WORKSPACE, lifetime=2 * HOUR)
    own = {"studio": "[sources.policy]\nlearn_renewals = false"}
    async with running(store, clock, world, tmp_path, per_source=own) as cycle:
        await cycle.poll()
        await renew_hourly(cycle, 5)
        known = renewal(cycle, "hourly")
        assert known is not None
        assert (known["every"], known["overdue_at"]) == (3600, None)
        for _ in range(16):
            await cycle.pass_time(POLL)
            await cycle.poll()
        assert cycle.alerts == []


async def test_a_long_token_that_is_always_renewed_with_two_days_left_warns_no_more(studio: Cycle) -> None:
    studio.world.connect("studio", "facebook", external_id="late", scope=DEFAULT_WORKSPACE, lifetime=60 * DAY)
    studio.world.remove("studio", "hourly")
    for cycle in range(4):
        before = len(studio.alerts)
        for _ in range(58):
            await studio.pass_time(DAY)
            await studio.poll()
        mine = [alert for alert in studio.alerts[before:] if alert.external_id == "late"]
        assert [alert.event.value for alert in mine] == (["expiring_soon"] * 2 if cycle < 2 else []), cycle
        studio.world.renew("studio", "late", lifetime=60 * DAY)
        await studio.poll()
    studio.world.state_word("studio", "late", "ACTIVE")
    for _ in range(60):
        await studio.pass_time(DAY)
        await studio.poll()
    said = [(alert.event.value, alert.verdict_reason) for alert in studio.alerts if alert.external_id == "late"][-2:]
    assert said == [("expiring_soon", "renewal_overdue"), ("expired", "refresh_overdue")]
