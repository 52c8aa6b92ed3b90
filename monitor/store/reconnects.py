"""Connections to reconnect now or by a date, by their stored state: counted, listed, and the most urgent ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    Select,
    String,
    and_,
    case,
    cast,
    collate,
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
from monitor.domain.records import Record
from monitor.domain.rules.expiry import RENEWED_BY_PROVIDER, ROTATING_PLATFORMS, SHORT_LIFETIME
from monitor.store.connection_conditions import conditions, each_of, expiry, live, live_by_scan, public_id
from monitor.store.connection_queries import ConnectionRow, changed_by_time, get_connections
from monitor.store.schema import by_expiry, connections, sources
from monitor.store.sql import chunked

_c = connections.c
_STATUSES = {status.value: status for status in Status}
_BROKEN = [status.value for status in Status if status.needs_attention and status is not Status.EXPIRING_SOON]
_WORKING = [Status.VALID.value, Status.UNKNOWN.value]


def expiring_between(
    conn: Connection, filters: ConnectionFilter, *, now: datetime, until: datetime, limit: int
) -> Iterator[ConnectionRow]:
    """Yield live connections to reconnect by an instant that have not expired yet, the soonest first; rows are read as needed.

    Connections that time has changed since they were stored are among them, whatever their date: the caller checks them.
    """
    where = by_expiry > now, by_expiry <= until, or_(_counts(conn), _c.next_change_at <= now), *live(), *conditions(conn, filters)
    ids = conn.scalars(select(_c.id).where(*where).order_by(by_expiry, _c.id).limit(limit))
    for some in chunked(ids):
        found = {row.id: row for row in get_connections(conn, some)}
        yield from (found[each] for each in some)


class Reconnect(NamedTuple):
    """A connection that must be reconnected by a certain time: rules.forecast.need_of, by its stored state."""

    id: int
    public_id: str
    source: str
    platform: str
    display_name: str | None
    username: str | None
    external_id: str
    label_set: int | None
    """None until it is labelled: it has the labels of its source."""
    status: Status
    by: datetime
    """When its token expires; if it is broken already, since when."""


def list_reconnects(conn: Connection, filters: ConnectionFilter, *, now: datetime, until: datetime) -> list[Reconnect]:
    """Return the live connections that need a reconnect now or until an instant, without those that time has changed."""
    # Two queries, each with an index: a single one would read every row.
    broken: tuple[ColumnElement[bool], ...] = (_c.status.in_(_BROKEN),)
    dated = by_expiry <= until, _counts(conn)
    query = _query(now).where(*live(), *conditions(conn, filters))
    if conn.dialect.name == "sqlite":  # which finds a status by an index only within a source
        broken += (_c.source.in_(select(sources.c.name)),)
    return [each for part in (broken, dated) for each in _read(conn, query.where(*part))]


def first_reconnects(
    conn: Connection, filters: ConnectionFilter, *, now: datetime, until: datetime, limit: int
) -> list[Reconnect]:
    """Return the first connections of list_reconnects(): broken ones before others, then by date and public id."""
    # As Python compares texts.
    public = public_id() if conn.dialect.name == "sqlite" else collate(public_id(), "C")
    query = _query(now).where(*live())
    broken = query.where(*conditions(conn, filters), _c.status.in_(_BROKEN)).order_by(_c.since, public)
    found = _read(conn, broken.limit(limit))
    if len(found) < limit:
        dated = query.where(*conditions(conn, filters, in_order=True), by_expiry <= until, _counts(conn))
        found += _read(conn, dated.order_by(by_expiry, public).limit(limit - len(found)))
    return found


class ReconnectCount(NamedTuple):
    """The number of connections of list_reconnects()."""

    overdue: int
    """Those that no longer work."""
    dated: int
    """Those that work until a date."""


def count_reconnects(conn: Connection, filters: ConnectionFilter, *, now: datetime, until: datetime) -> ReconnectCount:
    """Count the connections of list_reconnects()."""
    number = select(func.count()).select_from(connections)
    broken = _c.status.in_(_BROKEN)
    # An index counts all, and another one finds the few that time has changed: a single query would read every row.
    every = number.where(*live(), *conditions(conn, filters), broken)
    changed = number.where(*live(), *conditions(conn, filters, in_order=True), each_of(broken), changed_by_time(now))
    scan = _is_faster_by_scan(conn, until)
    by_date = [each_of(by_expiry) <= until, *live_by_scan()] if scan else [by_expiry <= until, *live()]
    # In this order: the date decides most rows, and what it counts for takes the longest to compute.
    dated = number.where(*by_date, *conditions(conn, filters, in_order=True), _unchanged(now), _counts(conn))
    return ReconnectCount(
        overdue=conn.scalars(every).one() - conn.scalars(changed).one(),
        dated=conn.scalars(dated).one(),
    )


def _is_faster_by_scan(conn: Connection, until: datetime) -> bool:
    """Return True if SQLite must not use the index by expiry: so many rows expire by then that reading all is faster."""
    if conn.dialect.name != "sqlite":
        return False
    expiring = select(func.count()).select_from(connections).where(_c.retired_at.is_(None), by_expiry <= until)
    return conn.scalars(expiring).one() * _SCANNED_FOR_ONE > (conn.scalar(select(func.max(_c.id))) or 0)


_SCANNED_FOR_ONE = 5
"""Rows of a table that SQLite reads one after the other in the time in which it reads one by an index."""


def _query(now: datetime) -> Select[Any]:
    """Return the query of what a Reconnect has, without conditions except for those that time has changed."""
    named = _c.display_name, _c.username, _c.external_id
    by = case((_c.status.in_(_BROKEN), _c.since), else_=expiry())
    return select(_c.id, public_id(), _c.source, _c.platform, *named, _c.label_set, _c.status, by).where(_unchanged(now))


def _read(conn: Connection, query: Select[Any]) -> list[Reconnect]:
    return [Reconnect._make((*row[:8], _STATUSES[row[8]], row[9])) for row in conn.execute(query)]


def _unchanged(now: datetime) -> ColumnElement[bool]:
    """Return the condition for connections whose state time has not changed since it was stored."""
    return or_(_c.next_change_at.is_(None), _c.next_change_at > now)


def _counts(conn: Connection) -> ColumnElement[bool]:
    """Return the condition for rows whose date is one of a reconnect: the provider warns of it, or it can be trusted."""
    trusted = and_(_is_trusted(), not_(_is_short_lived(sqlite=conn.dialect.name == "sqlite")))
    working = _c.status.in_(_WORKING)
    return or_(_c.status == Status.EXPIRING_SOON.value, and_(working, trusted))


class ExpiringGroup(Record, frozen=True):
    """Tokens of one source and platform that expire on one day (UTC)."""

    source: str
    platform: str
    first: datetime
    last: datetime
    number: int


def count_expiring(
    conn: Connection, filters: ConnectionFilter = EVERY, *, now: datetime, until: datetime, few: bool = False
) -> list[ExpiringGroup]:
    """Count the tokens that will need a reconnect, by source, platform and day: those of rules.forecast.need_of.

    A date counts where the provider itself warns of it, or where it can be trusted. `few` is a hint: few connections match.
    """
    by = expiry()
    day = func.substr(cast(by, String), 1, 10) if conn.dialect.name == "sqlite" else cast(by, Date)
    to_come = or_(_c.status == Status.EXPIRING_SOON.value, by > now)
    query = (
        select(_c.source, _c.platform, func.min(by, type_=by.type), func.max(by, type_=by.type), func.count())
        .where(
            *(live() if few else live_by_scan()),
            *conditions(conn, filters),
            by <= until,
            _counts(conn),
            to_come,
        )
        .group_by(_c.source, _c.platform, day)
    )
    return sorted((ExpiringGroup(*row) for row in conn.execute(query)), key=lambda each: (each.first, each.source, each.platform))


def _is_trusted() -> ColumnElement[bool]:
    """Return the condition for rows whose dates can be trusted: rules.expiry.is_trusted without short lifetimes."""
    # One search of a list of pairs takes a tenth of the time of a comparison for each provider. No provider's name has a slash.
    pairs = [f"{info.name}/{platform}" for info in registered_providers() for platform in sorted(info.trusted_platforms)]
    access_token = and_(_c.word == ReportedStatus.UNSTATED.value, _c.platform.in_(sorted(RENEWED_BY_PROVIDER)))
    by_platform = and_((_c.provider + "/" + _c.platform).in_(pairs), not_(access_token))
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
