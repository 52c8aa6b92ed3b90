"""Copying a whole database into another one, between SQLite and PostgreSQL in either direction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, func, select

from monitor.domain.errors import StoreError
from monitor.store.database import Store
from monitor.store.schema import metadata
from monitor.store.sql import insert_many

_BATCH = 1000


def copy_store(source: Store, target: Store) -> dict[str, int]:
    """Copy every row of one database into another in one transaction, and return the number of rows by table.

    Both schemas must be this version's. Raise StoreError, and copy nothing, if the target has any row, or if a table does not
    have the same number of rows afterwards.
    """
    with source.begin_read() as reading, target.begin_write() as writing:
        _require_empty(writing, target.name)
        counts = {table.name: _copy_table(reading, writing, table) for table in metadata.sorted_tables}
        _continue_ids(writing)
        for table in metadata.sorted_tables:
            copied = _count(writing, table)
            if copied != counts[table.name]:
                raise StoreError(
                    f"The table {table.name} has {copied:,} rows instead of {counts[table.name]:,}: nothing was copied."
                )
    return counts


def _require_empty(conn: Connection, name: str) -> None:
    used = [table.name for table in metadata.sorted_tables if _count(conn, table)]
    if used:
        raise StoreError(f"{name} is not empty ({', '.join(used[:3])}): copy into a new database.")


def _copy_table(reading: Connection, writing: Connection, table: Table) -> int:
    count = 0
    for rows in _batches(reading, table):
        insert_many(writing, table, rows)
        count += len(rows)
    return count


def _batches(conn: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    order = list(table.primary_key.columns)
    result = conn.execute(select(table).order_by(*order), execution_options={"yield_per": _BATCH})
    for rows in result.mappings().partitions(_BATCH):
        yield [dict(row) for row in rows]


def _continue_ids(conn: Connection) -> None:
    """Let PostgreSQL's sequences continue after the copied ids. SQLite does so automatically."""
    if conn.dialect.name != "postgresql":
        return
    for table in metadata.sorted_tables:
        if "id" not in table.c or conn.scalar(select(func.pg_get_serial_sequence(table.name, "id"))) is None:
            continue
        highest = conn.scalar(select(func.max(table.c.id)))
        if highest is not None:
            conn.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), highest)))


def _count(conn: Connection, table: Table) -> int:
    return conn.scalar(select(func.count()).select_from(table)) or 0
