"""Pages of connections: sorted and by number for the status page, by cursor for the API.

The database filters, sorts, searches and counts, so that 100,000 connections stay usable. Everything here reads the state
as stored; the daemon brings it up to date within a second of a change by time, and views apply the clock to what they show.

A sorted list consists of groups, such as the connections of a platform with the same status, whose sizes are counted from an
index. A page reads only the groups that it shows, each in the order of an index and from its nearer end.

A page by cursor begins after the last row of the previous one, in the order in which connections appeared: connections that
change, come or go in between move nothing else, so none is skipped or repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from monitor.domain import Status
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.records import Record, field, replace
from monitor.domain.rules.labels import CLIENT
from monitor.store import label_sets
from monitor.store.connection_conditions import conditions, each_of, expiry, live
from monitor.store.connection_queries import (
    ConnectionRow,
    GroupCount,
    count_by_label_set,
    count_by_status,
    count_groups,
    get_connections,
)
from monitor.store.schema import by_expiry, by_name, connections
from monitor.store.schema import label_sets as sets_of_labels

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
    counted: Iterable[GroupCount] | None = None,
) -> list[ConnectionRow]:
    """Return one page of the live connections that match. `counted` are the counts of those, if already known."""
    parts: list[_ListPart] = []
    for group in _groups(conn, filters, order, counted):
        if offset < group.number and limit > 0:
            parts.append(_ListPart(group, offset, min(limit, group.number - offset)))
            limit -= parts[-1].limit
        offset = max(0, offset - group.number)
    ids = [key for part in parts[:1] for key in _ids(conn, filters, order, part)]
    ids += _whole(conn, filters, order, [part.group for part in parts[1:-1]])
    ids += [key for part in parts[1:][-1:] for key in _ids(conn, filters, order, part)]
    return _rows(conn, ids)


def _rows(conn: Connection, ids: Iterable[int]) -> list[ConnectionRow]:
    place = {key: index for index, key in enumerate(ids)}
    return sorted(get_connections(conn, place), key=lambda row: place[row.id])


class _ListGroup(NamedTuple):
    """Connections that follow each other in a list: an index has their order."""

    leads: tuple[Any, ...]
    """Their values of the order's leading column; empty without one."""
    statuses: tuple[Status, ...]
    """One, except for orders in which the status plays no part."""
    number: int


class _ListPart(NamedTuple):
    """The rows of a group that a page shows."""

    group: _ListGroup
    offset: int
    limit: int


_MANY = 5_000
"""Connections from which reading them in the order of an index is faster than sorting them."""
_FAR = 1_000
"""Rows to skip from which the ids of connections with another status are read first: no index of an order has the status."""
_NO_LABELS = 0
"""Stands for a connection that is not labelled yet: row ids begin at 1."""
_LEADS: Mapping[Order, ColumnElement[Any]] = {
    Order.CLIENT: func.coalesce(_c.label_set, _NO_LABELS),
    Order.PLATFORM: each_of(_c.platform),
    Order.SOURCE: each_of(_c.source),
}


def _groups(conn: Connection, filters: ConnectionFilter, order: Order, counted: Iterable[GroupCount] | None) -> list[_ListGroup]:
    """Return the groups of a list in their order, without empty ones."""
    if order is Order.CLIENT:
        return _client_groups(conn, filters)
    numbers: Counter[tuple[str, Status]] = Counter()
    for each in count_groups(conn, filters) if counted is None else counted:
        lead = each.platform if order is Order.PLATFORM else each.source if order is Order.SOURCE else ""
        numbers[lead, each.status] += each.number
    if order in (Order.EXPIRY, Order.SINCE, Order.NAME):
        statuses = tuple(status for status in _WORST_FIRST if numbers["", status])
        return [_ListGroup((), statuses, numbers.total())] if statuses else []
    ordered = sorted(numbers, key=lambda key: (key[0], -key[1].rank))
    return [_ListGroup((lead,) if order is not Order.WORST else (), (status,), numbers[lead, status]) for lead, status in ordered]


def _client_groups(conn: Connection, filters: ConnectionFilter) -> list[_ListGroup]:
    """Return the groups of the list by client; connections without a client come last."""
    sets = label_sets.all_sets(conn)
    found: dict[tuple[bool, str, int], tuple[set[int], Status, int]] = {}
    for each in count_by_label_set(conn, filters):
        labels = sets.get(each.label_set or _NO_LABELS)
        client = None if labels is None else labels.values.get(CLIENT)
        key = client is None, (client or "").lower(), -each.status.rank
        members, _, number = found.get(key, (set(), each.status, 0))
        found[key] = members | {each.label_set or _NO_LABELS}, each.status, number + each.number
    return [_ListGroup(tuple(sorted(members)), (status,), number) for _, (members, status, number) in sorted(found.items())]


def _key(order: Order) -> tuple[ColumnElement[Any], bool]:
    """Return what a group is sorted by before the row id, which is never NULL, and True if the greatest comes first."""
    if order is Order.SINCE:
        return _c.since, True
    return (by_name if order is Order.NAME else by_expiry), False


def _listed(
    conn: Connection,
    filters: ConnectionFilter,
    order: Order,
    group: _ListGroup,
    *where: ColumnElement[bool],
    limit: int,
    offset: int = 0,
    backwards: bool = False,
) -> list[int]:
    """Return row ids of a group that meet further conditions, in the order of the list or backwards."""
    key, greatest_first = _key(order)
    many = group.number > _MANY
    own: list[ColumnElement[bool]] = []
    if group.leads:
        own.append(_has_lead(order, group.leads))
    if len(group.statuses) == 1:
        own.append((each_of(_c.status) if many else _c.status) == group.statuses[0])
        if many and offset >= _FAR:
            filters, own[-1] = replace(filters, statuses=None), _c.id.not_in(_with_other_status(conn, filters, group))
    query = select(_c.id).where(*live(), *conditions(conn, filters, in_order=many), *own, *where)
    down = greatest_first is not backwards
    query = query.order_by(key.desc() if down else key.asc(), _c.id.desc() if backwards else _c.id.asc())
    return list(conn.scalars(query.limit(limit).offset(offset or None)))


def _has_lead(order: Order, leads: Sequence[Any]) -> ColumnElement[bool]:
    if order is not Order.CLIENT:
        return _LEADS[order].in_(leads)
    # PostgreSQL knows how many rows have a set of labels, but not how many have a value of the expression.
    labelled = _c.label_set.in_([each for each in leads if each != _NO_LABELS])
    return or_(labelled, _c.label_set.is_(None)) if _NO_LABELS in leads else labelled


def _with_other_status(conn: Connection, filters: ConnectionFilter, group: _ListGroup) -> Select[tuple[int]]:
    others = [status.value for status in Status if status not in group.statuses]
    return select(_c.id).where(*live(), *conditions(conn, replace(filters, statuses=others)))


def _ids(conn: Connection, filters: ConnectionFilter, order: Order, part: _ListPart) -> list[int]:
    """Return the row ids of a part, read from the nearer end of its group."""
    behind = part.group.number - part.offset - part.limit
    if part.offset <= behind:
        return _listed(conn, filters, order, part.group, limit=part.limit, offset=part.offset)
    return _listed(conn, filters, order, part.group, limit=part.limit, offset=behind, backwards=True)[::-1]


def _whole(conn: Connection, filters: ConnectionFilter, order: Order, groups: Sequence[_ListGroup]) -> list[int]:
    """Return the row ids of groups that are wholly on a page, by one query: they may be many, with few rows each."""
    lead, by = _LEADS.get(order, literal("")), _key(order)[0]
    place = {
        (value, status.value): index
        for index, group in enumerate(groups)
        for value in group.leads or ("",)
        for status in group.statuses
    }
    if not place:
        return []
    within = tuple_(lead, _c.status).in_(list(place)), _c.status.in_({status for _, status in place})
    rows = conn.execute(select(_c.id, lead, _c.status, by).where(*live(), *conditions(conn, filters), *within)).all()
    return [row[0] for row in sorted(rows, key=lambda row: (place[row[1], row[2]], row[3], row[0]))]


class Neighbours(NamedTuple):
    """The connections before and after one in a list; None at its ends."""

    previous: ConnectionRow | None
    next: ConnectionRow | None


def neighbours(conn: Connection, filters: ConnectionFilter, *, order: Order, of: int) -> Neighbours:
    """Return the neighbours of the connection with this row id in the list; both None if it is not in the list."""
    lead, by = _LEADS.get(order, literal("")), _key(order)[0]
    own = conn.execute(select(lead, _c.status, by).where(_c.id == of, *live(), *conditions(conn, filters))).one_or_none()
    if own is None:
        return Neighbours(None, None)
    groups = _groups(conn, filters, order, None)
    at = next(place for place, group in enumerate(groups) if own[0] in (group.leads or ("",)) and own[1] in group.statuses)
    found = [
        _nearest(
            conn, filters, order, groups=groups[at::-1] if backwards else groups[at:], of=of, own=own[2], backwards=backwards
        )
        for backwards in (True, False)
    ]
    return Neighbours(*(None if key is None else get_connections(conn, [key])[0] for key in found))


def _nearest(
    conn: Connection, filters: ConnectionFilter, order: Order, *, groups: Sequence[_ListGroup], of: int, own: Any, backwards: bool
) -> int | None:
    """Return the row id next to one, whose key is `own`: in its group, which is the first of these, or in the following one."""
    key, greatest_first = _key(order)
    alike = key == own, (_c.id < of if backwards else _c.id > of)
    beyond = key < own if greatest_first is not backwards else key > own
    steps: list[tuple[_ListGroup, tuple[ColumnElement[bool], ...]]] = [(groups[0], alike), (groups[0], (beyond,))]
    for group, where in [*steps, *((group, ()) for group in groups[1:2])]:
        if found := _listed(conn, filters, order, group, *where, limit=1, backwards=backwards):
            return found[0]
    return None


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
    due = select(_c.id).where(*live(), *conditions(conn, any_status, in_order=True), _c.next_change_at <= now)
    rows = get_connections(conn, conn.scalars(due).all())
    return StoredCounts(by_status=count_by_status(conn, any_status), due=tuple(rows))


def expiries(conn: Connection, *, limit: int) -> list[Row[Any]]:
    """Return source, scope, platform, external_id, status, expires_at, names and labels (as stored) of live connections."""
    columns = _c.source, _c.scope, _c.platform, _c.external_id, _c.status, expiry().label("expires_at")
    named = _c.display_name, _c.username, sets_of_labels.c.labels
    joined = select(*columns, *named).outerjoin(sets_of_labels, sets_of_labels.c.id == _c.label_set)
    return list(conn.execute(joined.where(*live()).order_by(_c.id).limit(limit)))
