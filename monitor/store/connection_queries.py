"""Connections as people look at them: filtered, worst first, found by a part of their id, counted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select

from monitor.domain import ConnectionState, ProbeStatus, Status, connection_id
from monitor.domain.providers import registered_providers
from monitor.domain.records import Record
from monitor.store.connection_codec import decode_state
from monitor.store.schema import cohorts, connections, scopes, sources
from monitor.store.sql import chunked

_c = connections.c
_PROBED = (ProbeStatus.OK, ProbeStatus.FAILING)
_RANK = case({status.value: status.rank for status in Status}, value=_c.status, else_=0)


class ConnectionRow(Record, frozen=True, kw_only=True):
    """One connection with what the store knows around its state."""

    id: int
    source: str
    provider: str
    state: ConnectionState
    added_at: datetime
    last_seen_at: datetime | None
    """The last complete list that named it."""
    probe_at: datetime | None
    """The last probe of it, also one that changed nothing; None while unprobed or unsupported."""
    retired_at: datetime | None
    fingerprint: str

    @property
    def public_id(self) -> str:
        """The id that people use: source/external_id or source/scope/external_id."""
        return connection_id(self.source, self.provider, self.state.snapshot.scope, self.state.snapshot.external_id)


def _query() -> Select[Any]:
    joined = (
        connections.join(sources, sources.c.name == _c.source)
        .outerjoin(scopes, and_(scopes.c.source == _c.source, scopes.c.scope == _c.scope))
        .outerjoin(cohorts, and_(cohorts.c.source == _c.source, cohorts.c.cohort == _c.cohort))
    )
    return select(connections, scopes.c.last_complete_at, cohorts.c.probed_at).select_from(joined)


def _narrow(
    query: Select[Any], *, source: str | Collection[str] | None, platform: str | Collection[str] | None, status: Any
) -> Select[Any]:
    query = query.where(_c.retired_at.is_(None), sources.c.removed_at.is_(None))
    for column, wanted in ((_c.source, source), (_c.platform, platform), (_c.status, status)):
        if wanted is not None:
            query = query.where(column.in_([wanted] if isinstance(wanted, str) else list(wanted)))
    return query


def _row(row: Any) -> ConnectionRow:
    state = decode_state(row)
    seen, probed = row.last_seen_at, None
    if state.missing == 0 and row.last_complete_at is not None:
        # An unchanged connection is not written at every poll: its scope remembers for all of them.
        seen = row.last_complete_at
    if state.probe.status in _PROBED:
        probed = max((at for at in (state.probe.at, row.probed_at) if at is not None), default=None)
    return ConnectionRow(
        id=row.id,
        source=row.source,
        provider=row.provider,
        state=state,
        added_at=row.added_at,
        last_seen_at=seen,
        probe_at=probed,
        retired_at=row.retired_at,
        fingerprint=row.fingerprint,
    )


def expiry() -> ColumnElement[Any]:
    """The expiry that people are shown: what the verdict rests on, else the stated one."""
    return func.coalesce(_c.token_expires_at, _c.expires_at, _c.expires_before, type_=_c.token_expires_at.type)


def list_connections(
    conn: Connection,
    *,
    source: str | Collection[str] | None = None,
    platform: str | Collection[str] | None = None,
    status: Status | Collection[Status] | None = None,
    limit: int | None = None,
    worst_first: bool = True,
    only: ColumnElement[bool] | None = None,
) -> Iterator[ConnectionRow]:
    """Connections that are not retired, of sources that are configured; rows are fetched as they are taken.

    Worst first means by status, then by the nearest expiry; otherwise by source and id. `only` is a further condition,
    such as moved_by() or needing_by().
    """
    query = _narrow(_query(), source=source, platform=platform, status=status)
    if only is not None:
        query = query.where(only)
    if worst_first:
        query = query.order_by(_RANK.desc(), _c.token_expires_at.asc().nulls_last())
    query = query.order_by(_c.source, _c.scope, _c.external_id).limit(limit)
    return (_row(row) for row in conn.execute(query, execution_options={"yield_per": 1000}))


def moved_by(now: datetime) -> ColumnElement[bool]:
    """What time alone has moved, which nobody has written down yet."""
    return _c.next_change_at <= now


def needing_by(now: datetime, until: datetime) -> ColumnElement[bool]:
    """All that may need a person by then: what does already, what has a date by then, and what time has moved."""
    bad = [status.value for status in Status if status.needs_attention]
    return or_(_c.status.in_(bad), expiry() <= until, moved_by(now))


def get_connection(conn: Connection, key: int) -> ConnectionRow | None:
    """One connection by its row id, retired or not; None when there is none."""
    row = conn.execute(_query().where(_c.id == key)).one_or_none()
    return None if row is None else _row(row)


def get_connections(conn: Connection, keys: Iterable[int]) -> list[ConnectionRow]:
    """Several connections by their row ids, retired or not, in the order of the ids."""
    found: list[ConnectionRow] = []
    for chunk in chunked(sorted(keys)):
        found += [_row(row) for row in conn.execute(_query().where(_c.id.in_(chunk)).order_by(_c.id))]
    return found


def public_id() -> ColumnElement[Any]:
    """model.connection_id, in the database."""
    in_scope = and_(_c.provider.in_([info.name for info in registered_providers() if info.scope_in_ids]), _c.scope != "")
    return _c.source + case((in_scope, "/" + _c.scope), else_="") + "/" + _c.external_id


def public_ids(conn: Connection, beginning: str, *, limit: int) -> list[str]:
    """Ids of connections that are not retired and begin so, in order."""
    public = public_id()
    begins = public.startswith(beginning, autoescape=True)
    return list(conn.scalars(select(public).where(_c.retired_at.is_(None), begins).order_by(public).limit(limit)))


def find_connections(conn: Connection, text: str) -> list[ConnectionRow]:
    """Connections whose public id is `text`, else those whose public id contains it (letter case does not matter).

    Also retired ones and those of removed sources, which come last: their history can still be read.
    """
    public = public_id()
    exact = _found(conn, public == text)
    return exact if exact or not text else _found(conn, public.icontains(text, autoescape=True))


def find_by_name(conn: Connection, text: str) -> list[ConnectionRow]:
    """Connections whose display name or user name contains `text` (letter case does not matter), in the same order."""
    names = (_c.display_name, _c.username)
    return _found(conn, or_(*(name.icontains(text, autoescape=True) for name in names))) if text else []


def _found(conn: Connection, condition: ColumnElement[bool]) -> list[ConnectionRow]:
    order = (or_(_c.retired_at.is_not(None), sources.c.removed_at.is_not(None)), _c.source, _c.scope, _c.external_id, _c.id)
    return [_row(row) for row in conn.execute(_query().where(condition).order_by(*order))]


def earliest(
    conn: Connection, sources: Collection[str], statuses: Collection[Status]
) -> dict[tuple[str, str, Status], datetime | None]:
    """The earliest expiry by source, platform and status; None where none of them has a date."""
    by, groups = expiry(), (_c.source, _c.platform, _c.status)
    query = select(*groups, func.min(by, type_=by.type)).where(
        _c.retired_at.is_(None), _c.source.in_(list(sources)), _c.status.in_([status.value for status in statuses])
    )
    rows = conn.execute(query.group_by(*groups))
    return {(source, platform, Status(status)): first for source, platform, status, first in rows}


def count_by_status(
    conn: Connection,
    *,
    source: str | Collection[str] | None = None,
    platform: str | Collection[str] | None = None,
) -> dict[Status, int]:
    """How many connections that are not retired have each status; every status is in the answer."""
    joined = connections.join(sources, sources.c.name == _c.source)
    query = _narrow(select(_c.status, func.count()).select_from(joined), source=source, platform=platform, status=None)
    found: dict[str, int] = {row[0]: row[1] for row in conn.execute(query.group_by(_c.status))}
    return {status: found.get(status.value, 0) for status in Status}


class ObservedGroup(NamedTuple):
    """Connections of one source that its lists told about at the same instant."""

    source: str
    missing: bool
    """Their lists came without them last: they are told about by being absent."""
    at: datetime | None
    """When a list named them last; None where they are missing, or where no list ever did."""
    number: int


def count_told(
    conn: Connection,
    *,
    source: str | Collection[str] | None = None,
    platform: str | Collection[str] | None = None,
    status: Status | Collection[Status] | None = None,
) -> list[ObservedGroup]:
    """How many connections that are not retired were told about when. Few groups: a list tells about a whole scope."""
    joined = connections.join(sources, sources.c.name == _c.source)
    groups = _c.source, _c.scope, case((_c.missing > 0, 1), else_=0)
    query = _narrow(select(*groups, func.count()).select_from(joined), source=source, platform=platform, status=status)
    listed = select(scopes.c.source, scopes.c.scope, scopes.c.last_complete_at)
    complete = {(row.source, row.scope): row.last_complete_at for row in conn.execute(listed)}
    found: list[ObservedGroup] = []
    never_complete = False
    for name, scope, missing, number in conn.execute(query.group_by(*groups)):
        at = complete.get((name, scope))
        if missing or at is not None:
            found.append(ObservedGroup(name, bool(missing), None if missing else at, number))
        else:
            never_complete = True
    if never_complete:
        found += _told_one_by_one(conn, source=source, platform=platform, status=status)
    return found


def _told_one_by_one(conn: Connection, **filters: Any) -> Iterator[ObservedGroup]:
    """Those of scopes that never had a complete list: each remembers itself when it was seen."""
    joined = connections.join(sources, sources.c.name == _c.source).outerjoin(
        scopes, and_(scopes.c.source == _c.source, scopes.c.scope == _c.scope)
    )
    groups = _c.source, _c.last_seen_at
    query = _narrow(select(*groups, func.count()).select_from(joined), **filters)
    query = query.where(_c.missing == 0, scopes.c.last_complete_at.is_(None))
    for name, at, number in conn.execute(query.group_by(*groups)):
        yield ObservedGroup(name, missing=False, at=at, number=number)


def sources_with(conn: Connection, platform: Collection[str]) -> set[str]:
    """The sources that list a connection on one of these platforms."""
    joined = connections.join(sources, sources.c.name == _c.source)
    query = _narrow(select(_c.source).select_from(joined), source=None, platform=platform, status=None)
    return set(conn.scalars(query.distinct()))


def platforms(conn: Connection) -> set[str]:
    """Every platform that a connection is on."""
    return set(conn.scalars(select(_c.platform).where(_c.retired_at.is_(None)).distinct()))
