"""ConnectionFilter as SQL, and the expressions over the `connections` table that several queries share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from monitor.domain import Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.providers import registered_providers
from monitor.store.schema import connections, sources

_c = connections.c

RANK = case({status.value: status.rank for status in Status}, value=_c.status, else_=0)
"""How bad a connection's status is: the higher the worse."""


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
    configured = select(sources.c.name).where(sources.c.removed_at.is_(None))
    return [_c.retired_at.is_(None), _c.source.in_(configured)]


def conditions(conn: Connection, filters: ConnectionFilter) -> list[ColumnElement[bool]]:
    """Return the conditions on the columns of `connections`. Raise ValueError if labels are not resolved to sources."""
    if filters.labels:
        raise ValueError("Labels are not stored: resolve them to names of sources first.")
    columns = (_c.source, filters.sources), (_c.platform, filters.platforms), (_c.status, filters.statuses)
    found = [column.in_(list(values)) for column, values in columns if values is not None]
    return found + identity_conditions(conn, filters)


def identity_conditions(conn: Connection, filters: ConnectionFilter) -> list[ColumnElement[bool]]:
    """Return the conditions on a connection's id and names, for lists of what belongs to a connection."""
    found: list[ColumnElement[bool]] = []
    if filters.connection is not None:
        # The index holds the end of the id; building every id to compare it takes a hundred times as long.
        source, *parts = filters.connection.split("/")
        ends = ["/".join(parts[at:]) for at in range(len(parts))]
        found += [_c.source == source, _c.external_id.in_(ends), public_id() == filters.connection]
    if filters.text:
        found.append(_text_condition(conn, filters.text))
    return found


def _text_condition(conn: Connection, text: str) -> ColumnElement[bool]:
    if conn.dialect.name == "sqlite":
        # SQLite's LIKE ignores the case of ASCII letters; lower() on both sides would double the time.
        return or_(*(each.contains(text, autoescape=True) for each in (public_id(), _c.display_name, _c.username)))
    # PostgreSQL searches one joined text in two thirds of the time of three.
    joined = public_id() + "\n" + func.coalesce(_c.display_name, "") + "\n" + func.coalesce(_c.username, "")
    return joined.icontains(text, autoescape=True)
