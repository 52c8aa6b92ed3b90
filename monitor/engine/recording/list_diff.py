"""What a list changes: found by a digest, then by marks, then row by row, and each time only as far as it is needed.

An unchanged list costs one count in the database. Nothing here judges: it only finds the rows that must be judged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from monitor.domain import PollReport, ScopeReport, Snapshot
from monitor.domain.rules.fingerprint import Marked, digest_of, marked, span_moved
from monitor.store import Connection, list_state
from monitor.store.list_state import NOTHING, StoredList, UnsettledConnection


@dataclass(slots=True, kw_only=True)
class Compared:
    """One scope of a report beside what is stored of it."""

    scope: str | None
    digest: str | None = None
    """To be stored with what follows from this list."""
    rows: Marked
    touched: Collection[str] = ()
    """Listed connections that must be judged, new ones among them."""
    due: Collection[str] = ()
    """Of these, those that must be judged even where the row says the same."""
    unreadable: Collection[str] = ()
    """Stored connections whose row is there and cannot be read."""
    absent: Collection[str] = ()
    """Stored connections that are certainly not listed."""
    whole: bool = False
    """Whether the list tells for certain what is not in it. One that does not is no evidence of absence, nor of its end."""
    present: int = 0
    """How many stored connections were there until now."""
    ids: Mapping[str, int] = field(default_factory=dict)
    """The row ids of all of these that are stored."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """The marks of the touched rows; empty where all of them are the stored ones."""

    def snapshots(self) -> Iterator[Snapshot]:
        """Of the touched rows, one by one."""
        return self.rows.pick(self.touched) if self.touched else iter(())


class Comparison:
    """Compares a report with what is stored, in one transaction."""

    def __init__(self, conn: Connection, source: str, report: PollReport, *, now: datetime) -> None:
        self._conn = conn
        self._source = source
        self._report = report
        self._now = now
        self._standings = list_state.standings(conn, source, now)

    def scopes(self) -> list[Compared]:
        """Every scope that the report tells something about."""
        found = [self._compare(scope) for scope in self._report.scopes]
        if self._report.covers_all:
            named = {scope.scope for scope in self._report.scopes}
            left = (scope for scope, each in self._standings.items() if each.present or each.restless or each.suspect_polls)
            found += [self._vanished(scope) for scope in left if scope not in named]
        return found

    def suspects(self) -> dict[str | None, int]:
        """Scopes from which most connections were missing at once in the last complete lists, and in how many."""
        return {scope: standing.suspect_polls for scope, standing in self._standings.items() if standing.suspect_polls}

    @cached_property
    def _restless(self) -> dict[str | None, list[UnsettledConnection]]:
        if not any(standing.restless for standing in self._standings.values()):
            return {}
        return list_state.restless(self._conn, self._source, self._now)

    def _compare(self, scope: ScopeReport) -> Compared:
        standing = self._standings.get(scope.scope, NOTHING)
        if not scope.complete and not scope.snapshots and not scope.unreadable:
            # Nothing was read: what is stored still follows from the list before.
            return Compared(scope=scope.scope, rows=marked(()), digest=standing.digest, present=standing.present)
        rows = marked(scope.snapshots)
        digest = digest_of(scope, rows)
        if digest is not None and digest == standing.digest and standing.present == len(scope.snapshots):
            return self._same(scope, rows, digest, standing)
        return self._different(scope, rows, digest, standing)

    def _same(self, scope: ScopeReport, rows: Marked, digest: str, standing: StoredList) -> Compared:
        """The list is the one that the stored connections follow from: what is not missing is listed."""
        if standing.restless == 0:
            return Compared(scope=scope.scope, rows=rows, digest=digest, whole=True, present=standing.present)
        restless = self._restless.get(scope.scope, [])
        due = {row.external_id for row in restless if not row.missing}
        absent = [row.external_id for row in restless if row.missing]
        ids = list_state.ids(self._conn, self._source, scope.scope, {*due, *absent})
        return Compared(
            scope=scope.scope,
            rows=rows,
            digest=digest,
            touched=due,
            due=due,
            absent=absent,
            whole=True,
            present=standing.present,
            ids=ids,
        )

    def _different(self, scope: ScopeReport, rows: Marked, digest: str | None, standing: StoredList) -> Compared:
        """Row by row, by marks."""
        stored = list_state.marks(self._conn, self._source, scope.scope)
        listed = rows.marks()
        restless = self._restless.get(scope.scope, []) if standing.restless else []
        due = {row.external_id for row in restless if row.external_id in listed}
        # Not by the operators of sets: one call over 100,000 rows holds every other thread up for as long as it takes.
        touched = {key for key, mark in listed.items() if stored.get(key) != mark} | due | self._moved(scope.scope, rows)
        lost = {row.external_id for row in scope.unreadable if row.external_id is not None}
        absent: set[str] = set()
        whole = scope.complete and not any(row.external_id is None for row in scope.unreadable)
        if whole:
            absent = {key for key in stored if key not in listed and key not in lost}
        return Compared(
            scope=scope.scope,
            rows=rows,
            digest=digest,
            touched=touched,
            due=due,
            unreadable=lost & stored.keys(),
            ids=list_state.ids(
                self._conn, self._source, scope.scope, {key for key in touched if key in stored} | absent | (lost & stored.keys())
            ),
            absent=[key for key in stored if key in absent],
            whole=whole,
            present=standing.present,
            marks=listed,
        )

    def _moved(self, scope: str | None, rows: Marked) -> set[str]:
        """Rows that state only a span, which ends elsewhere than the stored one."""
        spans = rows.spans()
        if not spans:
            return set()
        before = list_state.spans(self._conn, self._source, scope)
        return {key for key, end in spans.items() if span_moved(before.get(key), end)}

    def _vanished(self, scope: str | None) -> Compared:
        """A scope that the report would have named, had it any connection left."""
        stored = list(list_state.marks(self._conn, self._source, scope))
        ids = list_state.ids(self._conn, self._source, scope, set(stored))
        present = self._standings[scope].present
        return Compared(scope=scope, rows=marked(()), absent=stored, whole=True, ids=ids, present=present)
