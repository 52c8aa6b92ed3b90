"""Writes to the `connections` table, and the changes that are due by time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, case, func, select
from sqlalchemy import update as sql_update

from monitor.domain import ConnectionState, ProbeFinding, ProbeState, ProbeStatus, ReportedStatus, Snapshot, Status
from monitor.domain.records import Record
from monitor.store.connection_codec import decode_state, encode_change, encode_probe, encode_state
from monitor.store.schema import cohorts, connections, sources
from monitor.store.sql import chunked, encode, insert_many, next_ids, update_many, update_rows


class Unchanged(Enum):
    """The marker for a column that is not written, where None is a value."""

    KEEP = "keep"


KEEP: Final = Unchanged.KEEP
_c = connections.c


class NewConnection(Record, frozen=True, gc=False, kw_only=True):
    """A connection to insert."""

    state: ConnectionState
    fingerprint: str
    next_probe_at: datetime | None = None
    label_set: int | None = None


class ChangedConnection(Record, frozen=True, gc=False, kw_only=True):
    """A stored connection whose state changed. Its external_id may change too, by a reconnect."""

    id: int
    state: ConnectionState
    fingerprint: str | None = None
    """None keeps the stored one: what changed is not what a poll compares."""
    next_probe_at: datetime | Unchanged | None = KEEP
    last_seen_at: datetime | None = None
    """None keeps the stored one."""
    label_set: int | None = None
    """None keeps the stored one."""
    before: ConnectionState | None = None
    """The stored state, if it was read in the same transaction: then only columns that differ are written."""
    columns: Mapping[str, Any] | None = None
    """The columns that differ, if that is known already. Rows may share one mapping, which is then converted once."""


def insert(conn: Connection, *, source: str, provider: str, rows: Sequence[NewConnection], now: datetime) -> list[int]:
    """Insert connections and return their ids in the order of the rows.

    One that was retired under the same scope and external_id gets its old id back, with its history.
    """
    retired = _retired(conn, source)
    values = [_new_values(row, source=source, provider=provider, now=now) for row in rows]
    old = [retired.get((each["scope"], each["external_id"])) for each in values]
    fresh = iter(next_ids(conn, connections, old.count(None)))
    ids = [next(fresh) if before is None else before for before in old]
    added = [{**each, "id": key} for each, key, before in zip(values, ids, old, strict=True) if before is None]
    insert_many(conn, connections, added)
    for each, key, before in zip(values, ids, old, strict=True):
        if before is not None:
            revived = {name: value for name, value in each.items() if name != "added_at"}
            conn.execute(sql_update(connections).where(_c.id == key).values(**revived, retired_at=None))
    return ids


def _retired(conn: Connection, source: str) -> dict[tuple[str, str], int]:
    query = select(_c.scope, _c.external_id, _c.id).where(_c.source == source, _c.retired_at.is_not(None))
    return {(row.scope, row.external_id): row.id for row in conn.execute(query.order_by(_c.id))}


def _new_values(row: NewConnection, *, source: str, provider: str, now: datetime) -> dict[str, Any]:
    return {
        **encode_state(row.state),
        "source": source,
        "provider": provider,
        "fingerprint": row.fingerprint,
        "next_probe_at": row.next_probe_at,
        "label_set": row.label_set,
        "added_at": now,
        "last_seen_at": now,
    }


def update(conn: Connection, rows: Sequence[ChangedConnection]) -> None:
    """Write changed connections, with one statement per set of columns."""
    shared: dict[int, tuple[tuple[str, ...], tuple[Any, ...]]] = {}
    own: dict[tuple[object, ...], tuple[tuple[str, ...], tuple[Any, ...]]] = {}
    groups: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for row in rows:
        if row.columns is None:
            columns = encode_state(row.state) if row.before is None else encode_change(row.before, row.state)
            names, values = encode(conn, connections, columns)
        else:
            if id(row.columns) not in shared:
                shared[id(row.columns)] = encode(conn, connections, row.columns)
            names, values = shared[id(row.columns)]
        key = (row.next_probe_at, row.last_seen_at, row.label_set)
        if key not in own:
            own[key] = encode(conn, connections, _own_columns(row))
        own_names, own_values = own[key]
        if row.fingerprint is not None:
            own_names, own_values = ("fingerprint", *own_names), (row.fingerprint, *own_values)
        if names or own_names:
            groups.setdefault(names + own_names, []).append((*values, *own_values, row.id))
    for names, group in groups.items():
        update_rows(conn, connections, names, group)


def _own_columns(row: ChangedConnection) -> dict[str, Any]:
    """Return the columns to write that no state decides, without the fingerprint."""
    values: dict[str, Any] = {}
    if row.next_probe_at is not KEEP:
        values["next_probe_at"] = row.next_probe_at
    if row.last_seen_at is not None:
        values["last_seen_at"] = row.last_seen_at
    if row.label_set is not None:
        values["label_set"] = row.label_set
    return values


def set_fingerprints(conn: Connection, rows: Sequence[tuple[int, str]]) -> None:
    """Write new fingerprints as (id, fingerprint), for listed rows that changed in form only."""
    update_many(conn, connections, [{"id": key, "fingerprint": text} for key, text in rows])


class LabelledRow(NamedTuple):
    """A live connection as far as its labels depend on it."""

    id: int
    label_set: int | None
    snapshot: Snapshot


_LABELLED = ("scope", "platform", "external_id", "username", "display_name")


def label_rows(conn: Connection, source: str, *, batch: int) -> Iterator[list[LabelledRow]]:
    """Yield the live connections of a source in batches, ordered by row id."""
    columns = _c.id, _c.label_set, *(_c[name] for name in _LABELLED)
    query = select(*columns).where(_c.source == source, _c.retired_at.is_(None)).order_by(_c.id).limit(batch)
    last = 0
    while rows := conn.execute(query.where(_c.id > last)).all():
        last = rows[-1].id
        yield [LabelledRow(row.id, row.label_set, _labelled(row)) for row in rows]


def _labelled(row: Any) -> Snapshot:
    return Snapshot(
        external_id=row.external_id,
        scope=row.scope or None,
        platform=row.platform,
        username=row.username,
        display_name=row.display_name,
        reported=ReportedStatus.UNKNOWN,
    )


def set_label_sets(conn: Connection, rows: Sequence[tuple[int, int]]) -> None:
    """Write the label sets of connections, as (id, label set)."""
    update_many(conn, connections, [{"id": key, "label_set": label_set} for key, label_set in rows])


def unlabelled_sources(conn: Connection) -> set[str]:
    """Return the sources with a live connection that has no labels yet: an earlier version recorded it."""
    return set(conn.scalars(select(_c.source).where(_c.label_set.is_(None), _c.retired_at.is_(None)).distinct()))


def due_changes(conn: Connection, now: datetime, *, limit: int) -> list[tuple[int, str, ConnectionState]]:
    """Return connections whose verdict or stage has changed by time, as (id, source, state), the earliest first."""
    probed = (cohorts.c.source == _c.source) & (cohorts.c.cohort == _c.cohort)
    query = select(connections, cohorts.c.probed_at).join(sources, sources.c.name == _c.source).outerjoin(cohorts, probed)
    query = query.where(_c.next_change_at <= now, _c.retired_at.is_(None), sources.c.removed_at.is_(None))
    rows = conn.execute(query.order_by(_c.next_change_at).limit(limit))
    return [(row.id, row.source, decode_state(row)) for row in rows]


NEXT_CHANGE = (
    select(_c.next_change_at)
    .join(sources, sources.c.name == _c.source)
    .where(_c.next_change_at.is_not(None), _c.retired_at.is_(None), sources.c.removed_at.is_(None))
    .order_by(_c.next_change_at)
    .limit(1)
)
"""When time next changes a connection."""


def retire(conn: Connection, connection_id: int, now: datetime) -> bool:
    """Retire a connection: only its history remains visible. Return False if it does not exist or is retired already."""
    statement = sql_update(connections).where(_c.id == connection_id, _c.retired_at.is_(None))
    return conn.execute(statement.values(retired_at=now, next_change_at=None, next_probe_at=None)).rowcount == 1


def retire_scope(conn: Connection, source: str, scope: str | None, now: datetime) -> list[int]:
    """Retire every connection of a scope that is no longer monitored, and return their ids."""
    of_scope = _c.source == source, _c.scope == (scope or ""), _c.retired_at.is_(None)
    ids = list(conn.scalars(select(_c.id).where(*of_scope).order_by(_c.id)))
    conn.execute(sql_update(connections).where(*of_scope).values(retired_at=now, next_change_at=None, next_probe_at=None))
    return ids


def mark_for_recheck(conn: Connection, source: str, now: datetime) -> None:
    """Let the clock and the next poll evaluate every connection of a source again, because its settings changed."""
    of_source = _c.source == source, _c.retired_at.is_(None)
    conn.execute(sql_update(connections).where(*of_source).values(recheck_at=now))
    dated = sql_update(connections).where(*of_source, _c.token_expires_at.is_not(None))
    conn.execute(dated.values(next_change_at=now))


def recheck_dates(conn: Connection, source: str, now: datetime) -> None:
    """Let the clock and the next poll evaluate every dated connection of a source again, because a clock was set."""
    dated = sql_update(connections).where(_c.source == source, _c.retired_at.is_(None), _c.token_expires_at.is_not(None))
    conn.execute(dated.where(_c.next_change_at.is_not(None)).values(next_change_at=now))
    conn.execute(dated.values(recheck_at=now))


def forget_probes(conn: Connection, source: str) -> None:
    """Delete the probe results of a source's connections, as if they had never been probed."""
    nothing = encode_probe(ProbeState())
    known = (_c.probe_status != ProbeStatus.UNPROBED) | _c.probe_finding.is_not(None) | (_c.probe_refusals > 0) | _c.probe_ever_ok
    known |= _c.probe_silent_since.is_not(None)
    conn.execute(sql_update(connections).where(_c.source == source, _c.retired_at.is_(None), known).values(nothing))


def set_next_probe(conn: Connection, ids: Iterable[int], at: datetime | None) -> None:
    """Plan individual probes of connections, earlier than their cohort's; None removes the plans."""
    for chunk in chunked(ids):
        statement = sql_update(connections).where(_c.id.in_(chunk), _c.retired_at.is_(None))
        if at is None:
            statement = statement.where(_c.next_probe_at.is_not(None))  # most have none: without this, all rows would be written
        conn.execute(statement.values(next_probe_at=at))


def count_refused(conn: Connection, source: str) -> dict[str, tuple[int, int]]:
    """Return, by platform of a source, how many connections the platform refuses, and how many are probed."""
    rejected = _c.probe_finding.in_([ProbeFinding.PERMISSION, ProbeFinding.FAILING])
    refused = func.sum(case(((_c.status == Status.FAILING) & rejected, 1), else_=0))
    probed = _c.probe_status.in_([ProbeStatus.OK, ProbeStatus.FAILING])
    query = select(_c.platform, refused, func.count()).where(_c.source == source, _c.retired_at.is_(None), probed)
    return {platform: (int(bad), total) for platform, bad, total in conn.execute(query.group_by(_c.platform))}


def set_last_seen(conn: Connection, ids: Iterable[int], at: datetime) -> None:
    """Store that a program reported these connections at an instant."""
    for chunk in chunked(ids):
        conn.execute(sql_update(connections).where(_c.id.in_(chunk)).values(last_seen_at=at))


def count_live(conn: Connection, source: str) -> int:
    """Return the number of connections of a source that are not retired."""
    return conn.scalar(select(func.count()).where(_c.source == source, _c.retired_at.is_(None))) or 0


def oldest_seen(conn: Connection, source: str) -> datetime | None:
    """Return when the connection of a source that was reported longest ago was reported; None if it has none."""
    query = select(func.min(_c.last_seen_at, type_=_c.last_seen_at.type))
    return conn.scalars(query.where(_c.source == source, _c.retired_at.is_(None))).first()


def unseen_since(conn: Connection, source: str, since: datetime, *, limit: int) -> list[str]:
    """Return the external ids of the connections of a source that were last reported before an instant, the longest ago first."""
    query = select(_c.external_id).where(_c.source == source, _c.retired_at.is_(None), _c.last_seen_at < since)
    return list(conn.scalars(query.order_by(_c.last_seen_at, _c.external_id).limit(limit)))
