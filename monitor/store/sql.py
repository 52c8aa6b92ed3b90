"""Small pieces of SQL that differ between the two databases, or that several topics share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

T = TypeVar("T")
CHUNK = 1000
"""Values per IN list, far below the limit of either database."""


def chunked(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def upsert(conn: Connection, table: Table, keys: Sequence[str], change: Mapping[str, Any] | None = None) -> Any:
    """An INSERT that leaves an existing row alone, or sets `change` on it.

    In `change` a column may refer to `excluded(table)` values by naming itself: {"n": "n"} takes the new n.
    """
    insert: Any = postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)
    if change is None:
        return insert.on_conflict_do_nothing(index_elements=list(keys))
    values = {name: insert.excluded[value] if isinstance(value, str) else value for name, value in change.items()}
    return insert.on_conflict_do_update(index_elements=list(keys), set_=values)


def next_ids(conn: Connection, table: Table, count: int) -> list[int]:
    """Fresh values for an integer primary key, ascending, safe inside a write transaction.

    Knowing the ids beforehand lets many rows go in by one plain executemany, without reading them back.
    """
    if count == 0:
        return []
    if conn.dialect.name == "postgresql":
        query = "SELECT nextval(pg_get_serial_sequence(%(table)s, 'id')) FROM generate_series(1, %(count)s)"
        rows = conn.exec_driver_sql(query, {"table": table.name, "count": count}).scalars()
        return sorted(int(value) for value in rows)
    first = conn.exec_driver_sql(f"SELECT coalesce(max(id), 0) + 1 FROM {table.name}").scalar_one()  # noqa: S608 - our own table name
    return list(range(first, first + count))
