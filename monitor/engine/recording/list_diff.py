"""Find the rows of a list that may have changed, by comparing it with the store: first by digest, then by fingerprints.

An unchanged list costs one count in the database. This module applies no rules: `list_changes` judges the rows found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from functools import cached_property

from monitor.domain import PollReport, ScopeReport, Snapshot
from monitor.domain.records import Record, field
from monitor.domain.rules.fingerprint import ComparableRows, comparable, digest_of, span_moved
from monitor.store import Connection, list_state
from monitor.store.list_state import NEVER_LISTED, StoredList, UnsettledConnection


class Compared(Record, kw_only=True):
    """One scope of a report, compared with what is stored."""

    scope: str | None
    digest: str | None = None
    """To be stored with what follows from this list; None: no later list can be recognised as the same."""
    rows: ComparableRows
    touched: Collection[str] = ()
    """External ids of listed connections that must be judged, new ones included."""
    due: Collection[str] = ()
    """Those of them that must be judged even if their row did not change."""
    unreadable: Collection[str] = ()
    """Stored connections whose row is listed and cannot be read."""
    absent: Collection[str] = ()
    """Stored connections that are certainly not listed."""
    lost: Collection[str] = ()
    """Stored connections that earlier lists lacked and that this one lacks too, where it proves no absence."""
    unlisted: Collection[str] = ()
    """Stored connections that a list does not name, which was read to its end but has rows without an id: one may be theirs."""
    proves_absence: bool = False
    """True if every connection that the list lacks is certainly gone. Only such a list begins or ends a suspicion."""
    present: int = 0
    """Number of stored connections that were not missing until now."""
    ids: Mapping[str, int] = field(default_factory=dict)
    """Row ids of all these connections that are stored, by external id."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the touched rows; empty if all are the stored ones."""

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield the touched rows, one by one."""
        return self.rows.snapshots_of(self.touched) if self.touched else iter(())


class Comparison:
    """Compares a report with the store, in one transaction."""

    def __init__(
        self,
        conn: Connection,
        source: str,
        report: PollReport,
        *,
        now: datetime,
        stored: Mapping[str | None, StoredList] | None = None,
    ) -> None:
        """Compare with `stored`, the state of the source's scopes; without it, it is read."""
        self._conn = conn
        self._source = source
        self._report = report
        self._now = now
        self._stored_lists = list_state.stored_lists(conn, source, now) if stored is None else stored

    def scopes(self) -> list[Compared]:
        """Return every scope of which the report lists or proves something."""
        found = [self._compare(scope) for scope in self._report.scopes]
        if self._report.covers_all:
            named = {scope.scope for scope in self._report.scopes}
            left = (scope for scope, each in self._stored_lists.items() if each.present or each.unsettled or each.suspect_polls)
            found += [self._emptied(scope) for scope in left if scope not in named]
        return found

    def suspects(self) -> dict[str | None, int]:
        """Return the scopes with suspicious lists, and the number of these in a row."""
        return {scope: each.suspect_polls for scope, each in self._stored_lists.items() if each.suspect_polls}

    def unreadable(self) -> dict[str | None, int]:
        """Return the scopes whose last list had unreadable rows, and the number of such lists in a row."""
        return {scope: each.unreadable_polls for scope, each in self._stored_lists.items() if each.unreadable_polls}

    @cached_property
    def _unsettled(self) -> dict[str | None, list[UnsettledConnection]]:
        if not any(each.unsettled for each in self._stored_lists.values()):
            return {}
        return list_state.unsettled(self._conn, self._source, self._now)

    def _compare(self, scope: ScopeReport) -> Compared:
        stored_list = self._stored_lists.get(scope.scope, NEVER_LISTED)
        if not scope.complete and not scope.snapshots and not scope.unreadable:
            # Nothing was read: the stored connections still follow from the list before.
            return Compared(scope=scope.scope, rows=comparable(()), digest=stored_list.digest, present=stored_list.present)
        rows = comparable(scope.snapshots)
        digest = digest_of(scope, rows)
        if digest is not None and digest == stored_list.digest and stored_list.present == len(scope.snapshots):
            return self._same(scope, rows, digest, stored_list)
        return self._different(scope, rows, digest, stored_list)

    def _same(self, scope: ScopeReport, rows: ComparableRows, digest: str, stored_list: StoredList) -> Compared:
        """Compare a list that is the same as the one from which the stored connections follow."""
        if stored_list.unsettled == 0:
            return Compared(scope=scope.scope, rows=rows, digest=digest, proves_absence=True, present=stored_list.present)
        unsettled = self._unsettled.get(scope.scope, [])
        due = {row.external_id for row in unsettled if not row.missing}
        absent = [row.external_id for row in unsettled if row.missing]
        ids = list_state.ids(self._conn, self._source, scope.scope, {*due, *absent})
        return Compared(
            scope=scope.scope,
            rows=rows,
            digest=digest,
            touched=due,
            due=due,
            absent=absent,
            proves_absence=True,
            present=stored_list.present,
            ids=ids,
        )

    def _different(self, scope: ScopeReport, rows: ComparableRows, digest: str | None, stored_list: StoredList) -> Compared:
        """Compare row by row, by fingerprints."""
        stored = list_state.fingerprints(self._conn, self._source, scope.scope)
        listed = rows.fingerprints()
        unsettled = self._unsettled.get(scope.scope, []) if stored_list.unsettled else []
        due = {row.external_id for row in unsettled if row.external_id in listed}
        # No set operators here: one such call over 100,000 rows would block every other thread while it runs.
        changed = {key for key, fingerprint in listed.items() if stored.get(key) != fingerprint}
        touched = changed | due | self._moved(scope.scope, rows)
        unreadable = {row.external_id for row in scope.unreadable if row.external_id is not None}
        absent: set[str] = set()
        proves_absence = scope.complete and not any(row.external_id is None for row in scope.unreadable)
        unlisted: set[str] = set()
        if scope.complete or scope.whole:
            unlisted = {key for key in stored if key not in listed and key not in unreadable}
        if proves_absence:
            absent, unlisted = unlisted, set()
        lost = {row.external_id for row in unsettled if row.missing and not proves_absence} - unreadable - due
        known = {key for key in touched if key in stored} | absent | lost | unlisted | (unreadable & stored.keys())
        return Compared(
            scope=scope.scope,
            rows=rows,
            digest=digest,
            touched=touched,
            due=due,
            unreadable=unreadable & stored.keys(),
            ids=list_state.ids(self._conn, self._source, scope.scope, known),
            absent=[key for key in stored if key in absent],
            lost=lost,
            unlisted=unlisted,
            proves_absence=proves_absence,
            present=stored_list.present,
            fingerprints=listed,
        )

    def _moved(self, scope: str | None, rows: ComparableRows) -> set[str]:
        """Return the rows that state only a coarse span, where its end moved."""
        spans = rows.spans()
        if not spans:
            return set()
        before = list_state.coarse_expiries(self._conn, self._source, scope)
        return {key for key, end in spans.items() if span_moved(before.get(key), end)}

    def _emptied(self, scope: str | None) -> Compared:
        """Compare a scope that the report would list if it had any connection left."""
        stored = list(list_state.fingerprints(self._conn, self._source, scope))
        ids = list_state.ids(self._conn, self._source, scope, set(stored))
        present = self._stored_lists[scope].present
        return Compared(scope=scope, rows=comparable(()), absent=stored, proves_absence=True, ids=ids, present=present)
