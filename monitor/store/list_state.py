"""The stored side of a poll's comparison: counts for an unchanged list, ids and fingerprints for a changed one.

Plain SQL with raw rows, because these queries read every connection of a source.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from monitor.domain import VerdictFlag
from monitor.store.sql import placeholder, raw_instant
from monitor.store.types import instant_reader

_DUE = """(missing > 0 OR recheck_at <= {0} OR (flags <> '[]' AND flags LIKE {0}))"""
_LIVE = "FROM connections WHERE source = {0} AND retired_at IS NULL"
_COUNTS = f"SUM(CASE WHEN missing = 0 THEN 1 ELSE 0 END), SUM(CASE WHEN {_DUE} THEN 1 ELSE 0 END)"
_OF_SOME = "FROM connections WHERE source IN ({1}) AND retired_at IS NULL GROUP BY source, scope"
_BY_SCOPE = f"SELECT source, scope, {_COUNTS} {_OF_SOME}"
_SCOPES = "SELECT source, scope, digest, suspect_polls, unreadable_polls FROM scopes WHERE source IN ({1})"
_UNSETTLED = f"SELECT scope, external_id, missing {_LIVE} AND {_DUE}"
_FINGERPRINTS = f"SELECT external_id, fingerprint {_LIVE} AND scope = {{0}}"
_IDS = f"SELECT external_id, id {_LIVE} AND scope = {{0}}"
_SPANS = f"SELECT external_id, expires_before {_LIVE} AND scope = {{0}} AND expires_before IS NOT NULL"
_ADDED = f"SELECT external_id {_LIVE} AND scope = {{0}} AND missing = 0 AND added_at >= {{0}}"
_RETIRED = "SELECT COUNT(*) FROM connections WHERE source = {0} AND scope = {0} AND retired_at >= {0}"
_FEW = 200
_UNREADABLE = f'%"{VerdictFlag.UNREADABLE.value}"%'
"""The flag that ends with the next readable row, as a pattern for the stored list of flags."""


class StoredList(NamedTuple):
    """A scope's stored connections compared with its last list."""

    digest: str | None
    """The digest of the list that they come from; None if no single list matches them."""
    present: int
    """The number that is not missing."""
    unsettled: int
    """The number that a poll must evaluate even if their rows are unchanged."""
    suspect_polls: int = 0
    """Consecutive complete lists from which most of them were missing."""
    unreadable_polls: int = 0
    """Consecutive complete lists with unreadable rows, counted up to confirm_failures."""


NEVER_LISTED = StoredList(digest=None, present=0, unsettled=0)
"""The value for a scope that was never listed."""


class UnsettledConnection(NamedTuple):
    """A connection that a poll must evaluate: it is missing, flagged, or due for a recheck."""

    external_id: str
    missing: bool


def stored_lists(conn: Connection, source: str, now: datetime) -> dict[str | None, StoredList]:
    """Return the state of every scope of a source that has connections or was listed."""
    return stored_lists_of(conn, [source], now).get(source, {})


def stored_lists_of(conn: Connection, names: Collection[str], now: datetime) -> dict[str, dict[str | None, StoredList]]:
    """Return the same by source, of some sources."""
    found: dict[str, dict[str | None, StoredList]] = {}
    marks = ", ".join([placeholder(conn)] * len(names))
    for source, scope, digest, *polls in _run(conn, _SCOPES.replace("{1}", marks), *names):
        found.setdefault(source, {})[scope or None] = StoredList(digest, 0, 0, *polls)
    counts = _run(conn, _BY_SCOPE.replace("{1}", marks), raw_instant(conn, now), _UNREADABLE, *names)
    for source, scope, present, count in counts:
        lists = found.setdefault(source, {})
        known = lists.get(scope or None, NEVER_LISTED)
        lists[scope or None] = known._replace(present=int(present), unsettled=int(count))
    return found


def unsettled(conn: Connection, source: str, now: datetime) -> dict[str | None, list[UnsettledConnection]]:
    """Return the connections that a poll must evaluate, by scope."""
    found: dict[str | None, list[UnsettledConnection]] = {}
    for scope, external_id, missing in _run(conn, _UNSETTLED, source, raw_instant(conn, now), _UNREADABLE):
        found.setdefault(scope or None, []).append(UnsettledConnection(external_id, missing > 0))
    return found


def fingerprints(conn: Connection, source: str, scope: str | None) -> dict[str, str]:
    """Return the live connections of a scope by id, each with the fingerprint of the row that it follows from."""
    return dict(_run(conn, _FINGERPRINTS, source, scope or ""))


def ids(conn: Connection, source: str, scope: str | None, wanted: Collection[str]) -> dict[str, int]:
    """Return the row ids of these live connections of a scope, without those that do not exist."""
    where = source, scope or ""
    if len(wanted) <= _FEW:
        keys = list(wanted)
        return dict(_run(conn, f"{_IDS} AND external_id IN ({', '.join(['{0}'] * len(keys))})", *where, *keys)) if keys else {}
    # One scan of an index. With a thousand keys at a time, a planner without statistics may choose a slower plan.
    return {key: row for key, row in _run(conn, _IDS, *where) if key in wanted}


def added_since(conn: Connection, source: str, scope: str | None, since: datetime) -> list[str]:
    """Return the live connections of a scope that were first listed at an instant or later and are not missing."""
    return [external_id for (external_id,) in _run(conn, _ADDED, source, scope or "", raw_instant(conn, since))]


def count_retired_since(conn: Connection, source: str, scope: str | None, since: datetime) -> int:
    """Return how many connections of a scope were retired at an instant or later."""
    ((number,),) = _run(conn, _RETIRED, source, scope or "", raw_instant(conn, since))
    return int(number)


def coarse_expiries(conn: Connection, source: str, scope: str | None) -> dict[str, datetime]:
    """Return the live connections of a scope whose row states only a coarse span, with the time before which it ends."""
    instant: Any = instant_reader(conn.dialect)
    return {external_id: instant(before) for external_id, before in _run(conn, _SPANS, source, scope or "")}


def _run(conn: Connection, query: str, *values: object) -> Iterable[tuple[Any, ...]]:
    cursor: Any = conn.exec_driver_sql(query.format(placeholder(conn)), values).cursor
    rows: Iterable[tuple[Any, ...]] = cursor
    return rows
