"""Connections that differ only in their names are loaded, judged and written together, with the result that each gets alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.config import Secret, SourceConfig
from monitor.config.labelling import Labeller
from monitor.domain import (
    Ack,
    Alert,
    AlertEvent,
    Event,
    EventKind,
    LastNotified,
    Policy,
    Refresh,
    ReportedStatus,
    Severity,
    Snapshot,
    Status,
)
from monitor.domain.records import replace
from monitor.domain.rules import lifecycle, transitions
from monitor.domain.rules.labels import LabelRule
from monitor.domain.rules.silences import Silence
from monitor.engine.recording.incidents import ConnectionUpdate, evaluate
from monitor.engine.recording.row_judge import RowJudge
from monitor.store import Store, alerts, connection_codec, connections, history, incidents, meta, silences
from monitor.store.connections import KEEP, ChangedConnection, NewConnection
from monitor.store.incidents import NewIncident
from monitor.store.sources import sync_sources
from monitor.store.sql import rows_by_key
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
            assert change.before is not None
            was = change.before if change.effect is None else replace(change.before, snapshot=state.snapshot)
            assert (change.row, was, change.after, change.fingerprint) == (key, state, after, "new")
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


@pytest.mark.parametrize("reported", [ReportedStatus.EXPIRED, ReportedStatus.VALID])
def test_alerts_about_alike_connections_are_those_that_each_gets_alone(store: Store, reported: ReportedStatus) -> None:
    """Some have an open incident, which may be acknowledged; one is silenced, and one changes too often."""
    source = replace(AGENCY, policy=Policy(flap_window=timedelta(hours=6), flap_changes=1))
    context = source.context(source.policy, now=NOW, clock_skew=None, polled=True)
    old = ReportedStatus.EXPIRED if reported is ReportedStatus.VALID else ReportedStatus.VALID
    snapshots = [named(make_snapshot(reported=old, expires_at=None), number, f"acme{number}", None) for number in range(7)]
    before = [lifecycle.observe(None, each, context) for each in snapshots]
    after = [
        lifecycle.observe(state, replace(each, reported=reported), context) for state, each in zip(before, snapshots, strict=True)
    ]
    rows = [NewConnection(state=state, fingerprint="") for state in before]
    changed = Event(kind=EventKind.STATUS_CHANGED, at=NOW - timedelta(hours=1), old="valid", new="expired")
    expired = LastNotified(status=Status.EXPIRED, at=NOW - timedelta(hours=2))
    soon = replace(expired, status=Status.EXPIRING_SOON)
    with store.begin_write() as conn:
        ids = connections.insert(conn, source="agency", provider="postpost", rows=rows, now=NOW)
        opened = [NewIncident(source="agency", connection_id=ids[place], last_notified=expired) for place in (0, 1, 2)]
        opened.append(NewIncident(source="agency", connection_id=ids[3], last_notified=soon))
        incident_ids = incidents.open_incidents(conn, opened, NOW)
        incidents.acknowledge(conn, incident_ids[2], Ack(status=Status.EXPIRED, stage=None, at=NOW - timedelta(hours=1)))
        history.append(conn, "agency", ids[4], [changed] * 3)
        earlier = Alert(
            id="a", incident="a", event=AlertEvent.EXPIRED, reason="first", severity=Severity.CRITICAL, at=NOW, source="agency"
        )
        alerts.add_alerts(conn, [(earlier, ids[4], None)])

        def decided(effect: object | None) -> tuple[list[Any], list[Any]]:
            conn.exec_driver_sql("SAVEPOINT before")
            updates = [
                ConnectionUpdate(row=row, before=was, after=now, effect=effect)
                for row, was, now in zip(ids, before, after, strict=True)
            ]
            found = [
                (each.row, each.audience, replace(each.alert, id="", incident="", opened_at=None))
                for each in evaluate(conn, source, updates, channels=[], now=NOW)
            ]
            stored = [
                (row, each.last_notified, each.next_review_at, each.ack) for row, each in incidents.find_open(conn, ids).items()
            ]
            conn.exec_driver_sql("ROLLBACK TO SAVEPOINT before")
            return found, sorted(stored)

        assert decided(object()) == decided(None)
        silence = Silence(id=0, comment="", starts_at=NOW, ends_at=NOW + timedelta(hours=1), connections=("x-5",))
        silences.add(conn, silence, NOW)
        assert decided(object()) == decided(None)
        assert len(decided(object())[0]) > 1


def test_many_texts_with_any_characters_are_found(store: Store) -> None:
    """PostgreSQL gets them as one array."""
    names = [f'{number} "quoted" \\ back\\\\slash {{}}, NULL é %s' for number in range(300)]
    with store.begin_write() as conn:
        for name in names:
            meta.set(conn, name, "1")
        found = rows_by_key(conn, "SELECT key FROM meta WHERE key IN ({0})", [*names, "absent"])
    assert sorted(key for (key,) in found) == sorted(names)


def test_changes_are_counted_from_the_strictest_policy_on() -> None:
    strict = LabelRule(policy={"flap_changes": 2})
    assert AGENCY.fewest_flap_changes() == 4
    assert replace(AGENCY, policies={"x": Policy(flap_changes=3)}).fewest_flap_changes() == 3
    assert replace(AGENCY, label_rules=(strict,)).fewest_flap_changes() == 2
    assert replace(AGENCY, policy=Policy(flap_changes=0)).fewest_flap_changes() == 1
