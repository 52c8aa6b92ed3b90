"""Many rows in one statement. SQLAlchemy's own executemany binds value by value, which costs three times as much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from sqlalchemy import Column, Connection, Table, exc

from monitor.store.sql import mark

_WORTH_COPYING = 50
"""Rows from which on PostgreSQL's COPY costs this process less than as many INSERTs."""


@dataclass(frozen=True, slots=True)
class Same:
    """One value in every row."""

    value: Any


def insert_many(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all name the same columns."""
    if rows:
        insert_columns(conn, table, {name: [row[name] for row in rows] for name in rows[0]})


def insert_columns(conn: Connection, table: Table, columns: Mapping[str, Sequence[Any] | Same]) -> None:
    """Insert rows that are given column by column; at least one column tells how many there are."""
    rows = _converted(conn, table, columns)
    names = ", ".join(map(_quoted, columns))
    if not rows:
        return
    if conn.dialect.name == "postgresql" and len(rows) >= _WORTH_COPYING:
        _copy(conn, f"COPY {table.name} ({names}) FROM STDIN", rows)
        return
    marks = ", ".join([mark(conn)] * len(columns))
    conn.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", rows)  # noqa: S608 - our own names


def update_many(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, key: str = "id") -> None:
    """Set the columns that the rows name (the same ones in all) in the row with that key."""
    if not rows:
        return
    names = [name for name in rows[0] if name != key]
    columns: dict[str, Sequence[Any]] = {name: [row[name] for row in rows] for name in [*names, key]}
    changes = ", ".join(f"{_quoted(name)} = {mark(conn)}" for name in names)
    statement = f"UPDATE {table.name} SET {changes} WHERE {_quoted(key)} = {mark(conn)}"  # noqa: S608 - our own names
    conn.exec_driver_sql(statement, _converted(conn, table, columns))


def _quoted(name: str) -> str:
    return f'"{name}"'


def _converted(conn: Connection, table: Table, columns: Mapping[str, Sequence[Any] | Same]) -> list[tuple[Any, ...]]:
    prepared: list[Iterable[Any]] = []
    for name, values in columns.items():
        convert = _converter(conn, table.c[name])
        if isinstance(values, Same):
            prepared.append(repeat(convert(values.value) if convert else values.value))
        else:
            prepared.append(_convert_all(values, convert) if convert else values)
    return list(zip(*prepared, strict=False))


def _convert_all(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Each value converted; the same object several times in a row, as words and instants are, only once."""
    converted: list[Any] = []
    last, done = object(), None
    for value in values:
        if value is not last:
            last, done = value, convert(value)
        converted.append(done)
    return converted


def _converter(conn: Connection, column: Column[Any]) -> Callable[[Any], Any] | None:
    convert: Callable[[Any], Any] | None = column.type.dialect_impl(conn.dialect).bind_processor(conn.dialect)
    return convert


def _copy(conn: Connection, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """PostgreSQL's own way for many rows. The driver's errors are told as SQLAlchemy tells them."""
    driver: Any = conn.connection.driver_connection
    dbapi: Any = conn.dialect.dbapi
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except dbapi.Error as error:
        lost = conn.dialect.is_disconnect(error, driver, None)
        if lost:
            conn.invalidate(error)
        raise exc.DBAPIError.instance(
            statement, None, error, dbapi.Error, hide_parameters=True, connection_invalidated=lost, dialect=conn.dialect
        ) from error
