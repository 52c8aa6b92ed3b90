"""Which connections are probed when. A probe that changed nothing costs one row per cohort, not one per connection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, select, update

from monitor.model import ProbeFinding, ProbeStatus
from monitor.store.schema import cohorts, connections, probe_rollups, sources
from monitor.store.sql import upsert

__all__ = [
    "DueProbe",
    "Member",
    "Rollup",
    "add_rollup",
    "cap_next_probes",
    "drop_cohorts",
    "due_cohorts",
    "ensure_cohorts",
    "individually_due",
    "live_cohorts",
    "mark_cohort",
    "members",
    "next_probe_due",
    "rollups",
    "sources_with_probes_due",
]
_c = connections.c


class Member(NamedTuple):
    """A connection to probe."""

    id: int
    external_id: str
    scope: str | None
    platform: str
    probe_status: ProbeStatus


class DueProbe(NamedTuple):
    """A connection whose own, earlier probe is due."""

    source: str
    id: int
    external_id: str
    scope: str | None
    platform: str
    probe_status: ProbeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """The probes of one source in one hour that came to one finding."""

    source: str
    hour: datetime
    finding: str
    count: int
    total_ms: int


def live_cohorts(conn: Connection, source: str) -> list[int]:
    """The cohorts of a source that have a connection in them."""
    query = select(_c.cohort).where(_c.source == source, _c.retired_at.is_(None))
    return list(conn.scalars(query.distinct().order_by(_c.cohort)))


def ensure_cohorts(conn: Connection, source: str, planned: Mapping[int, datetime]) -> None:
    """Plan cohorts that are not planned yet, given as cohort: first probe. Those that are keep their time."""
    rows = [{"source": source, "cohort": cohort, "next_probe_at": at} for cohort, at in planned.items()]
    if rows:
        conn.execute(upsert(conn, cohorts, ["source", "cohort"]), rows)


def drop_cohorts(conn: Connection, source: str) -> None:
    """Plan no more probes for a source, neither by cohort nor individually."""
    conn.execute(delete(cohorts).where(cohorts.c.source == source))
    conn.execute(update(connections).where(_c.source == source, _c.next_probe_at.is_not(None)).values(next_probe_at=None))


def cap_next_probes(conn: Connection, source: str, now: datetime, *, latest: datetime) -> None:
    """Probes that were planned for later than `latest` are due now."""
    conn.execute(update(cohorts).where(cohorts.c.source == source, cohorts.c.next_probe_at > latest).values(next_probe_at=now))
    late = _c.source == source, _c.next_probe_at > latest, _c.retired_at.is_(None)
    conn.execute(update(connections).where(*late).values(next_probe_at=now))


def due_cohorts(conn: Connection, now: datetime, limit: int, *, source: str | None = None) -> list[tuple[str, int]]:
    """Due cohorts as (source, cohort), the longest waiting first."""
    query = select(cohorts.c.source, cohorts.c.cohort).join(sources, sources.c.name == cohorts.c.source)
    query = query.where(cohorts.c.next_probe_at <= now, sources.c.removed_at.is_(None))
    if source is not None:
        query = query.where(cohorts.c.source == source)
    rows = conn.execute(query.order_by(cohorts.c.next_probe_at, cohorts.c.source, cohorts.c.cohort).limit(limit))
    return [(row.source, row.cohort) for row in rows]


def members(conn: Connection, source: str, cohort: int) -> list[Member]:
    """The live connections of a cohort, also those that cannot be probed: their probe_status says so."""
    query = select(_c.id, _c.external_id, _c.scope, _c.platform, _c.probe_status)
    query = query.where(_c.source == source, _c.cohort == cohort, _c.retired_at.is_(None)).order_by(_c.id)
    return [
        Member(row.id, row.external_id, row.scope or None, row.platform, ProbeStatus(row.probe_status))
        for row in conn.execute(query)
    ]


def individually_due(conn: Connection, now: datetime, limit: int, *, source: str | None = None) -> list[DueProbe]:
    """Connections whose own next_probe_at is due, the longest waiting first."""
    query = select(_c.source, _c.id, _c.external_id, _c.scope, _c.platform, _c.probe_status)
    query = query.join(sources, sources.c.name == _c.source)
    query = query.where(_c.next_probe_at <= now, _c.retired_at.is_(None), sources.c.removed_at.is_(None))
    if source is not None:
        query = query.where(_c.source == source)
    return [
        DueProbe(row.source, row.id, row.external_id, row.scope or None, row.platform, ProbeStatus(row.probe_status))
        for row in conn.execute(query.order_by(_c.next_probe_at, _c.id).limit(limit))
    ]


def mark_cohort(
    conn: Connection, source: str, cohort: int, *, probed_at: datetime | None, next_probe_at: datetime | None
) -> None:
    """Record that a cohort was probed and when it is next; a probed_at of None (postponed) leaves the stored one."""
    change: dict[str, datetime | str | None] = {"next_probe_at": "next_probe_at"}
    if probed_at is not None:
        change["probed_at"] = "probed_at"
    statement = upsert(conn, cohorts, ["source", "cohort"], change)
    conn.execute(statement, {"source": source, "cohort": cohort, "probed_at": probed_at, "next_probe_at": next_probe_at})


def next_probe_due(conn: Connection) -> datetime | None:
    """The earliest planned probe of any cohort or connection; None when none is planned."""
    found: list[datetime] = []
    for table in (cohorts, connections):
        column = table.c.next_probe_at
        query = select(column).join(sources, sources.c.name == table.c.source)
        query = query.where(column.is_not(None), sources.c.removed_at.is_(None)).order_by(column).limit(1)
        found += conn.scalars(query).all()
    return min(found, default=None)


def add_rollup(conn: Connection, source: str, hour: datetime, finding: ProbeFinding | str, *, count: int, total_ms: int) -> None:
    """Count probes into their hour; `hour` is the instant at which the hour begins."""
    table = probe_rollups.c
    more = {"count": table.count + count, "total_ms": table.total_ms + total_ms}
    statement = upsert(conn, probe_rollups, ["source", "hour", "finding"], more)
    conn.execute(statement, {"source": source, "hour": hour, "finding": finding, "count": count, "total_ms": total_ms})


def rollups(conn: Connection, *, since: datetime | None = None, source: str | None = None) -> list[Rollup]:
    """The hourly counts, oldest first."""
    query = select(probe_rollups).order_by(probe_rollups.c.hour, probe_rollups.c.source, probe_rollups.c.finding)
    if since is not None:
        query = query.where(probe_rollups.c.hour >= since)
    if source is not None:
        query = query.where(probe_rollups.c.source == source)
    return [Rollup(**row) for row in conn.execute(query).mappings()]


def sources_with_probes_due(conn: Connection, now: datetime) -> list[str]:
    """The names of the sources that have a cohort or a single connection due."""
    found: set[str] = set()
    for table in (cohorts, connections):
        query = select(table.c.source).join(sources, sources.c.name == table.c.source)
        query = query.where(table.c.next_probe_at <= now, sources.c.removed_at.is_(None))
        if table is connections:
            query = query.where(_c.retired_at.is_(None))
        found.update(conn.scalars(query.distinct()))
    return sorted(found)
