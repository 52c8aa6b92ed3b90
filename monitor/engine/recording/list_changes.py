"""Record what changed in the lists of one poll."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import ConnectionState, Event, EventKind, IncidentSubject, PollReport, Snapshot, VerdictFlag
from monitor.domain.records import replace
from monitor.domain.rules import lifecycle, schedule, suppression
from monitor.domain.rules.expiry import Context
from monitor.domain.rules.fingerprint import span_moved
from monitor.engine.recording.changes import Change, record_changes
from monitor.engine.recording.list_diff import Compared, Comparison
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.system_alerts import close_without_alert, record_source_incident
from monitor.store import Connection, connection_codec, connections, sources
from monitor.store.connections import KEEP, Unchanged

BATCH = 2000
"""Connections judged and written together: what is held in memory does not grow with the list."""

Absent = dict[str, tuple[int, ConnectionState]]
"""Connections that a list lacks, by external id: row id and state."""


@dataclass(slots=True)
class JudgedChanges:
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


def judge_listed(conn: Connection, compared: Compared, judge: RowJudge, absent: Absent) -> Iterator[JudgedChanges]:
    """Batch by batch what the listed rows change. A reconnected one is taken out of the absent ones."""
    snapshots = compared.snapshots()
    while batch := list(islice(snapshots, BATCH)):
        known = _load(conn, compared, [row.external_id for row in batch])
        judged = JudgedChanges()
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


def judge_unreadable(conn: Connection, compared: Compared, judge: RowJudge) -> JudgedChanges:
    """The connections whose row is there and cannot be read."""
    judged = JudgedChanges()
    if compared.unreadable:
        known = _load(conn, compared, compared.unreadable)
        for row, state in known.values():
            if state.missing or VerdictFlag.UNREADABLE not in state.verdict.flags:
                judged.add(judge.unreadable(row, state))
    return judged


def judge_absent(absent: Absent, judge: RowJudge, *, confirmed: bool, seen_at: datetime | None) -> Iterator[JudgedChanges]:
    """The connections that a list lacks; `seen_at` tells when their scope was last listed completely before this."""
    rows = iter(absent.values())
    while batch := list(islice(rows, BATCH)):
        judged = JudgedChanges()
        for row, state in batch:
            judged.add(judge.missed(row, state, confirmed=confirmed, seen_at=seen_at))
        yield judged


def _says_the_same(before: Snapshot, after: Snapshot) -> bool:
    """Whether the row tells nothing new; the wobbling end of a coarse span is nothing new."""
    if after.expires_before is None or before.expires_before is None:
        return before == after
    moved = span_moved(before.expires_before, after.expires_before)
    return not moved and before == replace(after, expires_before=before.expires_before)


def _fresh(conn: Connection, compared: Compared, judge: RowJudge, snapshot: Snapshot, absent: Absent) -> Change:
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
class RowJudge:
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
        entry = Event(kind=EventKind.RECONNECTED, at=self.now, old=state.snapshot.external_id, new=snapshot.external_id)
        probe_at = self.now if self.source.probes_on_schedule else KEEP
        return Change(row=row, before=state, after=after, fingerprint=mark, next_probe_at=probe_at, extra=(entry,))

    def _context(self, platform: str) -> Context:
        if platform not in self._contexts:
            self._contexts[platform] = Context(
                now=self.now,
                provider=self.source.info,
                policy=self.source.policy_for(platform),
                polled=True,
                clock_skew=self.clock_skew,
            )
        return self._contexts[platform]

    def _change(self, row: int, before: ConnectionState, after: ConnectionState, *, mark: str | None) -> Change | None:
        if after == before:
            return None
        probe_at: datetime | Unchanged = (
            self.now if self.source.probes_on_schedule and lifecycle.probe_after_change(before, after) else KEEP
        )
        return Change(row=row, before=before, after=after, fingerprint=mark, next_probe_at=probe_at)


def absent_of(conn: Connection, compared: Sequence[Compared]) -> dict[str | None, Absent]:
    """Id and state of the absent connections of each scope that has some."""
    return {each.scope: _load(conn, each, each.absent) for each in compared if each.absent}


def _load(conn: Connection, compared: Compared, external_ids: Iterable[str]) -> dict[str, tuple[int, ConnectionState]]:
    """Row id and state of those that are stored."""
    rows = {compared.ids[key]: key for key in external_ids if key in compared.ids}
    return {rows[row]: (row, state) for row, state in connection_codec.load(conn, rows).items()}


@dataclass(slots=True)
class RecordedLists:
    """What was recorded of the lists of one poll."""

    recorded: Recorded = field(default_factory=Recorded)
    cohorts: set[int] = field(default_factory=set)
    """Probe cohorts of new connections."""
    digests: dict[str | None, str | None] = field(default_factory=dict)
    """Of each scope, the digest of the list that its stored connections now follow from."""
    suspects: dict[str | None, int] = field(default_factory=dict)
    """Scopes whose count of suspicious lists changes, with the new count."""


def record_lists(
    conn: Connection,
    source: SourceConfig,
    report: PollReport,
    *,
    channels: Sequence[ChannelConfig],
    now: datetime,
    clock_skew: float | None,
) -> RecordedLists:
    """Everything that the lists change, scope by scope. An incomplete one is evidence of what it shows, never of absence."""
    comparison = Comparison(conn, source.name, report, now=now)
    compared = comparison.scopes()
    judge = RowJudge(source=source, now=now, clock_skew=clock_skew)
    listed = RecordedLists(digests={each.scope: each.digest for each in compared})
    absent = absent_of(conn, compared)

    def record(batches: Iterable[JudgedChanges]) -> None:
        for judged in batches:
            connections.set_marks(conn, judged.marks)
            listed.recorded.add(record_changes(conn, source, judged.changes, channels=channels, now=now))
            listed.cohorts |= {
                schedule.cohort_of(change.after.snapshot.scope, change.after.snapshot.external_id)
                for change in judged.changes
                if change.row is None
            }

    for each in compared:
        record(judge_listed(conn, each, judge, absent.get(each.scope, {})))
        record([judge_unreadable(conn, each, judge)])
    before = comparison.suspects()
    gone = _gone(compared, absent)
    lost = {scope for scope, (count, of) in gone.items() if suppression.is_mass_failure(count, of)}
    listed.suspects = {
        scope: before.get(scope, 0) + 1 if scope in lost else 0 for scope in gone if scope in lost or scope in before
    }
    agreed = {scope for scope in lost if listed.suspects[scope] >= suppression.AGREEING_POLLS}
    listed.recorded.add(_record_disappearances(conn, source, listed.suspects, gone, channels=channels, now=now))
    seen_at = {row.scope: row.last_complete_at for row in sources.all_scopes(conn, source.name)} if absent else {}
    for scope, rows in absent.items():
        if scope not in lost or scope in agreed:
            record(judge_absent(rows, judge, confirmed=scope in agreed, seen_at=seen_at.get(scope)))
    return listed


def _gone(compared: Sequence[Compared], absent: Mapping[str | None, Absent]) -> dict[str | None, tuple[int, int]]:
    """Of each scope that was listed to its end, how many connections are newly missing, and of how many.

    A scope that is not in here was not read, or only in part: that neither confirms nor disproves what is suspected of it.
    """
    found = {}
    for each in compared:
        if each.whole:
            rows = absent.get(each.scope, {}).values()
            found[each.scope] = sum(state.missing == 0 for _, state in rows), each.present
    return found


def _record_disappearances(
    conn: Connection,
    source: SourceConfig,
    suspects: dict[str | None, int],
    gone: Mapping[str | None, tuple[int, int]],
    *,
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> Recorded:
    """One alert where most of a scope is missing at once; it ends by itself, or in one message that says who is gone."""
    recorded = Recorded()
    for scope, count in suspects.items():
        subject = IncidentSubject.MISSING.of(scope or "")
        if count >= suppression.AGREEING_POLLS:
            close_without_alert(conn, source.name, subject, now)
            suspects[scope] = 0
            continue
        if count > 1:
            continue
        missing, of = gone[scope]
        recorded.add(
            record_source_incident(
                conn,
                source,
                subject=subject,
                problem=count == 1,
                reason="suspicious_list",
                status="suspicious_list" if count else "ok",
                message=_told(scope, missing, of, suspicious=count > 0),
                channels=channels,
                now=now,
                count=max(missing, 1),
            )
        )
    return recorded


def _told(scope: str | None, missing: int, of: int, *, suspicious: bool) -> str:
    """What is said of a scope from which most connections are, or no longer are, missing at once."""
    where = f" of {scope}" if scope else ""
    if suspicious:
        return f"{missing} of {of} connections{where} are missing at once; they keep their status until two more lists agree."
    if missing:
        still = f"{missing} of {of} {'is' if missing == 1 else 'are'} still missing"
        return f"Some connections{where} are listed again; {still}, and told one by one if that lasts."
    return f"The connections{where} are listed again."
