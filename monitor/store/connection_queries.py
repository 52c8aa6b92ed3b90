"""Queries of connections: list, find, count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, Select, and_, case, cast, func, or_, select

from monitor.domain import ConnectionState, ProbeStatus, ReportedStatus, Status, connection_id
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.records import Record, replace
from monitor.domain.rules.probes import last_ok_at
from monitor.store import former_ids
from monitor.store.connection_codec import decode_state
from monitor.store.connection_conditions import conditions, each_of, expiry, live, public_id
from monitor.store.label_sets import decode as decode_labels
from monitor.store.schema import by_expiry, cohorts, connections, label_sets, scopes, sources
from monitor.store.sql import chunked

_c = connections.c

RANK = case({status.value: status.rank for status in Status}, value=_c.status, else_=0)
"""Rank of a connection's status: the higher the worse."""


_STATUSES = {status.value: status for status in Status}
_PROBED = (ProbeStatus.OK, ProbeStatus.FAILING)


class ConnectionRow(Record, frozen=True, kw_only=True):
    """A stored connection."""

    id: int
    source: str
    provider: str
    state: ConnectionState
    added_at: datetime
    last_seen_at: datetime | None
    """The last complete list that contained it."""
    probe_at: datetime | None
    """Its newest answer to a probe, including one that changed nothing; None if it was never probed or cannot be."""
    probe_ok_at: datetime | None
    """Its last successful probe; None if there was none."""
    retired_at: datetime | None
    fingerprint: str
    label_set: int | None = None
    """None until it is labelled: it has the labels of its source."""
    labels: Mapping[str, str] | None = None
    """None as above."""
    scope_name: str | None = None
    """The name that the service gives the managed user or workspace; None if it is not known."""

    @property
    def public_id(self) -> str:
        """The id that is shown: source/external_id or source/scope/external_id."""
        return connection_id(self.source, self.provider, self.state.snapshot.scope, self.state.snapshot.external_id)


def _query() -> Select[Any]:
    joined = connections.outerjoin(scopes, and_(scopes.c.source == _c.source, scopes.c.scope == _c.scope)).outerjoin(
        cohorts, and_(cohorts.c.source == _c.source, cohorts.c.cohort == _c.cohort)
    )
    joined = joined.outerjoin(label_sets, label_sets.c.id == _c.label_set)
    of_scope = scopes.c.last_complete_at, scopes.c.name.label("scope_name")
    return select(connections, *of_scope, cohorts.c.probed_at, label_sets.c.labels).select_from(joined)


def _row(row: Any) -> ConnectionRow:
    state = decode_state(row)
    seen, probe = row.last_seen_at, state.probe
    if state.missing == 0 and row.last_complete_at is not None:
        # A poll does not write unchanged connections: their scope has the time for all of them.
        seen = row.last_complete_at
    return ConnectionRow(
        id=row.id,
        source=row.source,
        provider=row.provider,
        state=state,
        added_at=row.added_at,
        last_seen_at=seen,
        probe_at=probe.at if probe.status in _PROBED else None,
        probe_ok_at=last_ok_at(probe),
        retired_at=row.retired_at,
        fingerprint=row.fingerprint,
        label_set=row.label_set,
        labels=None if row.labels is None else decode_labels(row.labels),
        scope_name=row.scope_name,
    )


def list_connections(
    conn: Connection,
    filters: ConnectionFilter = EVERY,
    *,
    limit: int | None = None,
    worst_first: bool = True,
    only: ColumnElement[bool] | None = None,
    include_retired: bool = False,
) -> Iterator[ConnectionRow]:
    """Return live connections of configured sources; rows are fetched as they are consumed.

    With `include_retired` also retired ones and those of removed sources.

    Worst first means by status, then by the nearest expiry; otherwise by source and id. `only` is a further condition,
    such as changed_by_time() or needing_attention_by().
    """
    query = _query().where(*([] if include_retired else live()), *conditions(conn, filters))
    if only is not None:
        query = query.where(only)
    if worst_first:
        query = query.order_by(RANK.desc(), _c.token_expires_at.asc().nulls_last())
    # A further condition leaves few rows: to sort them is faster than to read every row in the order of an index.
    first = _c.source if only is None else each_of(_c.source)
    query = query.order_by(first, _c.scope, _c.external_id).limit(limit)
    return (_row(row) for row in conn.execute(query, execution_options={"yield_per": 1000}))


def changed_by_time(now: datetime) -> ColumnElement[bool]:
    """Return the condition for connections whose state time has changed since it was stored."""
    return _c.next_change_at <= now


def needing_attention_by(now: datetime, until: datetime) -> ColumnElement[bool]:
    """Return the condition for connections that may need attention by `until`.

    Those that need it now, that have an expiry by then, and whose state time has changed.
    """
    bad = [status.value for status in Status if status.needs_attention]
    return or_(_c.status.in_(bad), expiry() <= until, changed_by_time(now))


def list_among(conn: Connection, keys: Iterable[int], filters: ConnectionFilter) -> Iterator[ConnectionRow]:
    """Yield the live connections with these row ids that match the filters."""
    for chunk in chunked(keys):
        yield from list_connections(conn, filters, worst_first=False, only=_c.id.in_(chunk))


class StoredStage(NamedTuple):
    """The status of a connection, and what else decides if its acknowledgement applies."""

    id: int
    status: Status
    stage: timedelta | None
    next_change_at: datetime | None
    """When time changes its state."""


def stages_among(conn: Connection, keys: Iterable[int], filters: ConnectionFilter) -> Iterator[StoredStage]:
    """Yield the stored stage of each live connection of list_among()."""
    for chunk in chunked(keys):
        query = select(_c.id, _c.status, _c.stage, _c.next_change_at).where(*live(), *conditions(conn, filters), _c.id.in_(chunk))
        yield from (StoredStage(row[0], _STATUSES[row[1]], *row[2:]) for row in conn.execute(query))


def get_connection(conn: Connection, key: int) -> ConnectionRow | None:
    """Return a connection by its row id, retired or not; None if it does not exist."""
    row = conn.execute(_query().where(_c.id == key)).one_or_none()
    return None if row is None else _row(row)


def get_connections(conn: Connection, keys: Iterable[int]) -> list[ConnectionRow]:
    """Return connections by their row ids, retired or not, in the order of the ids."""
    found: list[ConnectionRow] = []
    for chunk in chunked(sorted(keys)):
        found += [_row(row) for row in conn.execute(_query().where(_c.id.in_(chunk)).order_by(_c.id))]
    return found


def public_ids(conn: Connection, prefix: str, *, limit: int) -> list[str]:
    """Return the ids of connections that are not retired and begin with the prefix, in order."""
    public = public_id()
    begins = public.startswith(prefix, autoescape=True)
    return list(conn.scalars(select(public).where(_c.retired_at.is_(None), begins).order_by(public).limit(limit)))


def find_by_public_id(conn: Connection, public_id: str) -> ConnectionRow | None:
    """Return the connection that has exactly this public id, or had it before a reconnect; None if there is none.

    A live connection takes precedence over a retired one, and one that has the id over one that had it.
    """
    source, _, rest = public_id.partition("/")
    if not rest:
        return None
    scope, _, inner = rest.partition("/")
    # Only the provider decides which slash ends the scope, so every reading is tried.
    readings = [_c.external_id == rest]
    if inner:
        readings.append(and_(_c.scope == scope, _c.external_id == inner))
    ids = conn.scalars(select(_c.id).where(_c.source == source, or_(*readings)))
    matching = [row for row in get_connections(conn, ids) if row.public_id == public_id]
    if all(row.retired_at is not None for row in matching) and (former := former_ids.find(conn, public_id)) is not None:
        return get_connection(conn, former.connection_id)
    return min(matching, key=lambda row: (row.retired_at is not None, -row.id), default=None)


def find_connections(conn: Connection, text: str) -> list[ConnectionRow]:
    """Return connections whose public id is `text`, else those whose public id contains it (letter case does not matter).

    Retired ones and those of removed sources are included, last: their history can still be read. An id from before a
    reconnect counts where no connection has it now.
    """
    public = public_id()
    exact = _found(conn, public == text)
    if not text or any(row.retired_at is None for row in exact):
        return exact
    former = former_ids.find(conn, text)
    if former is not None:
        return get_connections(conn, [former.connection_id])
    return exact or _found(conn, public.icontains(text, autoescape=True)) or _with_former_id(conn, text)


def _with_former_id(conn: Connection, text: str) -> list[ConnectionRow]:
    return get_connections(conn, {each.connection_id for each in former_ids.containing(conn, text)})


def find_by_name(conn: Connection, text: str) -> list[ConnectionRow]:
    """Return connections whose display name or user name contains `text` (letter case does not matter), in the same order."""
    names = (_c.display_name, _c.username)
    return _found(conn, or_(*(name.icontains(text, autoescape=True) for name in names))) if text else []


def _found(conn: Connection, condition: ColumnElement[bool]) -> list[ConnectionRow]:
    removed = select(sources.c.name).where(sources.c.removed_at.is_not(None))
    order = (or_(_c.retired_at.is_not(None), _c.source.in_(removed)), _c.source, _c.scope, _c.external_id, _c.id)
    return [_row(row) for row in conn.execute(_query().where(condition).order_by(*order))]


class GroupCount(Record, frozen=True):
    """The number of connections of a source and platform with a status."""

    source: str
    platform: str
    status: Status
    number: int


def count_groups(conn: Connection, filters: ConnectionFilter = EVERY) -> list[GroupCount]:
    """Count live connections by source, platform and status, without empty groups; an index alone answers it."""
    rows = _counted(conn, filters, "source", "platform", "status")
    return [GroupCount(source, platform, _STATUSES[status], number) for source, platform, status, number in rows]


_COUNTED = ("source", "status", "platform", "label_set")
"""The columns of the index that counts connections, in its order."""


def _counted(conn: Connection, filters: ConnectionFilter, *names: str) -> Sequence[Any]:
    """Return the numbers of matching live connections by these columns, which are among _COUNTED, without empty groups."""
    # First by the columns of the index in its order: to sort every connection into groups takes up to four times as long.
    last = max(map(_COUNTED.index, names))
    columns = [_c[name] for name in _COUNTED[: last + 1]]
    # With one status compared in the index, SQLite would sort by the others.
    of_status = [] if filters.statuses is None else [each_of(_c.status).in_(list(filters.statuses))]
    where = *live(), *conditions(conn, replace(filters, statuses=None)), *of_status
    groups = select(*columns, func.count().label("number")).where(*where).group_by(*columns)
    inner = groups.subquery()
    wanted = [inner.c[name] for name in names]
    return conn.execute(select(*wanted, cast(func.sum(inner.c.number), Integer)).group_by(*wanted)).all()


class LabelSetCount(NamedTuple):
    """The number of connections of a source with a set of labels and a status."""

    source: str
    label_set: int | None
    status: Status
    number: int


def count_by_label_set(conn: Connection, filters: ConnectionFilter = EVERY) -> list[LabelSetCount]:
    """Count live connections by source, labels and status, without empty groups; an index alone answers it."""
    rows = _counted(conn, filters, "source", "label_set", "status")
    return [LabelSetCount(source, key, _STATUSES[status], number) for source, key, status, number in rows]


def count_by_status(conn: Connection, filters: ConnectionFilter = EVERY) -> dict[Status, int]:
    """Count live connections by stored status; every status is a key."""
    return dict.fromkeys(Status, 0) | {_STATUSES[status]: number for status, number in _counted(conn, filters, "status")}


_NO_YEAR = 9999
"""The year of by_expiry for connections without a date."""


class AttentionGroup(NamedTuple):
    """The connections of a source, platform and set of labels with the same status, which needs attention."""

    source: str
    platform: str
    status: Status
    label_set: int | None
    """None until they are labelled: they have the labels of their source."""
    number: int
    first: datetime | None
    """The earliest expiry; None if none of them has a date."""


def count_needing_attention(conn: Connection, filters: ConnectionFilter = EVERY) -> list[AttentionGroup]:
    """Count the live connections that need attention by source, platform, status and labels, without empty groups."""
    groups = _c.source, _c.platform, _c.status, _c.label_set
    bad = _c.status.in_([status.value for status in Status if status.needs_attention])
    query = select(*groups, func.count(), func.min(by_expiry, type_=by_expiry.type)).where(
        *live(), bad, *conditions(conn, filters)
    )
    return [
        AttentionGroup(source, platform, Status(status), label_set, number, None if first.year == _NO_YEAR else first)
        for source, platform, status, label_set, number, first in conn.execute(query.group_by(*groups))
    ]


class ObservedGroup(NamedTuple):
    """Connections of one source, platform and status whose presence or absence was observed at the same time."""

    source: str
    platform: str
    status: Status
    missing: bool
    """The last lists did not contain them."""
    at: datetime | None
    """When a list last contained them; None if they are missing, or if no list ever did."""
    number: int


def count_observed(conn: Connection, filters: ConnectionFilter = EVERY) -> list[ObservedGroup]:
    """Count live connections by when they were last observed. The groups are few: a list observes a whole scope."""
    groups = _c.source, _c.scope, _c.platform, _c.status, case((_c.missing > 0, 1), else_=0)
    query = select(*groups, func.count()).where(*live(), *conditions(conn, filters)).group_by(*groups)
    listed = select(scopes.c.source, scopes.c.scope, scopes.c.last_complete_at)
    complete = {(row.source, row.scope): row.last_complete_at for row in conn.execute(listed)}
    found: list[ObservedGroup] = []
    never_complete = False
    for name, scope, platform, status, missing, number in conn.execute(query):
        at = complete.get((name, scope))
        if missing or at is not None:
            found.append(ObservedGroup(name, platform, Status(status), bool(missing), None if missing else at, number))
        else:
            never_complete = True
    if never_complete:
        found += _observed_singly(conn, filters)
    return found


def _observed_singly(conn: Connection, filters: ConnectionFilter) -> Iterator[ObservedGroup]:
    """Count those of scopes that never had a complete list: each has its own time."""
    joined = connections.outerjoin(scopes, and_(scopes.c.source == _c.source, scopes.c.scope == _c.scope))
    groups = _c.source, _c.platform, _c.status, _c.last_seen_at
    query = select(*groups, func.count()).select_from(joined).where(*live(), *conditions(conn, filters))
    query = query.where(_c.missing == 0, scopes.c.last_complete_at.is_(None)).group_by(*groups)
    for name, platform, status, at, number in conn.execute(query):
        yield ObservedGroup(name, platform, Status(status), missing=False, at=at, number=number)


def count_by_scope(conn: Connection, source: str) -> dict[str | None, int]:
    """Return the number of live connections of a source by scope."""
    query = select(_c.scope, func.count()).where(*live(), _c.source == source).group_by(_c.scope)
    return {scope or None: number for scope, number in conn.execute(query)}


def sources_with_unrecognised(conn: Connection) -> set[str]:
    """Return the sources with a listed connection whose status is not known."""
    # SQLite would read every row from an index in which the status is not, which takes six times as long as reading the table.
    listed = each_of(_c.retired_at).is_(None), _c.missing == 0, _c.word == ReportedStatus.UNRECOGNISED
    return set(conn.scalars(select(_c.source).where(*listed).distinct()))


def count_unrecognised(conn: Connection, source: str, *, limit: int) -> list[tuple[str | None, int]]:
    """Return the unknown statuses that listed connections of a source have, as the provider states them, the most frequent first.

    Each with the number of connections; at most `limit` statuses.
    """
    number = func.count()
    listed = _c.source == source, _c.retired_at.is_(None), _c.missing == 0, _c.word == ReportedStatus.UNRECOGNISED
    query = select(_c.raw_word, number).where(*listed).group_by(_c.raw_word).order_by(number.desc(), _c.raw_word).limit(limit)
    return [(raw, count) for raw, count in conn.execute(query)]


def sources_with(conn: Connection, filters: ConnectionFilter) -> set[str]:
    """Return the sources that have a live connection that matches."""
    return set(conn.scalars(select(_c.source).where(*live(), *conditions(conn, filters)).distinct()))


def scopes_with(conn: Connection, filters: ConnectionFilter) -> set[tuple[str, str | None]]:
    """Return the scopes, as (source, scope), that have a live connection that matches."""
    query = select(_c.source, _c.scope).where(*live(), *conditions(conn, filters)).distinct()
    return {(source, scope or None) for source, scope in conn.execute(query)}


def platforms(conn: Connection) -> set[str]:
    """Return every platform of a connection that is not retired."""
    return set(conn.scalars(select(_c.platform).where(_c.retired_at.is_(None)).distinct()))
