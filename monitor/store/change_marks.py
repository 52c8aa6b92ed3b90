"""A mark of the state that pages show, to find out cheaply if something changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, or_, select

from monitor.domain.filters import ConnectionFilter
from monitor.store import history
from monitor.store.connection_conditions import conditions
from monitor.store.schema import channels, connections, events, rechecks, sources

_RECENT = timedelta(minutes=10)
"""The highest age at which a recheck counts as changed: requests are answered within this time."""


class ChangeMark(NamedTuple):
    """The state of everything that pages show, reduced to what changes with it."""

    event: int
    """The row id of the newest entry in the history."""
    rechecks: tuple[int, int]
    """The row id of the newest request for a recheck, and the number of pending ones."""
    sources: frozenset[tuple[Any, ...]]
    """The name and health of every source."""
    channels: frozenset[tuple[Any, ...]]
    """The name and health of every channel that has a problem."""


_EVENT = select(func.coalesce(func.max(events.c.id), 0))
_RECHECK = select(func.coalesce(func.max(rechecks.c.id), 0))
_PENDING = select(func.count()).select_from(rechecks).where(rechecks.c.finished_at.is_(None))
_s = sources.c
_SOURCES = select(_s.name, _s.status, _s.reason, _s.message, _s.unmonitored_users, _s.removed_at)
_CHANNELS = select(channels.c.name, channels.c.broken).where(channels.c.problem.is_not(None))


def read_mark(conn: Connection) -> ChangeMark:
    """Return the mark of the current state. Every query is answered by an index or a small table."""
    return ChangeMark(
        event=conn.scalar(_EVENT) or 0,
        rechecks=(conn.scalar(_RECHECK) or 0, conn.scalar(_PENDING) or 0),
        sources=frozenset(tuple(row) for row in conn.execute(_SOURCES)),
        channels=frozenset(tuple(row) for row in conn.execute(_CHANNELS)),
    )


def has_changed(conn: Connection, filters: ConnectionFilter, since: ChangeMark, current: ChangeMark, now: datetime) -> bool:
    """Return True if something that matches the filters changed between two marks. Its labels must be resolved."""
    labels = filters.stored_labels
    of_sources = {row[0] for row in since.sources ^ current.sources}
    visible = of_sources if filters.sources is None else of_sources & set(filters.sources)
    if visible and (labels is None or (visible & labels.sources and not labels.bound)):
        return True
    if labels is None and since.channels != current.channels:
        return True
    if since.event != current.event and history.has_events_after(conn, filters, since.event):
        return True
    return since.rechecks != current.rechecks and _has_recheck(conn, filters, now)


def _has_recheck(conn: Connection, filters: ConnectionFilter, now: datetime) -> bool:
    r = rechecks.c
    recent = or_(r.finished_at >= now - _RECENT, r.requested_at >= now - _RECENT)
    joined = rechecks.join(connections, connections.c.id == r.connection_id)
    query = select(r.id).select_from(joined).where(recent, *conditions(conn, filters)).limit(1)
    return conn.scalar(query) is not None
