"""Changes of many connections through the API, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config import Config, load
from monitor.domain import LastNotified, Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.silences import Silence, literal, matches_id
from monitor.store import Store, connection_queries, incidents, silences
from monitor.views.selection import select_connections
from tests.support.command_line import add_source, make_world, write_config
from tests.support.factories import make_state
from tests.support.fakes import ManualClock
from tests.support.incidents import open_incident
from tests.support.web_client import Served, serving

EXPIRED, REVOKED, SOON = "agency/linkedin-expired", "agency/linkedin-revoked", "agency/linkedin-expiring_soon"
STUDIO, VALID = "studio/65f0", "agency/linkedin-valid"
EVERYTHING = {EXPIRED, REVOKED, SOON, STUDIO, VALID}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(write_config(tmp_path), {}).config


@pytest.fixture
async def api(store: Store, config: Config, clock: ManualClock, now: datetime) -> AsyncIterator[Served]:
    """Four connections of agency, three with an open incident, and one of studio."""
    ids = make_world(store, now)
    with store.begin_write() as conn:
        for status in (Status.EXPIRING_SOON, Status.EXPIRED, Status.REVOKED):
            notified = LastNotified(status=status, at=now)
            open_incident(conn, source="agency", connection_id=ids[status], last_notified=notified, now=now)
    async with serving(store, config, clock) as served:
        yield served


def acked(store: Store) -> set[str]:
    with store.begin_read() as conn:
        return {row.public_id for row in connection_queries.get_connections(conn, incidents.all_acks(conn))}


def monitored(store: Store) -> set[str]:
    with store.begin_read() as conn:
        return {row.public_id for row in connection_queries.list_connections(conn)}


SELECTIONS: list[tuple[dict[str, Any], set[str]]] = [
    ({"connections": [EXPIRED, REVOKED]}, {EXPIRED, REVOKED}),
    ({"connections": ["agency/*"]}, {EXPIRED, REVOKED, SOON, VALID}),
    ({"connections": ["agency/*", STUDIO]}, EVERYTHING),
    ({"connections": ["person 1"], "sources": ["agency"]}, set()),  # neither an id nor a pattern
    ({"connections": ["person [01]"]}, {VALID, SOON}),
    ({"statuses": ["expired", "revoked"]}, {EXPIRED, REVOKED}),
    ({"labels": {"client": "gl*"}}, {STUDIO}),
    ({"sources": ["agency"], "platforms": ["LinkedIn"], "statuses": ["valid"]}, {VALID}),
    ({"connections": ["*"], "statuses": ["valid"], "labels": {"client": "acme"}}, {VALID}),
    ({"sources": ["studio"], "connections": [EXPIRED]}, set()),
]


@pytest.mark.parametrize(("body", "covered"), SELECTIONS)
async def test_forget_retires_exactly_what_the_dry_run_lists(
    *, api: Served, store: Store, body: dict[str, Any], covered: set[str]
) -> None:
    listed = await api.post("/api/v1/forget", {**body, "dry_run": True})
    assert monitored(store) == EVERYTHING
    if not covered:
        assert listed.status_code == 404
        assert (await api.post("/api/v1/forget", body)).status_code == 404
        assert monitored(store) == EVERYTHING
        return
    assert (listed.status_code, listed.json()["dry_run"]) == (200, True), listed.text
    assert set(listed.json()["connections"]) == covered
    done = await api.post("/api/v1/forget", body)
    assert done.json() == {**listed.json(), "dry_run": False}
    assert monitored(store) == EVERYTHING - covered


async def test_an_acknowledgement_of_many_skips_those_without_an_incident(api: Served, store: Store) -> None:
    body = {"sources": ["agency"], "comment": "Ann reconnects them."}
    listed = (await api.post("/api/v1/acks", {**body, "dry_run": True})).json()
    assert (set(listed["connections"]), acked(store)) == ({EXPIRED, REVOKED, SOON}, set())
    done = (await api.post("/api/v1/acks", body)).json()
    assert done["connections"] == [REVOKED, EXPIRED, SOON]
    assert done["skipped"] == [
        {"id": VALID, "reason": f"{VALID} has no open incident (it is valid): there is nothing to acknowledge."}
    ]
    assert acked(store) == {EXPIRED, REVOKED, SOON}
    back = (await api.post("/api/v1/acks", {"connections": ["agency/*"], "remove": True})).json()
    assert (len(back["connections"]), acked(store)) == (3, set())


async def test_a_silence_states_how_many_it_covers(api: Served, store: Store) -> None:
    body = {"connections": ["agency/*"], "comment": "Moving."}
    listed = await api.post("/api/v1/silences", {**body, "dry_run": True})
    assert (listed.status_code, set(listed.json()["connections"])) == (200, {EXPIRED, REVOKED, SOON, VALID})
    with store.begin_read() as conn:
        assert silences.list_silences(conn) == []
    made = await api.post("/api/v1/silences", body)
    assert (made.status_code, made.json()["matches"]) == (201, 4)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("acks", {}, 422),
        ("acks", {"connection": EXPIRED, "sources": ["agency"]}, 422),
        ("acks", {"connection": EXPIRED, "dry_run": True}, 422),
        ("acks", {"connections": ["agency/nobody"]}, 404),
        ("acks", {"sources": ["nobody"]}, 404),
        ("acks", {"statuses": ["gone"]}, 400),
        ("acks", {"connections": ["x"] * 251}, 400),
        ("forget", {}, 422),
        ("forget", {"dry_run": True}, 422),
        ("forget", {"connections": []}, 422),
        ("forget", {"everything": True}, 400),
        ("recheck", {"statuses": ["failing"]}, 404),
    ],
)
async def test_a_request_that_selects_nothing_or_too_much_is_refused(
    *, api: Served, store: Store, path: str, body: dict[str, Any], status: int
) -> None:
    answer = await api.post(f"/api/v1/{path}", body)
    assert answer.status_code == status, answer.text
    assert (monitored(store), acked(store)) == (EVERYTHING, set())


async def test_a_request_changes_a_limited_number(api: Served, store: Store, now: datetime) -> None:
    states = [make_state(external_id=f"linkedin-{number}") for number in range(101)]
    add_source(store, "studio", states, now=now)
    for dry_run in (True, False):
        answer = await api.post("/api/v1/recheck", {"sources": ["studio"], "dry_run": dry_run})
        assert (answer.status_code, "matches more than 100 connections" in answer.text) == (422, True)
    listed = await api.post("/api/v1/forget", {"sources": ["studio"], "dry_run": True})
    assert len(listed.json()["connections"]) == 102


@given(
    names=st.lists(st.text(alphabet="ab*?[]-/", max_size=6), max_size=8, unique=True),
    patterns=st.lists(st.text(alphabet="ab*?[]-!/", max_size=6), max_size=5),
)
@settings(max_examples=200, deadline=None)
def test_names_of_a_silence_are_found_as_its_globs_would_find_them(names: list[str], patterns: list[str]) -> None:
    """A silence looks up the ids among its globs directly; nothing else changes by that."""
    at = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    exact = Silence(connections=tuple(map(literal, names)), starts_at=at)
    for name in [*names, "ab", "a"]:
        assert matches_id(exact, name) is (name in names)
    globs = Silence(connections=tuple(patterns), starts_at=at)
    for name in names:
        assert matches_id(globs, name) is any(matches_id(Silence(connections=(each,), starts_at=at), name) for each in patterns)


@pytest.mark.parametrize("seed", range(3))
def test_a_selection_is_what_each_condition_alone_selects(*, store: Store, config: Config, now: datetime, seed: int) -> None:
    """Conditions are ANDed; a selection never covers a connection that one of its conditions does not select."""
    states = [
        make_state(
            external_id=f"linkedin-{number}",
            platform=("linkedin", "tiktok")[number % 2],
            display_name=f"Name {number % 7}",
            status=list(Status)[(number * 5 + seed) % len(Status)],
        )
        for number in range(60)
    ]
    add_source(store, "agency", states, now=now)
    add_source(store, "studio", states[:20], now=now)
    sources_, platforms, statuses, patterns = ["agency"], ["tiktok"], ["expired", "valid", "failing"], ["*-1?", "name 3"]
    with store.begin_read() as conn:

        def ids(**filters: Any) -> set[str]:
            chosen = filters.pop("patterns", None)
            views = select_connections(conn, config, now=now, filters=ConnectionFilter(**filters), patterns=chosen)
            assert len({view.id for view in views}) == len(views)
            return {view.id for view in views}

        alone = [ids(sources=sources_), ids(platforms=platforms), ids(statuses=statuses), ids(patterns=patterns)]
        both = ids(sources=sources_, platforms=platforms, statuses=statuses, patterns=patterns)
        assert both == set.intersection(*alone)
        assert both
