"""SQL helpers for both dialects, and bulk statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice, repeat
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Column, Connection, CursorResult, Dialect, Table, exc
from sqlalchemy.dialects import sqlite

from monitor.domain.records import Record
from monitor.store.types import UtcDateTime, instant_text

T = TypeVar("T")
CHUNK = 1000
"""Values per IN list, far below the limits of both databases."""


def chunked(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Yield the items in lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def placeholder(conn: Connection) -> str:
    """Return the placeholder for a value in plain SQL."""
    return "?" if conn.dialect.paramstyle == "qmark" else "%s"


def rows_by_key(conn: Connection, query: str, keys: list[Any], *values: object) -> list[tuple[Any, ...]]:
    """Return the raw rows of a plain query, with the keys in place of {0} (at most CHUNK); for queries over many rows.

    The other values replace the {1} that follow. The keys are one array on PostgreSQL if they are many; otherwise
    they are padded to a round number with the last one, so that few distinct statements have to be prepared.
    """
    if not keys:
        return []
    cursor: Any = _by_key(conn, query, keys, (), values).cursor
    found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def update_by_key(conn: Connection, statement: str, keys: list[Any], *values: object) -> int:
    """Run a plain statement that changes the rows with these keys; its {1} precede {0}. Return the number of rows."""
    return _by_key(conn, statement, keys, values, ()).rowcount if keys else 0


def _by_key(
    conn: Connection, query: str, keys: list[Any], before: tuple[object, ...], behind: tuple[object, ...]
) -> CursorResult[Any]:
    if conn.dialect.name == "postgresql" and len(keys) > _FEW_KEYS:
        plain = query.replace("IN ({0})", f"= ANY({{0}}::{'int' if isinstance(keys[0], int) else 'text'}[])")
        return conn.exec_driver_sql(plain.format("%s", "%s"), (*before, _array_text(keys), *behind))
    count = next(size for size in (1, 10, 100, CHUNK) if size >= len(keys))
    placeholders = ", ".join([placeholder(conn)] * count)
    padded = (*before, *keys, *[keys[-1]] * (count - len(keys)), *behind)
    return conn.exec_driver_sql(query.format(placeholders, placeholder(conn)), padded)


_FEW_KEYS = 100
"""Number of keys up to which PostgreSQL gets a parameter for each; more are one array, which the driver need not adapt."""


def _array_text(keys: Sequence[int] | Sequence[str]) -> str:
    """Return the text of a PostgreSQL array."""
    if isinstance(keys[0], int):
        return f"{{{','.join(map(str, keys))}}}"
    texts = [str(key).replace("\\", "\\\\").replace('"', '\\"') for key in keys]
    return '{"' + '","'.join(texts) + '"}'


def raw_instant(conn: Connection, instant: datetime) -> object:
    """Return an instant as a value for plain SQL."""
    return instant_text(instant) if conn.dialect.name == "sqlite" else instant


def upsert(conn: Connection, table: Table, keys: Sequence[str], change: Mapping[str, Any] | None = None) -> Any:
    """Return an INSERT that keeps an existing row, or sets `change` on it.

    In `change` a string is the column of the new row: {"n": "n"} takes the new n. Statements are cached, because building
    one takes longer than running it: pass the same object for an expression each time.
    """
    return _upsert(conn.dialect.name, table, tuple(keys), None if change is None else tuple(change.items()))


@lru_cache(maxsize=64)
def _upsert(dialect: str, table: Table, keys: tuple[str, ...], change: tuple[tuple[str, Any], ...] | None) -> Any:
    insert: Any = sqlite.insert(table)
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        insert = postgresql.insert(table)
    if change is None:
        return insert.on_conflict_do_nothing(index_elements=list(keys))
    values = {name: insert.excluded[value] if isinstance(value, str) else value for name, value in change}
    return insert.on_conflict_do_update(index_elements=list(keys), set_=values)


def next_ids(conn: Connection, table: Table, count: int) -> list[int]:
    """Return new values for an integer primary key, ascending; safe in a write transaction.

    With known ids, many rows can be inserted by one plain executemany without reading them back.
    """
    if count == 0:
        return []
    if conn.dialect.name == "postgresql":
        query = "SELECT nextval(pg_get_serial_sequence(%(table)s, 'id')) FROM generate_series(1, %(count)s)"
        rows = conn.exec_driver_sql(query, {"table": table.name, "count": count}).scalars()
        return sorted(int(value) for value in rows)
    first = conn.exec_driver_sql(f"SELECT coalesce(max(id), 0) + 1 FROM {table.name}").scalar_one()  # noqa: S608 - a table of the schema
    return list(range(first, first + count))


_WORTH_COPYING = 50
"""Number of rows from which one statement or COPY on PostgreSQL takes this process less time than a statement for each row."""


class Constant(Record, frozen=True):
    """A column with the same value in every row."""

    value: Any


def insert_many(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns. A column that is empty in all of them is left to the database."""
    if not rows:
        return
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    empty = [name for name, values in columns.items() if values[0] is None and values.count(None) == len(rows)]
    for name in empty:
        if table.c[name].server_default is None and len(columns) > 1:
            del columns[name]
    insert_columns(conn, table, columns)


def insert_columns(conn: Connection, table: Table, columns: Mapping[str, Sequence[Any] | Constant]) -> None:
    """Insert rows given by column; at least one column must be a sequence, which determines the number of rows."""
    if any(not isinstance(values, Constant) and not values for values in columns.values()):
        return
    insert_rows(conn, table, tuple(columns), _converted(conn, table, columns))


def insert_rows(conn: Connection, table: Table, fields: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows given as the converted values of these columns."""
    if not rows:
        return
    names = ", ".join(map(_quoted, fields))
    if conn.dialect.name == "postgresql" and len(rows) >= _WORTH_COPYING:
        _copy(conn, f"COPY {table.name} ({names}) FROM STDIN", _with_instant_texts(table, fields, rows))
        return
    placeholders = ", ".join([placeholder(conn)] * len(fields))
    statement = f"INSERT INTO {table.name} ({names}) VALUES ({placeholders})"  # noqa: S608 - names of the schema
    conn.exec_driver_sql(statement, list(rows))


def update_many(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Update rows by their id. All rows have the same columns."""
    if not rows:
        return
    names = [name for name in rows[0] if name != "id"]
    columns: dict[str, Sequence[Any]] = {name: [row[name] for row in rows] for name in [*names, "id"]}
    update_rows(conn, table, names, _converted(conn, table, columns))


def encode(conn: Connection, table: Table, columns: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return the names of these columns of one row, and their values as the driver takes them."""
    values = []
    for name, value in columns.items():
        convert = _converter(conn.dialect, table.c[name])
        values.append(value if convert is None else convert(value))
    return tuple(columns), tuple(values)


def update_rows(conn: Connection, table: Table, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Update rows given as converted values of these columns, followed by the row's id. Of several with one id, the last wins."""
    if conn.dialect.name == "postgresql" and len(rows) >= _WORTH_COPYING:
        _update_from_json(conn, table, names, rows)
        return
    changes = ", ".join(f"{_quoted(name)} = {placeholder(conn)}" for name in names)
    statement = f"UPDATE {table.name} SET {changes} WHERE id = {placeholder(conn)}"  # noqa: S608 - names of the schema
    conn.exec_driver_sql(statement, list(rows))


def _update_from_json(conn: Connection, table: Table, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Update rows in one statement of PostgreSQL, which takes this process a fifth of the time of one for each row."""
    fields = [*names, "id"]
    types = ", ".join(f"{_quoted(name)} {table.c[name].type.compile(dialect=conn.dialect)}" for name in fields)
    changes = ", ".join(f"{_quoted(name)} = new.{_quoted(name)}" for name in names)
    new = f"json_to_recordset(%s::json) AS new({types})"
    statement = f"UPDATE {table.name} SET {changes} FROM {new} WHERE {table.name}.id = new.id"  # noqa: S608 - names of the schema
    by_id = {row[-1]: dict(zip(fields, row, strict=True)) for row in rows}
    conn.exec_driver_sql(statement, (msgspec.json.encode(list(by_id.values())).decode(),))


def _quoted(name: str) -> str:
    return f'"{name}"'


def _converted(conn: Connection, table: Table, columns: Mapping[str, Sequence[Any] | Constant]) -> list[tuple[Any, ...]]:
    prepared: list[Iterable[Any]] = []
    for name, values in columns.items():
        convert = _converter(conn.dialect, table.c[name])
        if isinstance(values, Constant):
            prepared.append(repeat(convert(values.value) if convert else values.value))
        else:
            prepared.append(_convert_all(values, convert) if convert else values)
    return list(zip(*prepared, strict=False))


def _convert_all(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Return the values converted; consecutive occurrences of the same object are converted once."""
    converted: list[Any] = []
    last, done = object(), None
    for value in values:
        if value is not last:
            last, done = value, convert(value)
        converted.append(done)
    return converted


@lru_cache(maxsize=512)
def _converter(dialect: Dialect, column: Column[Any]) -> Callable[[Any], Any] | None:
    convert: Callable[[Any], Any] | None = column.type.dialect_impl(dialect).bind_processor(dialect)
    return convert


def _with_instant_texts(table: Table, fields: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    """Return the rows with the text of each instant: most rows share a few, and the driver would format each again."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for place, name in enumerate(fields):
        if isinstance(table.c[name].type, UtcDateTime):
            columns[place] = _convert_all(columns[place], _instant_or_none)
    return zip(*columns, strict=True)


def _instant_or_none(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)


def _copy(conn: Connection, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert rows by PostgreSQL's COPY. Raise the driver's errors as SQLAlchemy does."""
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
