"""The ids that connections had before their account was listed under a new one: they keep working in commands and URLs.

An id is either a live connection's or a former one, never both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, or_, select

from monitor.domain import connection_id
from monitor.domain.records import Record
from monitor.store.schema import connections, former_ids
from monitor.store.sql import chunked, upsert

_f, _c = former_ids.c, connections.c


class ReplacedId(NamedTuple):
    """An id of a connection that was replaced by a new one."""

    connection_id: int
    scope: str | None
    external_id: str


class FormerId(Record, frozen=True, kw_only=True):
    """A former id and the connection that had it."""

    connection_id: int
    public_id: str
    external_id: str
    until: datetime
    current: str
    """The public id that the connection has now."""


def add(conn: Connection, source: str, rows: Sequence[ReplacedId], now: datetime) -> None:
    """Store the ids of one source's connections that were replaced at `now`."""
    values = [
        {
            "source": source,
            "scope": row.scope or "",
            "external_id": row.external_id,
            "connection_id": row.connection_id,
            "until": now,
        }
        for row in rows
    ]
    if values:
        keys = "source", "scope", "external_id"
        conn.execute(upsert(conn, former_ids, keys, {"connection_id": "connection_id", "until": "until"}), values)


def release(conn: Connection, source: str, live: Iterable[tuple[str | None, str]]) -> None:
    """Delete the former ids that are ids of live connections again, given as (scope, external_id)."""
    of_source = _f.source == source
    if conn.execute(select(_f.source).where(of_source).limit(1)).first() is None:
        return
    by_scope: dict[str, list[str]] = {}
    for scope, external_id in live:
        by_scope.setdefault(scope or "", []).append(external_id)
    for scope, ids in by_scope.items():
        for chunk in chunked(ids):
            conn.execute(delete(former_ids).where(of_source, _f.scope == scope, _f.external_id.in_(chunk)))


def delete_of(conn: Connection, connection_id: int) -> None:
    """Delete a connection's former ids."""
    conn.execute(delete(former_ids).where(_f.connection_id == connection_id))


def find(conn: Connection, public_id: str) -> FormerId | None:
    """Return the former id with exactly this public id, None if there is none."""
    source, _, rest = public_id.partition("/")
    scope, _, inner = rest.partition("/")
    # Only the provider decides which slash ends the scope, so both readings are tried.
    either = or_(_f.external_id == rest, and_(_f.scope == scope, _f.external_id == inner))
    return next((each for each in _read(conn, _query(_f.source == source, either)) if each.public_id == public_id), None)


def containing(conn: Connection, text: str) -> list[FormerId]:
    """Return the former ids whose public id contains `text` (letter case does not matter)."""
    return [each for each in every(conn) if text.casefold() in each.public_id.casefold()]


def every(conn: Connection) -> list[FormerId]:
    """Return all former ids, the oldest first."""
    return _read(conn, _query())


def of_connection(conn: Connection, connection_id: int) -> list[FormerId]:
    """Return a connection's former ids, the oldest first."""
    return _read(conn, _query(_f.connection_id == connection_id))


def _query(*where: ColumnElement[bool]) -> Select[Any]:
    columns = _f.source, _f.scope, _f.external_id, _f.connection_id, _f.until, _c.provider, _c.scope, _c.external_id
    return select(*columns).join(connections, _c.id == _f.connection_id).where(*where).order_by(_f.until, _f.external_id)


def _read(conn: Connection, query: Select[Any]) -> list[FormerId]:
    return [
        FormerId(
            connection_id=key,
            public_id=connection_id(source, provider, scope or None, external_id),
            external_id=external_id,
            until=until,
            current=connection_id(source, provider, scope_now or None, external_id_now),
        )
        for source, scope, external_id, key, until, provider, scope_now, external_id_now in conn.execute(query)
    ]
