"""The `sources`, `scopes` and `polls` tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, literal_column, or_, select, update

from monitor.domain import PollOutcome, SourceStatus
from monitor.domain.records import Record, asdict
from monitor.store.schema import connections, meta, polls, scopes, sources
from monitor.store.sql import chunked, upsert


class PollRow(Record, frozen=True, kw_only=True):
    """One poll of one source."""

    source: str
    at: datetime
    duration_ms: int
    outcome: PollOutcome
    problem: str | None = None
    requests: int = 0
    connections: int = 0
    changed: int = 0
    by_hook: bool = False
    """True if a delivery of the service caused it."""


_INSERT = polls.insert()


def record_polls(conn: Connection, rows: Sequence[PollRow]) -> None:
    """Store polls that ended, in this order."""
    if rows:
        conn.execute(_INSERT, [asdict(row) for row in rows])


def _poll_row(row: RowMapping) -> PollRow:
    values = {name: value for name, value in row.items() if name != "id"}
    return PollRow(**{**values, "outcome": PollOutcome(values["outcome"])})


def last_polls(conn: Connection, source: str, *, limit: int = 1) -> list[PollRow]:
    """Return the newest polls of a source, newest first."""
    query = select(polls).where(polls.c.source == source).order_by(polls.c.at.desc(), polls.c.id.desc())
    return [_poll_row(row) for row in conn.execute(query.limit(limit)).mappings()]


def count_answered_polls(conn: Connection, source: str, *, since: datetime) -> int:
    """Return how many polls of a source ended at an instant or later with an answer of its API, whatever it was."""
    query = select(func.count()).where(polls.c.source == source, polls.c.at >= since)
    return conn.scalar(query.where(polls.c.outcome != PollOutcome.UNREACHABLE)) or 0


def requests_since(conn: Connection, source: str, since: datetime) -> list[tuple[datetime, int, bool]]:
    """Return the requests of each poll of a source since an instant: when, how many, and if a delivery caused the poll."""
    query = select(polls.c.at, polls.c.requests, polls.c.by_hook).where(polls.c.source == source, polls.c.at > since)
    return [(row.at, row.requests, row.by_hook) for row in conn.execute(query.where(polls.c.requests > 0))]


def prune(conn: Connection, before: datetime) -> int:
    """Delete the polls before an instant and return their number."""
    return conn.execute(delete(polls).where(polls.c.at < before)).rowcount


class ScopeRow(Record, frozen=True, kw_only=True):
    """The stored state of one scope."""

    source: str
    scope: str | None
    last_complete_at: datetime | None
    problem: str | None
    connections: int
    suspect_polls: int = 0
    """Consecutive complete lists from which most connections were missing."""
    unreadable: int = 0
    """Rows of the last list that could not be read."""
    unreadable_polls: int = 0
    """Consecutive lists with such rows, counted up to confirm_failures."""


_REPORTED: dict[str, Any] = {
    "last_complete_at": literal_column("coalesce(excluded.last_complete_at, scopes.last_complete_at)"),
    "problem": "problem",
    "connections": "connections",
    "digest": "digest",
}


class ScopeReading(Record, frozen=True, kw_only=True):
    """What one poll read of one scope."""

    source: str
    scope: str
    """Empty for the key's owner."""
    last_complete_at: datetime | None
    """None keeps the stored time."""
    problem: str | None
    connections: int
    digest: str | None
    """Identifies the list that the scope's stored connections come from; without one, no single list matches them."""


def save_readings(conn: Connection, rows: Sequence[ScopeReading]) -> None:
    """Store what polls read of their scopes."""
    if rows:
        conn.execute(upsert(conn, scopes, ["source", "scope"], _REPORTED), [asdict(row) for row in rows])


def readings(
    source: str,
    reports: Sequence[tuple[str | None, datetime | None, str | None, int]],
    digests: Mapping[str | None, str | None] | None = None,
) -> list[ScopeReading]:
    """Return the readings of a source's scopes, given as (scope, last_complete_at, problem, connections) and by digest."""
    known = digests or {}
    return [
        ScopeReading(
            source=source, scope=scope or "", last_complete_at=at, problem=problem, connections=count, digest=known.get(scope)
        )
        for scope, at, problem, count in reports
    ]


def save_suspects(conn: Connection, source: str, suspects: Mapping[str | None, int]) -> None:
    """Store, by scope, the number of consecutive complete lists without most of its connections."""
    if suspects:
        statement = upsert(conn, scopes, ["source", "scope"], {"suspect_polls": "suspect_polls"})
        rows = [{"source": source, "scope": scope or "", "suspect_polls": count} for scope, count in suspects.items()]
        conn.execute(statement, rows)


def save_unreadable(conn: Connection, source: str, counts: Mapping[str | None, tuple[int, int]]) -> None:
    """Store, by scope, the number of unreadable rows of the last list, and of the consecutive lists with such rows."""
    if counts:
        statement = upsert(conn, scopes, ["source", "scope"], {name: name for name in ("unreadable", "unreadable_polls")})
        rows = [
            {"source": source, "scope": scope or "", "unreadable": rows, "unreadable_polls": polls}
            for scope, (rows, polls) in counts.items()
        ]
        conn.execute(statement, rows)


def save_digests(conn: Connection, source: str, digests: Mapping[str | None, str | None]) -> None:
    """Store, by scope, the digest of the list that its stored connections come from; None if no single list matches them."""
    for scope, digest in digests.items():
        conn.execute(update(scopes).where(scopes.c.source == source, scopes.c.scope == (scope or "")).values(digest=digest))


def scope_names(conn: Connection, source: str) -> dict[str, str | None]:
    """Return the name of each scope of a source by its id, without the key's owner; None if the service stated no name."""
    query = select(scopes.c.scope, scopes.c.name).where(scopes.c.source == source, scopes.c.scope != "")
    return {row.scope: row.name for row in conn.execute(query)}


def save_scope_names(conn: Connection, source: str, names: Mapping[str, str]) -> bool:
    """Store the names of scopes by their ids. Return True if one of them changed."""
    known = scope_names(conn, source)
    rows = [{"source": source, "scope": scope, "name": name} for scope, name in names.items() if known.get(scope) != name]
    if rows:
        conn.execute(upsert(conn, scopes, ["source", "scope"], {"name": "name"}), rows)
    return bool(rows)


def delete_scope(conn: Connection, source: str, scope: str | None) -> None:
    """Delete a scope that is no longer monitored."""
    conn.execute(delete(scopes).where(scopes.c.source == source, scopes.c.scope == (scope or "")))


def all_scopes(conn: Connection, source: str | None = None, *, unreadable: bool = False) -> list[ScopeRow]:
    """Return every scope, or those of one source, ordered by source and scope; the key's owner comes first.

    With `unreadable`, only those whose last list had unreadable rows.
    """
    query = select(scopes).order_by(scopes.c.source, scopes.c.scope)
    if unreadable:
        query = query.where(scopes.c.unreadable > 0)
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
            unreadable=row.unreadable,
            unreadable_polls=row.unreadable_polls,
        )
        for row in conn.execute(query)
    ]


def oldest_complete(conn: Connection) -> dict[str, datetime | None]:
    """Return by source when the scope that was read longest ago was last read; None if one never was."""
    oldest: dict[str, datetime | None] = {}
    for name, at in conn.execute(select(scopes.c.source, scopes.c.last_complete_at)):
        before = oldest.get(name, at)
        oldest[name] = None if before is None or at is None else min(before, at)
    return oldest


def scope_counts(conn: Connection) -> dict[str, int]:
    """Return the number of scopes by source, including the key's owner; only of sources that were listed."""
    query = select(scopes.c.source, func.count()).group_by(scopes.c.source)
    return {row[0]: row[1] for row in conn.execute(query)}


class SourceRow(Record, frozen=True, kw_only=True):
    """The stored state of one source."""

    name: str
    provider: str
    host: str
    """The host of its base_url, to distinguish an API's outage from one of the local network."""
    status: SourceStatus
    reason: str
    message: str
    since: datetime
    failures: int = 0
    """Consecutive failed polls, counted up to confirm_failures."""
    last_poll_at: datetime | None = None
    last_success_at: datetime | None = None
    next_poll_at: datetime | None = None
    connections: int = 0
    clock_skew: float | None = None
    """Server time minus local time in seconds, at the last poll that reported it."""
    unmonitored_users: int = 0
    """Managed users whose connections are not read, because `users` is not set."""
    hook_at: datetime | None = None
    """When the service last announced a change by a hook; None: never."""
    unannounced_changes: int = 0
    """Polls in a row that found changes which no hook had announced."""
    skewed_since: datetime | None = None
    """Since when the two clocks have differed at every poll; None while they agree."""
    added_at: datetime
    removed_at: datetime | None = None
    """When it was removed from the configuration."""


def _row(row: RowMapping) -> SourceRow:
    return SourceRow(**{**row, "status": SourceStatus(row["status"])})


def sync_sources(conn: Connection, configured: Sequence[tuple[str, str, str]], now: datetime) -> None:
    """Update the table to the configuration, given as (name, provider, host).

    New sources are pending and due immediately. Sources that return are due immediately. Sources that are no longer
    configured are marked as removed and keep their data.
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
        # Nothing of a removed source becomes due. Should it return, everything is evaluated again.
        of_source = update(connections).where(connections.c.source == gone)
        conn.execute(of_source.values(next_change_at=None, next_probe_at=None))
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
    """Return the sources ordered by name, without removed ones unless `include_removed`."""
    query = select(sources).order_by(sources.c.name)
    if not include_removed:
        query = query.where(sources.c.removed_at.is_(None))
    return [_row(row) for row in conn.execute(query).mappings()]


def names(conn: Connection) -> set[str]:
    """Return the names of the sources, without removed ones."""
    return set(conn.scalars(select(sources.c.name).where(sources.c.removed_at.is_(None))))


def count_monitored(conn: Connection) -> tuple[int, int]:
    """Return the number of configured sources and of the connections that they listed."""
    query = select(func.count(), func.coalesce(func.sum(sources.c.connections), 0)).where(sources.c.removed_at.is_(None))
    configured, listed = conn.execute(query).one()
    return int(configured), int(listed)


# Built once: both run at every poll, and building a statement takes longer than running it.
_SOME = select(sources).where(sources.c.name.in_(bindparam("names", expanding=True)))
_SAVE = (
    update(sources)
    .where(sources.c.name == bindparam("key"))
    .values({column.name: bindparam(column.name) for column in sources.c if column.name != "name"})
)


def find_source(conn: Connection, name: str) -> SourceRow | None:
    """Return a source, removed or not; None if there never was one with this name."""
    return find_sources(conn, [name]).get(name)


def find_sources(conn: Connection, names: Collection[str]) -> dict[str, SourceRow]:
    """Return these sources by name, removed or not, without those that never existed."""
    return {row["name"]: _row(row) for row in conn.execute(_SOME, {"names": list(names)}).mappings()}


def save_source(conn: Connection, row: SourceRow) -> None:
    """Write every column of an existing source."""
    save_sources(conn, [row])


def save_sources(conn: Connection, rows: Sequence[SourceRow]) -> None:
    """Write every column of existing sources."""
    conn.execute(_SAVE, [{"key": values.pop("name"), **values} for values in map(asdict, rows)])


DUE = select(sources.c.name).where(sources.c.removed_at.is_(None), sources.c.next_poll_at <= bindparam("now"))
"""The sources whose next poll is due."""


def due_among(conn: Connection, names: Collection[str], now: datetime) -> set[str]:
    """Return those of these sources whose next poll is due."""
    query = select(sources.c.name).where(sources.c.name.in_(names), sources.c.removed_at.is_(None))
    return set(conn.scalars(query.where(sources.c.next_poll_at <= now)))


def poll_now(conn: Connection, name: str, now: datetime) -> None:
    """Make a source's next poll due now."""
    conn.execute(update(sources).where(sources.c.name == name, sources.c.next_poll_at > now).values(next_poll_at=now))


def poll_by(conn: Connection, name: str, at: datetime) -> None:
    """Make a source's next poll due at an instant, unless it is due earlier."""
    conn.execute(update(sources).where(sources.c.name == name, sources.c.next_poll_at > at).values(next_poll_at=at))


def add_connections(conn: Connection, name: str, number: int) -> None:
    """Add to the number of a source's connections."""
    conn.execute(update(sources).where(sources.c.name == name).values(connections=sources.c.connections + number))


def poll_all_now(conn: Connection, now: datetime) -> None:
    """Make the next poll of every configured source due now."""
    conn.execute(update(sources).where(sources.c.removed_at.is_(None), sources.c.next_poll_at > now).values(next_poll_at=now))


def cap_next_polls(conn: Connection, names: Collection[str], now: datetime, *, latest: datetime) -> None:
    """Make the next polls of these sources due now if they are planned for later than `latest`."""
    for chunk in chunked(names):
        late = sources.c.name.in_(chunk), sources.c.next_poll_at > latest
        conn.execute(update(sources).where(*late).values(next_poll_at=now))


def poll_other_sources_now(conn: Connection, now: datetime, *, except_for: str, unless_polled_since: datetime) -> None:
    """Make the polls of the other sources due now, to find out if the local network is down; recent polls already show it."""
    statement = update(sources).where(sources.c.name != except_for, sources.c.removed_at.is_(None))
    statement = statement.where(or_(sources.c.last_poll_at.is_(None), sources.c.last_poll_at < unless_polled_since))
    conn.execute(statement.where(sources.c.next_poll_at > now).values(next_poll_at=now))


def next_poll_due(conn: Connection) -> datetime | None:
    """Return the earliest next poll of any source; None if no poll is planned."""
    query = select(sources.c.next_poll_at).where(sources.c.removed_at.is_(None), sources.c.next_poll_at.is_not(None))
    return conn.scalars(query.order_by(sources.c.next_poll_at).limit(1)).first()
