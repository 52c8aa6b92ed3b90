"""An account that is listed under a new id: its history goes on, its incident ends, and its old id keeps working."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.options import NotOneConnectionError, one_connection
from monitor.demo.world import World
from monitor.domain import EventKind, ScopeReport, Unreadable
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.silences import Silence
from monitor.engine import acknowledgements
from monitor.providers.scopes import scope_report
from monitor.store import Store, connection_pages, connection_queries, former_ids
from monitor.views.connections import Reader, Suppressions
from monitor.views.pages import PageRequest, event_page, forecast_page
from monitor.views.selection import views_silenced
from tests.support.factories import make_snapshot
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import CHANNEL, Cycle, running

DAY = timedelta(days=1)
POLL = timedelta(minutes=15)
OLD, NEW = "linkedin-OLD", "linkedin-NEW"
OLD_ID, NEW_ID = f"agency/{OLD}", f"agency/{NEW}"


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """One PostPost source: a LinkedIn connection, and a Mastodon one that nothing happens to."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", external_id=OLD, username="northwind", lifetime=50 * DAY)
    world.connect("agency", "mastodon", account="ma", username="@fern")
    async with running(store, clock, world, tmp_path) as cycle:
        await cycle.poll()
        await cycle.probe(due=True)
        yield cycle


async def lose(cycle: Cycle, *, days: int = 0) -> None:
    """Let the old connection vanish, and poll until it has been disconnected for some days."""
    cycle.world.vanish("agency", OLD)
    for _ in range(2):
        await cycle.poll(after=POLL)
    assert cycle.statuses()[OLD_ID] == "disconnected"
    for _ in range(days * 4):
        await cycle.pass_time(DAY / 4)
        await cycle.poll()


def list_again(cycle: Cycle, new_id: str = NEW, **facts: Any) -> None:
    """List the account of the vanished connection under a new id, with a new token."""
    gone = cycle.world.sources["agency"].attic[None, OLD]
    renewed = {"expires_at": cycle.clock.now() + 60 * DAY, **facts}
    cycle.world.add("agency", replace(gone, external_id=new_id, **renewed))


async def poll_on(cycle: Cycle) -> None:
    """Poll and probe for two more days."""
    for _ in range(8):
        await cycle.pass_time(DAY / 4)
        await cycle.poll()
        await cycle.probe(due=True)


async def test_a_connection_that_was_disconnected_for_days_recovers_under_its_new_id(agency: Cycle) -> None:
    await lose(agency, days=2)
    assert [word[:2] for word in agency.notified()] == [("disconnected", "first"), *[("disconnected", "reminder")] * 2]
    list_again(agency)
    recorded = await agency.poll(after=POLL)
    assert [(alert.event.value, alert.reason, alert.connection, alert.previous) for alert in recorded.alerts] == [
        ("recovered", "reconnected", NEW_ID, "disconnected")
    ]
    assert agency.statuses() == {NEW_ID: "valid", "agency/mastodon-ma": "valid"}
    kinds = [entry.kind for entry in agency.history(NEW)]
    assert kinds.count(EventKind.APPEARED) == 1
    assert kinds[-4:] == [EventKind.RECONNECTED, EventKind.RETURNED, EventKind.RENEWED, EventKind.STATUS_CHANGED]
    await agency.probe(due=True)
    assert agency.world.requests[f"POST /postpost/api/v1/test-connection/{NEW}"] == 1, "probed immediately"
    before = len(agency.alerts)
    await poll_on(agency)
    assert agency.alerts[before:] == [], "silence afterwards"


async def test_an_account_that_changes_its_id_between_two_polls_causes_no_alert(agency: Cycle) -> None:
    agency.world.vanish("agency", OLD)
    list_again(agency)
    await agency.poll(after=POLL)
    await agency.probe(due=True)
    assert agency.world.requests[f"POST /postpost/api/v1/test-connection/{NEW}"] == 1, "although its cohort is not due"
    await poll_on(agency)
    assert agency.alerts == []
    assert agency.statuses() == {NEW_ID: "valid", "agency/mastodon-ma": "valid"}


async def test_an_expired_account_that_is_reconnected_between_two_polls_recovers(agency: Cycle) -> None:
    agency.world.expire("agency", OLD)
    await agency.poll(after=POLL)
    agency.world.reconnect("agency", OLD, new_id=NEW)
    await agency.poll(after=POLL)
    assert agency.notified() == [("expired", "first", OLD_ID), ("recovered", "reconnected", NEW_ID)]


async def test_an_account_that_is_listed_twice_under_new_ids_continues_nothing(agency: Cycle) -> None:
    await lose(agency)
    list_again(agency)
    list_again(agency, "linkedin-NEW2")
    assert (await agency.poll(after=POLL)).alerts == []
    assert agency.statuses()[OLD_ID] == "disconnected"
    assert len(agency.statuses()) == 4


async def test_an_account_with_two_lost_connections_continues_neither(agency: Cycle) -> None:
    agency.world.add("agency", replace(agency.world.find("agency", OLD), external_id="linkedin-TWIN"))
    await agency.poll(after=POLL)
    agency.world.vanish("agency", "linkedin-TWIN")
    await lose(agency)
    list_again(agency)
    assert (await agency.poll(after=POLL)).alerts == []
    assert agency.statuses() | {"agency/mastodon-ma": ""} == {
        OLD_ID: "disconnected", "agency/linkedin-TWIN": "disconnected", NEW_ID: "valid", "agency/mastodon-ma": ""
    }  # fmt: skip


@pytest.mark.parametrize("username", ["", "unknown", "@"])
async def test_a_name_that_names_nobody_continues_nothing(agency: Cycle, username: str) -> None:
    agency.world.change("agency", OLD, username=username, profile_url=None)
    await agency.poll(after=POLL)
    await lose(agency)
    list_again(agency)
    assert (await agency.poll(after=POLL)).alerts == []
    assert agency.statuses()[OLD_ID] == "disconnected"


async def test_a_name_alone_continues_a_connection_without_an_address(agency: Cycle) -> None:
    agency.world.change("agency", OLD, profile_url=None)
    await agency.poll(after=POLL)
    await lose(agency)
    list_again(agency, username="@Northwind")
    await agency.poll(after=POLL)
    assert agency.notified()[-1] == ("recovered", "reconnected", NEW_ID)


async def test_another_account_of_the_same_name_is_a_new_connection(agency: Cycle) -> None:
    await lose(agency)
    list_again(agency, profile_url="https://linkedin.example/company/northwind")
    assert (await agency.poll(after=POLL)).alerts == []
    assert agency.statuses()[OLD_ID] == "disconnected"


async def test_an_incomplete_list_continues_only_what_is_disconnected(agency: Cycle) -> None:
    from tests.integration.test_unchanged_lists import record

    def lists(*ids: str, complete: bool) -> ScopeReport:
        rows = tuple(make_snapshot(external_id=each, profile_url=f"https://linkedin.com/{each[:4]}") for each in ids)
        return ScopeReport(scope=None, complete=complete, snapshots=rows, problem=None if complete else "Cut.")

    record(agency.store, agency, lists("anna-1", "eva1-1", complete=True))
    record(agency.store, agency, lists("eva1-1", complete=True))
    record(agency.store, agency, lists("anna-2", complete=False))
    assert {"agency/anna-1", "agency/anna-2"} <= agency.statuses().keys(), "missing once proves too little"
    record(agency.store, agency, lists("anna-2", "eva1-1", complete=True))
    record(agency.store, agency, lists("anna-2", complete=True))
    record(agency.store, agency, lists("anna-2", complete=True))
    record(agency.store, agency, lists("eva1-2", complete=False))
    assert {"agency/eva1-2", "agency/anna-2"} <= agency.statuses().keys()
    assert "agency/eva1-1" not in agency.statuses()


async def test_a_row_without_an_id_does_not_hide_a_reconnect(agency: Cycle) -> None:
    from tests.integration.test_unchanged_lists import record

    def lists(*ids: str, nameless: bool) -> ScopeReport:
        rows = tuple(make_snapshot(external_id=each, profile_url=f"https://linkedin.com/{each[:4]}") for each in ids)
        unreadable = (Unreadable(external_id=None, why="bad_id"),) if nameless else ()
        return scope_report(None, rows, unreadable)

    record(agency.store, agency, lists("anna-1", "eva1-1", nameless=False))
    record(agency.store, agency, lists("anna-2", "eva1-1", nameless=True))
    assert {"agency/anna-2", "agency/eva1-1"} <= agency.statuses().keys()
    assert "agency/anna-1" not in agency.statuses()
    for _ in range(3):
        record(agency.store, agency, lists("anna-2", "eva1-1", nameless=False))
    assert agency.statuses()["agency/anna-2"] == "valid"


# --- The old id keeps working


@pytest.fixture
async def renamed(agency: Cycle) -> Cycle:
    """The same source after the account was listed under its new id."""
    agency.world.vanish("agency", OLD)
    list_again(agency)
    await agency.poll(after=POLL)
    return agency


async def test_every_lookup_finds_the_connection_by_its_old_id(renamed: Cycle) -> None:
    now, filters = renamed.clock.now(), ConnectionFilter(connection=OLD_ID)
    with renamed.store.begin_read() as conn:
        for text in (OLD_ID, OLD, "linkedin-old"):
            assert one_connection(conn, renamed.config, text).public_id == NEW_ID
        by_url = connection_queries.find_by_public_id(conn, OLD_ID)
        assert by_url is not None
        assert by_url.public_id == NEW_ID
        found = connection_pages.connections_after(conn, filters, now=now, limit=9)
        assert [row.public_id for row in found] == [NEW_ID]
        request = PageRequest(filters=filters, limit=9)
        assert len(event_page(conn, renamed.config, request, now=now).items) == len(renamed.history(NEW))
        assert forecast_page(conn, renamed.config, request, now=now, within=90 * DAY).items
        with pytest.raises(NotOneConnectionError):
            one_connection(conn, renamed.config, "linkedin-OLDER")


async def test_a_silence_of_the_old_id_lasts(renamed: Cycle) -> None:
    now = renamed.clock.now()
    with renamed.store.begin_write() as conn:
        silence = Silence(connections=(OLD_ID,), starts_at=now, comment="moving")
        assert len(views_silenced(conn, renamed.config, silence, now=now)) == 1
        acknowledgements.add_silence(conn, silence, now=now, author="ann")
    renamed.world.expire("agency", NEW)
    assert (await renamed.poll(after=POLL)).alerts == []
    with renamed.store.begin_read() as conn:
        row = connection_queries.find_by_public_id(conn, NEW_ID)
        assert row is not None
        reader = Reader(renamed.config, {}, now=now, suppressions=Suppressions.read(conn, now + POLL))
        assert reader.view(row).silenced_until is not None
    renamed.world.expire("agency", "mastodon-ma")
    assert len((await renamed.poll(after=POLL)).alerts) == 1, "no other connection is silenced"


async def test_the_ids_of_two_reconnects_both_work(renamed: Cycle) -> None:
    renamed.world.reconnect("agency", NEW, new_id="linkedin-NEWEST")
    await renamed.poll(after=POLL)
    with renamed.store.begin_read() as conn:
        assert {one_connection(conn, renamed.config, text).public_id for text in (OLD_ID, NEW_ID)} == {"agency/linkedin-NEWEST"}


async def test_an_old_id_that_is_listed_again_is_its_connection_again(renamed: Cycle) -> None:
    renamed.world.reconnect("agency", NEW, new_id=OLD)
    await renamed.poll(after=POLL)
    with renamed.store.begin_read() as conn:
        assert [each.public_id for each in former_ids.every(conn)] == [NEW_ID]
        assert one_connection(conn, renamed.config, OLD_ID).public_id == OLD_ID


async def test_an_old_id_that_is_listed_beside_the_new_one_is_a_new_connection(renamed: Cycle) -> None:
    renamed.world.restore("agency", OLD)
    await renamed.poll(after=POLL)
    assert len(renamed.statuses()) == 3
    with renamed.store.begin_read() as conn:
        assert former_ids.every(conn) == []
        assert one_connection(conn, renamed.config, OLD_ID).public_id == OLD_ID


async def test_many_accounts_change_their_ids_in_one_poll(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    for number in range(20):
        world.connect("agency", "linkedin", external_id=f"linkedin-{number}", username=f"user{number}")
    async with running(store, clock, world, tmp_path, extra=CHANNEL) as cycle:
        await cycle.poll()
        for number in range(20):
            world.reconnect("agency", f"linkedin-{number}", new_id=f"linkedin-n{number}")
        await cycle.poll(after=POLL)
        assert cycle.alerts == []
        assert cycle.statuses().keys() == {f"agency/linkedin-n{number}" for number in range(20)}
        with store.begin_read() as conn:
            assert len(former_ids.every(conn)) == 20


async def test_refusals_of_before_a_reconnect_are_gone(agency: Cycle) -> None:
    agency.world.revoke("agency", OLD, noticed=False)
    await agency.probe(after=POLL)
    await agency.probe(after=POLL)
    assert agency.notified() == [("revoked", "first", OLD_ID)]
    agency.world.reconnect("agency", OLD, new_id=NEW)
    await agency.poll(after=POLL)
    assert agency.notified()[1:] == [("recovered", "reconnected", NEW_ID)]
    await agency.probe(due=True)
    assert agency.states()[NEW_ID].probe.status == "ok"
    await poll_on(agency)
    assert len(agency.alerts) == 2


async def test_an_account_of_another_managed_user_is_another_connection(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    client = world.add_user("agency").id
    world.connect("agency", "linkedin", external_id=OLD, username="northwind")
    async with running(store, clock, world, tmp_path, per_source={"agency": 'users = "all"'}) as cycle:
        await cycle.poll()
        await lose(cycle)
        gone = world.sources["agency"].attic[None, OLD]
        world.add("agency", replace(gone, external_id=NEW, scope=client))
        await cycle.poll(after=POLL)
        assert cycle.statuses() == {OLD_ID: "disconnected", f"agency/{client}/{NEW}": "valid"}
