"""The floors of the benchmarks do the work that they stand for: the store reads what they wrote as if the monitor had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from benchmarks import floors
from benchmarks.baseline import Row
from benchmarks.floors import stored_instant
from benchmarks.rows import external_id
from monitor.domain import AlertEvent, EventKind, Status
from monitor.store import Store, alerts, connection_queries, connections, history, outbox
from monitor.store.connections import NewConnection
from monitor.store.schema import metadata
from monitor.store.sources import sync_sources
from tests.support.factories import NOW, make_state
from tests.support.incidents import all_open

SIZE = 12
HOUR = timedelta(hours=1)
LISTED = [Row(external_id(number), display_name=f"Person {number}") for number in range(SIZE)]


@pytest.fixture(autouse=True)
def population(store: Store) -> None:
    """A source with healthy connections."""
    rows = [NewConnection(state=make_state(external_id=row.platform_id), fingerprint="old") for row in LISTED]
    with store.begin_write() as conn:
        sync_sources(conn, [("population", "postpost", "a.test")], NOW)
        connections.insert(conn, source="population", provider="postpost", rows=rows, now=NOW)


@pytest.fixture(params=["prepared statements", "COPY where there is one"])
def writer(request: pytest.FixtureRequest, database_url: str) -> Iterator[floors.Writer]:
    with closing(floors.writer(database_url, copies=request.param != "prepared statements")) as made:
        yield made


def change(writer: floors.Writer, now: floors.Change, *, opened: floors.Change | None = None, deliveries: int = SIZE) -> None:
    ids = writer.ids("population")
    rows = floors.rows_of(LISTED, ids, now, source="population", opened=opened, deliveries=deliveries)
    writer.write(rows, opens=opened is None)


def counted(store: Store) -> dict[str, int]:
    with store.begin_read() as conn:
        return {
            name: conn.scalar(select(func.count()).select_from(metadata.tables[name])) or 0
            for name in ("incidents", "alerts", "deliveries")
        }


def test_the_floor_of_a_changed_poll_stores_every_change_with_its_alert(store: Store, writer: floors.Writer) -> None:
    change(writer, floors.expired(1, stored_instant(NOW)))
    assert counted(store) == {"incidents": SIZE, "alerts": SIZE, "deliveries": SIZE}
    with store.begin_write() as conn:
        found = list(connection_queries.list_connections(conn))
        assert [row.state.verdict.status for row in found] == [Status.EXPIRED] * SIZE
        assert {row.state.verdict.since for row in found} == {NOW}
        assert len(all_open(conn, source="population")) == SIZE
        for row in found:
            [entry] = [each for each in history.history_of(conn, row.id) if each.kind is EventKind.STATUS_CHANGED]
            assert (entry.old, entry.new, entry.at) == ("valid", "expired", NOW)
        stored = [row.alert for row in alerts.list_alerts(conn)]
        assert {alert.external_id for alert in stored} == {row.platform_id for row in LISTED}
        assert {(alert.event, alert.status, alert.label) for alert in stored} >= {
            (AlertEvent.EXPIRED, Status.EXPIRED, "Person 0")
        }
        claimed = outbox.claim(conn, channel="hook", owner="me", now=NOW + HOUR, lease=HOUR, limit=100)
    assert {each.alert.id for each in claimed} == {alert.id for alert in stored}


def test_the_floor_of_a_renewal_ends_what_it_opened(store: Store, writer: floors.Writer) -> None:
    opened, later = floors.expired(1, stored_instant(NOW)), NOW + HOUR
    change(writer, opened)
    change(writer, floors.renewed(2, stored_instant(later)), opened=opened)
    assert counted(store) == {"incidents": SIZE, "alerts": 2 * SIZE, "deliveries": 2 * SIZE}
    with store.begin_read() as conn:
        assert all_open(conn, source="population") == []
        found = list(connection_queries.list_connections(conn))
        assert {(row.state.verdict.status, row.state.verdict.since) for row in found} == {(Status.VALID, later)}


def test_the_floor_stores_as_many_deliveries_as_the_monitor_did(store: Store, writer: floors.Writer) -> None:
    change(writer, floors.expired(1, stored_instant(NOW)), deliveries=1)
    assert counted(store) == {"incidents": SIZE, "alerts": SIZE, "deliveries": 1}
