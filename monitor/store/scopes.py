"""Scopes: the key's owner, each managed user or workspace of a source, and when each was last listed completely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from monitor.store.schema import scopes
from monitor.store.sql import upsert


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeRow:
    """What is remembered of one scope."""

    source: str
    scope: str | None
    last_complete_at: datetime | None
    problem: str | None
    connections: int


def save_scopes(conn: Connection, source: str, reports: Sequence[tuple[str | None, datetime | None, str | None, int]]) -> None:
    """Record (scope, last_complete_at, problem, connections) per scope; a last_complete_at of None leaves the stored one."""
    if not reports:
        return
    statement = upsert(conn, scopes, ["source", "scope"])
    newer = func.coalesce(statement.excluded.last_complete_at, scopes.c.last_complete_at)
    statement = upsert(
        conn, scopes, ["source", "scope"], {"last_complete_at": newer, "problem": "problem", "connections": "connections"}
    )
    rows = [
        {"source": source, "scope": scope or "", "last_complete_at": at, "problem": problem, "connections": count}
        for scope, at, problem, count in reports
    ]
    conn.execute(statement, rows)


def all_scopes(conn: Connection, source: str | None = None) -> list[ScopeRow]:
    """Every scope, or those of one source, by source and scope; the owner comes first."""
    query = select(scopes).order_by(scopes.c.source, scopes.c.scope)
    if source is not None:
        query = query.where(scopes.c.source == source)
    return [
        ScopeRow(
            source=row.source,
            scope=row.scope or None,
            last_complete_at=row.last_complete_at,
            problem=row.problem,
            connections=row.connections,
        )
        for row in conn.execute(query)
    ]
