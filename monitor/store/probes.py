"""Planned probes by cohort, and hourly counts. A probe that changes nothing writes one row per cohort, not per connection."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Text, bindparam, case, delete, func, literal_column, or_, select, type_coerce, update

from monitor.domain import ProbeFinding, ProbeState, ProbeStatus, Severity, Status
from monitor.domain.records import Record
from monitor.domain.rules.silent_probes import SilentGroup
from monitor.store.schema import cohorts, connections, probe_rollups, sources
from monitor.store.sql import chunked, upsert
from monitor.store.types import WordList

_c = connections.c
_NO_TIME = timedelta(0)
_SOME_TIME = datetime.min.replace(tzinfo=UTC)
"""Stands for a time that is not read."""


class Target(NamedTuple):
    """A connection to probe, with what is needed to decide if an answer changes anything."""

    id: int
    external_id: str
    scope: str | None
    platform: str
    known: ProbeState
    """The stored result of earlier probes, without message and time."""
    permissions: frozenset[str] | None = None
    """The permissions of the last good answer; None if none are remembered."""
    individual: bool = False
    """True if its own next_probe_at makes it due, not its cohort's."""


_TARGET = (
    _c.id,
    _c.external_id,
    _c.scope,
    _c.platform,
    _c.probe_status,
    _c.probe_finding,
    _c.probe_refusals,
    _c.probe_ever_ok,
    _c.probe_silent_since.is_not(None),
    type_coerce(_c.permissions, Text),
    type_coerce(_c.lost_permissions, Text),
)


@lru_cache(maxsize=256)
def _known(
    status: str,
    finding: str | None,
    refusals: int,
    ever_ok: bool,  # noqa: FBT001 - the columns in order
    silent: bool,  # noqa: FBT001 - the columns in order
) -> ProbeState:
    """Return one shared object for the many connections with equal results."""
    return ProbeState(
        status=ProbeStatus(status),
        finding=None if finding is None else ProbeFinding(finding),
        refusals=refusals,
        ever_ok=ever_ok,
        silent_since=_SOME_TIME if silent else None,
    )


@lru_cache(maxsize=1024)
def _permissions(stored: str | None, lost: str | None) -> frozenset[str] | None:
    """Return one shared set for the many connections with equal permissions. Those that were lost are remembered as well."""
    return None if stored is None else frozenset(WordList.read(stored) or ()).difference(WordList.read(lost) or ())


class Rollup(Record, frozen=True, kw_only=True):
    """The number of probes of one source in one hour with one finding."""

    source: str
    hour: datetime
    finding: str
    count: int
    total_ms: int


def live_cohorts(conn: Connection, source: str) -> list[int]:
    """Return the cohorts of a source that contain a connection."""
    query = select(_c.cohort).where(_c.source == source, _c.retired_at.is_(None))
    return list(conn.scalars(query.distinct().order_by(_c.cohort)))


def unplanned_cohorts(conn: Connection) -> dict[str, list[int]]:
    """Return, by source, the cohorts that contain a connection and have no plan yet."""
    planned = (cohorts.c.source == _c.source) & (cohorts.c.cohort == _c.cohort)
    query = select(_c.source, _c.cohort).outerjoin(cohorts, planned).where(_c.retired_at.is_(None), cohorts.c.cohort.is_(None))
    found: dict[str, list[int]] = {}
    for source, cohort in conn.execute(query.distinct()):
        found.setdefault(source, []).append(cohort)
    return found


def ensure_cohorts(conn: Connection, source: str, planned: Mapping[int, datetime]) -> None:
    """Plan the first probe of cohorts that have no plan yet; planned ones keep their time."""
    rows = [{"source": source, "cohort": cohort, "next_probe_at": at} for cohort, at in planned.items()]
    if rows:
        conn.execute(upsert(conn, cohorts, ["source", "cohort"]), rows)


def drop_cohorts(conn: Connection, names: Collection[str]) -> None:
    """Delete all planned probes of these sources, by cohort and individual."""
    for chunk in chunked(names):
        conn.execute(delete(cohorts).where(cohorts.c.source.in_(chunk)))
        planned = update(connections).where(_c.source.in_(chunk), _c.next_probe_at.is_not(None))
        conn.execute(planned.values(next_probe_at=None))


def cap_next_probes(conn: Connection, names: Collection[str], now: datetime, *, latest: datetime) -> None:
    """Make probes of these sources that are planned for later than `latest` due now."""
    for chunk in chunked(names):
        planned = cohorts.c.source.in_(chunk), cohorts.c.next_probe_at > latest
        conn.execute(update(cohorts).where(*planned).values(next_probe_at=now))
        late = _c.source.in_(chunk), _c.next_probe_at > latest, _c.retired_at.is_(None)
        conn.execute(update(connections).where(*late).values(next_probe_at=now))


# Built once: building a statement takes longer than running it on a few rows, and these run for every batch.
_DUE_COHORTS = (
    select(cohorts.c.cohort, cohorts.c.next_probe_at)
    .join(sources, sources.c.name == cohorts.c.source)
    .where(cohorts.c.source == bindparam("source"), cohorts.c.next_probe_at <= bindparam("until"), sources.c.removed_at.is_(None))
    .order_by(cohorts.c.next_probe_at, cohorts.c.cohort)
)
_COHORT_TARGETS = (
    select(_c.cohort, *_TARGET)
    .where(_c.source == bindparam("source"), _c.cohort.in_(bindparam("wanted", expanding=True)), _c.retired_at.is_(None))
    .order_by(_c.id)
)
_SUPPORTED_TARGETS = _COHORT_TARGETS.where(_c.probe_status != ProbeStatus.UNSUPPORTED)
_PROBED: dict[str, Any] = {
    "next_probe_at": "next_probe_at",
    "probed_at": literal_column("coalesce(excluded.probed_at, cohorts.probed_at)"),
}
_MORE: dict[str, Any] = {name: literal_column(f"probe_rollups.{name} + excluded.{name}") for name in ("count", "total_ms")}
_INDIVIDUALLY_DUE = (
    select(*_TARGET)
    .join(sources, sources.c.name == _c.source)
    .where(_c.source == bindparam("source"), _c.next_probe_at <= bindparam("now"))
    .where(_c.retired_at.is_(None), sources.c.removed_at.is_(None))
    .order_by(_c.next_probe_at, _c.id)
    .limit(bindparam("most"))
)


def due_cohorts(conn: Connection, source: str, now: datetime, *, lead: timedelta = _NO_TIME) -> list[int]:
    """Return the due cohorts of a source and, if there are any, those due within `lead`; the longest overdue first."""
    rows = conn.execute(_DUE_COHORTS, {"source": source, "until": now + lead}).all()
    return [row.cohort for row in rows] if rows and rows[0].next_probe_at <= now else []


def cohort_targets(
    conn: Connection, source: str, wanted: Collection[int], *, unsupported: bool = False
) -> dict[int, list[Target]]:
    """Return the live connections of these cohorts by cohort; those that cannot be probed only if `unsupported`."""
    found: dict[int, list[Target]] = {}
    query = _COHORT_TARGETS if unsupported else _SUPPORTED_TARGETS
    # Raw rows: there are hundreds in every batch, and none of these columns needs converting.
    cursor: Any = conn.execute(query, {"source": source, "wanted": list(wanted)}).cursor
    for cohort, key, external_id, scope, platform, status, finding, refusals, ever_ok, silent, *granted in cursor.fetchall():
        known = _known(status, finding, refusals, bool(ever_ok), bool(silent))
        found.setdefault(cohort, []).append(Target(key, external_id, scope or None, platform, known, _permissions(*granted)))
    return found


def individually_due(conn: Connection, source: str, now: datetime, limit: int) -> list[Target]:
    """Return a source's connections whose own next_probe_at is due, the longest overdue first."""
    rows = conn.execute(_INDIVIDUALLY_DUE, {"source": source, "now": now, "most": limit})
    return [_individual_target(row) for row in rows]


def targets_of(conn: Connection, keys: Collection[int]) -> list[Target]:
    """Return the live connections with these row ids, due or not, and also those that could not be probed so far."""
    rows = conn.execute(select(*_TARGET).where(_c.id.in_(keys), _c.retired_at.is_(None)).order_by(_c.id))
    return [_individual_target(row) for row in rows]


def _individual_target(row: Iterable[Any]) -> Target:
    key, external_id, scope, platform, *axis, known, lost = row
    return Target(key, external_id, scope or None, platform, _known(*axis), _permissions(known, lost), individual=True)


def mark_cohort(
    conn: Connection, source: str, cohort: int, *, probed_at: datetime | None, next_probe_at: datetime | None
) -> None:
    """Record when a cohort was probed and when its next probe is due."""
    mark_cohorts(conn, source, {cohort: next_probe_at}, probed_at=probed_at)


def mark_cohorts(conn: Connection, source: str, due: Mapping[int, datetime | None], *, probed_at: datetime | None) -> None:
    """Record when cohorts were probed and their next probes; a probed_at of None (postponed) keeps the stored one."""
    if not due:
        return
    statement = upsert(conn, cohorts, ["source", "cohort"], _PROBED)
    rows = [{"source": source, "cohort": cohort, "probed_at": probed_at, "next_probe_at": at} for cohort, at in due.items()]
    conn.execute(statement, rows)


def next_probes(conn: Connection, only: Collection[str] | None = None) -> dict[str, datetime]:
    """Return the earliest planned probe by source, of all sources or of some; sources without one are left out."""
    found: dict[str, datetime] = {}
    configured = select(sources.c.name).where(sources.c.removed_at.is_(None))
    for table in (cohorts, connections):
        column = table.c.next_probe_at
        query = select(table.c.source, func.min(column, type_=column.type)).where(column.is_not(None))
        query = query.where(table.c.source.in_(configured)).group_by(table.c.source)
        if only is not None:
            query = query.where(table.c.source.in_(only))
        for name, at in conn.execute(query):
            found[name] = min(at, found.get(name, at))
    return found


# Connections whose status causes a separate alert are left out.
_UNTESTED = (
    _c.source == bindparam("source"),
    _c.retired_at.is_(None),
    _c.missing == 0,
    _c.probe_status != ProbeStatus.UNSUPPORTED,
    _c.status.in_([status for status in Status if status.severity is not Severity.CRITICAL]),
)
_SILENT = _c.probe_silent_since <= bindparam("until")
_COUNT_SILENT = (
    select(
        _c.platform,
        func.sum(case((_SILENT, 1), else_=0)),
        func.count(),
        func.min(case((_SILENT, _c.probe_silent_since)), type_=_c.probe_silent_since.type),
    )
    .where(*_UNTESTED)
    .group_by(_c.platform)
    .order_by(_c.platform)
)
_SILENT_ANSWER = select(_c.probe_message).where(*_UNTESTED, _SILENT).order_by(_c.probe_silent_since, _c.id).limit(1)
_WITHOUT_EVIDENCE = ("unanswered", ProbeFinding.TRANSIENT, ProbeFinding.MISSING, ProbeFinding.BAD_ID)
_HAD_SILENT: Select[Any] = (
    select(literal_column("1"))
    .where(probe_rollups.c.source == bindparam("source"), probe_rollups.c.hour >= bindparam("since"))
    .where(or_(*(probe_rollups.c.finding == finding for finding in _WITHOUT_EVIDENCE)))
    .limit(1)
)


def had_silent(conn: Connection, source: str, *, since: datetime) -> bool:
    """Return True if a probe of a source has given no evidence since an instant, according to the hourly counts that are kept."""
    return conn.execute(_HAD_SILENT, {"source": source, "since": since}).first() is not None


def count_silent(conn: Connection, source: str, *, until: datetime) -> list[SilentGroup]:
    """Count, by platform, the connections of a source whose probes have given no evidence since `until` or longer.

    Only listed connections without a critical status. Reads all connections of the source.
    """
    rows = conn.execute(_COUNT_SILENT, {"source": source, "until": until})
    return [SilentGroup(platform, int(silent), of, since) for platform, silent, of, since in rows]


def silent_answer(conn: Connection, source: str, *, until: datetime) -> str | None:
    """Return an answer to the probes of that of these connections which has been silent longest; None if it has no text."""
    return conn.scalars(_SILENT_ANSWER, {"source": source, "until": until}).first()


def add_rollup(conn: Connection, source: str, hour: datetime, finding: ProbeFinding | str, *, count: int, total_ms: int) -> None:
    """Add probes with one finding to their hour."""
    add_rollups(conn, source, hour, {finding: (count, total_ms)})


def add_rollups(conn: Connection, source: str, hour: datetime, counts: Mapping[str, tuple[int, int]]) -> None:
    """Add probes to their hour, given by finding as (count, milliseconds); `hour` is its beginning."""
    if not counts:
        return
    statement = upsert(conn, probe_rollups, ["source", "hour", "finding"], _MORE)
    rows = [
        {"source": source, "hour": hour, "finding": finding, "count": count, "total_ms": total_ms}
        for finding, (count, total_ms) in counts.items()
    ]
    conn.execute(statement, rows)


def rollups(conn: Connection, *, since: datetime | None = None, source: str | None = None) -> list[Rollup]:
    """Return the hourly counts, oldest first."""
    query = select(probe_rollups).order_by(probe_rollups.c.hour, probe_rollups.c.source, probe_rollups.c.finding)
    if since is not None:
        query = query.where(probe_rollups.c.hour >= since)
    if source is not None:
        query = query.where(probe_rollups.c.source == source)
    return [Rollup(**row) for row in conn.execute(query).mappings()]
