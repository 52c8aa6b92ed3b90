"""The worst of many, found and counted by the database: the same answer as reading every row, on both databases."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from monitor.config import Config, load
from monitor.domain import Ack, ConnectionState, Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules.silences import Silence
from monitor.store import Store, connection_queries, connections, incidents, silences, sources
from monitor.store import schema as tables
from monitor.views import status as worst
from monitor.views.status import Overview, overview
from tests.support.command_line import add_source, write_config
from tests.support.factories import make_notified, make_state
from tests.support.incidents import open_incident

SELECTIONS = [
    ConnectionFilter(),
    ConnectionFilter(sources=frozenset({"agency"})),
    ConnectionFilter(platforms=frozenset({"linkedin"})),
    ConnectionFilter(statuses=frozenset({"expired"})),
    ConnectionFilter(statuses=frozenset({"valid", "revoked"}), platforms=frozenset({"tiktok"})),
    ConnectionFilter(labels={"client": "globex"}),
    ConnectionFilter(sources=frozenset({"studio"}), labels={"client": "acme"}),
]
Read = Callable[[int | None, ConnectionFilter], Overview]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The sources agency and studio."""
    return load(write_config(tmp_path), {}).config


@pytest.fixture
def read(store: Store, config: Config, now: datetime) -> Read:
    """The overview of some number of connections, or of all."""

    def find(limit: int | None, filters: ConnectionFilter) -> Overview:
        with store.begin_read() as conn:
            return overview(conn, config, now=now, filters=filters, limit=limit)

    return find


def fill(store: Store, now: datetime) -> None:
    """Every status, dates known and unknown, what time has moved, old lists, missing ones, acknowledged and silenced ones."""
    dice = random.Random(7)
    words = list(Status)

    def one(number: int) -> ConnectionState:
        platform = dice.choice(["linkedin", "tiktok", "youtube"])
        date = None if platform == "youtube" else now + timedelta(hours=dice.randint(-200, 2000))
        state = make_state(
            external_id=f"{platform}-{number}",
            platform=platform,
            scope=dice.choice([None, None, "user-1", "user-2"]),
            expires_at=date,
            status=dice.choice(words),
            missing=dice.choice([0, 0, 0, 1, 3]),
        )
        if dice.random() < 0.2:  # a date that passed or a window that was entered while nobody wrote it down
            passed = now - timedelta(minutes=dice.randint(0, 500))
            status = dice.choice([Status.VALID, Status.EXPIRING_SOON])
            moved = make_state(external_id=f"linkedin-m{number}", expires_at=passed, status=status, next_change_at=passed)
            return replace(moved, snapshot=replace(moved.snapshot, scope=state.snapshot.scope))
        return state

    ids = add_source(store, "agency", [one(number) for number in range(160)], now=now)
    ids += add_source(store, "studio", [one(number) for number in range(200, 260)], now=now, polled_at=now - timedelta(hours=2))
    with store.begin_write() as conn:
        sources.save_readings(conn, sources.readings("agency", [("user-1", now - timedelta(hours=3), None, 40)]))
        conn.execute(delete(tables.scopes).where(tables.scopes.c.source == "agency", tables.scopes.c.scope == "user-2"))
        for key in dice.sample(ids, 50):
            row = connection_queries.get_connection(conn, key)
            assert row is not None
            number = open_incident(conn, source=row.source, connection_id=key, last_notified=make_notified(), now=now)
            incidents.acknowledge(conn, number, Ack(status=dice.choice(words), stage=None, at=now, until=None, comment=None))
        connections.retire(conn, ids[5], now)
        silences.add(conn, Silence(platforms=("tiktok",), starts_at=now - timedelta(hours=1), comment="later"), now)


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_the_database_finds_and_counts_what_reading_every_row_does(store: Store, read: Read, now: datetime, limit: int) -> None:
    fill(store, now)
    for filters in SELECTIONS:
        whole, found = read(None, filters), read(limit, filters)
        assert found.summary == whole.summary, filters
        assert (found.stale, found.acked, found.silenced) == (whole.stale, whole.acked, whole.silenced), filters
        assert [worst.worst_first(view) for view in found.connections] == [
            worst.worst_first(view) for view in whole.connections[:limit]
        ], filters
        assert {view.id for view in found.connections} <= {view.id for view in whole.connections}
        assert [source.name for source in found.sources] == [source.name for source in whole.sources]
    whole = read(None, ConnectionFilter())
    assert whole.stale > 0
    assert whole.acked > 0
    assert whole.silenced > 0


def test_where_time_has_moved_too_much_every_row_is_read(
    store: Store, read: Read, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After months without a daemon the stored states say little."""
    fill(store, now)
    monkeypatch.setattr(worst, "MOST_CHANGED", 3)
    whole, found = read(None, ConnectionFilter()), read(5, ConnectionFilter())
    assert found.summary == whole.summary
    assert found.connections == whole.connections[:5]
