"""What a poll compares a list against: counts, the restless, marks and spans, on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from monitor.domain import ConnectionState
from monitor.domain.records import replace
from monitor.store import Store, connection_codec, connections, list_state, sources
from monitor.store.connections import NewConnection
from monitor.store.list_state import StoredList, UnsettledConnection
from monitor.store.sources import sync_sources
from tests.support.factories import NOW, make_state

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _sources(store: Store) -> None:
    with store.begin_write() as conn:
        sync_sources(conn, [("agency", "postpost", "a.test"), ("studio", "postpeer", "b.test")], NOW)


def flagged(external_id: str, flag: str, **over: Any) -> ConnectionState:
    state = make_state(external_id=external_id, **over)
    return replace(state, verdict=replace(state.verdict, flags=frozenset({"a", flag})))


def add(store: Store, *states: ConnectionState, source: str = "agency") -> list[int]:
    rows = [NewConnection(state=state, fingerprint=f"mark-{state.snapshot.external_id}") for state in states]
    with store.begin_write() as conn:
        return connections.insert(conn, source=source, provider="postpost", rows=rows, now=NOW)


def test_a_scope_stands_by_who_is_there_and_who_must_be_looked_at(store: Store) -> None:
    add(
        store,
        make_state(external_id="x-1"),
        make_state(external_id="x-2", missing=1),
        make_state(external_id="x-3", recheck_at=NOW),
        make_state(external_id="x-4", recheck_at=NOW + timedelta(microseconds=1)),
        flagged("x-5", "unreadable"),
        flagged("x-7", "conflict"),
        make_state(external_id="x-1", scope="u1"),
    )
    add(store, make_state(external_id="y-1"), source="studio")
    with store.begin_write() as conn:
        sources.save_readings(
            conn, sources.readings("agency", [(None, NOW, None, 7), ("u2", NOW, None, 0)], digests={None: "d1"})
        )
        sources.save_suspects(conn, "agency", {"u2": 2})
    with store.begin_read() as conn:
        assert list_state.stored_lists(conn, "agency", NOW) == {
            None: StoredList(digest="d1", present=5, unsettled=3),
            "u1": StoredList(digest=None, present=1, unsettled=0),
            "u2": StoredList(digest=None, present=0, unsettled=0, suspect_polls=2),
        }
        found = list_state.unsettled(conn, "agency", NOW)
    assert set(found) == {None}
    assert sorted(found[None]) == [
        UnsettledConnection("x-2", missing=True),
        UnsettledConnection("x-3", missing=False),
        UnsettledConnection("x-5", missing=False),
    ]


def test_marks_and_spans_are_those_of_the_live_connections_of_one_scope(store: Store) -> None:
    first, _, _ = add(
        store,
        make_state(external_id="x-1"),
        make_state(external_id="x-2", expires_at=None, expires_before=NOW + HOUR),
        make_state(external_id="x-3", scope="u1", expires_at=None, expires_before=NOW),
    )
    with store.begin_write() as conn:
        assert list_state.fingerprints(conn, "agency", None) == {"x-1": "mark-x-1", "x-2": "mark-x-2"}
        assert list_state.coarse_expiries(conn, "agency", None) == {"x-2": NOW + HOUR}
        assert list_state.coarse_expiries(conn, "agency", "u1") == {"x-3": NOW}
        connections.retire(conn, first, NOW)
        connections.set_fingerprints(conn, [(first + 1, "other")])
        assert list_state.fingerprints(conn, "agency", None) == {"x-2": "other"}
        assert list_state.stored_lists(conn, "agency", NOW)[None].present == 1


def test_a_digest_stands_until_another_poll_changes_it(store: Store) -> None:
    """Writing down a scope without one takes it away: nothing stands for what was not read whole."""
    with store.begin_write() as conn:
        sources.save_readings(conn, sources.readings("agency", [(None, NOW, None, 1)], digests={None: "d1"}))
        sources.save_suspects(conn, "agency", {None: 1})
        assert list_state.stored_lists(conn, "agency", NOW)[None] == StoredList(
            digest="d1", present=0, unsettled=0, suspect_polls=1
        )
        sources.save_readings(conn, sources.readings("agency", [(None, None, "It timed out.", 1)]))
        assert list_state.stored_lists(conn, "agency", NOW)[None].digest is None


@pytest.mark.parametrize("count", [3, 500])
def test_row_ids_are_found_by_what_a_list_calls_the_connections(store: Store, count: int) -> None:
    """Few by their ids, many by one walk."""
    made = add(store, *(make_state(external_id=f"x-{number}", scope="u1" if number % 2 else None) for number in range(count)))
    wanted = {f"x-{number}" for number in range(count + 9)}
    with store.begin_read() as conn:
        assert list_state.ids(conn, "agency", "u1", wanted) == {f"x-{number}": made[number] for number in range(1, count, 2)}
        assert list_state.ids(conn, "studio", "u1", wanted) == list_state.ids(conn, "agency", None, set()) == {}


def test_only_what_differs_is_written(store: Store) -> None:
    """What is stored beside it and was changed by somebody else stays."""
    state = make_state()
    (key,) = add(store, state)
    after = replace(state, missing=1, verdict=replace(state.verdict, message="New."))
    with store.begin_write() as conn:
        conn.exec_driver_sql("UPDATE connections SET username = 'other'")
        connections.update(conn, [connections.ChangedConnection(id=key, state=after, before=state)])
        connections.update(conn, [connections.ChangedConnection(id=key, state=after, before=after)])
        found = connection_codec.load(conn, [key])[key]
    assert found == replace(after, snapshot=replace(state.snapshot, username="other"))
