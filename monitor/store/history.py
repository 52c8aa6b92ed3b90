"""The append-only history of connections and sources: it grows with changes, not with polls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from monitor.model import HistoryEntry, HistoryKind
from monitor.store.bulk import insert_many
from monitor.store.schema import events
from monitor.store.sql import chunked


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One history entry with what it belongs to."""

    id: int
    source: str
    connection_id: int | None
    entry: HistoryEntry


def append(conn: Connection, source: str, connection_id: int | None, entries: Sequence[HistoryEntry]) -> None:
    """Add entries to the history of one connection, or of the source where connection_id is None."""
    append_many(conn, [(source, connection_id, entry) for entry in entries])


def append_many(conn: Connection, entries: Iterable[tuple[str, int | None, HistoryEntry]]) -> None:
    """Add entries given as (source, connection_id, entry), in one statement."""
    rows = [
        {
            "source": source,
            "connection_id": connection_id,
            "at": entry.at,
            "kind": entry.kind,
            "old": entry.old,
            "new": entry.new,
            "reason": entry.reason,
            "message": entry.message,
        }
        for source, connection_id, entry in entries
    ]
    insert_many(conn, events, rows)


def history_of(conn: Connection, connection_id: int, *, limit: int | None = None) -> list[HistoryEntry]:
    """A connection's history, oldest first; with a limit the newest entries of it."""
    query = select(events).where(events.c.connection_id == connection_id)
    rows = conn.execute(query.order_by(events.c.at.desc(), events.c.id.desc()).limit(limit)).all()
    return [_entry(row) for row in reversed(rows)]


def recent(
    conn: Connection,
    *,
    source: str | Collection[str] | None = None,
    since: datetime | None = None,
    limit: int | None = None,
) -> list[EventRow]:
    """What happened lately anywhere, newest first."""
    query = select(events).order_by(events.c.at.desc(), events.c.id.desc()).limit(limit)
    if source is not None:
        query = query.where(events.c.source.in_([source] if isinstance(source, str) else list(source)))
    if since is not None:
        query = query.where(events.c.at >= since)
    return [
        EventRow(id=row.id, source=row.source, connection_id=row.connection_id, entry=_entry(row)) for row in conn.execute(query)
    ]


def status_changes_since(conn: Connection, connection_ids: Iterable[int], since: datetime) -> dict[int, int]:
    """How often each of these connections changed its status since an instant; those that did not are left out."""
    found: dict[int, int] = {}
    for chunk in chunked(connection_ids):
        query = select(events.c.connection_id, func.count()).where(
            events.c.connection_id.in_(chunk), events.c.kind == HistoryKind.STATUS_CHANGED, events.c.at >= since
        )
        found.update((row, count) for row, count in conn.execute(query.group_by(events.c.connection_id)))
    return found


def _entry(row: Row[Any]) -> HistoryEntry:
    return HistoryEntry(kind=HistoryKind(row.kind), at=row.at, old=row.old, new=row.new, reason=row.reason, message=row.message)
