"""Pages of connections: sorted and by number for the status page, by cursor for the API, and by expiry.

The database filters, sorts, searches and counts, so that 100,000 connections stay usable. Everything here reads the state
as stored; the daemon brings it up to date within a second of a change by time, and views apply the clock to what they show.

A page by cursor begins after the last row of the previous one, in the order in which connections appeared: connections that
change, come or go in between move nothing else, so none is skipped or repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Date,
    Row,
    Select,
    String,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)

from monitor.domain import ReportedStatus, Status
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.providers import registered_providers
from monitor.domain.records import Record, field, replace
from monitor.domain.rules.expiry import RENEWED_BY_PROVIDER, ROTATING_PLATFORMS, SHORT_LIFETIME
from monitor.domain.rules.labels import CLIENT
from monitor.store.connection_queries import RANK, ConnectionRow, conditions, count_by_status, expiry, get_connections, live
from monitor.store.schema import connections, label_sets
from monitor.store.sql import chunked

_c = connections.c
_WORST_FIRST = sorted(Status, key=lambda status: -status.rank)


class Order(StrEnum):
    """Sort order of a list."""

    WORST = "worst"  # by status, then by the nearest expiry
    EXPIRY = "expiry"  # the nearest first
    SINCE = "since"  # the latest change first
    NAME = "name"
    CLIENT = "client"  # those without one come last
    PLATFORM = "platform"
    SOURCE = "source"


def list_page(
    conn: Connection,
    filters: ConnectionFilter,
    *,
    order: Order,
    limit: int,
    offset: int = 0,
    counts: Mapping[Status, int] | None = None,
) -> list[ConnectionRow]:
    """Return one page of the live connections that match. `counts` are the matching ones by status, if already known."""
    if filters.text:
        return search(conn, filters, order=order, limit=limit, offset=offset)[0]
    if order is not Order.WORST:
        return _rows(conn, conn.scalars(_ordered(conn, filters, order).limit(limit).offset(offset)))
    by_status = count_by_status(conn, filters) if counts is None else counts
    return _rows(conn, _worst_first(conn, filters, by_status, limit=limit, offset=offset))


def search(
    conn: Connection, filters: ConnectionFilter, *, order: Order, limit: int, offset: int = 0
) -> tuple[list[ConnectionRow], int | None]:
    """Return one page and the number of matches on all pages; one pass over all names finds both.

    The number is None for a page behind the last one.
    """
    query = _ordered(conn, filters, order).add_columns(func.count().over())
    found = conn.execute(query.limit(limit).offset(offset)).all()
    if not found:
        return [], None if offset else 0
    return _rows(conn, [row[0] for row in found]), found[0][1]


def _rows(conn: Connection, ids: Iterable[int]) -> list[ConnectionRow]:
    place = {key: index for index, key in enumerate(ids)}
    return sorted(get_connections(conn, place), key=lambda row: place[row.id])


def _worst_first(
    conn: Connection, filters: ConnectionFilter, counts: Mapping[Status, int], *, limit: int, offset: int
) -> list[int]:
    """Return row ids status by status: few are bad, so the first page does not sort the many good ones."""
    found: list[int] = []
    for status in _WORST_FIRST:
        there = counts.get(status, 0)
        if offset >= there:
            offset -= there
            continue
        where = *live(), *conditions(conn, replace(filters, statuses=[status]))
        query = select(_c.id).where(*where).order_by(expiry().asc().nulls_last(), _c.id)
        found += conn.scalars(query.limit(limit - len(found)).offset(offset))
        offset = 0
        if len(found) >= limit:
            break
    return found


Key = tuple[ColumnElement[Any], bool]
"""An expression to sort by, which is never NULL, and True if the greatest comes first."""
_FAR = datetime(9999, 1, 1, tzinfo=UTC)


def _keys(conn: Connection, order: Order) -> tuple[Key, ...]:
    """Return what an order sorts by, the row id last."""
    by = expiry()
    soonest: Key = func.coalesce(by, literal(_FAR, by.type), type_=by.type), False
    name: Key = func.lower(func.coalesce(_c.display_name, _c.username, _c.external_id)), False
    worst: tuple[Key, ...] = (RANK, True), soonest
    keys: dict[Order, tuple[Key, ...]] = {
        Order.WORST: worst,
        Order.EXPIRY: (soonest,),
        Order.SINCE: ((_c.since, True),),
        Order.NAME: (name,),
        Order.CLIENT: (*_by_client(conn), *worst),
        Order.PLATFORM: ((_c.platform, False), *worst),
        Order.SOURCE: ((_c.source, False), *worst),
    }
    return *keys[order], (_c.id, False)


def _by_client(conn: Connection) -> tuple[Key, ...]:
    labels = label_sets.c.labels
    read = func.json_extract(labels, f"$.{CLIENT}") if conn.dialect.name == "sqlite" else cast(labels, JSON)[CLIENT].as_string()
    client = select(read).where(label_sets.c.id == _c.label_set).scalar_subquery()
    return (case((client.is_(None), 1), else_=0), False), (func.lower(func.coalesce(client, "")), False)


def _ordered(conn: Connection, filters: ConnectionFilter, order: Order) -> Select[Any]:
    by = [key.desc() if greatest_first else key for key, greatest_first in _keys(conn, order)]
    return select(_c.id).where(*live(), *conditions(conn, filters)).order_by(*by)


class Neighbours(NamedTuple):
    """The connections before and after one in a list; None at its ends."""

    previous: ConnectionRow | None
    next: ConnectionRow | None


def neighbours(conn: Connection, filters: ConnectionFilter, *, order: Order, of: int) -> Neighbours:
    """Return the neighbours of the connection with this row id in the list; both None if it is not in the list."""
    keys = _keys(conn, order)
    where = *live(), *conditions(conn, filters)
    own = conn.execute(select(*(key for key, _ in keys)).where(_c.id == of, *where)).one_or_none()
    if own is None:
        return Neighbours(None, None)
    found = []
    for forward in (False, True):
        beyond: list[ColumnElement[bool]] = []
        same: list[ColumnElement[bool]] = []
        for (key, greatest_first), value in zip(keys, own, strict=True):
            ahead = key < value if greatest_first is forward else key > value
            beyond.append(and_(*same, ahead))
            same.append(key == value)
        by = [key.desc() if greatest_first is forward else key.asc() for key, greatest_first in keys]
        first = conn.scalar(select(_c.id).where(*where, or_(*beyond)).order_by(*by).limit(1))
        found.append(None if first is None else get_connections(conn, [first])[0])
    return Neighbours(*found)


def connections_after(
    conn: Connection, filters: ConnectionFilter = EVERY, *, after: int = 0, now: datetime, limit: int
) -> list[ConnectionRow]:
    """Return the next live connections behind a row id.

    With a condition on the status also those whose status time may have changed by now: the caller checks them.
    """
    where = [*live(), *conditions(conn, replace(filters, statuses=None))]
    if filters.statuses is not None:
        where.append(or_(_c.status.in_(list(filters.statuses)), _c.next_change_at <= now))
    ids = conn.scalars(select(_c.id).where(_c.id > after, *where).order_by(_c.id).limit(limit)).all()
    return get_connections(conn, ids)


class StoredCounts(Record, frozen=True, kw_only=True):
    """Live connections by stored status, and those whose status time may have changed since."""

    by_status: Mapping[Status, int] = field(default_factory=dict)
    due: tuple[ConnectionRow, ...] = ()
    """They are counted in `by_status` too."""


def count_connections(conn: Connection, filters: ConnectionFilter, *, now: datetime) -> StoredCounts:
    """Count the live connections that match, whatever their status."""
    any_status = replace(filters, statuses=None)
    due = select(_c.id).where(*live(), *conditions(conn, any_status), _c.next_change_at.is_not(None), _c.next_change_at <= now)
    rows = get_connections(conn, conn.scalars(due).all())
    return StoredCounts(by_status=count_by_status(conn, any_status), due=tuple(rows))


def expiring_between(
    conn: Connection, filters: ConnectionFilter, *, after: datetime, until: datetime, limit: int
) -> Iterator[ConnectionRow]:
    """Yield live connections that expire after one instant and up to another, the soonest first; rows are read as needed."""
    expires = expiry()
    query = select(_c.id).where(expires > after, expires <= until, *live(), *conditions(conn, filters))
    for some in chunked(conn.scalars(query.order_by(expires, _c.id).limit(limit)).all()):
        found = {row.id: row for row in get_connections(conn, some)}
        yield from (found[each] for each in some)


def expiries(conn: Connection, *, limit: int) -> list[Row[Any]]:
    """Return source, scope, platform, external_id, status, expires_at, names and labels (as stored) of live connections."""
    columns = _c.source, _c.scope, _c.platform, _c.external_id, _c.status, expiry().label("expires_at")
    named = _c.display_name, _c.username, label_sets.c.labels
    joined = select(*columns, *named).outerjoin(label_sets, label_sets.c.id == _c.label_set)
    return list(conn.execute(joined.where(*live()).order_by(_c.id).limit(limit)))


class ExpiringGroup(Record, frozen=True):
    """Tokens of one source and platform that expire on one day (UTC)."""

    source: str
    platform: str
    first: datetime
    last: datetime
    number: int


def count_expiring(conn: Connection, filters: ConnectionFilter = EVERY, *, now: datetime, until: datetime) -> list[ExpiringGroup]:
    """Count the tokens that will need a reconnect, by source, platform and day: those of rules.forecast.need_of.

    A date counts where the provider itself warns of it, or where it can be trusted.
    """
    by = expiry()
    sqlite = conn.dialect.name == "sqlite"
    day = func.substr(cast(by, String), 1, 10) if sqlite else cast(by, Date)
    trusted = and_(_is_trusted(), not_(_is_short_lived(sqlite=sqlite)))
    working = _c.status.in_([Status.VALID.value, Status.UNKNOWN.value])
    soon = _c.status == Status.EXPIRING_SOON.value
    query = (
        select(_c.source, _c.platform, func.min(by, type_=by.type), func.max(by, type_=by.type), func.count())
        .where(*live(), *conditions(conn, filters), by <= until, or_(soon, and_(working, trusted, by > now)))
        .group_by(_c.source, _c.platform, day)
    )
    return sorted((ExpiringGroup(*row) for row in conn.execute(query)), key=lambda each: (each.first, each.source, each.platform))


def _is_trusted() -> ColumnElement[bool]:
    """Return the condition for rows whose dates can be trusted: rules.expiry.is_trusted without short lifetimes."""
    platforms = (
        and_(_c.provider == info.name, _c.platform.in_(sorted(info.trusted_platforms))) for info in registered_providers()
    )
    access_token = and_(_c.word == ReportedStatus.UNSTATED.value, _c.platform.in_(sorted(RENEWED_BY_PROVIDER)))
    by_platform = and_(or_(false(), *platforms), not_(access_token))
    return case((_c.trusted.is_not(None), _c.trusted), else_=by_platform)


def _is_short_lived(*, sqlite: bool) -> ColumnElement[bool]:
    """Return rules.expiry.is_short_lived as SQL."""
    lived: ColumnElement[bool]
    issued: Any = func.coalesce(_c.refresh_last_at, _c.refresh_connected_at, type_=_c.refresh_last_at.type)
    if sqlite:
        hours = int(SHORT_LIFETIME.total_seconds() // 3600)
        start: Any = func.strftime("%Y-%m-%dT%H:%M:%f", _c.expires_at, f"-{hours} hours")
        lived, near = cast(issued, String) > start, cast(_c.token_dated_since, String) > start
    else:
        begun = _c.expires_at - literal(SHORT_LIFETIME)
        lived, near = issued > begun, _c.token_dated_since > begun
    rotates = and_(_c.platform.in_(sorted(ROTATING_PLATFORMS)), or_(_c.expires_at.is_(None), near))
    lifetime_is_stated = and_(_c.expires_at.is_not(None), issued < _c.expires_at)
    return and_(_c.refresh_reported, case((rotates, true()), (lifetime_is_stated, lived), else_=false()))
