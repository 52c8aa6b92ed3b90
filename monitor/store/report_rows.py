"""The rows of which reports consist: connections within a period, their changes of status, and gaps in monitoring."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, or_, select

from monitor.domain import EventKind, Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.uptime import Change, Span
from monitor.store.connection_conditions import conditions, expiry, public_id
from monitor.store.schema import connections, events, sources
from monitor.store.sql import chunked, raw_instant, rows_by_key
from monitor.store.types import instant_reader

_c = connections.c


class ReportRow(NamedTuple):
    """A connection that was monitored within the period of a report."""

    id: int
    public_id: str
    source: str
    provider: str
    platform: str
    display_name: str | None
    username: str | None
    status: Status
    since: datetime
    expires_at: datetime | None
    label_set: int | None
    added_at: datetime
    retired_at: datetime | None


def connections_since(conn: Connection, filters: ConnectionFilter, since: datetime) -> list[ReportRow]:
    """Return the connections of configured sources that match and were not retired before `since`, by source and id.

    A condition on the status is not allowed: the rows are those of a period, and a status is that of an instant.
    """
    if filters.statuses is not None:
        raise ValueError("A report has no filter by status.")
    configured = select(sources.c.name).where(sources.c.removed_at.is_(None))
    query = select(
        _c.id,
        public_id(),
        _c.source,
        _c.provider,
        _c.platform,
        _c.display_name,
        _c.username,
        _c.status,
        _c.since,
        expiry(),
        _c.label_set,
        _c.added_at,
        _c.retired_at,
    ).where(_c.source.in_(configured), or_(_c.retired_at.is_(None), _c.retired_at > since), *conditions(conn, filters))
    rows = conn.execute(query.order_by(_c.source, _c.scope, _c.external_id, _c.id), execution_options={"yield_per": 1000})
    statuses = {status.value: status for status in Status}
    return [ReportRow._make((*row[:7], statuses[row[7]], *row[8:])) for row in rows]


_KINDS = EventKind.STATUS_CHANGED, EventKind.RETIRED, EventKind.APPEARED
_EARLIER = """
SELECT connection_id, at, kind, old, new FROM events
WHERE connection_id IN ({0}) AND kind IN ({1}, {1}, {1}) AND at < {1} ORDER BY at, id
"""
_EventRow = tuple[int, datetime, str, str | None, str | None]


def status_changes(conn: Connection, since: datetime) -> dict[int, list[Change]]:
    """Return the changes of status since an instant by connection, oldest first.

    From when it was retired until it was added again, a connection is unknown.
    """
    e = events.c
    query = select(e.connection_id, e.at, e.kind, e.old, e.new).where(
        e.at >= since, e.kind.in_(_KINDS), e.connection_id.is_not(None)
    )
    return _by_connection(tuple(row) for row in conn.execute(query.order_by(e.at, e.id)))


def earlier_changes(conn: Connection, connection_ids: Iterable[int], before: datetime) -> dict[int, list[Change]]:
    """Return the changes of status of these connections before an instant, as status_changes()."""
    values = *(kind.value for kind in _KINDS), raw_instant(conn, before)
    instant = instant_reader(conn.dialect)
    return _by_connection(
        (key, instant(at), kind, old, new)
        for chunk in chunked(connection_ids)
        for key, at, kind, old, new in rows_by_key(conn, _EARLIER, chunk, *values)
    )


def _by_connection(rows: Iterable[_EventRow]) -> dict[int, list[Change]]:
    """Return the changes whose two statuses this version knows, by connection."""
    statuses = {status.value: status for status in Status}
    found: dict[int, list[Change]] = {}
    for key, at, kind, old, new in rows:
        before, after = statuses.get(old or ""), statuses.get(new or "")
        if kind == EventKind.RETIRED:
            after = Status.UNKNOWN
        elif kind == EventKind.APPEARED:
            before = found[key][-1][-1] if key in found else Status.UNKNOWN
        if before is not None and after is not None:
            found.setdefault(key, []).append((at, before, after))
    return found


def gaps_since(conn: Connection, since: datetime) -> dict[str, list[Span]]:
    """Return the gaps in monitoring that ended after an instant, by source."""
    e = events.c
    query = select(e.source, e.old, e.at).where(e.at >= since, e.kind == EventKind.GAP, e.connection_id.is_(None))
    found: dict[str, list[Span]] = {}
    for source, began, ended in conn.execute(query):
        if began is not None:
            found.setdefault(source, []).append((datetime.fromisoformat(began), ended))
    return found
