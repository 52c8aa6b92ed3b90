"""Connections that differ only in their names are loaded, judged and written together, with the result that each gets alone."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.config import Secret, SourceConfig
from monitor.config.labelling import Labeller
from monitor.domain import Policy, Refresh, ReportedStatus, Snapshot
from monitor.domain.records import replace
from monitor.domain.rules import lifecycle, transitions
from monitor.engine.recording.row_judge import RowJudge
from monitor.store import Store, connection_codec, connections
from monitor.store.connections import KEEP, ChangedConnection, NewConnection
from monitor.store.sources import sync_sources
from tests.support import strategies as some
from tests.support.factories import NOW, make_snapshot

AGENCY = SourceConfig(
    name="agency",
    provider="postpost",
    api_key=Secret("key"),
    base_url="http://127.0.0.1",
    users="none",
    workspaces=None,
    probe=True,
    labels={},
    poll_every=timedelta(minutes=5),
    probe_every=timedelta(hours=6),
    jitter=0.1,
    requests_per_minute=60,
    proxy=None,
    ca_file=None,
    policy=Policy(),
)

refreshes = st.builds(
    Refresh,
    connected_at=st.none() | some.near_instants,
    last_refreshed_at=st.none() | some.near_instants,
    last_attempt_at=st.none() | some.near_instants,
    error=st.sampled_from([None, "Bad gateway"]),
    error_status=st.sampled_from([None, 401, 500]),
)
snapshots = st.builds(
    lambda dressing, **own: Snapshot(external_id="x-1", **own, **dressing),
    st.sampled_from(some.DRESSINGS),
    platform=some.platforms,
    reported=st.sampled_from(ReportedStatus),
    expires_at=st.none() | some.near_instants,
    expires_before=st.none() | some.near_instants,
    refresh=st.none() | refreshes,
)
names = st.sampled_from([None, "acme", "@Acme", "other"])
people = st.lists(st.tuples(names, names, names, st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=8)
"""User name, display name, the later user name, and which of two rows is listed first and later."""
policies = st.builds(
    Policy,
    expiring_within=st.sampled_from(some.SPANS),
    expiring_within_explicit=st.booleans(),
    confirm_failures=st.integers(1, 3),
    learn_renewals=st.booleans(),
)


@pytest.fixture(autouse=True)
def _sources(store: Store) -> None:
    with store.begin_write() as conn:
        sync_sources(conn, [("agency", "postpost", "a.test")], NOW)


def named(snapshot: Snapshot, number: int, username: str | None, display_name: str | None) -> Snapshot:
    return replace(
        snapshot,
        external_id=f"x-{number}",
        account=f"a-{number}",
        username=username,
        display_name=display_name,
        profile_url=f"https://x.example/{number}",
    )


@given(
    first=st.tuples(snapshots, snapshots),
    later=st.tuples(snapshots, snapshots),
    circumstances=st.tuples(policies, some.skews, some.near_instants),
    people=people,
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_judged_together_get_what_each_gets_alone(
    store: Store,
    first: tuple[Snapshot, Snapshot],
    later: tuple[Snapshot, Snapshot],
    circumstances: tuple[Policy, float | None, datetime],
    people: list[tuple[str | None, str | None, str | None, int, int]],
) -> None:
    policy, skew, now = circumstances
    source = replace(AGENCY, policy=policy)
    context = source.context(policy, now=now, clock_skew=skew, polled=True)
    before = replace(context, now=NOW)
    states = [
        lifecycle.observe(None, named(first[kind], number, username, display_name), before)
        for number, (username, display_name, _, kind, _) in enumerate(people)
    ]
    rows = [NewConnection(state=state, fingerprint="old") for state in states]
    with store.begin_write() as conn:
        conn.exec_driver_sql("DELETE FROM connections")
        ids = connections.insert(conn, source="agency", provider="postpost", rows=rows, now=NOW)
        stored = connection_codec.load_grouped(conn, ids)
        assert [stored[key].state for key in ids] == [connection_codec.load(conn, [key])[key] for key in ids]
        judge = RowJudge(source=source, now=now, clock_skew=skew, labeller=Labeller(source, dict))
        together, alone = [], []
        for number, (key, (_, display_name, username, _, kind)) in enumerate(zip(ids, people, strict=True)):
            state, snapshot = stored[key].state, named(later[kind], number, username, display_name)
            change = judge.listed(key, stored[key], snapshot, "new")
            after = lifecycle.observe(state, snapshot, context)
            assert (change is None) is (after == state)
            if change is None:
                continue
            assert (change.row, change.before, change.after, change.fingerprint) == (key, state, after, "new")
            assert change.next_probe_at == (now if lifecycle.needs_probe(state, after) else KEEP)
            if change.effect is not None:
                assert change.effect.events == transitions.detect(state, after, now)
                assert change.effect.columns == connection_codec.encode_change(state, after)
            columns = None if change.effect is None else change.effect.columns
            together.append(ChangedConnection(id=key, state=change.after, before=state, columns=columns, fingerprint="new"))
            alone.append(ChangedConnection(id=key, state=after))
        connections.update(conn, together)
        written = connection_codec.load(conn, ids)
        for each in alone:
            connections.update(conn, [each])
        assert connection_codec.load(conn, ids) == written


def test_connections_that_differ_only_in_names_are_judged_once(store: Store) -> None:
    context = AGENCY.context(AGENCY.policy, now=NOW, clock_skew=None, polled=True)
    judge = RowJudge(source=AGENCY, now=NOW, clock_skew=None, labeller=Labeller(AGENCY, dict))
    snapshots = [named(make_snapshot(), number, f"acme{number}", None) for number in range(3)]
    rows = [NewConnection(state=lifecycle.observe(None, each, context), fingerprint="") for each in snapshots]
    with store.begin_write() as conn:
        ids = connections.insert(conn, source="agency", provider="postpost", rows=rows, now=NOW)
        stored = connection_codec.load_grouped(conn, ids)
    expired = [replace(each, reported=ReportedStatus.EXPIRED) for each in snapshots]
    changes = [judge.listed(key, stored[key], each, "new") for key, each in zip(ids, expired, strict=True)]
    effects = [change.effect for change in changes if change is not None]
    assert len({stored[key].group for key in ids}) == 1
    assert effects[0] is not None
    assert effects[0] is effects[1] is effects[2]
