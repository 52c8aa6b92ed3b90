"""Connections in the store: nothing is lost on the way, and what is due is found."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.domain import (
    ConnectionState,
    LastError,
    ProbeFinding,
    ProbeState,
    ProbeStatus,
    Refresh,
    ReportedStatus,
    Snapshot,
    Status,
    TokenState,
    Verdict,
)
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules import schedule
from monitor.store import Store, connection_codec, connection_queries, connections, due_work, list_state, probes, sources
from monitor.store.connections import KEEP, ChangedConnection, NewConnection
from monitor.store.sources import sync_sources
from tests.support.factories import NOW, make_state

DAY = timedelta(days=1)
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
DURATIONS = st.integers(0, 10**8).map(lambda seconds: timedelta(seconds=seconds))
COUNTS = st.integers(0, 2**31 - 1)
FLAGS = st.frozensets(TEXTS, max_size=3)


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


SNAPSHOTS = st.builds(
    Snapshot,
    external_id=TEXTS,
    scope=some(TEXTS.filter(bool)),
    platform=TEXTS,
    reported=st.sampled_from(ReportedStatus),
    raw_status=some(TEXTS),
    detail=some(TEXTS),
    trusted=some(st.booleans()),
    labels=some(st.dictionaries(TEXTS, TEXTS, max_size=3)),
    expires_at=some(INSTANTS),
    expires_before=some(INSTANTS),
    refresh=some(
        st.builds(
            Refresh,
            connected_at=some(INSTANTS),
            last_refreshed_at=some(INSTANTS),
            last_attempt_at=some(INSTANTS),
            error=some(TEXTS),
            error_status=some(COUNTS),
        )
    ),
    account=some(TEXTS),
    username=some(TEXTS),
    display_name=some(TEXTS),
    profile_url=some(TEXTS),
    scopes=some(st.lists(TEXTS, max_size=3).map(tuple)),
    last_successful_post_at=some(INSTANTS),
    last_error=some(st.builds(LastError, message=TEXTS, occurred_at=some(INSTANTS))),
    flags=FLAGS,
)
STATES = st.builds(
    ConnectionState,
    snapshot=SNAPSHOTS,
    token=st.builds(
        TokenState,
        status=st.sampled_from(Status),
        reason=TEXTS,
        message=TEXTS,
        expires_at=some(INSTANTS),
        crossed_at=some(INSTANTS),
        issued_at=some(INSTANTS),
        refresh_failures=COUNTS,
        failing_polls=COUNTS,
        dated_since=some(INSTANTS),
        renewal_gap=some(DURATIONS),
        renewal_left=some(DURATIONS | DURATIONS.map(lambda span: -span)),
        renewals=COUNTS,
        reconnected_at=some(INSTANTS),
        flags=FLAGS,
    ),
    probe=st.builds(
        ProbeState,
        status=st.sampled_from(ProbeStatus),
        finding=some(st.sampled_from(ProbeFinding)),
        refusals=COUNTS,
        message=some(TEXTS),
        at=some(INSTANTS),
        ever_ok=st.booleans(),
        refused_since=some(INSTANTS),
        refusal=some(TEXTS),
        ok_at=some(INSTANTS),
        silent_since=some(INSTANTS),
        reconnected=st.booleans(),
    ),
    verdict=st.builds(Verdict, status=st.sampled_from(Status), reason=TEXTS, message=TEXTS, since=INSTANTS, flags=FLAGS),
    stage=some(DURATIONS),
    missing=COUNTS,
    next_change_at=some(INSTANTS),
    recheck_at=some(INSTANTS),
    permissions=some(st.lists(TEXTS, max_size=3).map(tuple)),
    lost_permissions=st.lists(TEXTS, max_size=3).map(tuple),
)


@pytest.fixture(autouse=True)
def _sources(store: Store) -> None:
    with store.begin_write() as conn:
        kinds = [("agency", "postpost", "a.test"), ("studio", "postbreeze", "b.test")]
        sync_sources(conn, kinds, NOW)


def add(store: Store, *states: ConnectionState, source: str = "agency", now: datetime = NOW, **over: Any) -> list[int]:
    kind = "postpost" if source == "agency" else "postbreeze"
    rows = [NewConnection(state=state, fingerprint=f"mark-{state.snapshot.external_id}", **over) for state in states]
    with store.begin_write() as conn:
        return connections.insert(conn, source=source, provider=kind, rows=rows, now=now)


def loaded(store: Store, *ids: int) -> dict[int, ConnectionState]:
    with store.begin_read() as conn:
        return connection_codec.load(conn, ids)


@given(states=st.lists(STATES, max_size=4, unique_by=lambda state: (state.snapshot.scope, state.snapshot.external_id)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_state_comes_back_as_it_was(store: Store, states: list[ConnectionState]) -> None:
    """Inserted, and updated to another state: every field, whatever it holds."""
    with store.begin_write() as conn:
        conn.exec_driver_sql("DELETE FROM connections")
    ids = add(store, *[replace(state, snapshot=replace(state.snapshot)) for state in states])
    assert loaded(store, *ids) == dict(zip(ids, states, strict=True))
    turned = [replace(state, missing=1, stage=None, recheck_at=NOW) for state in states]
    with store.begin_write() as conn:
        rows = [ChangedConnection(id=key, state=state) for key, state in zip(ids, turned, strict=True)]
        connections.update(conn, rows)
    assert loaded(store, *ids) == dict(zip(ids, turned, strict=True))


@given(before=STATES, after=st.lists(STATES, min_size=1, max_size=3))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_states_written_in_one_go_come_back_as_they_were(
    store: Store, before: ConnectionState, after: list[ConnectionState]
) -> None:
    """PostgreSQL writes many rows in one statement."""
    with store.begin_write() as conn:
        conn.exec_driver_sql("DELETE FROM connections")

    def numbered(state: ConnectionState, number: int) -> ConnectionState:
        return replace(state, snapshot=replace(state.snapshot, external_id=f"x-{number}"))

    ids = add(store, *[numbered(before, number) for number in range(60)])
    turned = [numbered(after[number % len(after)], number) for number in range(60)]
    with store.begin_write() as conn:
        connections.update(conn, [ChangedConnection(id=key, state=state) for key, state in zip(ids, turned, strict=True)])
    assert loaded(store, *ids) == dict(zip(ids, turned, strict=True))


def test_of_several_changes_of_one_connection_the_last_is_stored(store: Store) -> None:
    ids = add(store, *[make_state(external_id=f"x-{number}") for number in range(60)])
    rows = [ChangedConnection(id=ids[0], state=make_state(external_id="x-0", missing=missing)) for missing in (1, 2)]
    rows += [ChangedConnection(id=key, state=make_state(external_id=f"y-{key}", missing=3)) for key in ids[1:]]
    with store.begin_write() as conn:
        connections.update(conn, rows)
    assert loaded(store, ids[0])[ids[0]].missing == 2


def test_every_field_of_a_state_has_a_strategy() -> None:
    """A field that is added to the model must be stored: this test makes one think of it."""
    counts = [
        len(kind.__struct_fields__) for kind in (Snapshot, TokenState, ProbeState, Verdict, ConnectionState, Refresh, LastError)
    ]
    assert counts == [19, 14, 11, 5, 10, 5, 2]


def test_insert_gives_ids_in_the_order_of_the_rows(store: Store) -> None:
    ids = add(store, *(make_state(external_id=f"x-{number}") for number in range(50)))
    assert ids == sorted(ids)
    assert [loaded(store, key)[key].snapshot.external_id for key in ids[:3]] == ["x-0", "x-1", "x-2"]
    more = add(store, make_state(external_id="x-50"))
    assert more[0] > max(ids)


def test_a_duration_that_no_column_can_hold_is_stored_as_the_longest(store: Store) -> None:
    state = make_state()
    (key,) = add(store, replace(state, token=replace(state.token, renewal_gap=100 * 365 * DAY, renewal_left=-100 * 365 * DAY)))
    token = loaded(store, key)[key].token
    assert (token.renewal_gap, token.renewal_left) == (timedelta(seconds=2**31 - 1), -timedelta(seconds=2**31 - 1))


def test_insert_of_nothing_does_nothing(store: Store) -> None:
    assert add(store) == []


def test_update_leaves_what_it_is_not_given(store: Store) -> None:
    (key,) = add(store, make_state(), next_probe_at=NOW + DAY)
    with store.begin_write() as conn:
        connections.update(conn, [ChangedConnection(id=key, state=make_state(missing=1))])
        row = connection_queries.get_connection(conn, key)
        assert row is not None
        assert (row.fingerprint, row.last_seen_at, row.state.missing) == ("mark-linkedin-123", NOW, 1)
        assert probes.next_probes(conn) == {"agency": NOW + DAY}
        changed = ChangedConnection(
            id=key, state=make_state(missing=2), fingerprint="new", next_probe_at=None, last_seen_at=NOW + DAY
        )
        connections.update(conn, [changed])
        row = connection_queries.get_connection(conn, key)
        assert row is not None
        assert (row.fingerprint, row.last_seen_at, row.state.missing) == ("new", NOW + DAY, 2)
        assert probes.next_probes(conn) == {}
    assert KEEP is connections.Unchanged.KEEP


def test_reconnect_may_change_the_external_id(store: Store) -> None:
    (key,) = add(store, make_state(external_id="old", account="42", platform="facebook"))
    with store.begin_write() as conn:
        changed = make_state(external_id="new", account="42", platform="facebook")
        connections.update(conn, [ChangedConnection(id=key, state=changed, fingerprint="m")])
        assert list(list_state.fingerprints(conn, "agency", None)) == ["new"]
        cohort = schedule.cohort_of(None, "new")
        assert [target.id for target in probes.cohort_targets(conn, "agency", [cohort])[cohort]] == [key]


def test_retired_connection_is_in_nothing_but_its_history(store: Store) -> None:
    (key,) = add(store, make_state(next_change_at=NOW, account="42"), next_probe_at=NOW)
    with store.begin_write() as conn:
        assert connections.retire(conn, key, NOW) is True
        assert connections.retire(conn, key, NOW) is False
        assert list_state.fingerprints(conn, "agency", None) == {}
        assert list(connection_queries.list_connections(conn)) == []
        assert connection_queries.count_by_status(conn)[Status.VALID] == 0
        assert connections.due_changes(conn, NOW, limit=10) == []
        assert due_work.read(conn, NOW).next_change is None
        assert probes.individually_due(conn, "agency", NOW, 10) == []
        (row,) = connection_queries.find_connections(conn, "linkedin-123")
        assert (row.id, row.retired_at) == (key, NOW)


def test_retired_connection_that_is_listed_again_comes_back_under_its_id(store: Store) -> None:
    (key,) = add(store, make_state())
    with store.begin_write() as conn:
        connections.retire(conn, key, NOW)
    other, again = add(store, make_state(external_id="x"), make_state(missing=1), now=NOW + DAY)
    assert again == key
    assert other != key
    with store.begin_read() as conn:
        row = connection_queries.get_connection(conn, key)
    assert row is not None
    assert (row.retired_at, row.added_at, row.state.missing) == (None, NOW, 1)


def test_reconnect_to_the_id_of_a_retired_connection_is_possible(store: Store) -> None:
    """Uniqueness counts only connections that are not retired: else every poll of this source would fail for ever."""
    retired, live = add(store, make_state(external_id="a"), make_state(external_id="b"))
    with store.begin_write() as conn:
        connections.retire(conn, retired, NOW)
        connections.update(conn, [ChangedConnection(id=live, state=make_state(external_id="a"))])
        assert [row.id for row in connection_queries.find_connections(conn, "agency/a")] == [live, retired]


def test_due_changes_come_earliest_first_up_to_the_limit(store: Store) -> None:
    states = [make_state(external_id=f"x-{hours}", next_change_at=NOW + timedelta(hours=hours)) for hours in (3, 1, 2)]
    add(store, *states, make_state(external_id="never"))
    with store.begin_read() as conn:
        assert due_work.read(conn, NOW).next_change == NOW + timedelta(hours=1)
        assert connections.due_changes(conn, NOW, limit=10) == []
        due = connections.due_changes(conn, NOW + timedelta(hours=3), limit=2)
    assert [(source, state.snapshot.external_id) for _, source, state in due] == [("agency", "x-1"), ("agency", "x-2")]


def test_source_that_was_removed_has_nothing_due_and_nothing_listed(store: Store) -> None:
    add(store, make_state(next_change_at=NOW), next_probe_at=NOW)
    with store.begin_write() as conn:
        probes.ensure_cohorts(conn, "agency", {1: NOW})
        sync_sources(conn, [("studio", "postbreeze", "b.test")], NOW)
        assert connections.due_changes(conn, NOW, limit=10) == []
        assert due_work.read(conn, NOW).next_change is None
        assert probes.due_cohorts(conn, "agency", NOW) == []
        assert probes.individually_due(conn, "agency", NOW, 10) == []
        assert probes.next_probes(conn) == {}
        assert list(connection_queries.list_connections(conn)) == []
        assert len(connection_queries.find_connections(conn, "agency")) == 1


def test_list_is_worst_first_then_by_the_nearest_expiry(store: Store) -> None:
    add(
        store,
        make_state(external_id="fine"),
        make_state(external_id="late", status=Status.EXPIRED, expires_at=NOW - DAY),
        make_state(external_id="later", status=Status.EXPIRED, expires_at=None),
        make_state(external_id="latest", status=Status.EXPIRED, expires_at=NOW - 2 * DAY),
        make_state(external_id="gone", status=Status.DISCONNECTED),
        make_state(external_id="soon", status=Status.EXPIRING_SOON),
    )
    with store.begin_read() as conn:
        listed = [row.state.snapshot.external_id for row in connection_queries.list_connections(conn)]
        first = [row.state.snapshot.external_id for row in connection_queries.list_connections(conn, limit=2)]
        by_id = [row.state.snapshot.external_id for row in connection_queries.list_connections(conn, worst_first=False)]
    assert listed == ["gone", "latest", "late", "later", "soon", "fine"]
    assert first == ["gone", "latest"]
    assert by_id == sorted(listed)


def test_list_and_counts_take_the_same_filters(store: Store) -> None:
    add(store, make_state(external_id="a"), make_state(external_id="b", platform="tiktok", status=Status.EXPIRED))
    add(store, make_state(external_id="c", platform="tiktok"), source="studio")

    def ids(filters: ConnectionFilter) -> list[str]:
        with store.begin_read() as conn:
            return [
                row.state.snapshot.external_id for row in connection_queries.list_connections(conn, filters, worst_first=False)
            ]

    assert ids(ConnectionFilter(sources=["agency"])) == ["a", "b"]
    assert ids(ConnectionFilter(sources=["agency", "studio"], platforms=["tiktok"])) == ["b", "c"]
    assert ids(ConnectionFilter(statuses=[Status.EXPIRED, Status.REVOKED])) == ["b"]
    assert ids(ConnectionFilter(sources=[])) == []
    with store.begin_read() as conn:
        every = connection_queries.count_by_status(conn)
        assert (every[Status.VALID], every[Status.EXPIRED], len(every)) == (2, 1, 7)
        assert (
            connection_queries.count_by_status(conn, ConnectionFilter(sources=["agency"], platforms=["tiktok"]))[Status.EXPIRED]
            == 1
        )


def test_unchanged_connection_was_last_seen_when_its_scope_was_complete(store: Store) -> None:
    """A poll of unchanged connections writes no connection, so the scope remembers for all of them."""
    add(store, make_state(external_id="a"), make_state(external_id="b", missing=1), make_state(external_id="c", scope="u1"))
    with store.begin_write() as conn:
        sources.save_readings(
            conn, sources.readings("agency", [(None, NOW + DAY, None, 2), ("u1", None, "It cannot be read.", 1)])
        )
        seen = {row.state.snapshot.external_id: row.last_seen_at for row in connection_queries.list_connections(conn)}
    assert seen == {"a": NOW + DAY, "b": NOW, "c": NOW}


def test_unchanged_probe_is_remembered_by_its_cohort(store: Store) -> None:
    ok = ProbeState(status=ProbeStatus.OK, at=NOW)
    never = ProbeState(status=ProbeStatus.UNSUPPORTED, at=NOW)
    add(store, make_state(external_id="a", probe=ok), make_state(external_id="b", probe=never), make_state(external_id="c"))
    with store.begin_write() as conn:
        for name in "abc":
            cohort = schedule.cohort_of(None, name)
            probes.mark_cohort(conn, "agency", cohort, probed_at=NOW + DAY, next_probe_at=NOW + 2 * DAY)
        at = {row.state.snapshot.external_id: row.probe_at for row in connection_queries.list_connections(conn)}
    assert at == {"a": NOW + DAY, "b": None, "c": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("agency/u1/linkedin-1", ["linkedin-1"]),
        ("agency/linkedin-11", ["linkedin-11"]),
        ("linkedin-11", ["linkedin-11"]),
        ("LINKEDIN-1", ["linkedin-1", "linkedin-11"]),
        ("studio/abc", ["abc"]),
        ("studio/ws_1/abc", []),
        ("%", ["100%_sure"]),
        ("_", ["100%_sure"]),
        ("nobody", []),
        ("", []),
    ],
)
def test_connection_is_found_by_a_part_of_its_public_id(store: Store, text: str, expected: list[str]) -> None:
    """The whole id wins over ids that contain it; letter case does not matter; % and _ are plain characters."""
    add(store, make_state(external_id="linkedin-1", scope="u1"), make_state(external_id="linkedin-11"))
    add(store, make_state(external_id="abc", scope="ws-1"), make_state(external_id="100%_sure"), source="studio")
    with store.begin_read() as conn:
        assert sorted(row.state.snapshot.external_id for row in connection_queries.find_connections(conn, text)) == expected


@pytest.mark.parametrize(("text", "expected"), [("harb", ["a"]), ("@PINE_", ["b"]), ("o", ["a", "b"]), ("%", []), ("", [])])
def test_connection_is_found_by_a_part_of_its_names(store: Store, text: str, expected: list[str]) -> None:
    add(store, make_state(external_id="a", display_name="Harbor Hotel", username=None))
    add(store, make_state(external_id="b", display_name="Moss", username="@pine_interiors"))
    add(store, make_state(external_id="c", display_name=None, username=None))
    with store.begin_read() as conn:
        assert [row.state.snapshot.external_id for row in connection_queries.find_by_name(conn, text)] == expected


def test_whole_public_id_wins_over_ids_that_begin_with_it(store: Store) -> None:
    add(store, make_state(external_id="x-1"), make_state(external_id="x-11"))
    with store.begin_read() as conn:
        assert [row.public_id for row in connection_queries.find_connections(conn, "agency/x-1")] == ["agency/x-1"]


def test_untrusted_names_cost_no_transaction(store: Store) -> None:
    (key,) = add(store, make_state(username="a\x00b", display_name="\ud800"))
    snapshot = loaded(store, key)[key].snapshot
    assert (snapshot.username, snapshot.display_name) == ("a\ufffdb", "\ufffd")


@pytest.mark.slow
def test_20000_connections_are_inserted_and_compared_in_seconds(store: Store) -> None:
    """Far below what 100,000 may cost, and with room for a slow machine: it guards against going row by row."""
    states = [make_state(external_id=f"x-{number}", scope=f"u{number % 50}") for number in range(20_000)]
    before = time.process_time()
    ids = add(store, *states)
    inserted = time.process_time()
    with store.begin_read() as conn:
        known = [key for number in range(50) for key in list_state.fingerprints(conn, "agency", f"u{number}")]
    compared = time.process_time()
    assert len(ids) == len(known) == 20_000
    assert inserted - before < 6
    assert compared - inserted < 0.6
