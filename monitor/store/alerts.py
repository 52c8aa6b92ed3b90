"""The `alerts` table and pages of alerts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, func, or_, select

from monitor.domain import Alert, AlertEvent, DeliveryState
from monitor.domain.errors import StoreError
from monitor.domain.filters import ConnectionFilter, StoredLabels
from monitor.domain.records import Record
from monitor.domain.text import clean
from monitor.store.alert_codec import decode_alert, encode_alert
from monitor.store.connection_conditions import concerns_labels, has_stored_labels, identity_conditions
from monitor.store.schema import alerts, connections, deliveries
from monitor.store.sql import chunked, insert_columns, rows_by_key
from monitor.store.types import instant_reader

_CANDIDATES = 5
_COMMON = ("event", "reason", "severity", "at", "source", "platform")


class AlertRow(Record, frozen=True, kw_only=True):
    """A stored alert."""

    alert: Alert
    connection_id: int | None
    """The connection's row id."""
    note: str | None
    """Reason for which the alert has no delivery; None if it has one."""


def add_alerts(
    conn: Connection, rows: Sequence[tuple[Alert, int | None, str | None]], *, stored_incidents: Collection[str] = ()
) -> None:
    """Store alerts given as (alert, connection's row id, note), in one statement.

    An alert whose incident is not stored (a test message, an alert about the monitor itself) is stored without one.
    `stored_incidents` are known to be stored.
    """
    doubtful = {alert.incident for alert, _, _ in rows if alert.incident not in stored_incidents}
    known = _known_incidents(conn, doubtful).union(stored_incidents)
    columns: dict[str, list[Any]] = {name: [getattr(alert, name) for alert, _, _ in rows] for name in ("id", *_COMMON)}
    columns["incident_id"] = [alert.incident if alert.incident in known else None for alert, _, _ in rows]
    columns["connection_id"] = [connection_id for _, connection_id, _ in rows]
    columns["payload"] = [encode_alert(alert) for alert, _, _ in rows]
    columns["note"] = [note for _, _, note in rows]
    insert_columns(conn, alerts, columns)


def _known_incidents(conn: Connection, ids: Collection[str]) -> set[str]:
    return {key for chunk in chunked(ids) for (key,) in rows_by_key(conn, "SELECT id FROM incidents WHERE id IN ({0})", chunk)}


def _row(row: Row[*tuple[Any, ...]]) -> AlertRow:
    return AlertRow(alert=decode_alert(row.payload), connection_id=row.connection_id, note=row.note)


def list_alerts(
    conn: Connection,
    *,
    source: str | Collection[str] | None = None,
    platform: str | Collection[str] | None = None,
    event: AlertEvent | Collection[AlertEvent] | None = None,
    stored_labels: StoredLabels | None = None,
    connection_id: int | None = None,
    since: datetime | None = None,
    limit: int | None = None,
) -> list[AlertRow]:
    """Return alerts, newest first. Filters are ANDed; None: no such filter."""
    table = alerts.c
    query = select(table.payload, table.connection_id, table.note).order_by(table.at.desc(), table.id.desc()).limit(limit)
    for column, wanted in ((table.source, source), (table.platform, platform), (table.event, event)):
        if wanted is not None:
            query = query.where(column.in_([wanted] if isinstance(wanted, str) else list(wanted)))
    if stored_labels is not None:
        joined = query.outerjoin(connections, connections.c.id == table.connection_id)
        query = joined.where(concerns_labels(stored_labels, table.source))
    if connection_id is not None:
        query = query.where(table.connection_id == connection_id)
    if since is not None:
        query = query.where(table.at >= since)
    return [_row(row) for row in conn.execute(query)]


def first_of_incident(conn: Connection, incident_id: str) -> Alert | None:
    """Return the oldest stored alert of an incident, or None."""
    query = select(alerts.c.payload).where(alerts.c.incident_id == incident_id).order_by(alerts.c.at, alerts.c.id).limit(1)
    payload = conn.scalars(query).first()
    return None if payload is None else decode_alert(payload)


class NotOneAlert(StoreError):
    """Several alerts have this text in their id. `candidates` are the newest of them; `more` is True if there are others."""

    def __init__(self, text: str, candidates: Sequence[Alert], *, more: bool) -> None:
        super().__init__(f"More than one alert has {clean(text, limit=80)} in its id. Give more of the id.")
        self.candidates = candidates
        self.more = more


def find_alert(conn: Connection, text: str) -> AlertRow | None:
    """Return the alert with this id, else the only one whose id begins with it, else the only one whose id contains it, or None.

    Raises NotOneAlert if there are several.
    """
    table = alerts.c
    query = select(table.payload, table.connection_id, table.note)
    row = conn.execute(query.where(table.id == text)).one_or_none()
    if row is not None or not text:
        return None if row is None else _row(row)
    begins, holds = table.id.startswith(text, autoescape=True), table.id.contains(text, autoescape=True)
    rows = conn.execute(query.where(begins).limit(2)).all()
    if len(rows) != 1:  # the ids of alerts of one poll differ in their last digits only
        rows = conn.execute(query.where(holds).order_by(table.at.desc(), table.id.desc()).limit(_CANDIDATES + 1)).all()
    if len(rows) > 1:
        found = [decode_alert(row.payload) for row in rows]
        raise NotOneAlert(text, found[:_CANDIDATES], more=len(found) > _CANDIDATES)
    return _row(rows[0]) if rows else None


def load_many(conn: Connection, ids: Iterable[str]) -> list[Alert]:
    """Return these alerts. Those that are not stored are left out."""
    found: list[Alert] = []
    for chunk in chunked(ids):
        found += [decode_alert(text) for text in conn.scalars(select(alerts.c.payload).where(alerts.c.id.in_(chunk)))]
    return found


_LAST_ALERTED = "SELECT connection_id, MAX(at) FROM alerts WHERE connection_id IN ({0}) GROUP BY connection_id"


def last_alerted(conn: Connection, connection_ids: Iterable[int]) -> dict[int, datetime]:
    """Return by connection the time of its last alert. Connections without one are left out."""
    instant = instant_reader(conn.dialect)
    return {row: instant(at) for chunk in chunked(connection_ids) for row, at in rows_by_key(conn, _LAST_ALERTED, chunk)}


_c = alerts.c


class WantedAlerts(Record, frozen=True, kw_only=True):
    """Filters on alerts, ANDed; None: no such filter."""

    sources: Collection[str] | None = None
    platforms: Collection[str] | None = None
    events: Collection[str] | None = None
    states: Collection[DeliveryState] | None = None
    """Alerts with a delivery in one of these states."""
    stored_labels: StoredLabels | None = None
    """Alerts about connections with these labels."""


def list_page(conn: Connection, wanted: WantedAlerts, *, limit: int, offset: int = 0) -> list[AlertRow]:
    """Return one page of alerts, newest first."""
    query = select(_c.payload, _c.connection_id, _c.note).where(*_where(wanted)).order_by(_c.at.desc(), _c.id.desc())
    return [
        AlertRow(alert=decode_alert(row.payload), connection_id=row.connection_id, note=row.note)
        for row in conn.execute(query.limit(limit).offset(offset))
    ]


def count_matching(conn: Connection, wanted: WantedAlerts) -> int:
    """Return the number of alerts that pass the filters."""
    return conn.scalar(select(func.count()).select_from(alerts).where(*_where(wanted))) or 0


def known_platforms(conn: Connection) -> list[str]:
    """Return the platforms that stored alerts are about."""
    return sorted(each for each in conn.scalars(select(_c.platform).distinct()) if each)


def _where(wanted: WantedAlerts) -> Iterator[ColumnElement[bool]]:
    for column, chosen in ((_c.source, wanted.sources), (_c.platform, wanted.platforms), (_c.event, wanted.events)):
        if chosen is not None:
            yield column.in_(list(chosen))
    if wanted.states is not None:
        states = [state.value for state in wanted.states]
        yield exists().where(deliveries.c.alert_id == _c.id, deliveries.c.state.in_(states))
    if wanted.stored_labels is not None:
        table = connections.c
        yield exists().where(table.id == _c.connection_id, has_stored_labels(wanted.stored_labels))


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def alerts_before(conn: Connection, filters: ConnectionFilter, *, before: tuple[int, str] | None, limit: int) -> list[AlertRow]:
    """Return the next alerts behind a position (see position_of), newest first.

    The condition on the status is on the alert's event or the connection's status.
    """
    query = select(_c.payload, _c.connection_id, _c.note).outerjoin(connections, connections.c.id == _c.connection_id)
    query = query.where(*identity_conditions(conn, filters))
    for column, values in ((_c.source, filters.sources), (_c.platform, filters.platforms)):
        if values is not None:
            query = query.where(column.in_(list(values)))
    if filters.stored_labels is not None:
        query = query.where(concerns_labels(filters.stored_labels, _c.source))
    if filters.statuses is not None:
        # Only the payload has the status. No text from outside can look like this: its quotes are escaped.
        in_payload = (_c.payload.contains(f'"status":"{word}"', autoescape=True) for word in filters.statuses)
        query = query.where(or_(_c.event.in_(list(filters.statuses)), *in_payload))
    if before is not None:
        at = EPOCH + timedelta(microseconds=before[0])
        query = query.where(or_(_c.at < at, and_(_c.at == at, _c.id < before[1])))
    return [_row(row) for row in conn.execute(query.order_by(_c.at.desc(), _c.id.desc()).limit(limit))]


def position_of(row: AlertRow) -> tuple[int, str]:
    """Return the position behind this alert: microseconds since 1970, and its id."""
    return (row.alert.at - EPOCH) // timedelta(microseconds=1), row.alert.id
