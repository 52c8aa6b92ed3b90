"""Record polls of sources, in one transaction.

The path of a poll: `engine/poller.py` fetches the lists and calls `record_polls` here. `list_changes` compares the lists with
the stored connections and applies the rules to what differs. `source_status` records what the poll shows about the source
itself. Both call downwards only: `changes` writes states and history, `incidents` decides about alerts, `queueing` queues
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import PollOutcome, PollReport, ScopeReport, SourceStatus
from monitor.domain.rules import expiry, schedule
from monitor.domain.rules.silent_probes import is_check_due
from monitor.engine.recording.hooks import count_unannounced, is_by_hook, repeat_for_hook
from monitor.engine.recording.labelling import save_scope_names
from monitor.engine.recording.list_changes import RecordedLists, record_lists
from monitor.engine.recording.pushes import describe_pushed, plan_next_check
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.silent_probes import record_silent_probes
from monitor.engine.recording.source_status import record_source
from monitor.engine.recording.unreadable_rows import describe_scope, record_unreadable_rows
from monitor.engine.recording.unrecognised_statuses import record_unrecognised
from monitor.store import Connection, connections, probes, sources
from monitor.store.poll_rows import PollRows
from monitor.store.sources import SourceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """One poll that has ended: its report and its times."""

    report: PollReport
    started_at: datetime
    now: datetime
    """When the answer was complete. Everything that follows from the poll is dated with this time."""


def record_polls(
    conn: Connection, polls: Sequence[tuple[SourceConfig, Poll]], *, channels: Sequence[ChannelConfig]
) -> list[Recorded]:
    """Record everything that follows from each of these polls, in this order, in the caller's transaction."""
    rows = PollRows(conn, {source.name for source, _ in polls}, max(poll.now for _, poll in polls))
    recorded = []
    for source, poll in polls:
        recorded.append(_record_poll(conn, source, poll, rows, channels=channels))
        rows.end_poll()
    rows.settle()
    return recorded


def record_poll(conn: Connection, source: SourceConfig, poll: Poll, *, channels: Sequence[ChannelConfig]) -> Recorded:
    """Record everything that follows from one poll, in the caller's transaction."""
    return record_polls(conn, [(source, poll)], channels=channels)[0]


def _record_poll(
    conn: Connection, source: SourceConfig, poll: Poll, rows: PollRows, *, channels: Sequence[ChannelConfig]
) -> Recorded:
    before = rows.find_source(source.name)
    if before is None or before.removed_at is not None:
        return Recorded()  # the source left the configuration while it was being polled
    report, now = poll.report, poll.now
    clock_skew = report.clock_skew if report.clock_skew is not None else before.clock_skew
    clock_was_set = expiry.clock_was_set(before.clock_skew, clock_skew)
    if clock_was_set or not _is_usual(source, before, poll) or rows.monitor_problems():
        rows.separate()
    if source.push_token is not None:
        report = describe_pushed(conn, source, report, now)
    if clock_was_set:
        connections.recheck_dates(conn, source.name, now)
    recorded = save_scope_names(conn, source, report.scope_names, channels=channels, now=now)
    listed = RecordedLists()
    if report.scopes:
        stored = rows.stored_lists(source.name)
        listed = record_lists(conn, source, report, channels=channels, now=now, clock_skew=clock_skew, stored=stored)
    if listed.is_eventful:
        rows.separate()
    _plan_probes(conn, source, listed.cohorts, now)
    scopes = [_scope_row(scope, now) for scope in report.scopes]
    rows.save_scopes(sources.readings(source.name, scopes, listed.digests))
    sources.save_suspects(conn, source.name, listed.suspects)
    recorded.add(listed.recorded)
    unreadable = listed.unreadable_before
    recorded.add(record_unreadable_rows(conn, source, report, before=unreadable, channels=channels, now=now))
    if listed.unrecognised:
        recorded.add(record_unrecognised(conn, source, channels=channels, now=now))
    if report.scopes and source.probes_on_schedule and is_check_due(before.last_poll_at, now):
        recorded.add(record_silent_probes(conn, source, channels=channels, now=now))
    before = count_unannounced(source, before, status_changed=listed.status_changed)
    recorded.add(record_source(conn, source, before, report, clock_skew=clock_skew, channels=channels, now=now, rows=rows))
    if source.push_token is not None:
        plan_next_check(conn, source)
    repeat_for_hook(conn, before, poll.started_at)
    rows.add_poll(
        sources.PollRow(
            source=source.name,
            at=now,
            duration_ms=round((now - poll.started_at) / timedelta(milliseconds=1)),
            outcome=report.outcome,
            problem=report.problem,
            requests=report.requests,
            connections=report.listed,
            changed=listed.recorded.changed,
            by_hook=is_by_hook(before, poll.started_at),
        )
    )
    return recorded


def _is_usual(source: SourceConfig, before: SourceRow, poll: Poll) -> bool:
    """Return True if, unless its lists differ, the poll concerns only the rows of its source, and reads none that it writes."""
    report = poll.report
    readable = all(scope.complete and not scope.unreadable for scope in report.scopes)
    return (
        readable
        and report.outcome is PollOutcome.OK
        and before.status is SourceStatus.OK
        and before.skewed_since is None
        and before.hook_at is None
        and source.push_token is None
        and report.scope_names is None
        and not is_check_due(before.last_poll_at, poll.now)
    )


def record_scopes(
    conn: Connection, source: SourceConfig, report: PollReport, *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Record what the lists of some scopes change, read ahead of the source's next poll, in the caller's transaction.

    They prove no absence, so that repeated requests do not confirm one. The source's own status and schedule do not change.
    """
    before = sources.find_source(conn, source.name)
    read = tuple(
        replace(scope, complete=False, whole=True, digest=None) for scope in report.scopes if scope.complete or scope.whole
    )
    if before is None or before.removed_at is not None or not read:
        return Recorded()
    clock_skew = report.clock_skew if report.clock_skew is not None else before.clock_skew
    lists = replace(report, scopes=read, covers_all=False)
    listed = record_lists(conn, source, lists, channels=channels, now=now, clock_skew=clock_skew)
    _plan_probes(conn, source, listed.cohorts, now)
    # The stored connections follow from the recheck now: a poll that reads the former list again must compare its rows.
    sources.save_digests(conn, source.name, listed.digests)
    if listed.unrecognised:
        listed.recorded.add(record_unrecognised(conn, source, channels=channels, now=now))
    return listed.recorded


def _plan_probes(conn: Connection, source: SourceConfig, cohorts: Iterable[int], now: datetime) -> None:
    """Give the cohorts of new connections their place in the probe interval."""
    if source.probe_every is None or not source.probes_on_schedule:
        return
    due = {
        cohort: schedule.next_cohort_probe(now, source.probe_every, source=source.name, cohort=cohort, jitter=source.jitter)
        for cohort in cohorts
    }
    if due:
        probes.ensure_cohorts(conn, source.name, due)


def _scope_row(scope: ScopeReport, now: datetime) -> tuple[str | None, datetime | None, str | None, int]:
    problem = scope.problem or describe_scope(scope)
    return scope.scope, now if scope.complete else None, problem, len(scope.snapshots) + len(scope.unreadable)
