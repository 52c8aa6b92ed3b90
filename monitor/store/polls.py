"""The `polls` table: one row per poll of a source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, select

from monitor.domain import PollOutcome
from monitor.store.schema import polls


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRow:
    """One poll of one source."""

    source: str
    at: datetime
    duration_ms: int
    outcome: PollOutcome
    problem: str | None
    requests: int
    connections: int
    changed: int


_INSERT = polls.insert()


def record_poll(
    conn: Connection,
    *,
    source: str,
    at: datetime,
    duration_ms: int,
    outcome: PollOutcome,
    problem: str | None = None,
    requests: int = 0,
    connections: int = 0,
    changed: int = 0,
) -> None:
    """Store a poll that ended."""
    values = {"source": source, "at": at, "duration_ms": duration_ms, "outcome": outcome, "problem": problem}
    conn.execute(_INSERT, {**values, "requests": requests, "connections": connections, "changed": changed})


def _row(row: RowMapping) -> PollRow:
    values = {name: value for name, value in row.items() if name != "id"}
    return PollRow(**{**values, "outcome": PollOutcome(values["outcome"])})


def last_polls(conn: Connection, source: str, *, limit: int = 1) -> list[PollRow]:
    """Return the newest polls of a source, newest first."""
    query = select(polls).where(polls.c.source == source).order_by(polls.c.at.desc(), polls.c.id.desc())
    return [_row(row) for row in conn.execute(query.limit(limit)).mappings()]


def prune(conn: Connection, before: datetime) -> int:
    """Delete the polls before an instant and return their number."""
    return conn.execute(delete(polls).where(polls.c.at < before)).rowcount
