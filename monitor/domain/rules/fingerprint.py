"""Fingerprints of rows and digests of lists, to recognise unchanged data."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Protocol, cast

from monitor.domain import ScopeReport, Snapshot
from monitor.domain.rules.expiry import LATER_BY


def fingerprint(snapshot: Snapshot) -> str:
    """Return a digest of everything stored of a row, the same in every process.

    A coarse span is left out: it varies with every poll (see span_moved).
    """
    s = snapshot
    refresh = None
    if s.refresh is not None:
        r = s.refresh
        refresh = (r.connected_at, r.last_refreshed_at, r.last_attempt_at, r.error, r.error_status)
    error = None if s.last_error is None else (s.last_error.message, s.last_error.occurred_at)
    kept: tuple[object, ...] = (
        s.platform,
        s.reported.value,
        s.raw_status,
        s.expires_at,
        s.expires_before is None,
        refresh,
        s.account,
        s.username,
        s.display_name,
        s.profile_url,
        s.scopes,
        s.last_successful_post_at,
        error,
        [str(flag) for flag in sorted(s.flags)],  # plain text: the digest is of their repr, which outlives this version
    )
    stated = (s.detail, s.trusted, None if s.labels is None else sorted(s.labels.items()))
    if stated != (None, None, None):  # rows without them keep the digest that earlier versions stored
        kept += stated
    return blake2b(repr(kept).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def span_moved(before: datetime | None, after: datetime | None) -> bool:
    """Return True if a coarse span ("82d 4h", exact to an hour) moved by more than its precision."""
    if before is None or after is None:
        return before is not after
    return abs(after - before) > LATER_BY


class ComparableRows(Protocol):
    """The rows of one scope's list, each id once, in a form to compare with the last list."""

    def fingerprints(self) -> Mapping[str, str]:
        """Return by external id a text that is equal in two lists only if the row is, apart from coarse spans."""
        ...

    def spans(self) -> Mapping[str, datetime]:
        """Return `expires_before` of the rows that state only a coarse span, which no fingerprint contains."""
        ...

    def snapshots_of(self, ids: Container[str]) -> Iterator[Snapshot]:
        """Return the snapshots of these rows, in the order of the list."""
        ...


class SnapshotRows:
    """Rows whose snapshots all exist already."""

    def __init__(self, rows: Sequence[Snapshot]) -> None:
        self._rows = rows
        self._fingerprints: Mapping[str, str] | None = None

    def fingerprints(self) -> Mapping[str, str]:
        """Return the fingerprints of the snapshots."""
        if self._fingerprints is None:
            self._fingerprints = {row.external_id: fingerprint(row) for row in self._rows}
        return self._fingerprints

    def spans(self) -> Mapping[str, datetime]:
        """Return the coarse spans of the snapshots."""
        return {row.external_id: row.expires_before for row in self._rows if row.expires_before is not None}

    def snapshots_of(self, ids: Container[str]) -> Iterator[Snapshot]:
        """Return the snapshots with these ids."""
        return (row for row in self._rows if row.external_id in ids)


def comparable(rows: Sequence[Snapshot]) -> ComparableRows:
    """Return the rows of a scope's report in a comparable form."""
    if hasattr(rows, "fingerprints"):  # isinstance() of a protocol takes as long as the rest of an unchanged poll's comparison
        return cast("ComparableRows", rows)
    return SnapshotRows(rows)


def digest_of(scope: ScopeReport, rows: ComparableRows) -> str | None:
    """Return the digest of a complete list: its own, else one of all fingerprints; None if that cannot represent the list."""
    if not scope.complete or scope.unreadable:
        return None
    if scope.digest is not None:
        return scope.digest
    if rows.spans():
        return None
    items = sorted(rows.fingerprints().items())
    return blake2b(repr(items).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
