"""Scopes: the key's owner, each managed user or workspace of a source, and when each was last listed completely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, literal_column, select

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
    suspect_polls: int = 0
    """Complete lists in a row from which most connections were missing at once."""


_TOLD: dict[str, Any] = {
    "last_complete_at": literal_column("coalesce(excluded.last_complete_at, scopes.last_complete_at)"),
    "problem": "problem",
    "connections": "connections",
    "digest": "digest",
}


def save_scopes(
    conn: Connection,
    source: str,
    reports: Sequence[tuple[str | None, datetime | None, str | None, int]],
    *,
    digests: Mapping[str | None, str | None] | None = None,
) -> None:
    """Record (scope, last_complete_at, problem, connections) per scope; a last_complete_at of None leaves the stored one.

    `digests` tell of which list the scope's stored connections follow from; without one no list stands for them.
    """
    if not reports:
        return
    statement = upsert(conn, scopes, ["source", "scope"], _TOLD)
    known = digests or {}
    rows = [
        {
            "source": source,
            "scope": scope or "",
            "last_complete_at": at,
            "problem": problem,
            "connections": count,
            "digest": known.get(scope),
        }
        for scope, at, problem, count in reports
    ]
    conn.execute(statement, rows)


def save_suspects(conn: Connection, source: str, suspects: Mapping[str | None, int]) -> None:
    """Record in how many complete lists in a row each of these scopes lacked most of its connections."""
    if suspects:
        statement = upsert(conn, scopes, ["source", "scope"], {"suspect_polls": "suspect_polls"})
        rows = [{"source": source, "scope": scope or "", "suspect_polls": count} for scope, count in suspects.items()]
        conn.execute(statement, rows)


def forget(conn: Connection, source: str, scope: str | None) -> None:
    """A scope is no longer watched."""
    conn.execute(delete(scopes).where(scopes.c.source == source, scopes.c.scope == (scope or "")))


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
            suspect_polls=row.suspect_polls,
        )
        for row in conn.execute(query)
    ]


def counts(conn: Connection) -> dict[str, int]:
    """How many scopes each source has, the key's owner included; only of sources that were listed."""
    query = select(scopes.c.source, func.count()).group_by(scopes.c.source)
    return {row[0]: row[1] for row in conn.execute(query)}
