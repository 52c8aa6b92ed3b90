"""A service's verdict reaches the channel beside fields of unexpected types and in other words. On both databases."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.world import World
from monitor.store import Store
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, running

DAY = timedelta(days=1)
POLL = timedelta(minutes=15)

_ODD_POSTPOST: list[dict[str, Any]] = [
    {"tokenExpiresIn": -3600},
    {"lastError": ["Session has expired"]},
    {"username": 4711},
    {"lastError": {"message": {"text": "no"}}},
    {"profileUrl": {"href": "https://x.com/a"}},
    {"displayName": ["A", "B"]},
]
_ODD_POSTBREEZE: list[dict[str, Any]] = [
    {"lastRefreshErrorStatus": "400", "lastRefreshError": "invalid_grant"},
    {"lastRefreshError": {"code": "invalid_grant"}},
    {"scopes": "read publish"},
    {"handle": 4711},
]


def connect(world: World, kind: str, count: int) -> list[str]:
    world.add_source("agency", kind)
    made = [
        world.connect(
            "agency", "linkedin", account=f"a{number}", username=f"u{number}", display_name=f"U{number}", lifetime=50 * DAY
        )
        for number in range(count)
    ]
    return [connection.external_id for connection in made]


def state_expired(cycle: Cycle, kind: str, name: str, odd: dict[str, Any]) -> None:
    word = {"tokenStatus": "expired"} if kind == "postpost" else {"status": "TOKEN_EXPIRED"}
    cycle.world.state("agency", name, **word, **odd)


@pytest.mark.parametrize(("kind", "odd"), [("postpost", _ODD_POSTPOST), ("postbreeze", _ODD_POSTBREEZE)])
async def test_N21_an_expiry_beside_an_odd_field_is_notified_by_the_next_poll(
    kind: str, odd: list[dict[str, Any]], store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    world = World(clock=clock)
    names = connect(world, kind, len(odd))
    async with running(store, clock, world, tmp_path, per_source={"agency": "probe_every = 'off'"}) as cycle:
        await cycle.poll()
        assert set(cycle.statuses().values()) == {"valid"}
        for name, fields in zip(names, odd, strict=True):
            state_expired(cycle, kind, name, fields)
        await cycle.poll(after=POLL)
        assert set(cycle.statuses().values()) == {"expired"}
        assert sorted(event for event, _, _ in cycle.notified()) == ["expired"] * len(odd)
        assert cycle.source("agency").status == "ok"


async def test_N21_an_expiry_in_seconds_is_notified_at_first_sight(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    """All rows are odd, and nothing is known of them: the source counts six expired connections, not none."""
    world = World(clock=clock)
    names = connect(world, "postpost", 6)
    for name in names:
        world.state("agency", name, tokenStatus="expired", tokenExpiresIn=-3600)
    async with running(store, clock, world, tmp_path, per_source={"agency": "probe_every = 'off'"}) as cycle:
        await cycle.poll()
        assert list(cycle.statuses().values()) == ["expired"] * 6


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("EXPIRED", "expired"),
        ("needs_reauth", "expired"),
        ("reconnect_required", "expired"),
        ("Revoked", "revoked"),
    ],
)
async def test_N22_a_plain_word_for_a_lost_connection_is_notified(
    word: str, status: str, store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    world = World(clock=clock)
    (name,) = connect(world, "postpost", 1)
    async with running(store, clock, world, tmp_path, per_source={"agency": "probe_every = 'off'"}) as cycle:
        await cycle.poll()
        cycle.world.state_word("agency", name, word)
        await cycle.poll(after=POLL)
        assert list(cycle.statuses().values()) == [status]
        assert [event for event, _, _ in cycle.notified()] == [status]


async def test_N21_a_status_of_another_type_keeps_the_verdict_and_is_flagged(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    world = World(clock=clock)
    (name,) = connect(world, "postpost", 1)
    async with running(store, clock, world, tmp_path, per_source={"agency": "probe_every = 'off'"}) as cycle:
        await cycle.poll()
        cycle.world.state_word("agency", name, {"value": "expired"})
        await cycle.poll(after=POLL)
        (state,) = cycle.states().values()
        assert (state.verdict.status, "unreadable" in state.verdict.flags) == ("valid", True)
