"""What a poll compares a list against: counted by the database where the list did not change, else ids and fingerprints.

Raw rows and plain SQL: these run over every connection of a source, and only these do.
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
_STANDING = f"SELECT scope, {_COUNTS} {_LIVE} GROUP BY scope"
_SCOPES = "SELECT scope, digest, suspect_polls FROM scopes WHERE source = {0}"
_RESTLESS = f"SELECT scope, external_id, missing {_LIVE} AND {_DUE}"
_FINGERPRINTS = f"SELECT external_id, fingerprint {_LIVE} AND scope = {{0}}"
_IDS = f"SELECT external_id, id {_LIVE} AND scope = {{0}}"
_SPANS = f"SELECT external_id, expires_before {_LIVE} AND scope = {{0}} AND expires_before IS NOT NULL"
_FEW = 200
_UNREADABLE = f'%"{VerdictFlag.UNREADABLE.value}"%'
"""The flag that a readable row ends, as a pattern for the stored list of flags."""


class StoredList(NamedTuple):
    """How a scope's stored connections stand to the list that was read last."""

    digest: str | None
    """Of the list that they follow from, None where none stands for them."""
    present: int
    """How many are not missing."""
    unsettled: int
    """How many a poll must look at although their rows are the same."""
    suspect_polls: int = 0
    """Complete lists in a row from which most of them were missing at once."""


NEVER_LISTED = StoredList(digest=None, present=0, unsettled=0)
"""Of a scope that was never listed."""


class UnsettledConnection(NamedTuple):
    """A connection that a poll must look at: it is missing, flagged, or due to be judged again."""

    external_id: str
    missing: bool


def stored_lists(conn: Connection, source: str, now: datetime) -> dict[str | None, StoredList]:
    """Every scope of a source that has connections or was listed."""
    found = {scope or None: StoredList(digest, 0, 0, suspects) for scope, digest, suspects in _run(conn, _SCOPES, source)}
    for name, present, count in _run(conn, _STANDING, raw_instant(conn, now), _UNREADABLE, source):
        known = found.get(name or None, NEVER_LISTED)
        found[name or None] = known._replace(present=int(present), unsettled=int(count))
    return found


def unsettled(conn: Connection, source: str, now: datetime) -> dict[str | None, list[UnsettledConnection]]:
    """The connections that a poll must look at, by scope."""
    found: dict[str | None, list[UnsettledConnection]] = {}
    for scope, external_id, missing in _run(conn, _RESTLESS, source, raw_instant(conn, now), _UNREADABLE):
        found.setdefault(scope or None, []).append(UnsettledConnection(external_id, missing > 0))
    return found


def fingerprints(conn: Connection, source: str, scope: str | None) -> dict[str, str]:
    """Each live connection of a scope by its id, with the fingerprint of the row that it follows from."""
    return dict(_run(conn, _FINGERPRINTS, source, scope or ""))


def ids(conn: Connection, source: str, scope: str | None, wanted: Collection[str]) -> dict[str, int]:
    """Row ids of these live connections of a scope; those that are not there are left out."""
    where = source, scope or ""
    if len(wanted) <= _FEW:
        keys = list(wanted)
        return dict(_run(conn, f"{_IDS} AND external_id IN ({', '.join(['{0}'] * len(keys))})", *where, *keys)) if keys else {}
    # One walk over an index. No planner without statistics makes more of it, as some do of a thousand keys at a time.
    return {key: row for key, row in _run(conn, _IDS, *where) if key in wanted}


def coarse_expiries(conn: Connection, source: str, scope: str | None) -> dict[str, datetime]:
    """The live connections of a scope whose row stated only a coarse span, with the instant before which that ends."""
    instant: Any = instant_reader(conn.dialect)
    return {external_id: instant(before) for external_id, before in _run(conn, _SPANS, source, scope or "")}


def _run(conn: Connection, query: str, *values: object) -> Iterable[tuple[Any, ...]]:
    cursor: Any = conn.exec_driver_sql(query.format(placeholder(conn)), values).cursor
    rows: Iterable[tuple[Any, ...]] = cursor
    return rows
