"""Conditions of queries of connections: which are live, and which match a filter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, false, func, null, or_, select

from monitor.domain.filters import ConnectionFilter, StoredLabels
from monitor.domain.providers import registered_providers
from monitor.domain.records import replace
from monitor.store import former_ids
from monitor.store.schema import connections, scopes, sources

_c = connections.c


def public_id() -> ColumnElement[Any]:
    """Return domain.connection_id as an SQL expression."""
    scoped = [info.name for info in registered_providers() if info.scope_in_ids]
    in_scope = and_(_c.provider.in_(scoped), _c.scope != "")
    return _c.source + case((in_scope, "/" + _c.scope), else_="") + "/" + _c.external_id


def expiry() -> ColumnElement[Any]:
    """Return the expiry that is shown: the one that the verdict rests on, else the stated one."""
    return func.coalesce(_c.token_expires_at, _c.expires_at, _c.expires_before, type_=_c.token_expires_at.type)


def live() -> list[ColumnElement[bool]]:
    """Return the conditions of a connection that is not retired and whose source is configured."""
    # As "one of the configured sources" both databases would read source by source, whatever the order is.
    removed = select(sources.c.name).where(sources.c.removed_at.is_not(None))
    return [_c.retired_at.is_(None), _c.source.not_in(removed)]


def each_of(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the column as an expression for which SQLite uses no index."""
    return func.coalesce(column, null(), type_=column.type)


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
        found.append(_observed_before(filters.read_before))
    if filters.keys is not None:
        found.append(_c.id.in_(filters.keys))
    return found + identity_conditions(conn, filters)


def _observed_before(limits: Mapping[str, datetime]) -> ColumnElement[bool]:
    """Return the condition for connections that were last observed before their source's limit: see count_observed."""
    complete = select(scopes.c.last_complete_at).where(scopes.c.source == _c.source, scopes.c.scope == _c.scope)
    success = select(sources.c.last_success_at).where(sources.c.name == _c.source)
    seen = func.coalesce(complete.scalar_subquery(), _c.last_seen_at, type_=_c.last_seen_at.type)
    by_limit: dict[datetime, list[str]] = {}
    for name, limit in limits.items():
        by_limit.setdefault(limit, []).append(name)
    at = case((_c.missing > 0, success.scalar_subquery()), else_=seen)
    return or_(false(), *(and_(_c.source.in_(names), or_(at.is_(None), at < limit)) for limit, names in sorted(by_limit.items())))


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
        # SQLite's LIKE ignores the case of ASCII letters; lower() on both sides would double the time.
        return or_(*(each.contains(text, autoescape=True) for each in (public_id(), _c.display_name, _c.username)))
    # PostgreSQL searches one joined text in two thirds of the time of three.
    joined = public_id() + "\n" + func.coalesce(_c.display_name, "") + "\n" + func.coalesce(_c.username, "")
    return joined.icontains(text, autoescape=True)


MOST_FOUND = 1_000


def resolve_text(conn: Connection, filters: ConnectionFilter) -> ConnectionFilter:
    """Return the filter with the row ids of the connections that have its text, whatever their status, if at most MOST_FOUND.

    Comparing every name takes far longer than everything else about a list, so a page with several queries does it once.
    """
    if not filters.text:
        return filters
    anyhow = replace(filters, statuses=None, read_before=None)
    keys = frozenset(conn.scalars(select(_c.id).where(*live_by_scan(), *conditions(conn, anyhow)).limit(MOST_FOUND + 1)))
    return filters if len(keys) > MOST_FOUND else replace(filters, text=None, keys=keys)
