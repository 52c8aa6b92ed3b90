"""Connections a page at a time: filtered, sorted, searched and counted by the database, so that 100,000 stay usable.

All of this reads the state as it is stored; the daemon moves it on within a second of its time, and views apply the clock to
what is shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Date, Select, String, and_, case, cast, false, func, literal, not_, or_, select

from monitor.domain import Status
from monitor.domain.providers import registered_providers
from monitor.domain.rules.expiry import ROTATING_PLATFORMS, SHORT_LIFETIME
from monitor.store.connection_queries import ConnectionRow, expiry, get_connections, public_id
from monitor.store.schema import connections

_c = connections.c
_WORST_FIRST = sorted(Status, key=lambda status: -status.rank)


class Order(StrEnum):
    """How a list is sorted."""

    WORST = "worst"  # by status, then by the nearest expiry
    EXPIRY = "expiry"  # the nearest first
    SINCE = "since"  # the latest change first
    NAME = "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFilter:
    """Filters, ANDed. Connections that are retired are in no page."""

    sources: Collection[str]
    """Always said: those that are configured, or fewer."""
    platforms: Collection[str] | None = None
    statuses: Collection[Status] | None = None
    text: str = ""
    """Part of a name, a user name or an id; letter case does not matter."""


@dataclass(frozen=True, slots=True)
class StatusCount:
    """How many connections of a source and platform have a status."""

    source: str
    platform: str
    status: Status
    number: int


@dataclass(frozen=True, slots=True)
class ExpiringGroup:
    """Tokens of one source and platform that run out on one day (UTC)."""

    source: str
    platform: str
    first: datetime
    last: datetime
    number: int


def count_all(conn: Connection, sources: Collection[str]) -> list[StatusCount]:
    """Every combination that occurs, from an index alone."""
    columns = _c.source, _c.platform, _c.status
    query = select(*columns, func.count()).where(_c.retired_at.is_(None), _c.source.in_(list(sources))).group_by(*columns)
    return [StatusCount(source, platform, Status(status), number) for source, platform, status, number in conn.execute(query)]


def count_matching(conn: Connection, wanted: PageFilter) -> dict[Status, int]:
    """How many connections pass the filters, by status."""
    rows = conn.execute(select(_c.status, func.count()).where(*_where(conn, wanted)).group_by(_c.status))
    return {Status(status): number for status, number in rows}


def list_page(
    conn: Connection,
    wanted: PageFilter,
    *,
    order: Order,
    limit: int,
    offset: int = 0,
    numbers: Mapping[Status, int] | None = None,
) -> list[ConnectionRow]:
    """One page of what passes the filters. `numbers` says how many there are of each status, where that is known already."""
    if wanted.text:
        return search(conn, wanted, order=order, limit=limit, offset=offset)[0]
    if order is not Order.WORST:
        return _rows(conn, conn.scalars(_ordered(conn, wanted, order).limit(limit).offset(offset)))
    counted = count_matching(conn, wanted) if numbers is None else numbers
    return _rows(conn, _worst_first(conn, wanted, counted, limit=limit, offset=offset))


def search(
    conn: Connection, wanted: PageFilter, *, order: Order, limit: int, offset: int = 0
) -> tuple[list[ConnectionRow], int | None]:
    """One page, and how many pass the filters in all: looking through every name is what costs, so it is done once.

    The number is None where the page lies behind the last one.
    """
    query = _ordered(conn, wanted, order).add_columns(func.count().over())
    found = conn.execute(query.limit(limit).offset(offset)).all()
    if not found:
        return [], None if offset else 0
    return _rows(conn, [row[0] for row in found]), found[0][1]


def _rows(conn: Connection, ids: Iterable[int]) -> list[ConnectionRow]:
    place = {key: index for index, key in enumerate(ids)}
    return sorted(get_connections(conn, place), key=lambda row: place[row.id])


def _worst_first(conn: Connection, wanted: PageFilter, numbers: Mapping[Status, int], *, limit: int, offset: int) -> list[int]:
    """Status by status: few are bad, and so the many good ones need not be sorted for the first page."""
    found: list[int] = []
    for status in _WORST_FIRST:
        there = numbers.get(status, 0)
        if offset >= there:
            offset -= there
            continue
        where = _where(conn, replace(wanted, statuses=[status]))
        query = select(_c.id).where(*where).order_by(expiry().asc().nulls_last(), _c.id)
        found += conn.scalars(query.limit(limit - len(found)).offset(offset))
        offset = 0
        if len(found) >= limit:
            break
    return found


def _ordered(conn: Connection, wanted: PageFilter, order: Order) -> Select[Any]:
    name = func.lower(func.coalesce(_c.display_name, _c.username, _c.external_id))
    rank = case({status.value: status.rank for status in Status}, value=_c.status, else_=0)
    keys: dict[Order, tuple[Any, ...]] = {
        Order.WORST: (rank.desc(), expiry().asc().nulls_last()),
        Order.EXPIRY: (expiry().asc().nulls_last(),),
        Order.SINCE: (_c.since.desc(),),
        Order.NAME: (name,),
    }
    return select(_c.id).where(*_where(conn, wanted)).order_by(*keys[order], _c.id)


def _where(conn: Connection, wanted: PageFilter) -> Iterator[ColumnElement[bool]]:
    yield _c.retired_at.is_(None)
    yield _c.source.in_(list(wanted.sources))
    if wanted.platforms is not None:
        yield _c.platform.in_(list(wanted.platforms))
    if wanted.statuses is not None:
        yield _c.status.in_([status.value for status in wanted.statuses])
    if wanted.text:
        # SQLite's LIKE ignores the case of ASCII letters by itself, which costs half of lower() on both sides.
        texts = (_c.display_name, _c.username, public_id())
        sqlite = conn.dialect.name == "sqlite"
        yield or_(
            *(
                text.contains(wanted.text, autoescape=True) if sqlite else text.icontains(wanted.text, autoescape=True)
                for text in texts
            )
        )


def coming(conn: Connection, wanted: PageFilter, *, now: datetime, until: datetime) -> list[ExpiringGroup]:
    """Which tokens will need a person, by source, platform and day, as rules.forecast.need_of says it of each.

    A date counts where the provider itself warns of it, or where it can be trusted.
    """
    by = expiry()
    sqlite = conn.dialect.name == "sqlite"
    day = func.substr(cast(by, String), 1, 10) if sqlite else cast(by, Date)
    trusted = and_(_c.expires_at.is_not(None), _trusted_platform(), not_(_is_short_lived(sqlite=sqlite)))
    quiet = _c.status.in_([Status.VALID.value, Status.UNKNOWN.value])
    soon = _c.status == Status.EXPIRING_SOON.value
    query = (
        select(_c.source, _c.platform, func.min(by, type_=by.type), func.max(by, type_=by.type), func.count())
        .where(*_where(conn, wanted), by <= until, or_(soon, and_(quiet, trusted, by > now)))
        .group_by(_c.source, _c.platform, day)
    )
    return sorted((ExpiringGroup(*row) for row in conn.execute(query)), key=lambda each: (each.first, each.source, each.platform))


def _trusted_platform() -> ColumnElement[bool]:
    """The platform part of rules.expiry.is_trusted."""
    platforms = (
        and_(_c.provider == info.name, _c.platform.in_(sorted(info.trusted_platforms))) for info in registered_providers()
    )
    return or_(false(), *platforms)


def _is_short_lived(*, sqlite: bool) -> ColumnElement[bool]:
    """rules.expiry.is_short_lived, for connections with an expiry date."""
    issued: Any = func.coalesce(_c.refresh_last_at, _c.refresh_connected_at, type_=_c.refresh_last_at.type)
    shorter: ColumnElement[bool]
    if sqlite:
        hours = int(SHORT_LIFETIME.total_seconds() // 3600)
        shorter = cast(issued, String) > func.strftime("%Y-%m-%dT%H:%M:%f", _c.expires_at, f"-{hours} hours")
    else:
        shorter = issued > _c.expires_at - literal(SHORT_LIFETIME)
    lifetime_is_stated = and_(_c.refresh_reported, issued < _c.expires_at)
    rotates = and_(_c.refresh_reported, _c.platform.in_(sorted(ROTATING_PLATFORMS)))
    return case((lifetime_is_stated, shorter), else_=rotates)


def find_one(conn: Connection, public_id: str) -> ConnectionRow | None:
    """The connection with exactly this public id: a live one before a retired one, None where there is none."""
    source, _, rest = public_id.partition("/")
    if not rest:
        return None
    scope, _, inner = rest.partition("/")
    # Which slash ends the scope is the provider's business, so every reading is tried.
    readings = [_c.external_id == rest]
    if inner:
        readings.append(and_(_c.scope == scope, _c.external_id == inner))
    ids = conn.scalars(select(_c.id).where(_c.source == source, or_(*readings)))
    matching = [row for row in get_connections(conn, ids) if row.public_id == public_id]
    return min(matching, key=lambda row: (row.retired_at is not None, -row.id), default=None)
