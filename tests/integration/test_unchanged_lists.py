"""An unchanged list is known by its digest; nothing that a poll must see hides behind one. On both databases."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.domain import ConnectionState, PollOutcome, PollReport, ReportedStatus, ScopeReport, Snapshot, Unreadable
from monitor.domain.records import replace
from monitor.domain.rules import fingerprint
from monitor.engine.recording.polls import Poll, record_poll
from monitor.providers.postpost import listing as postpost_listing
from monitor.store import Store, connection_queries, connections, list_state
from monitor.telemetry.memory import gc_paused
from tests.support.factories import NOW, make_snapshot
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, count_rows, running

POLL = timedelta(minutes=15)
DAY = timedelta(days=1)


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """One PostPost source with three connections, probing off."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="li", username="Northwind", display_name="Northwind", lifetime=20 * DAY)
    world.connect("agency", "mastodon", account="ma", username="@fern", display_name="Fern & Fable")
    world.connect("agency", "youtube", account="yt", username="lumen", display_name="Lumen", lifetime=40 * DAY)
    async with running(store, clock, world, tmp_path, per_source={"agency": "probe_every = 'off'"}) as cycle:
        yield cycle


async def read_states(cycle: Cycle) -> tuple[int, int]:
    """How many statements one more poll runs, and how many of them read whole connections."""
    seen: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    engine = cycle.store._writer  # the only place where all statements pass
    event.listen(engine, "before_cursor_execute", note)
    try:
        await cycle.poll(after=POLL)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(seen), sum("token_message" in text or "fingerprint" in text for text in seen)


def stored_digest(cycle: Cycle) -> str | None:
    with cycle.store.begin_read() as conn:
        return list_state.stored_lists(conn, "agency", cycle.clock.now())[None].digest


async def test_an_unchanged_list_reads_no_connection_and_writes_three_rows(agency: Cycle) -> None:
    await agency.poll()
    before = count_rows(agency.store)
    statements, whole = await read_states(agency)
    assert (whole, count_rows(agency.store) - before) == (0, 1)
    assert statements < 20


async def test_a_changed_row_a_new_one_and_one_that_left_are_all_seen_after_many_unchanged_polls(agency: Cycle) -> None:
    for _ in range(3):
        await agency.poll(after=POLL)
    agency.world.rename("agency", "mastodon-ma", username="@moss", display_name="Moss")
    assert (await agency.poll(after=POLL)).changed == 1
    agency.world.connect("agency", "threads", account="th", username="t", display_name="T", lifetime=40 * DAY)
    assert (await agency.poll(after=POLL)).changed == 1
    agency.world.vanish("agency", "youtube-yt")
    assert (await agency.poll(after=POLL)).changed == 1
    assert (await agency.poll(after=POLL)).changed == 1
    assert agency.statuses()["agency/youtube-yt"] == "disconnected"
    assert (await agency.poll(after=POLL)).changed == 0


async def test_a_row_that_comes_back_as_it_was_is_seen(agency: Cycle) -> None:
    """The list is then the very one of before."""
    await agency.poll()
    agency.world.vanish("agency", "youtube-yt")
    for _ in range(3):
        await agency.poll(after=POLL)
    agency.world.restore("agency", "youtube-yt")
    assert (await agency.poll(after=POLL)).changed == 1
    assert agency.statuses()["agency/youtube-yt"] == "valid"


async def test_a_row_that_was_unreadable_for_a_while_is_read_again(agency: Cycle) -> None:
    await agency.poll()
    agency.world.state("agency", "youtube-yt", tokenStatus=5)
    assert (await agency.poll(after=POLL)).changed == 1
    assert "unreadable" in agency.states()["agency/youtube-yt"].verdict.flags
    assert (await agency.poll(after=POLL)).changed == 0
    agency.world.change("agency", "youtube-yt", overrides=None)
    assert (await agency.poll(after=POLL)).changed == 1
    assert "unreadable" not in agency.states()["agency/youtube-yt"].verdict.flags


async def test_a_field_that_is_ignored_for_a_while_is_flagged_as_long(agency: Cycle) -> None:
    """Without the ignored field the row's text is the same as with null: the flag must change it."""
    agency.world.state("agency", "youtube-yt", username=None)
    await agency.poll()
    digest = stored_digest(agency)
    agency.world.state("agency", "youtube-yt", username=5)
    assert (await agency.poll(after=POLL)).changed == 1
    assert "field_ignored" in agency.states()["agency/youtube-yt"].verdict.flags
    assert stored_digest(agency) not in (None, digest)
    assert (await agency.poll(after=POLL)).changed == 0
    agency.world.state("agency", "youtube-yt", username=None)
    assert (await agency.poll(after=POLL)).changed == 1
    assert "field_ignored" not in agency.states()["agency/youtube-yt"].verdict.flags
    assert stored_digest(agency) == digest


async def test_a_recheck_that_comes_due_is_judged_although_the_list_is_the_same(agency: Cycle) -> None:
    """YouTube's date moves no verdict by itself: only a poll after it may say what follows from it."""
    agency.world.remove("agency", "linkedin-li")
    agency.world.state("agency", "youtube-yt", tokenStatus="valid", tokenExpiresIn=None)
    await agency.poll()
    digest = stored_digest(agency)
    agency.clock.advance(40 * DAY)
    assert (await agency.poll(after=POLL)).changed == 1
    assert stored_digest(agency) == digest is not None
    assert "stale_date" in agency.states()["agency/youtube-yt"].verdict.flags


async def test_a_clock_that_is_not_trusted_has_every_poll_judge(agency: Cycle) -> None:
    agency.world.state("agency", "linkedin-li", tokenStatus="valid")
    await agency.poll()
    with agency.store.begin_write() as conn:
        connections.mark_for_recheck(conn, "agency", agency.clock.now())
        assert list_state.stored_lists(conn, "agency", agency.clock.now())[None].unsettled == 3
    await agency.poll(after=POLL)
    with agency.store.begin_read() as conn:
        assert list_state.stored_lists(conn, "agency", agency.clock.now())[None].unsettled == 0


async def test_a_retired_connection_that_is_still_listed_comes_back(agency: Cycle) -> None:
    await agency.poll()
    with agency.store.begin_write() as conn:
        (row,) = connection_queries.find_connections(conn, "agency/mastodon-ma")
        connections.retire(conn, row.id, agency.clock.now())
    assert "agency/mastodon-ma" not in agency.statuses()
    assert (await agency.poll(after=POLL)).changed == 1
    assert agency.statuses()["agency/mastodon-ma"] == "valid"


async def test_a_failed_poll_in_between_leaves_what_is_known_of_the_list(agency: Cycle) -> None:
    await agency.poll()
    agency.world.break_source("agency", Trouble.UNAUTHORIZED)
    await agency.poll(after=POLL)
    agency.world.recover_source("agency")
    assert (await read_states(agency))[1] == 0


async def test_another_reading_of_rows_judges_each_of_them_again_and_changes_nothing(
    agency: Cycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade: once, quietly; the poll after that is a quick one again."""
    await agency.poll()
    with agency.store.begin_read() as conn:
        before = list_state.fingerprints(conn, "agency", None)
    monkeypatch.setattr(postpost_listing, "READER_VERSION", postpost_listing.READER_VERSION + 1)
    statements_before = count_rows(agency.store)
    assert (await agency.poll(after=POLL)).changed == 0
    with agency.store.begin_read() as conn:
        after = list_state.fingerprints(conn, "agency", None)
    assert after.keys() == before.keys()
    assert not after.items() & before.items()
    assert count_rows(agency.store) - statements_before == 1
    assert (await read_states(agency))[1] == 0


def record(store: Store, cycle: Cycle, scope: ScopeReport) -> int:
    """One poll with this report; how many connections changed."""
    outcome = PollOutcome.OK if scope.complete else PollOutcome.PARTIAL
    now = cycle.clock.now()
    poll = Poll(report=PollReport(outcome=outcome, scopes=(scope,), problem=scope.problem), started_at=now, now=now)
    with store.begin_write() as conn:
        return record_poll(conn, cycle.work["agency"].source, poll, channels=()).changed


async def test_what_an_incomplete_list_showed_is_not_forgotten_behind_the_digest_of_the_one_before(agency: Cycle) -> None:
    """Valid, then an incomplete list that says expired, then the first list again, word for word."""
    first = ScopeReport(scope=None, complete=True, snapshots=(make_snapshot(), make_snapshot(external_id="x-2")))
    shown = ScopeReport(
        scope=None,
        complete=False,
        snapshots=(make_snapshot(reported=ReportedStatus.EXPIRED, raw_status="expired"),),
        problem="Cut.",
    )
    assert record(agency.store, agency, first) == 2
    assert record(agency.store, agency, shown) == 1
    assert agency.statuses()["agency/linkedin-123"] == "expired"
    assert record(agency.store, agency, first) == 1
    assert record(agency.store, agency, first) == 0


def fresh(state: ConnectionState) -> dict[str, Any]:
    return {name: getattr(state.snapshot, name) for name in Snapshot.__struct_fields__ if name != "expires_before"}


NAMES = ["a-1", "b-2", "c-3"]
SHOWN = st.dictionaries(
    st.sampled_from(NAMES),
    st.one_of(
        st.none(),
        st.builds(
            make_snapshot,
            reported=st.sampled_from([ReportedStatus.VALID, ReportedStatus.EXPIRED, ReportedStatus.UNKNOWN]),
            username=st.sampled_from(["acme", "other", None]),
            expires_at=st.sampled_from([None, NOW + 60 * DAY, NOW + 3 * DAY]),
            last_successful_post_at=st.sampled_from([None, NOW]),
        ),
        st.builds(
            make_snapshot, expires_at=st.none(), expires_before=st.sampled_from([NOW + DAY, NOW + DAY * 1.01, NOW + 2 * DAY])
        ),
    ),
)
"""What one list shows: None stands for a row that cannot be read."""
LISTS = st.lists(st.tuples(SHOWN, st.booleans()), min_size=2, max_size=6)


@given(lists=LISTS, repeats=st.lists(st.integers(0, 5), max_size=4))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_after_any_lists_each_connection_matches_its_last_row(
    agency: Cycle, lists: list[tuple[dict[str, Snapshot | None], bool]], repeats: list[int]
) -> None:
    """Lists come and come again in any order, some incomplete, some with rows that cannot be read."""
    store = agency.store
    with store.begin_write() as conn:
        for table in ("deliveries", "alerts", "incidents", "events", "connections", "scopes"):
            conn.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - names of our own
    last: dict[str, Snapshot] = {}
    for shown, complete in [*lists, *(lists[index % len(lists)] for index in repeats)]:
        rows = tuple(replace(row, external_id=name, account=name) for name, row in shown.items() if row is not None)
        lost = tuple(Unreadable(external_id=name, why="no") for name, row in shown.items() if row is None)
        agency.clock.advance(POLL)
        record(store, agency, ScopeReport(scope=None, complete=complete, snapshots=rows, unreadable=lost, problem="Cut."))
        last |= {row.external_id: row for row in rows}
        states = {state.snapshot.external_id: state for state in agency.states().values()}
        assert states.keys() == last.keys()
        for name, row in last.items():
            assert fresh(states[name]) == {key: getattr(row, key) for key in fresh(states[name])}
            before = states[name].snapshot.expires_before
            assert (before is None) is (row.expires_before is None)
            assert before is None or row.expires_before is None or abs(before - row.expires_before) <= timedelta(hours=1)
        for row in rows:
            assert states[row.external_id].missing == 0
            assert "unreadable" not in states[row.external_id].verdict.flags
        for unread in lost:
            if unread.external_id in states:
                assert "unreadable" in states[unread.external_id].verdict.flags


def test_digests_of_lists_without_text_are_of_all_marks() -> None:
    def scope(*rows: Snapshot, **over: Any) -> ScopeReport:
        return ScopeReport(scope=None, complete=True, snapshots=rows, **over)

    one, other = make_snapshot(), make_snapshot(external_id="x-2")
    known = fingerprint.digest_of(scope(one, other), fingerprint.comparable((one, other)))
    assert known == fingerprint.digest_of(scope(other, one), fingerprint.comparable((other, one)))
    for rows in ((one,), (one, replace(other, username="b")), (one, replace(other, external_id="x-3"))):
        assert fingerprint.digest_of(scope(*rows), fingerprint.comparable(rows)) not in (None, known)
    unread = scope(one, unreadable=(Unreadable(external_id=None, why="no"),))
    assert fingerprint.digest_of(unread, fingerprint.comparable((one,))) is None
    assert (
        fingerprint.digest_of(ScopeReport(scope=None, complete=False, snapshots=(one,)), fingerprint.comparable((one,))) is None
    )


def test_collections_go_on_after_a_big_transaction_also_where_it_fails() -> None:
    def fail() -> None:
        with gc_paused(10_000_000):
            assert not gc.isenabled()
            raise ZeroDivisionError

    with gc_paused(10):
        assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.isenabled()
