"""Conditions of queries of connections: which are live, and which match a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Integer,
    String,
    and_,
    any_,
    case,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

from monitor.domain.filters import ConnectionFilter, StoredLabels
from monitor.domain.providers import registered_providers
from monitor.domain.records import replace
from monitor.store import former_ids
from monitor.store.schema import connections, scopes, sources

_c = connections.c


def public_id() -> ColumnElement[Any]:
    """Return domain.connection_id as an SQL expression."""
    in_scope = and_(_c.scope != "", _c.provider.in_(_scoped()))  # most have no scope: the list is not searched for them
    return _c.source + case((in_scope, "/" + _c.scope), else_="") + "/" + _c.external_id


def _scoped() -> list[str]:
    """Return the providers whose ids contain the scope."""
    return [info.name for info in registered_providers() if info.scope_in_ids]


def expiry() -> ColumnElement[Any]:
    """Return the expiry that is shown: the one that the verdict rests on, else the stated one."""
    return func.coalesce(_c.token_expires_at, _c.expires_at, _c.expires_before, type_=_c.token_expires_at.type)


def live() -> list[ColumnElement[bool]]:
    """Return the conditions of a connection that is not retired and whose source is configured."""
    # As "one of the configured sources" both databases would read source by source, whatever the order is.
    removed = select(sources.c.name).where(sources.c.removed_at.is_not(None))
    return [_c.retired_at.is_(None), _c.source.not_in(removed)]


class each_of(FunctionElement[Any]):  # noqa: N801 - it is called as a function
    """A column or condition for which SQLite uses no index. PostgreSQL estimates by what it knows of the column."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(each_of)
def _unchanged(element: each_of, compiler: Any, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)})"


@compiles(each_of, "sqlite")
def _without_index(element: each_of, compiler: Any, **options: Any) -> str:
    return f"coalesce({compiler.process(element.clauses, **options)}, NULL)"


def live_by_scan() -> list[ColumnElement[bool]]:
    """Return the same conditions for queries that read most rows: SQLite then reads the table, not row by row from an index."""
    return [each_of(_c.retired_at).is_(None), *live()[1:]]


def conditions(conn: Connection, filters: ConnectionFilter, *, in_order: bool = False) -> list[ColumnElement[bool]]:
    """Return the conditions on the columns of `connections`. Raise ValueError as identity_conditions() does.

    `in_order` is for a query that sorts and finds many connections: SQLite then reads them in the order of an index.
    """
    columns = (_c.source, filters.sources), (_c.platform, filters.platforms), (_c.status, filters.statuses)
    chosen = [(each_of(column) if in_order else column, values) for column, values in columns if values is not None]
    found: list[ColumnElement[bool]] = [column.in_(list(values)) for column, values in chosen]
    if filters.stored_labels is not None:
        found.append(has_stored_labels(filters.stored_labels))
    if filters.read_before is not None:
        found.append(_observed_before(conn, filters.read_before))
    if filters.keys is not None:
        found.append(_has_key(conn, filters.keys))
    return found + identity_conditions(conn, filters)


def _has_key(conn: Connection, keys: str) -> ColumnElement[bool]:
    """Return the condition for row ids, passed as one parameter: there may be more than a statement can have."""
    if conn.dialect.name == "sqlite":
        return _c.id.in_(select(func.json_each(f"[{keys}]").table_valued("value").c.value))
    # Without a type of its own, the server reads the text as an array before it plans the query, and so knows its length.
    return _c.id == any_(cast(literal(f"{{{keys}}}", NullType()), ARRAY(Integer)))


def _observed_before(conn: Connection, limits: Mapping[str, datetime]) -> ColumnElement[bool]:
    """Return the condition for connections that were last observed before their source's limit: see count_observed."""
    by_limit: dict[datetime, list[str]] = {}
    for name in _with_old_data(conn, limits):
        by_limit.setdefault(limits[name], []).append(name)
    return or_(false(), *(_observed_before_limit(names, limit) for limit, names in sorted(by_limit.items())))


def _with_old_data(conn: Connection, limits: Mapping[str, datetime]) -> list[str]:
    """Return the sources, in order, with a scope that was never read completely, or whose last reads are before their limit."""
    at = scopes.c.last_complete_at
    unread = func.count() > func.count(at)
    read = {
        name: None if some_never else first
        for name, some_never, first in conn.execute(
            select(scopes.c.source, unread, func.min(at, type_=at.type)).group_by(scopes.c.source)
        )
    }
    succeeded = {row.name: row.last_success_at for row in conn.execute(select(sources.c.name, sources.c.last_success_at))}
    return [
        name
        for name, limit in sorted(limits.items())
        if any(last is None or last < limit for last in (read.get(name), succeeded.get(name)))
    ]


def _observed_before_limit(names: Sequence[str], limit: datetime) -> ColumnElement[bool]:
    # Subqueries that do not depend on the row: the database runs each once.
    read = select(scopes.c.source, scopes.c.scope).where(scopes.c.source.in_(names))
    failed = select(sources.c.name).where(or_(sources.c.last_success_at.is_(None), sources.c.last_success_at < limit))
    scope, seen = tuple_(_c.source, _c.scope), _c.last_seen_at
    own = and_(or_(seen.is_(None), seen < limit), scope.not_in(read.where(scopes.c.last_complete_at.is_not(None))))
    listed = or_(scope.in_(read.where(scopes.c.last_complete_at < limit)), own)
    return and_(_c.source.in_(names), case((_c.missing > 0, _c.source.in_(failed)), else_=listed))


def has_stored_labels(labels: StoredLabels) -> ColumnElement[bool]:
    """Return the condition for connections that have the labels of a filter."""
    return or_(_c.label_set.in_(labels.sets), and_(_c.label_set.is_(None), _c.source.in_(labels.own)))


def concerns_labels(labels: StoredLabels, source: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition for what concerns these connections, or their source itself: rows joined with `connections`."""
    if labels.bound:
        return and_(_c.id.is_not(None), has_stored_labels(labels))
    return or_(has_stored_labels(labels), and_(_c.id.is_(None), source.in_(labels.sources)))


def identity_conditions(conn: Connection, filters: ConnectionFilter) -> list[ColumnElement[bool]]:
    """Return the conditions on a connection's id and names, for lists of what belongs to a connection.

    Raise ValueError if the labels are not resolved.
    """
    if filters.unresolved:
        raise ValueError("Resolve the labels first: see views.label_filter.resolve_labels.")
    found: list[ColumnElement[bool]] = []
    if filters.connection is not None:
        former = former_ids.find(conn, filters.connection)
        found += _has_id(filters.connection) if former is None else [_c.id == former.connection_id]
    if filters.text:
        found.append(_text_condition(conn, filters.text))
    return found


def with_current_id(conn: Connection, filters: ConnectionFilter) -> ConnectionFilter:
    """Return the filter with the id that its connection has now, if it names an id from before a reconnect."""
    former = None if filters.connection is None else former_ids.find(conn, filters.connection)
    return filters if former is None else replace(filters, connection=former.current)


def _has_id(public: str) -> list[ColumnElement[bool]]:
    # The index holds the end of the id; building every id to compare it takes a hundred times as long.
    source, *parts = public.split("/")
    ends = ["/".join(parts[at:]) for at in range(len(parts))]
    return [_c.source == source, _c.external_id.in_(ends), public_id() == public]


def _text_condition(conn: Connection, text: str) -> ColumnElement[bool]:
    if conn.dialect.name == "sqlite":
        # SQLite's LIKE ignores the case of ASCII letters; lower() on both sides would double the time. To join the parts of an id
        # takes longer than to search each of them, which is the same without a slash.
        scope = and_(_c.scope != "", _c.provider.in_(_scoped()), _c.scope.contains(text, autoescape=True))
        parts = [public_id()] if "/" in text else [_c.external_id, _c.source]
        found = [each.contains(text, autoescape=True) for each in (*parts, _c.display_name, _c.username)]
        return or_(*found) if "/" in text else or_(*found, scope)
    # PostgreSQL searches one joined text in two thirds of the time of three.
    joined = public_id() + "\n" + func.coalesce(_c.display_name, "") + "\n" + func.coalesce(_c.username, "")
    # ILIKE is the same, but changes the case of the text for each row.
    escaped = text.replace("/", "//").replace("%", "/%").replace("_", "/_")
    return func.lower(joined).like(func.lower(f"%{escaped}%"), escape="/")


MOST_FOUND = 20_000


def resolve_text(conn: Connection, filters: ConnectionFilter) -> ConnectionFilter:
    """Return the filter with the row ids of the connections that have its text, whatever their status, if at most MOST_FOUND.

    Comparing every name takes far longer than everything else about a list, so a page with several queries does it once.
    """
    if not filters.text:
        return filters
    anyhow = replace(filters, statuses=None, read_before=None)
    # PostgreSQL finds all names in an index.
    alive = live_by_scan() if conn.dialect.name == "sqlite" else live()
    found = select(_c.id).where(*alive, *conditions(conn, anyhow)).limit(MOST_FOUND + 1).subquery()
    row = conn.execute(select(func.count(), func.aggregate_strings(cast(found.c.id, String), ","))).one()
    return filters if row[0] > MOST_FOUND else replace(filters, text=None, keys=row[1] or "")
