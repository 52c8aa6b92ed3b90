"""Poll a source: fetch its lists, find what changed, and record it in one transaction.

Follow one connection from here: `Poller.poll` gathers, `reconcile` decides (through the rules), `record_poll` writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from monitor.clock import Clock
from monitor.config import SourceConfig
from monitor.model import (
    ConnectionState,
    HistoryEntry,
    HistoryKind,
    PollOutcome,
    PollReport,
    ProbeState,
    ScopeReport,
    Snapshot,
)
from monitor.provider import Provider
from monitor.reach import judge_source, record_reach
from monitor.recorder import Change, ChannelSettings, Recorded, close_quietly, record_changes, record_source_incident
from monitor.rules import inhibition, lifecycle, schedule
from monitor.rules.context import Context
from monitor.rules.fingerprint import fingerprint, span_moved
from monitor.store import Store, connections, incidents, polls, probes, scopes, sources
from monitor.store.connections import KEEP, Keep, Known

log = structlog.get_logger(__name__)

Key = tuple[str | None, str]
"""A connection within its source: scope and external id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """One poll that came home: the report and when it was."""

    report: PollReport
    started_at: datetime
    now: datetime
    """When the answer was complete: the one instant of everything that follows from it."""


class Poller:
    """Polls sources and records what they say."""

    def __init__(self, *, store: Store, clock: Clock, channels: Sequence[ChannelSettings]) -> None:
        self._store = store
        self._clock = clock
        self._channels = channels

    async def poll(self, source: SourceConfig, provider: Provider) -> Recorded:
        """Read the source's lists now and record them. Raises StoreError where that cannot be written."""
        started_at = self._clock.now()
        try:
            report = await provider.poll()
        except Exception as error:
            log.exception("poll.fault", source=source.name)
            problem = f"The answer could not be handled ({type(error).__name__}): see the log."
            report = PollReport(outcome=PollOutcome.INVALID, problem=problem)
        poll = Poll(report=report, started_at=started_at, now=self._clock.now())
        recorded = await self._store.run(self._record, source, poll)
        _tell(source, poll, recorded)
        return recorded

    def _record(self, source: SourceConfig, poll: Poll) -> Recorded:
        with self._store.write() as conn:
            return record_poll(conn, source, poll, channels=self._channels)


def record_poll(conn: Connection, source: SourceConfig, poll: Poll, *, channels: Sequence[ChannelSettings]) -> Recorded:
    """Everything that follows from one poll, in the caller's transaction."""
    before = sources.find_source(conn, source.name)
    if before is None:
        return Recorded()  # the source left the configuration while it was being read
    report, now = poll.report, poll.now
    skew = report.clock_skew if report.clock_skew is not None else before.clock_skew
    seen = reconcile(conn, source, report, now=now, clock_skew=skew) if report.scopes else Reconciled()
    recorded = _record_disappearances(conn, source, seen, channels=channels, now=now)
    recorded.add(record_changes(conn, source, seen.changes, channels=channels, now=now))
    if source.probes_on_schedule and any(change.row is None for change in seen.changes):
        _plan_probes(conn, source, seen.changes, now)
    scopes.save_scopes(conn, source.name, [_scope_row(scope, now) for scope in report.scopes])
    scopes.save_suspects(conn, source.name, seen.suspects)
    after = judge_source(before, source, report, clock_skew=skew, now=now)
    recorded.add(record_reach(conn, source, before, after, poll, channels=channels))
    polls.record_poll(
        conn,
        source=source.name,
        at=now,
        duration_ms=round((now - poll.started_at) / timedelta(milliseconds=1)),
        outcome=report.outcome,
        problem=report.problem,
        requests=report.requests,
        connections=report.listed,
        changed=len(seen.changes),
    )
    return recorded


@dataclass(slots=True)
class Reconciled:
    """What a report changes."""

    changes: list[Change] = field(default_factory=list)
    suspects: dict[str | None, int] = field(default_factory=dict)
    """Scopes whose count of suspicious lists changes, with the new count."""
    lost: dict[str | None, tuple[int, int]] = field(default_factory=dict)
    """Scopes that lost most of their connections at once: how many of how many."""


def reconcile(
    conn: Connection, source: SourceConfig, report: PollReport, *, now: datetime, clock_skew: float | None
) -> Reconciled:
    """What the report changes, scope by scope. An incomplete scope is evidence of what it shows, never of absence."""
    known = connections.index(conn, source.name)
    absent = _absent(known, report)
    touched, fresh = _touched(known, report, now)
    states = connections.load(conn, [*touched, *absent.values()])
    judge = _Judge(source=source, now=now, clock_skew=clock_skew)
    changes = [judge.seen(row, states[row], snapshot) for row, snapshot in touched.items()]
    for snapshot in fresh:
        row = _reconnected(conn, source, snapshot, absent) if snapshot.account else None
        changes.append(judge.appeared(snapshot) if row is None else judge.reconnected(row, states[row], snapshot))
    seen = Reconciled()
    _suspect(conn, source, known, absent, seen)
    listed_at = {row.scope: row.last_complete_at for row in scopes.all_scopes(conn, source.name)} if absent else {}
    for key, row in absent.items():
        agreed = seen.suspects.get(key[0], 0) >= inhibition.AGREEING_POLLS
        if key[0] not in seen.lost or agreed:
            changes.append(judge.missed(row, states[row], confirmed=agreed, seen_at=listed_at.get(key[0])))
    seen.changes = [change for change in changes if change is not None]
    return seen


def _suspect(
    conn: Connection, source: SourceConfig, known: Mapping[Key, Known], absent: Mapping[Key, int], seen: Reconciled
) -> None:
    """Scopes from which most connections are missing at once are held until further lists agree."""
    present = Counter(key[0] for key, row in known.items() if row.missing == 0)
    gone = Counter(key[0] for key in absent if known[key].missing == 0)
    seen.lost = {scope: (count, present[scope]) for scope, count in gone.items() if inhibition.is_mass(count, present[scope])}
    before: dict[str | None, int] = {}
    if seen.lost or incidents.open_subjects(conn, source.name):
        before = {row.scope: row.suspect_polls for row in scopes.all_scopes(conn, source.name)}
    seen.suspects = {scope: 0 for scope, count in before.items() if count and scope not in seen.lost}
    seen.suspects |= {scope: before.get(scope, 0) + 1 for scope in seen.lost}


def _record_disappearances(
    conn: Connection, source: SourceConfig, seen: Reconciled, *, channels: Sequence[ChannelSettings], now: datetime
) -> Recorded:
    """One alert where most of a scope is missing at once; it ends by itself, or in one message that says who is gone."""
    recorded = Recorded()
    for scope, count in seen.suspects.items():
        subject = f"missing:{scope or ''}"
        if count >= inhibition.AGREEING_POLLS:
            close_quietly(conn, source.name, subject, now)
            seen.suspects[scope] = 0
            continue
        if count > 1:
            continue
        gone, of = seen.lost.get(scope, (0, 0))
        where = f" of {scope}" if scope else ""
        lost = f"{gone} of {of} connections{where} are missing at once; they keep their status until two more lists agree."
        recorded.add(
            record_source_incident(
                conn,
                source,
                subject=subject,
                problem=count == 1,
                reason="suspicious_list",
                status="suspicious_list" if count else "ok",
                message=lost if count else f"The connections{where} are listed again.",
                channels=channels,
                now=now,
                count=max(gone, 1),
            )
        )
    return recorded


def _touched(known: Mapping[Key, Known], report: PollReport, now: datetime) -> tuple[dict[int, Snapshot | None], list[Snapshot]]:
    """Known rows that must be judged again (None: the row is there and cannot be read), and connections never seen before."""
    touched: dict[int, Snapshot | None] = {}
    fresh: list[Snapshot] = []
    for scope in report.scopes:
        for snapshot in scope.snapshots:
            row = known.get((scope.scope, snapshot.external_id))
            if row is None:
                fresh.append(snapshot)
            elif not _unchanged(row, snapshot, now):
                touched[row.id] = snapshot
        for unreadable in scope.unreadable:
            row = known.get((scope.scope, unreadable.external_id)) if unreadable.external_id else None
            if row is not None and not (row.flagged and row.missing == 0):
                touched.setdefault(row.id, None)
    return touched, fresh


def _unchanged(row: Known, snapshot: Snapshot, now: datetime) -> bool:
    """Whether judging again could only say the same."""
    if row.missing or row.flagged or (row.recheck_at is not None and row.recheck_at <= now):
        return False
    return row.fingerprint == fingerprint(snapshot) and not span_moved(row.expires_before, snapshot.expires_before)


def _absent(known: Mapping[Key, Known], report: PollReport) -> dict[Key, int]:
    """Known connections that a complete list of their scope lacks, by key."""
    complete = {scope.scope for scope in report.scopes if scope.complete}
    partial = {scope.scope for scope in report.scopes} - complete
    listed: set[Key] = set()
    for scope in report.scopes:
        listed.update((scope.scope, snapshot.external_id) for snapshot in scope.snapshots)
        listed.update((scope.scope, row.external_id) for row in scope.unreadable if row.external_id)
    hidden = {scope.scope for scope in report.scopes if any(row.external_id is None for row in scope.unreadable)}
    return {
        key: row.id
        for key, row in known.items()
        if key not in listed
        and key[0] not in hidden  # a row without a readable id may be any of them
        and (key[0] in complete or (report.covers_all and key[0] not in partial))
    }


def _reconnected(conn: Connection, source: SourceConfig, snapshot: Snapshot, absent: dict[Key, int]) -> int | None:
    """The absent connection of the same account, which came back under a new id; taken out of the absent ones."""
    if not absent or snapshot.account is None:
        return None
    same = set(connections.find_by_account(conn, source.name, snapshot.scope, snapshot.platform, snapshot.account))
    key = next((key for key, row in absent.items() if row in same), None)
    return None if key is None else absent.pop(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """Applies the rules to one row after another, all with the same circumstances."""

    source: SourceConfig
    now: datetime
    clock_skew: float | None

    def seen(self, row: int, state: ConnectionState, snapshot: Snapshot | None) -> Change | None:
        """A known connection is listed."""
        context = self._context(state.snapshot.platform if snapshot is None else snapshot.platform)
        if snapshot is None:
            return self._change(row, state, lifecycle.unreadable(state, context), mark=None)
        # What a probe found once must not outlive probing: nothing could ever take it back.
        known = state if self.source.probe else replace(state, probe=ProbeState())
        return self._change(row, state, lifecycle.observe(known, snapshot, context), mark=fingerprint(snapshot))

    def missed(self, row: int, state: ConnectionState, *, confirmed: bool, seen_at: datetime | None) -> Change | None:
        """A known connection is absent; `seen_at` tells when its scope was last listed completely before this."""
        after = lifecycle.miss(state, self._context(state.snapshot.platform), confirmed=confirmed)
        change = self._change(row, state, after, mark=None)
        return change if change is None or state.missing else replace(change, last_seen_at=seen_at)

    def appeared(self, snapshot: Snapshot) -> Change:
        """A connection is listed for the first time."""
        after = lifecycle.observe(None, snapshot, self._context(snapshot.platform))
        probe_at = self.now if self.source.probes_on_schedule else KEEP
        return Change(after=after, fingerprint=fingerprint(snapshot), next_probe_at=probe_at)

    def reconnected(self, row: int, state: ConnectionState, snapshot: Snapshot) -> Change:
        """The same account is listed under a new id: its history goes on, and it is probed anew."""
        after = lifecycle.observe(state, snapshot, self._context(snapshot.platform))
        entry = HistoryEntry(kind=HistoryKind.RECONNECTED, at=self.now, old=state.snapshot.external_id, new=snapshot.external_id)
        probe_at = self.now if self.source.probes_on_schedule else KEEP
        return Change(
            row=row, before=state, after=after, fingerprint=fingerprint(snapshot), next_probe_at=probe_at, extra=(entry,)
        )

    def _context(self, platform: str) -> Context:
        return Context(
            now=self.now,
            provider=self.source.provider,
            policy=self.source.policy_for(platform),
            polled=True,
            clock_skew=self.clock_skew,
        )

    def _change(self, row: int, before: ConnectionState, after: ConnectionState, *, mark: str | None) -> Change | None:
        if after == before:
            return None
        probe_at: datetime | Keep = (
            self.now if self.source.probes_on_schedule and lifecycle.probe_after_change(before, after) else KEEP
        )
        return Change(row=row, before=before, after=after, fingerprint=mark, next_probe_at=probe_at)


def _plan_probes(conn: Connection, source: SourceConfig, changes: Iterable[Change], now: datetime) -> None:
    """Give the cohorts of new connections their place in the probe interval."""
    if source.probe_every is None:
        return
    new = {
        schedule.cohort_of(change.after.snapshot.scope, change.after.snapshot.external_id)
        for change in changes
        if change.row is None
    }
    due = {
        cohort: schedule.next_cohort_probe(now, source.probe_every, source=source.name, cohort=cohort, jitter=source.jitter)
        for cohort in new
    }
    probes.ensure_cohorts(conn, source.name, due)


def _scope_row(scope: ScopeReport, now: datetime) -> tuple[str | None, datetime | None, str | None, int]:
    return scope.scope, now if scope.complete else None, scope.problem, len(scope.snapshots) + len(scope.unreadable)


def _tell(source: SourceConfig, poll: Poll, recorded: Recorded) -> None:
    """One log line a poll: quiet where all is well."""
    report = poll.report
    facts = {"source": source.name, "outcome": report.outcome.value, "connections": report.listed, "changed": recorded.changed}
    if report.outcome is PollOutcome.OK:
        log.info("poll.done", **facts, alerts=len(recorded.alerts))
    else:
        log.warning("poll.failed", **facts, problem=report.problem)
