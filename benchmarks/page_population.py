"""A stored population with every status, dates, clients, incidents, alerts and history: what pages and lists filter and sort."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from monitor.domain import Alert, AlertEvent, DeliveryState, Event, EventKind, Severity, Status
from monitor.store import Store, alerts, history, incidents, label_sets
from monitor.store.incidents import NewIncident
from monitor.store.label_sets import Key
from monitor.store.schema import connections, deliveries, scopes, sources
from monitor.store.schema import incidents as incidents_table
from monitor.store.sql import insert_columns, update_many

CLIENTS = 200
REPORTED = {
    Status.EXPIRED: range(10),
    Status.REVOKED: range(10, 15),
    Status.FAILING: range(15, 20),
    Status.DISCONNECTED: range(20, 23),
    Status.EXPIRING_SOON: range(23, 53),
}
"""The statuses that need attention, by a connection's number modulo 1,000: five in a hundred."""
_ACKED_EACH = 10
"""One in so many is acknowledged."""
_CHANGES = 2
"""Further entries of each connection's history."""
_ALERTS = 10
"""Of each connection that needs attention."""


def diversify(url: str) -> None:
    """Turn a stored population of healthy connections into a varied one. Its sources are read again in a day."""
    now = datetime.now(UTC)
    with Store(url) as store, store.begin_write() as conn:
        by_id = {row.id: row for row in conn.execute(select(connections).order_by(connections.c.id))}
        keys = list(by_id)
        _label(conn, keys)
        _date(conn, by_id, now)
        bad = _report(conn, keys, now)
        _alert(conn, bad, by_id, now)
        _record(conn, by_id, now)
        conn.execute(update(sources).values(next_poll_at=now + timedelta(days=1), last_success_at=now))
        conn.execute(update(scopes).values(last_complete_at=now))


def _label(conn: Connection, keys: list[int]) -> None:
    """Give the connections clients."""
    wanted: list[Key] = [(f'{{"client":"client {number:03}"}}', False) for number in range(CLIENTS)]
    ids = label_sets.ids_of(conn, wanted)
    update_many(conn, connections, [{"id": key, "label_set": ids[wanted[key * 7 % CLIENTS]]} for key in keys])


def _date(conn: Connection, by_id: dict[int, Any], now: datetime) -> None:
    """Spread the last changes over a year."""
    update_many(conn, connections, [{"id": key, "since": now - timedelta(minutes=key * 37 % 500_000)} for key in by_id])


def _report(conn: Connection, keys: list[int], now: datetime) -> dict[int, Status]:
    """Give some connections a status that needs attention."""
    statuses = {place: status for status, places in REPORTED.items() for place in places}
    found = {key: statuses[key % 1000] for key in keys if key % 1000 in statuses}
    soon = Status.EXPIRING_SOON
    rows = [
        {
            "id": key,
            "status": status.value,
            "token_status": status.value,
            "token_expires_at": now + timedelta(hours=key % 150 + 1 if status is soon else -(key % 900) - 1),
        }
        for key, status in found.items()
    ]
    update_many(conn, connections, rows)
    return found


def _alert(conn: Connection, bad: dict[int, Status], by_id: dict[int, Any], now: datetime) -> None:
    opened = [NewIncident(source=by_id[key].source, connection_id=key, last_notified=None) for key in bad]
    ids = dict(zip(bad, incidents.open_incidents(conn, opened, now), strict=True))
    for number, (key, status) in enumerate(bad.items()):
        if number % _ACKED_EACH == 0:
            ack = {"ack_status": status.value, "acked_at": now, "ack_comment": "known"}
            conn.execute(update(incidents_table).where(incidents_table.c.id == ids[key]).values(ack))
    made = [_an_alert(by_id[key], status, ids[key], now, turn) for turn in range(_ALERTS) for key, status in bad.items()]
    alerts.add_alerts(conn, [(alert, key, None) for alert, key in made])
    sent: dict[str, list[Any]] = {
        "alert_id": [alert.id for alert, _ in made],
        "channel": ["ops"] * len(made),
        "state": [DeliveryState.SENT.value] * len(made),
        "created_at": [alert.at for alert, _ in made],
        "sent_at": [alert.at for alert, _ in made],
    }
    insert_columns(conn, deliveries, sent)


def _an_alert(row: Any, status: Status, incident: str, now: datetime, turn: int) -> tuple[Alert, int]:
    at = now - timedelta(hours=turn, seconds=row.id % 3600)
    return (
        Alert(
            id=f"bench-{turn}-{row.id}",
            incident=incident,
            event=AlertEvent(status.value),
            reason="reported",
            severity=Severity.CRITICAL,
            at=at,
            source=row.source,
            provider=row.provider,
            connection=f"{row.source}/{row.external_id}",
            external_id=row.external_id,
            platform=row.platform,
            label=row.display_name,
            status=status.value,
            message="The service reports it.",
            since=at,
        ),
        row.id,
    )


def _record(conn: Connection, by_id: dict[int, Any], now: datetime) -> None:
    entries = [
        (row.source, row.id, Event(at=now - timedelta(days=number + 1), kind=EventKind.STATUS_CHANGED, old=old, new=new))
        for number in range(_CHANGES)
        for row in by_id.values()
        for old, new in [("expired", "valid") if number % 2 == 0 else ("valid", "expired")]
    ]
    history.append_many(conn, entries)
