"""The `channels` table: health, and the next test alert and report of each channel.

A channel has no row until one of these is known. All functions run in the caller's transaction.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from monitor.domain.records import Record
from monitor.store.schema import channels
from monitor.store.sql import upsert

_c = channels.c


class ChannelState(Record, frozen=True, kw_only=True):
    """The stored state of one channel."""

    name: str
    problem: str | None = None
    """The last failure as a sentence; None while the channel works."""
    failing_since: datetime | None = None
    """The first of the consecutive failures."""
    broken: bool = False
    """The service refused permanently: it needs an operator, and the other channels were notified."""
    last_success_at: datetime | None = None
    next_drill_at: datetime | None = None
    next_report_at: datetime | None = None


def find_state(conn: Connection, name: str) -> ChannelState:
    """Return a channel's state; an empty one if nothing is stored."""
    row = conn.execute(select(channels).where(_c.name == name)).one_or_none()
    return ChannelState(name=name) if row is None else _state(row)


def all_states(conn: Connection) -> dict[str, ChannelState]:
    """Return every stored state by channel."""
    return {row.name: _state(row) for row in conn.execute(select(channels).order_by(_c.name))}


def record_failure(conn: Connection, name: str, now: datetime, *, problem: str, broken: bool) -> ChannelState:
    """Record a failure and return the previous state. failing_since keeps the first failure; broken lasts until a success."""
    before = find_state(conn, name)
    values = {
        "problem": problem,
        "failing_since": before.failing_since if before.problem is not None else now,
        "broken": broken or before.broken,
    }
    _set(conn, name, values)
    return before


def record_success(conn: Connection, name: str, now: datetime) -> ChannelState:
    """Record a sent message and return the previous state."""
    before = find_state(conn, name)
    _set(conn, name, {"problem": None, "failing_since": None, "broken": False, "last_success_at": now})
    return before


def clear_problem(conn: Connection, name: str) -> None:
    """Delete the problem of a channel that was removed from the configuration; should it return, it starts without one."""
    conn.execute(update(channels).where(_c.name == name).values(problem=None, failing_since=None, broken=False))


def plan_drill(conn: Connection, name: str, at: datetime | None) -> None:
    """Set when the next scheduled test alert is due; None for never."""
    _set(conn, name, {"next_drill_at": at})


def plan_report(conn: Connection, name: str, at: datetime | None) -> None:
    """Set when the next report is due; None for never."""
    _set(conn, name, {"next_report_at": at})


def _set(conn: Connection, name: str, values: dict[str, Any]) -> None:
    statement = upsert(conn, channels, ["name"], {key: key for key in values})
    conn.execute(statement, {"name": name, **values})


def _state(row: Row[Any]) -> ChannelState:
    return ChannelState(
        name=row.name,
        problem=row.problem,
        failing_since=row.failing_since,
        broken=row.broken,
        last_success_at=row.last_success_at,
        next_drill_at=row.next_drill_at,
        next_report_at=row.next_report_at,
    )
