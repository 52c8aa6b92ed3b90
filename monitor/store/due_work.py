"""The polls, rechecks, changes and reviews that are planned, read by one statement: the scheduler needs them twice a second."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Select, cast, literal_column, null, select, union_all

from monitor.store.connections import NEXT_CHANGE
from monitor.store.incidents import NEXT_REVIEW
from monitor.store.rechecks import EXPIRES_AFTER, PENDING
from monitor.store.schema import connections, rechecks, sources
from monitor.store.sources import DUE


class PlannedWork(NamedTuple):
    """Work that the store knows to be due, and when time alone changes something next."""

    polls: list[str]
    """Sources whose next poll is due, the longest overdue first."""
    rechecks: list[str]
    """Sources with pending rechecks."""
    next_change: datetime | None
    """When time next changes a connection; None if it changes none."""
    next_review: datetime | None
    """When the next review of an incident is due; None if none is planned."""


_POLL, _RECHECK, _CHANGE, _REVIEW = range(4)


def _earliest(kind: int, query: Select[tuple[datetime]]) -> Select[tuple[int, str, datetime]]:
    """Return the rows of a query for one instant as those of the common statement."""
    (at,) = query.subquery().c
    return select(literal_column(str(kind)), literal_column("''"), at)


_PLANNED = union_all(
    DUE.with_only_columns(
        literal_column(str(_POLL)).label("kind"), sources.c.name.label("name"), sources.c.next_poll_at.label("at")
    ),
    PENDING.with_only_columns(literal_column(str(_RECHECK)), connections.c.source, cast(null(), rechecks.c.requested_at.type)),
    _earliest(_CHANGE, NEXT_CHANGE),
    _earliest(_REVIEW, NEXT_REVIEW),
)


def read(conn: Connection, now: datetime) -> PlannedWork:
    """Return what is due now, and when the next change and the next review are."""
    rows = conn.execute(_PLANNED, {"now": now, "since": now - EXPIRES_AFTER}).all()
    polls = sorted((at, name) for kind, name, at in rows if kind == _POLL)
    instants = {kind: at for kind, _, at in rows}
    return PlannedWork(
        polls=[name for _, name in polls],
        rechecks=[name for kind, name, _ in rows if kind == _RECHECK],
        next_change=instants.get(_CHANGE),
        next_review=instants.get(_REVIEW),
    )
