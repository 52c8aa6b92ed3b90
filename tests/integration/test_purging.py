"""`forget --purge`: nothing of the connections is left in the database, on SQLite not even in the bytes of its files."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from monitor.domain import Event, EventKind, LastError, LastNotified, ProbeState, ProbeStatus, Status
from monitor.domain.rules.silences import Silence, literal
from monitor.engine import acknowledgements
from monitor.store import (
    Store,
    alerts,
    connection_queries,
    history,
    label_sets,
    open_store,
    outbox,
    pending,
    purging,
    rechecks,
    silences,
)
from monitor.store import former_ids as stored_former_ids
from monitor.store.former_ids import ReplacedId
from monitor.store.schema import metadata
from tests.support.command_line import add_source, real_now, token_monitor, write_config
from tests.support.factories import make_alert, make_state
from tests.support.incidents import open_incident

SECRET = "Canaryname"
GONE, KEPT, LISTED = "agency/linkedin-gone", "agency/linkedin-kept", "agency/linkedin-listed"


@pytest.fixture
def at() -> datetime:
    return real_now()


def fill(store: Store, at: datetime) -> list[int]:
    """Three connections, of which the source does not list the first two; the canary is in everything about the first."""
    states = [
        make_state(
            external_id="linkedin-gone",
            display_name=f"{SECRET} Display",
            username=f"{SECRET}-user",
            profile_url=f"https://example.com/{SECRET}",
            last_error=LastError(message=f"{SECRET} posted too much", occurred_at=at),
            probe=ProbeState(status=ProbeStatus.FAILING, message=f"{SECRET} was refused", at=at),
            status=Status.DISCONNECTED,
            missing=2,
        ),
        make_state(external_id="linkedin-kept", status=Status.DISCONNECTED, missing=2),
        make_state(external_id="linkedin-listed", status=Status.EXPIRED),
    ]
    ids = add_source(store, "agency", states, now=at)
    add_source(store, "studio", [], now=at, provider="postpeer")
    with store.begin_write() as conn:
        for key, public_id in zip(ids, (GONE, KEPT, LISTED), strict=True):
            name = SECRET if public_id == GONE else "plain"
            incident = open_incident(
                conn, source="agency", connection_id=key, last_notified=LastNotified(status=Status.EXPIRED, at=at), now=at
            )
            entry = Event(kind=EventKind.ACKNOWLEDGED, at=at, message=f"By ann: {name} is on holiday")
            history.append(conn, "agency", key, [entry])
            alert = make_alert(
                id=f"alert-{name}-{key}", incident=incident, connection=public_id, label=name, at=at, message=f"about {name}"
            )
            alerts.add_alerts(conn, [(alert, key, None)])
            outbox.add_deliveries(conn, [(alert.id, "ops", at), (alert.id, "night", at)], at)
            [claimed, *_] = outbox.claim(conn, channel="ops", owner="w", now=at, lease=timedelta(minutes=5), limit=1)
            outbox.mark_failed(conn, [claimed.delivery_id], "w", at, next_attempt_at=at, detail=f"refused for {name}")
            rechecks.request(conn, [key], now=at, author="ann")
        stored_former_ids.add(conn, "agency", [ReplacedId(ids[0], None, f"linkedin-{SECRET}")], at)
        acknowledgements.add_silence(
            conn, Silence(connections=(literal(GONE),), comment=f"{SECRET} is away", starts_at=at), now=at, author="ann"
        )
        acknowledgements.add_silence(conn, Silence(connections=(GONE, KEPT), comment="both", starts_at=at), now=at, author="ann")
    return ids


def rows_with(store: Store, text: str) -> list[tuple[str, Any]]:
    """Every row of every table that has the text in it."""
    with store.begin_read() as conn:
        return [
            (table.name, tuple(row))
            for table in metadata.sorted_tables
            for row in conn.execute(select(table))
            if any(text in str(value) for value in row)
        ]


def test_purge_leaves_nothing_on_either_database(store: Store, database_url: str, tmp_path: Path, at: datetime) -> None:
    fill(store, at)
    config = write_config(tmp_path, url=database_url)
    assert {name for name, _ in rows_with(store, SECRET)} >= {
        "connections",
        "events",
        "alerts",
        "attempts",
        "former_ids",
        "silences",
    }
    done = token_monitor("forget", GONE, "--purge", config=config)
    assert (done.status, done.err) == (0, "")
    assert done.out == "1 connection erased, with names, history and alerts. Copies of the database still contain them.\n"
    assert rows_with(store, SECRET) == []
    assert rows_with(store, "linkedin-gone") == []
    with store.begin_read() as conn:
        assert [row.public_id for row in connection_queries.list_connections(conn, worst_first=False)] == [KEPT, LISTED]
        assert [silence.connections for silence in silences.list_silences(conn)] == [(KEPT,)]
        assert len(alerts.list_alerts(conn, limit=9)) == 2
    assert token_monitor("history", GONE, config=config).status == 1
    assert token_monitor("status", "--json", config=config).json["summary"]["disconnected"] == 1


def test_no_byte_is_left_in_the_files_of_sqlite(tmp_path: Path, at: datetime) -> None:

    config = write_config(tmp_path)
    file = tmp_path / "monitor.db"
    with open_store(f"sqlite:///{file}") as store:
        ids = fill(store, at)
        with store.begin_write() as conn:  # earlier versions of a row leave bytes behind as well
            for number in range(50):
                entry = Event(kind=EventKind.STATUS_CHANGED, at=at, message=f"{SECRET} {number} " * 40)
                history.append(conn, "agency", ids[0], [entry])
        assert any(SECRET.encode() in path.read_bytes() for path in tmp_path.glob("monitor.db*"))
        done = token_monitor("forget", GONE, "--purge", config=config)
        assert (done.status, done.err) == (0, "")
        for path in tmp_path.glob("monitor.db*"):
            assert SECRET.encode() not in path.read_bytes(), path.name
            assert b"linkedin-gone" not in path.read_bytes(), path.name


def test_purge_skips_what_a_source_still_lists(store: Store, database_url: str, tmp_path: Path, at: datetime) -> None:
    fill(store, at)
    config = write_config(tmp_path, url=database_url)
    refused = token_monitor("forget", LISTED, "--purge", config=config)
    assert (refused.status, refused.out) == (1, "")
    assert f"{LISTED} is still listed by its source, and the next poll would store it again" in refused.err
    listed = token_monitor("forget", "agency/*", "--purge", "--dry-run", "--json", config=config).json
    assert sorted(listed["connections"]) == [GONE, KEPT]
    assert [each["id"] for each in listed["skipped"]] == [LISTED]
    done = token_monitor("forget", "agency/*", "--purge", "--yes", config=config)
    assert done.out.startswith("2 connections erased")
    assert f"1 connection skipped:\n  {LISTED} is still listed" in done.out
    assert rows_with(store, SECRET) == []


def test_purge_erases_retired_connections(store: Store, database_url: str, tmp_path: Path, at: datetime) -> None:
    fill(store, at)
    config = write_config(tmp_path, url=database_url)
    assert token_monitor("forget", GONE, config=config).status == 0
    assert rows_with(store, SECRET) != []
    assert token_monitor("forget", "agency/*gone", "--purge", config=config).status == 0
    assert rows_with(store, SECRET) == []


def test_a_silence_that_names_the_same_account_at_another_source_stays(store: Store, at: datetime) -> None:
    [gone] = add_source(store, "agency", [make_state(external_id="linkedin-1")], now=at)
    add_source(store, "studio", [make_state(external_id="linkedin-1")], now=at)
    with store.begin_write() as conn:
        for named in ("linkedin-1", "agency/linkedin-1"):
            silence = Silence(connections=(named,), comment="on leave", starts_at=at)
            acknowledgements.add_silence(conn, silence, now=at, author="ann")
        assert purging.purge(conn, [gone]) == 1
    with store.begin_read() as conn:
        assert [each.connections for each in silences.list_silences(conn)] == [("linkedin-1",)]


def test_a_delivery_in_flight_ends_without_a_trace(store: Store, at: datetime) -> None:
    """Its alert is erased while a worker sends it; neither outcome stores anything again."""
    ids = fill(store, at)
    with store.begin_write() as conn:
        taken = outbox.claim(conn, channel="night", owner="w", now=at, lease=timedelta(minutes=5), limit=9)
        [about_it] = [each for each in taken if each.alert.connection == GONE]
        purging.purge(conn, [ids[0]])
    with store.begin_write() as conn:
        assert outbox.mark_sent(conn, [about_it.delivery_id], "w", at) == []
        assert outbox.mark_failed(conn, [about_it.delivery_id], "w", at, next_attempt_at=None, detail=SECRET) == []
        assert pending.fallback_deliveries(conn, alert_ids=[about_it.alert.id], to=["ops"], now=at) == []
    assert rows_with(store, SECRET) == []


def test_labels_and_names_of_other_connections_stay(store: Store, at: datetime) -> None:
    ids = fill(store, at)
    with store.begin_write() as conn:
        before = label_sets.all_sets(conn)
        assert purging.purge(conn, [ids[0]]) == 1
        assert label_sets.all_sets(conn).keys() <= before.keys()
        rows = connection_queries.get_connections(conn, ids)
    assert [row.public_id for row in rows] == [KEPT, LISTED]
