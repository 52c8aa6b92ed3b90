"""Sources: one API key at one provider each, whether it can be read, and when it is read next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, or_, select, update

from monitor.domain import ProviderKind, SourceStatus
from monitor.store.schema import connections, meta, sources


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """All that is remembered of one source."""

    name: str
    provider: ProviderKind
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
    return SourceRow(**{**row, "provider": ProviderKind(row["provider"]), "status": SourceStatus(row["status"])})


def sync_sources(conn: Connection, configured: Sequence[tuple[str, ProviderKind, str]], now: datetime) -> None:
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
        values: dict[str, Any] = {"provider": provider.value, "host": host, "removed_at": None}
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


def _pending(name: str, provider: ProviderKind, host: str, now: datetime) -> dict[str, Any]:
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


def totals(conn: Connection) -> tuple[int, int]:
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


def poll_others_now(conn: Connection, now: datetime, *, but: str, not_since: datetime) -> None:
    """Make the other sources' polls due at once, to learn whether the trouble is ours; those polled since then have told."""
    statement = update(sources).where(sources.c.name != but, sources.c.removed_at.is_(None))
    statement = statement.where(or_(sources.c.last_poll_at.is_(None), sources.c.last_poll_at < not_since))
    conn.execute(statement.where(sources.c.next_poll_at > now).values(next_poll_at=now))


def next_poll_due(conn: Connection) -> datetime | None:
    """The earliest next poll of any source; None when nothing is planned."""
    query = select(sources.c.next_poll_at).where(sources.c.removed_at.is_(None), sources.c.next_poll_at.is_not(None))
    return conn.scalars(query.order_by(sources.c.next_poll_at).limit(1)).first()
