"""Judge the connections of a list: those that it shows changed or new, those that it cannot show, those that it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection

from monitor.config import SourceConfig
from monitor.domain import ConnectionState, HistoryEntry, HistoryKind, Snapshot
from monitor.domain.records import replace
from monitor.domain.rules import lifecycle
from monitor.domain.rules.context import Context
from monitor.domain.rules.fingerprint import span_moved
from monitor.engine.recording.changes import Change
from monitor.engine.recording.list_diff import Compared
from monitor.store import connections
from monitor.store.connections import KEEP, Keep

BATCH = 2000
"""Connections judged and written together: what is held in memory does not grow with the list."""

Absent = dict[str, tuple[int, ConnectionState]]
"""Connections that a list lacks, by external id: row id and state."""


@dataclass(slots=True)
class Judged:
    """What became of some connections."""

    changes: list[Change] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    """Row ids and new marks of connections whose row is only written in another way."""

    def add(self, change: Change | None, row: int | None = None, mark: str | None = None) -> None:
        """One more connection: a change, or its mark at least."""
        if change is not None:
            self.changes.append(change)
        elif row is not None and mark is not None:
            self.marks.append((row, mark))


def judge_listed(conn: Connection, compared: Compared, judge: Judge, absent: Absent) -> Iterator[Judged]:
    """Batch by batch what the listed rows change. A reconnected one is taken out of the absent ones."""
    snapshots = compared.snapshots()
    while batch := list(islice(snapshots, BATCH)):
        known = _load(conn, compared, [row.external_id for row in batch])
        judged = Judged()
        for snapshot in batch:
            found = known.get(snapshot.external_id)
            mark = compared.marks.get(snapshot.external_id)
            if found is None:
                judged.add(_fresh(conn, compared, judge, snapshot, absent))
            elif snapshot.external_id not in compared.due and _says_the_same(found[1].snapshot, snapshot):
                judged.add(None, found[0], mark)
            else:
                judged.add(judge.seen(*found, snapshot, mark), found[0], mark)
        yield judged


def judge_unreadable(conn: Connection, compared: Compared, judge: Judge) -> Judged:
    """The connections whose row is there and cannot be read."""
    judged = Judged()
    if compared.unreadable:
        known = _load(conn, compared, compared.unreadable)
        for row, state in known.values():
            if state.missing or not state.verdict.flags & {lifecycle.UNREADABLE, "scope_gone"}:
                judged.add(judge.unreadable(row, state))
    return judged


def judge_absent(absent: Absent, judge: Judge, *, confirmed: bool, seen_at: datetime | None) -> Iterator[Judged]:
    """The connections that a list lacks; `seen_at` tells when their scope was last listed completely before this."""
    rows = iter(absent.values())
    while batch := list(islice(rows, BATCH)):
        judged = Judged()
        for row, state in batch:
            judged.add(judge.missed(row, state, confirmed=confirmed, seen_at=seen_at))
        yield judged


def _says_the_same(before: Snapshot, after: Snapshot) -> bool:
    """Whether the row tells nothing new; the wobbling end of a coarse span is nothing new."""
    if after.expires_before is None or before.expires_before is None:
        return before == after
    moved = span_moved(before.expires_before, after.expires_before)
    return not moved and before == replace(after, expires_before=before.expires_before)


def _fresh(conn: Connection, compared: Compared, judge: Judge, snapshot: Snapshot, absent: Absent) -> Change:
    """A connection that is listed for the first time, or an absent one of the same account under a new id."""
    mark = compared.marks[snapshot.external_id]
    if absent and snapshot.account is not None:
        where = judge.source.name, snapshot.scope, snapshot.platform, snapshot.account
        same = set(connections.find_by_account(conn, *where))
        key = next((key for key, (row, _) in absent.items() if row in same), None)
        if key is not None:
            return judge.reconnected(*absent.pop(key), snapshot, mark)
    return judge.appeared(snapshot, mark)


@dataclass(slots=True, kw_only=True)
class Judge:
    """Applies the rules to one row after another, all with the same circumstances."""

    source: SourceConfig
    now: datetime
    clock_skew: float | None
    _contexts: dict[str, Context] = field(default_factory=dict)

    def seen(self, row: int, state: ConnectionState, snapshot: Snapshot, mark: str | None) -> Change | None:
        """A known connection is listed."""
        return self._change(row, state, lifecycle.observe(state, snapshot, self._context(snapshot.platform)), mark=mark)

    def unreadable(self, row: int, state: ConnectionState) -> Change | None:
        """A known connection is listed in a row that cannot be read."""
        return self._change(row, state, lifecycle.unreadable(state, self._context(state.snapshot.platform)), mark=None)

    def missed(self, row: int, state: ConnectionState, *, confirmed: bool, seen_at: datetime | None) -> Change | None:
        """A known connection is absent; `seen_at` tells when its scope was last listed completely before this."""
        after = lifecycle.miss(state, self._context(state.snapshot.platform), confirmed=confirmed)
        change = self._change(row, state, after, mark=None)
        return change if change is None or state.missing else replace(change, last_seen_at=seen_at)

    def appeared(self, snapshot: Snapshot, mark: str) -> Change:
        """A connection is listed for the first time."""
        after = lifecycle.observe(None, snapshot, self._context(snapshot.platform))
        probe_at = self.now if self.source.probes_on_schedule else KEEP
        return Change(after=after, fingerprint=mark, next_probe_at=probe_at)

    def reconnected(self, row: int, state: ConnectionState, snapshot: Snapshot, mark: str) -> Change:
        """The same account is listed under a new id: its history goes on, and it is probed anew."""
        after = lifecycle.observe(state, snapshot, self._context(snapshot.platform))
        entry = HistoryEntry(kind=HistoryKind.RECONNECTED, at=self.now, old=state.snapshot.external_id, new=snapshot.external_id)
        probe_at = self.now if self.source.probes_on_schedule else KEEP
        return Change(row=row, before=state, after=after, fingerprint=mark, next_probe_at=probe_at, extra=(entry,))

    def _context(self, platform: str) -> Context:
        if platform not in self._contexts:
            self._contexts[platform] = Context(
                now=self.now,
                provider=self.source.provider,
                policy=self.source.policy_for(platform),
                polled=True,
                clock_skew=self.clock_skew,
            )
        return self._contexts[platform]

    def _change(self, row: int, before: ConnectionState, after: ConnectionState, *, mark: str | None) -> Change | None:
        if after == before:
            return None
        probe_at: datetime | Keep = (
            self.now if self.source.probes_on_schedule and lifecycle.probe_after_change(before, after) else KEEP
        )
        return Change(row=row, before=before, after=after, fingerprint=mark, next_probe_at=probe_at)


def absent_of(conn: Connection, compared: Sequence[Compared]) -> dict[str | None, Absent]:
    """Id and state of the absent connections of each scope that has some."""
    return {each.scope: _load(conn, each, each.absent) for each in compared if each.absent}


def _load(conn: Connection, compared: Compared, external_ids: Iterable[str]) -> dict[str, tuple[int, ConnectionState]]:
    """Row id and state of those that are stored."""
    rows = {compared.ids[key]: key for key in external_ids if key in compared.ids}
    return {rows[row]: (row, state) for row, state in connections.load(conn, rows).items()}
