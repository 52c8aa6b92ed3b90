"""The `rechecks` table: requests to check a connection now, from any process to the one that holds the daemon lock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, select, update

from monitor.domain import Status
from monitor.domain.records import Record
from monitor.store.schema import connections, rechecks
from monitor.store.sql import chunked

EXPIRES_AFTER = timedelta(minutes=5)
"""A request that no daemon has answered for this long is no longer carried out."""

NO_ANSWER = "No daemon answered in time."
"""The message of such a request."""

_r, _c = rechecks.c, connections.c


class RecheckOutcome(StrEnum):
    """Result of a recheck."""

    HEALTHY = "healthy"
    """The connection was checked, and its status needs no attention."""
    NEEDS_ATTENTION = "needs_attention"
    """The connection was checked, and its status still needs attention."""
    UNREAD = "unread"
    """The source could not be read, or did not list the connection: nothing changed."""
    EXPIRED = "expired"
    """No daemon answered the request in time."""


class Recheck(Record, frozen=True, kw_only=True):
    """One request, and its result once it is finished."""

    id: int
    connection_id: int
    """Row id of the connection."""
    requested_at: datetime
    requested_by: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: RecheckOutcome | None = None
    """None until it is finished."""
    message: str | None = None
    """A sentence about the result; None until it is finished."""
    status_before: Status | None = None
    """The stored status when the recheck started."""
    status_after: Status | None = None
    """The stored status when it finished; None if it could not be determined."""

    def is_pending(self, now: datetime) -> bool:
        """Return True if a daemon will still answer it."""
        return self.finished_at is None and now - self.requested_at < EXPIRES_AFTER


class RecheckResult(Record, frozen=True, kw_only=True):
    """The result of one recheck."""

    id: int
    outcome: RecheckOutcome
    message: str
    status_after: Status | None = None


def request(conn: Connection, connection_ids: Iterable[int], *, now: datetime, author: str) -> list[Recheck]:
    """Request rechecks and return them by connection. A connection whose recheck is not finished keeps that one."""
    expire(conn, now)
    wanted = list(dict.fromkeys(connection_ids))
    rows = [{"connection_id": each, "requested_at": now, "requested_by": author} for each in wanted]
    pending = {each.connection_id for each in pending_of_connections(conn, wanted)}
    new = [row for row in rows if row["connection_id"] not in pending]
    if new:
        conn.execute(rechecks.insert(), new)
    return pending_of_connections(conn, wanted)


def _select(conn: Connection, connection_ids: Sequence[int], *conditions: ColumnElement[bool]) -> list[Recheck]:
    query = select(rechecks).where(*conditions).order_by(_r.connection_id)
    found: list[Recheck] = []
    for chunk in chunked(connection_ids):
        found += _read(conn, query.where(_r.connection_id.in_(chunk)))
    return found


def _read(conn: Connection, query: Select[tuple[object, ...]]) -> list[Recheck]:
    return [
        Recheck(
            **{
                **row,
                "outcome": None if row["outcome"] is None else RecheckOutcome(row["outcome"]),
                "status_before": None if row["status_before"] is None else Status(row["status_before"]),
                "status_after": None if row["status_after"] is None else Status(row["status_after"]),
            }
        )
        for row in conn.execute(query).mappings()
    ]


def find(conn: Connection, ids: Collection[int]) -> list[Recheck]:
    """Return the rechecks with these ids in their order, without those that do not exist."""
    found: list[Recheck] = []
    for chunk in chunked(sorted(ids)):
        found += _read(conn, select(rechecks).where(_r.id.in_(chunk)).order_by(_r.id))
    return found


def latest_of(conn: Connection, connection_id: int) -> Recheck | None:
    """Return the newest recheck of a connection; None if there was none."""
    query = select(rechecks).where(_r.connection_id == connection_id).order_by(_r.requested_at.desc(), _r.id.desc()).limit(1)
    return next(iter(_read(conn, query)), None)


def count_recent(conn: Connection, source: str, *, since: datetime) -> int:
    """Return how many rechecks of a source's connections were requested after an instant."""
    query = select(func.count()).select_from(rechecks.join(connections, _c.id == _r.connection_id))
    return conn.scalar(query.where(_c.source == source, _r.requested_at > since)) or 0


# Built once: it runs at every tick.
PENDING = (
    select(_c.source)
    .select_from(rechecks.join(connections, _c.id == _r.connection_id))
    .where(_r.finished_at.is_(None), _r.requested_at > bindparam("since"))
    .distinct()
)
"""The sources that have pending rechecks, requested after `since`."""


def pending_sources(conn: Connection, now: datetime) -> list[str]:
    """Return the sources that have pending rechecks."""
    return list(conn.scalars(PENDING, {"since": now - EXPIRES_AFTER}))


def pending_of(conn: Connection, source: str, now: datetime, *, limit: int) -> list[Recheck]:
    """Return pending rechecks of a source, ordered by their scopes; at most `limit`."""
    joined = rechecks.join(connections, _c.id == _r.connection_id)
    query = select(rechecks).select_from(joined).where(_c.source == source, _r.finished_at.is_(None))
    query = query.where(_r.requested_at > now - EXPIRES_AFTER)
    return _read(conn, query.order_by(_c.scope, _r.id).limit(limit))


def pending_of_connections(conn: Connection, connection_ids: Iterable[int]) -> list[Recheck]:
    """Return the unfinished rechecks of these connections."""
    return _select(conn, list(connection_ids), _r.finished_at.is_(None))


def start(conn: Connection, started: Iterable[tuple[int, Status]], now: datetime) -> None:
    """Store the start of rechecks, each with its connection's status at that time."""
    for recheck, status in started:
        conn.execute(update(rechecks).where(_r.id == recheck).values(started_at=now, status_before=status.value))


def finish(conn: Connection, results: Iterable[RecheckResult], now: datetime) -> None:
    """Store results. A recheck that is finished already keeps its result."""
    for each in results:
        after = None if each.status_after is None else each.status_after.value
        values = {"finished_at": now, "outcome": each.outcome.value, "message": each.message, "status_after": after}
        conn.execute(update(rechecks).where(_r.id == each.id, _r.finished_at.is_(None)).values(values))


def expire(conn: Connection, now: datetime) -> None:
    """Finish the requests that no daemon answered in time."""
    values = {"finished_at": now, "outcome": RecheckOutcome.EXPIRED.value, "message": NO_ANSWER}
    late = _r.finished_at.is_(None), _r.requested_at <= now - EXPIRES_AFTER
    conn.execute(update(rechecks).where(*late).values(values))


def delete_of(conn: Connection, connection_ids: Select[tuple[int]]) -> None:
    """Delete all rechecks of these connections."""
    conn.execute(delete(rechecks).where(_r.connection_id.in_(connection_ids)))


def prune(conn: Connection, before: datetime) -> None:
    """Delete rechecks that were requested before an instant."""
    conn.execute(delete(rechecks).where(_r.requested_at < before))
