"""Polls: one row each, whatever the number of connections."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, func, select

from monitor.domain import PollOutcome
from monitor.store.schema import polls


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRow:
    """How one poll of one source went."""

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
    """Write down a poll that ended."""
    values = {"source": source, "at": at, "duration_ms": duration_ms, "outcome": outcome, "problem": problem}
    conn.execute(_INSERT, {**values, "requests": requests, "connections": connections, "changed": changed})


def _row(row: RowMapping) -> PollRow:
    values = {name: value for name, value in row.items() if name != "id"}
    return PollRow(**{**values, "outcome": PollOutcome(values["outcome"])})


def last_polls(conn: Connection, source: str, *, limit: int = 1) -> list[PollRow]:
    """The newest polls of a source, newest first."""
    query = select(polls).where(polls.c.source == source).order_by(polls.c.at.desc(), polls.c.id.desc())
    return [_row(row) for row in conn.execute(query.limit(limit)).mappings()]


def latest_polls(conn: Connection) -> dict[str, PollRow]:
    """The newest poll of every source that was ever polled."""
    newest = select(func.max(polls.c.id)).group_by(polls.c.source)
    rows = conn.execute(select(polls).where(polls.c.id.in_(newest))).mappings()
    return {row["source"]: _row(row) for row in rows}


def prune(conn: Connection, before: datetime) -> int:
    """Forget the polls before an instant; how many there were."""
    return conn.execute(delete(polls).where(polls.c.at < before)).rowcount
