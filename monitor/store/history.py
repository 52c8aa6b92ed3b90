"""The append-only history of connections and sources: it grows with changes, not with polls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from monitor.domain import Event, EventKind, connection_id
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import Record
from monitor.store.connection_conditions import concerns_labels, identity_conditions
from monitor.store.schema import connections, events
from monitor.store.sql import chunked, encode, insert_rows, raw_instant, rows_by_key
from monitor.store.types import clean

_ENTRY = ("at", "kind", "old", "new", "reason", "message", "author")


class EventRow(Record, frozen=True, kw_only=True):
    """A stored event with its source and connection."""

    id: int
    source: str
    connection_id: int | None
    entry: Event


def append(conn: Connection, source: str, connection_id: int | None, entries: Sequence[Event]) -> None:
    """Add entries to the history of one connection, or of the source where connection_id is None."""
    append_many(conn, [(source, connection_id, entry) for entry in entries])


def append_many(conn: Connection, entries: Iterable[tuple[str, int | None, Event]]) -> None:
    """Add entries given as (source, connection_id, entry), in one statement."""
    rows: list[tuple[Any, ...]] = []
    known: dict[int, tuple[Event, tuple[Any, ...]]] = {}  # many connections share an entry, which is then converted once
    for source, row, entry in entries:
        found = known.get(id(entry))
        if found is None:
            found = known[id(entry)] = entry, encode(conn, events, {name: getattr(entry, name) for name in _ENTRY})[1]
        rows.append((clean(source), row, *found[1]))
    insert_rows(conn, events, ("source", "connection_id", *_ENTRY), rows)


def history_of(conn: Connection, connection_id: int, *, limit: int | None = None) -> list[Event]:
    """Return a connection's history, oldest first. With a limit, only its newest entries."""
    query = select(events).where(events.c.connection_id == connection_id)
    rows = conn.execute(query.order_by(events.c.at.desc(), events.c.id.desc()).limit(limit)).all()
    return [_entry(row) for row in reversed(rows)]


def of_source(conn: Connection, source: str, *, kind: EventKind) -> list[Event]:
    """Return the entries of one kind in the history of a source itself, oldest first."""
    e = events.c
    query = select(events).where(e.connection_id.is_(None), e.source == source, e.kind == kind)
    return [_entry(row) for row in conn.execute(query.order_by(e.at, e.id))]


def silence_events(conn: Connection) -> list[Event]:
    """Return the events about silences, oldest first: one for each that was added or removed; `new` is its number."""
    kinds = (EventKind.SILENCED, EventKind.UNSILENCED)
    query = select(events).where(events.c.connection_id.is_(None), events.c.kind.in_(kinds))
    return [_entry(row) for row in conn.execute(query.order_by(events.c.at, events.c.id))]


_CHANGES = """
SELECT connection_id, COUNT(*) FROM events WHERE connection_id IN ({0}) AND kind = {1} AND at >= {1}
GROUP BY connection_id HAVING COUNT(*) > {1}
"""


def status_changes_since(
    conn: Connection, connection_ids: Iterable[int], since: datetime, *, more_than: int = 0
) -> dict[int, int]:
    """Return by connection its number of status changes since an instant, where it is more than `more_than`."""
    values = EventKind.STATUS_CHANGED.value, raw_instant(conn, since), more_than
    return {row: count for chunk in chunked(connection_ids) for row, count in rows_by_key(conn, _CHANGES, chunk, *values)}


def events_before(
    conn: Connection, filters: ConnectionFilter, *, before: int | None, limit: int
) -> list[tuple[EventRow, str | None]]:
    """Return the next events with a lower row id, newest first, each with its connection's public id if it has one.

    The condition on the status is on what a status changed to.
    """
    query = _matching(conn, filters, events, connections.c.provider, connections.c.scope, connections.c.external_id)
    if before is not None:
        query = query.where(events.c.id < before)
    return [(_event_row(row), _public_id(row)) for row in conn.execute(query.order_by(events.c.id.desc()).limit(limit))]


def has_events_after(conn: Connection, filters: ConnectionFilter, row_id: int) -> bool:
    """Return True if an event with a higher row id matches the filters, as in events_before()."""
    query = _matching(conn, filters, events.c.id).where(events.c.id > row_id)
    return conn.scalar(query.limit(1)) is not None


def _matching(conn: Connection, filters: ConnectionFilter, *columns: Any) -> Select[Any]:
    c, e = connections.c, events.c
    joined = events.outerjoin(connections, c.id == e.connection_id)
    query = select(*columns).select_from(joined).where(*identity_conditions(conn, filters))
    for column, values in ((e.source, filters.sources), (c.platform, filters.platforms), (e.new, filters.statuses)):
        if values is not None:
            query = query.where(column.in_(list(values)))
    if filters.stored_labels is not None:
        query = query.where(concerns_labels(filters.stored_labels, e.source))
    return query


def _event_row(row: Row[Any]) -> EventRow:
    return EventRow(id=row.id, source=row.source, connection_id=row.connection_id, entry=_entry(row))


def _public_id(row: Row[Any]) -> str | None:
    if row.external_id is None:
        return None
    return connection_id(row.source, row.provider, row.scope or None, row.external_id)


def _entry(row: Row[Any]) -> Event:
    return Event(
        kind=EventKind(row.kind),
        at=row.at,
        old=row.old,
        new=row.new,
        reason=row.reason,
        message=row.message,
        author=row.author,
    )
