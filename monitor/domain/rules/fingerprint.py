"""Fingerprints of rows and digests of lists, by which unchanged data is recognised."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Protocol, runtime_checkable

from monitor.domain import ScopeReport, Snapshot
from monitor.domain.rules.expiry import LATER_BY


def fingerprint(snapshot: Snapshot) -> str:
    """A digest of everything that is kept of a row, the same in every process.

    A coarse span is left out: it wobbles with every poll (see span_moved).
    """
    s = snapshot
    refresh = None
    if s.refresh is not None:
        r = s.refresh
        refresh = (r.connected_at, r.last_refreshed_at, r.last_attempt_at, r.error, r.error_status)
    error = None if s.last_error is None else (s.last_error.message, s.last_error.occurred_at)
    kept = (
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
    return blake2b(repr(kept).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def span_moved(before: datetime | None, after: datetime | None) -> bool:
    """Whether a coarse span ("82d 4h", good to an hour) moved by more than its own grain."""
    if before is None or after is None:
        return before is not after
    return abs(after - before) > LATER_BY


@runtime_checkable
class ComparableRows(Protocol):
    """The rows of one scope's list, each id once."""

    def fingerprints(self) -> Mapping[str, str]:
        """By external id a text that is the same in two lists only where the row says the same in both, spans aside."""
        ...

    def spans(self) -> Mapping[str, datetime]:
        """`expires_before` of the rows that state only a coarse span: no mark tells how far that has moved."""
        ...

    def snapshots_of(self, ids: Container[str]) -> Iterator[Snapshot]:
        """The snapshots of these rows, in the list's order."""
        ...


class Plain:
    """Rows whose snapshots are all made."""

    def __init__(self, rows: Sequence[Snapshot]) -> None:
        self._rows = rows
        self._marks: Mapping[str, str] | None = None

    def fingerprints(self) -> Mapping[str, str]:
        """The snapshots' fingerprints."""
        if self._marks is None:
            self._marks = {row.external_id: fingerprint(row) for row in self._rows}
        return self._marks

    def spans(self) -> Mapping[str, datetime]:
        """As the snapshots say."""
        return {row.external_id: row.expires_before for row in self._rows if row.expires_before is not None}

    def snapshots_of(self, ids: Container[str]) -> Iterator[Snapshot]:
        """Those that are asked for."""
        return (row for row in self._rows if row.external_id in ids)


def comparable(rows: Sequence[Snapshot]) -> ComparableRows:
    """The rows of a scope's report as they are to be compared."""
    return rows if isinstance(rows, ComparableRows) else Plain(rows)


def digest_of(scope: ScopeReport, rows: ComparableRows) -> str | None:
    """The digest of a complete list: its own, else one of all its marks. None where that cannot stand for the list."""
    if not scope.complete or scope.unreadable:
        return None
    if scope.digest is not None:
        return scope.digest
    if rows.spans():
        return None
    told = sorted(rows.fingerprints().items())
    return blake2b(repr(told).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
