"""The `sources` and `scopes` tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, literal_column, or_, select, update

from monitor.domain import SourceStatus
from monitor.store.schema import connections, meta, scopes, sources
from monitor.store.sql import upsert


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeRow:
    """What is remembered of one scope."""

    source: str
    scope: str | None
    last_complete_at: datetime | None
    problem: str | None
    connections: int
    suspect_polls: int = 0
    """Complete lists in a row from which most connections were missing at once."""


_TOLD: dict[str, Any] = {
    "last_complete_at": literal_column("coalesce(excluded.last_complete_at, scopes.last_complete_at)"),
    "problem": "problem",
    "connections": "connections",
    "digest": "digest",
}


def save_scopes(
    conn: Connection,
    source: str,
    reports: Sequence[tuple[str | None, datetime | None, str | None, int]],
    *,
    digests: Mapping[str | None, str | None] | None = None,
) -> None:
    """Record (scope, last_complete_at, problem, connections) per scope; a last_complete_at of None leaves the stored one.

    `digests` tell of which list the scope's stored connections follow from; without one no list stands for them.
    """
    if not reports:
        return
    statement = upsert(conn, scopes, ["source", "scope"], _TOLD)
    known = digests or {}
    rows = [
        {
            "source": source,
            "scope": scope or "",
            "last_complete_at": at,
            "problem": problem,
            "connections": count,
            "digest": known.get(scope),
        }
        for scope, at, problem, count in reports
    ]
    conn.execute(statement, rows)


def save_suspects(conn: Connection, source: str, suspects: Mapping[str | None, int]) -> None:
    """Record in how many complete lists in a row each of these scopes lacked most of its connections."""
    if suspects:
        statement = upsert(conn, scopes, ["source", "scope"], {"suspect_polls": "suspect_polls"})
        rows = [{"source": source, "scope": scope or "", "suspect_polls": count} for scope, count in suspects.items()]
        conn.execute(statement, rows)


def delete_scope(conn: Connection, source: str, scope: str | None) -> None:
    """A scope is no longer watched."""
    conn.execute(delete(scopes).where(scopes.c.source == source, scopes.c.scope == (scope or "")))


def all_scopes(conn: Connection, source: str | None = None) -> list[ScopeRow]:
    """Every scope, or those of one source, by source and scope; the owner comes first."""
    query = select(scopes).order_by(scopes.c.source, scopes.c.scope)
    if source is not None:
        query = query.where(scopes.c.source == source)
    return [
        ScopeRow(
            source=row.source,
            scope=row.scope or None,
            last_complete_at=row.last_complete_at,
            problem=row.problem,
            connections=row.connections,
            suspect_polls=row.suspect_polls,
        )
        for row in conn.execute(query)
    ]


def scope_counts(conn: Connection) -> dict[str, int]:
    """How many scopes each source has, the key's owner included; only of sources that were listed."""
    query = select(scopes.c.source, func.count()).group_by(scopes.c.source)
    return {row[0]: row[1] for row in conn.execute(query)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """All that is remembered of one source."""

    name: str
    provider: str
    host: str
    """Host of its base_url, to tell one API's outage from our own network's."""
    status: SourceStatus
    reason: str
    message: str
    since: datetime
    failures: int = 0
    """Failed polls in a row, counted up to confirm_failures."""
    last_poll_at: datetime | None = None
    last_success_at: datetime | None = None
    next_poll_at: datetime | None = None
    connections: int = 0
    clock_skew: float | None = None
    """Server Date minus our clock in seconds, at the last poll that told."""
    added_at: datetime
    removed_at: datetime | None = None
    """When the configuration stopped naming it."""


def _row(row: RowMapping) -> SourceRow:
    return SourceRow(**{**row, "status": SourceStatus(row["status"])})


def sync_sources(conn: Connection, configured: Sequence[tuple[str, str, str]], now: datetime) -> None:
    """Make the table follow the configuration, given as (name, provider, host).

    A new source is pending and due at once; one that is named again returns and is due at once; one that is
    no longer named is marked removed and keeps its data.
    """
    known = {row.name: row for row in all_sources(conn, include_removed=True)}
    new = [entry for entry in configured if entry[0] not in known]
    if new:
        conn.execute(sources.insert(), [_pending(name, provider, host, now) for name, provider, host in new])
    for name, provider, host in configured:
        row = known.get(name)
        if row is None or (row.provider, row.host, row.removed_at) == (provider, host, None):
            continue
        values: dict[str, Any] = {"provider": provider, "host": host, "removed_at": None}
        if row.removed_at is not None:
            values["next_poll_at"] = now
        conn.execute(update(sources).where(sources.c.name == name).values(values))
    names = {entry[0] for entry in configured}
    for gone in (row.name for row in known.values() if row.name not in names and row.removed_at is None):
        conn.execute(update(sources).where(sources.c.name == gone).values(removed_at=now))
        # Nothing of a removed source falls due; should it come back, everything is judged again.
        theirs = update(connections).where(connections.c.source == gone)
        conn.execute(theirs.values(next_change_at=None, next_probe_at=None))
        conn.execute(delete(meta).where(meta.c.key == f"settings:{gone}"))


def _pending(name: str, provider: str, host: str, now: datetime) -> dict[str, Any]:
    row = SourceRow(
        name=name,
        provider=provider,
        host=host,
        status=SourceStatus.PENDING,
        reason="not_polled_yet",
        message="This source has not been polled yet.",
        since=now,
        next_poll_at=now,
        added_at=now,
    )
    return asdict(row)


def all_sources(conn: Connection, *, include_removed: bool = False) -> list[SourceRow]:
    """Every source by name, without the removed ones unless asked for."""
    query = select(sources).order_by(sources.c.name)
    if not include_removed:
        query = query.where(sources.c.removed_at.is_(None))
    return [_row(row) for row in conn.execute(query).mappings()]


def count_monitored(conn: Connection) -> tuple[int, int]:
    """How many sources are watched, and how many connections they listed."""
    query = select(func.count(), func.coalesce(func.sum(sources.c.connections), 0)).where(sources.c.removed_at.is_(None))
    watched, listed = conn.execute(query).one()
    return int(watched), int(listed)


# Both run at every poll, so they are built once: building a statement costs more than running it.
_ONE = select(sources).where(sources.c.name == bindparam("key"))
_SAVE = (
    update(sources)
    .where(sources.c.name == bindparam("key"))
    .values({column.name: bindparam(column.name) for column in sources.c if column.name != "name"})
)


def find_source(conn: Connection, name: str) -> SourceRow | None:
    """One source, removed or not; None when there never was one of that name."""
    row = conn.execute(_ONE, {"key": name}).mappings().one_or_none()
    return None if row is None else _row(row)


def save_source(conn: Connection, row: SourceRow) -> None:
    """Write every column of a source that exists."""
    values = {each.name: getattr(row, each.name) for each in fields(row) if each.name != "name"}
    conn.execute(_SAVE, {**values, "key": row.name})


_DUE = (
    select(sources.c.name)
    .where(sources.c.removed_at.is_(None), sources.c.next_poll_at <= bindparam("now"))
    .order_by(sources.c.next_poll_at, sources.c.name)
)


def due_sources(conn: Connection, now: datetime) -> list[str]:
    """The names of the sources whose next poll is due, the longest waiting first."""
    return list(conn.scalars(_DUE, {"now": now}))  # asked at every tick, so built once


def poll_now(conn: Connection, name: str, now: datetime) -> None:
    """Make a source's next poll due at once."""
    conn.execute(update(sources).where(sources.c.name == name, sources.c.next_poll_at > now).values(next_poll_at=now))


def cap_next_poll(conn: Connection, name: str, now: datetime, *, latest: datetime) -> None:
    """A poll that was planned for later than `latest` is due now."""
    conn.execute(update(sources).where(sources.c.name == name, sources.c.next_poll_at > latest).values(next_poll_at=now))


def poll_other_sources_now(conn: Connection, now: datetime, *, but: str, not_since: datetime) -> None:
    """Make the other sources' polls due at once, to learn whether the trouble is ours; those polled since then have told."""
    statement = update(sources).where(sources.c.name != but, sources.c.removed_at.is_(None))
    statement = statement.where(or_(sources.c.last_poll_at.is_(None), sources.c.last_poll_at < not_since))
    conn.execute(statement.where(sources.c.next_poll_at > now).values(next_poll_at=now))


def next_poll_due(conn: Connection) -> datetime | None:
    """The earliest next poll of any source; None when nothing is planned."""
    query = select(sources.c.next_poll_at).where(sources.c.removed_at.is_(None), sources.c.next_poll_at.is_not(None))
    return conn.scalars(query.order_by(sources.c.next_poll_at).limit(1)).first()
