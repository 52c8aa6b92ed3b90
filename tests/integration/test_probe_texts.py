"""Texts of platforms as sequences of polls and probes: what is notified, and what is not. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.payloads import ProbeScript
from monitor.demo.world import World
from monitor.store import Store
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, running

HOUR = timedelta(hours=1)
PLATFORMS = ("youtube", "facebook", "twitter", "linkedin", "telegram")


@pytest.fixture
async def cycle(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """One healthy connection of each platform, listed and probed once."""
    world = World(clock=clock)
    world.add_source("agency", "publora")
    for platform in PLATFORMS:
        world.connect("agency", platform, external_id=f"{platform}-1", account="1")
    async with running(store, clock, world, tmp_path) as made:
        await made.poll()
        await made.probe()
        made.alerts.clear()
        yield made


async def answered(
    cycle: Cycle, platform: str, message: str | None, *, times: int, span: str | None = None
) -> list[tuple[str, str]]:
    """Probe hourly; one platform answers with this text, or ok. Return what is notified, as (event, connection)."""
    fields = {} if span is None else {"tokenExpiresIn": span}
    script = None if message is None else ProbeScript(message=message, fields=fields)
    cycle.world.change("agency", f"{platform}-1", probe=script)
    before = len(cycle.alerts)
    for _ in range(times):
        await cycle.poll()
        await cycle.probe(after=HOUR)
    return [(alert.event.value, alert.external_id or "") for alert in cycle.alerts[before:]]


TEMPORARY = [
    "The request cannot be completed because you have exceeded your quota.",
    "Too Many Requests",
    "(#4) Application request limit reached",
    "Bad Gateway",
    "socket hang up",
    "getaddrinfo ENOTFOUND api.example",
    "Something is wrong. Please try again later.",
    "Request failed with status code 503",
]


@pytest.mark.parametrize("message", TEMPORARY)
async def test_temporary_errors_change_nothing(cycle: Cycle, message: str) -> None:
    before = cycle.statuses()
    assert await answered(cycle, "facebook", message, times=6) == []
    assert cycle.statuses() == before


@pytest.mark.parametrize("message", ["Request failed with status code 503", "Rate limit exceeded", "fetch failed"])
async def test_an_expired_span_beside_a_temporary_error_changes_nothing(cycle: Cycle, message: str) -> None:
    for platform in ("youtube", "linkedin"):
        assert await answered(cycle, platform, message, times=4, span="expired") == []
    assert set(cycle.statuses().values()) == {"valid"}


PERMANENT = [
    ("twitter", "To protect our users from spam, this account is temporarily locked. Please log in to unlock your account."),
    ("facebook", "(#368) You're temporarily blocked for policies violations"),
    ("facebook", "(#551) This person isn't available right now"),
    ("linkedin", "Organization 512 not found"),
    ("youtube", "certificate has expired"),
    ("linkedin", "Your PostPost subscription has expired"),
    ("facebook", "(#200) Requires pages_manage_posts permission"),
]


@pytest.mark.parametrize(("platform", "message"), PERMANENT)
async def test_a_refusal_that_needs_a_person_is_failing_once_and_recovers(cycle: Cycle, platform: str, message: str) -> None:
    assert await answered(cycle, platform, message, times=5) == [("failing", f"{platform}-1")]
    assert message in cycle.alerts[-1].message
    assert await answered(cycle, platform, None, times=2) == [("recovered", f"{platform}-1")]


async def test_a_missing_permission_is_confirmed_by_the_second_probe_and_named(cycle: Cycle) -> None:
    assert await answered(cycle, "facebook", "(#200) Requires pages_manage_posts permission", times=1) == []
    assert await answered(cycle, "facebook", "(#200) Requires pages_manage_posts permission", times=1) == [
        ("failing", "facebook-1")
    ]
    assert "a permission is missing ((#200) Requires pages_manage_posts permission)" in cycle.alerts[-1].message


async def test_an_invalid_bot_token_without_a_second_witness_is_not_revoked(cycle: Cycle) -> None:
    """A bot that moved to MTProto gives this answer although it publishes."""
    assert ("revoked", "telegram-1") not in await answered(cycle, "telegram", "Invalid bot token", times=6)
    assert await answered(cycle, "telegram", "Request failed with status code 401", times=3) == [("revoked", "telegram-1")]
