"""Lists a page at a time, for programs: in an order that never changes, so that no row is missed or told twice.

A page begins after the last row of the one before, not at a number of rows: what changes, comes or goes meanwhile moves
nothing else. Connections come in the order in which they appeared; events and alerts newest first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, case, false, func, or_, select

from monitor.domain import Event, EventKind, Status, connection_id
from monitor.domain.providers import registered_providers
from monitor.store.alert_codec import decode_alert
from monitor.store.alerts import AlertRow
from monitor.store.connection_queries import ConnectionRow, expiry, get_connections
from monitor.store.history import EventRow
from monitor.store.schema import alerts, connections, events, sources
from monitor.store.sql import chunked

_c = connections.c
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorFilter:
    """Filters, ANDed; None: no such filter."""

    sources: Collection[str] | None = None
    platforms: Collection[str] | None = None
    words: Collection[str] | None = None
    """Status words: of connections, of what a status changed to, of alerts and their events."""
    text: str | None = None
    """Part of a connection's public id, display name or user name; letter case does not matter."""
    connection: str | None = None
    """A connection's whole public id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorCounts:
    """How many connections have each stored status, and those that time has moved on since it was stored."""

    stored: Mapping[Status, int] = field(default_factory=dict)
    due: tuple[ConnectionRow, ...] = ()
    """They are among the counted ones."""


def _public_id() -> Any:
    in_scope = and_(_c.provider.in_([info.name for info in registered_providers() if info.scope_in_ids]), _c.scope != "")
    return _c.source + case((in_scope, "/" + _c.scope), else_="") + "/" + _c.external_id


def _about(wanted: CursorFilter) -> list[Any]:
    """What the filters say of a connection, but for its status."""
    found: list[Any] = []
    if wanted.sources is not None:
        found.append(_c.source.in_(list(wanted.sources)))
    if wanted.platforms is not None:
        found.append(_c.platform.in_(list(wanted.platforms)))
    if wanted.connection is not None:
        # What the id may end in is in the index; putting every id together to compare it costs a hundred times as much.
        source, *parts = wanted.connection.split("/")
        ends = ["/".join(parts[at:]) for at in range(len(parts))]
        found += [_c.source == source, _c.external_id.in_(ends), _public_id() == wanted.connection]
    if wanted.text is not None:
        # One text to look through costs a third of three.
        whole = _public_id() + "\n" + func.coalesce(_c.display_name, "") + "\n" + func.coalesce(_c.username, "")
        found.append(whole.icontains(wanted.text, autoescape=True))
    return found


def _live() -> list[Any]:
    configured = select(sources.c.name).where(sources.c.removed_at.is_(None))
    return [_c.retired_at.is_(None), _c.source.in_(configured)]


def connections_after(conn: Connection, after: int, *, wanted: CursorFilter, now: datetime, limit: int) -> list[ConnectionRow]:
    """The next live connections behind a row id.

    With status words also those whose status time may have moved by now: whether they have one of them is for the caller.
    """
    query = select(_c.id).where(_c.id > after, *_live(), *_about(wanted))
    if wanted.words is not None:
        query = query.where(or_(_c.status.in_(list(wanted.words)), _c.next_change_at <= now))
    ids = conn.scalars(query.order_by(_c.id).limit(limit)).all()
    return get_connections(conn, ids)


def count_connections(conn: Connection, *, wanted: CursorFilter, now: datetime) -> CursorCounts:
    """The live connections that the filters leave, whatever their status."""
    where = [*_live(), *_about(wanted)]
    stored: Counter[Status] = Counter()
    for word, number in conn.execute(select(_c.status, func.count()).where(*where).group_by(_c.status)):
        stored[Status(word)] += number
    due = conn.scalars(select(_c.id).where(*where, _c.next_change_at.is_not(None), _c.next_change_at <= now)).all()
    return CursorCounts(stored=stored, due=tuple(get_connections(conn, due)))


def count_by_place(conn: Connection) -> dict[tuple[str, str, Status], int]:
    """How many live connections there are by source, platform and stored status; what there is none of is left out."""
    query = select(_c.source, _c.platform, _c.status, func.count()).where(*_live())
    rows = conn.execute(query.group_by(_c.source, _c.platform, _c.status))
    return {(source, platform, Status(word)): number for source, platform, word, number in rows}


def _with_connection(query: Any, table: Any, wanted: CursorFilter) -> Any:
    """The filters that a connection answers, for lists of what belongs to one."""
    of = CursorFilter(text=wanted.text, connection=wanted.connection)
    query = query.outerjoin(connections, _c.id == table.connection_id).where(*_about(of))
    return query if wanted.sources is None else query.where(table.source.in_(list(wanted.sources)))


def events_before(conn: Connection, before: int | None, *, wanted: CursorFilter, limit: int) -> list[tuple[EventRow, str | None]]:
    """The next events behind a row id, newest first, each with its connection's public id where it has one."""
    e = events.c
    query = _with_connection(select(events, _c.provider, _c.scope, _c.external_id).select_from(events), e, wanted)
    if before is not None:
        query = query.where(e.id < before)
    if wanted.platforms is not None:
        query = query.where(_c.platform.in_(list(wanted.platforms)))
    if wanted.words is not None:
        query = query.where(e.new.in_(list(wanted.words)))
    return [(_event(row), _id_of(row)) for row in conn.execute(query.order_by(e.id.desc()).limit(limit))]


def _event(row: Any) -> EventRow:
    kind = EventKind(row.kind)
    entry = Event(kind=kind, at=row.at, old=row.old, new=row.new, reason=row.reason, message=row.message)
    return EventRow(id=row.id, source=row.source, connection_id=row.connection_id, entry=entry)


def _id_of(row: Any) -> str | None:
    if row.external_id is None:
        return None
    return connection_id(row.source, row.provider, row.scope or None, row.external_id)


def alerts_before(conn: Connection, before: tuple[int, str] | None, *, wanted: CursorFilter, limit: int) -> list[AlertRow]:
    """The next alerts behind an instant (microseconds since 1970) and an id, newest first."""
    a = alerts.c
    query = _with_connection(select(a.payload, a.connection_id, a.note).select_from(alerts), a, wanted)
    if before is not None:
        at = EPOCH + timedelta(microseconds=before[0])
        query = query.where(or_(a.at < at, and_(a.at == at, a.id < before[1])))
    if wanted.platforms is not None:
        query = query.where(a.platform.in_(list(wanted.platforms)))
    if wanted.words is not None:
        # The status is in the payload only. No stranger's text can look so there: its quotes are escaped.
        stated = (a.payload.contains(f'"status":"{word}"', autoescape=True) for word in wanted.words)
        query = query.where(or_(a.event.in_(list(wanted.words)), *stated) if wanted.words else false())
    rows = conn.execute(query.order_by(a.at.desc(), a.id.desc()).limit(limit))
    return [AlertRow(alert=decode_alert(row.payload), connection_id=row.connection_id, note=row.note) for row in rows]


def position_of(row: AlertRow) -> tuple[int, str]:
    """Where a list of alerts goes on behind this one."""
    return (row.alert.at - EPOCH) // timedelta(microseconds=1), row.alert.id


def connections_expiring(
    conn: Connection, *, wanted: CursorFilter, after: datetime, before: datetime, limit: int
) -> Iterator[ConnectionRow]:
    """Live connections whose expiry lies between two instants, the soonest first; rows are read as they are taken."""
    expires = expiry()
    query = select(_c.id).where(expires > after, expires <= before, *_live(), *_about(wanted))
    for some in chunked(conn.scalars(query.order_by(expires, _c.id).limit(limit)).all()):
        found = {row.id: row for row in get_connections(conn, some)}
        yield from (found[each] for each in some)


def expiries(conn: Connection, *, limit: int) -> list[Row[Any]]:
    """Of up to so many live connections: source, scope, platform, external_id, status and the expiry its verdict rests on."""
    columns = _c.source, _c.scope, _c.platform, _c.external_id, _c.status, expiry().label("expires_at")
    return list(conn.execute(select(*columns).where(*_live()).order_by(_c.id).limit(limit)))
