"""Record what a poll shows about the source itself: its status, gaps in monitoring, and outages of the monitor's own network.

Each part gathers from the store, has `domain/rules` decide (`freshness.find_gap`, `alerting.judge_source`,
`source_reach.decide_reach`), and writes. The alerts go through `system_alerts`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import structlog

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import Event, EventKind, IncidentReason, IncidentSubject, PollOutcome, PollReport, SourceStatus, utc_text
from monitor.domain.records import replace
from monitor.domain.records import replace as replace_record
from monitor.domain.rules import alerting, freshness, schedule, source_reach
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.rules.clock_skew import skewed_since
from monitor.domain.rules.source_reach import NetworkAlert, Peer, SourcePoll, Unmonitored
from monitor.engine.recording.clock_alerts import record_clock
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.system_alerts import record_monitor_alert, record_source_status
from monitor.store import Connection, connection_queries, history, incidents, sources
from monitor.store.incidents import Incident
from monitor.store.poll_rows import PollRows
from monitor.store.sources import SourceRow

log = structlog.get_logger(__name__)

_READ = (PollOutcome.OK, PollOutcome.PARTIAL, PollOutcome.PUSH_STALE)

RETRY_AFTER_OTHERS = timedelta(seconds=5)
"""When an unreachable source is polled again after the others were made due."""


def record_source(
    conn: Connection,
    source: SourceConfig,
    before: SourceRow,
    report: PollReport,
    *,
    clock_skew: float | None,
    channels: Sequence[ChannelConfig],
    now: datetime,
    rows: PollRows,
) -> Recorded:
    """Write the source's row and the gap that the poll ends, and queue the alerts about the source itself.

    `before` is the source as the poll before this one left it. A poll that may concern other sources is separate in `rows`.
    """
    _record_gap(conn, source, before, outcome=report.outcome, clock_skew=clock_skew, now=now)
    after = _row_after(before, source, report, clock_skew=clock_skew, now=now)
    problems = rows.monitor_problems()
    decision = source_reach.decide_reach(_gather(conn, before, after, report.outcome, now=now, problems=problems))
    recorded = Recorded()
    if decision.network_alert is not NetworkAlert.NONE:
        recorded.add(_record_network(conn, decision.network_alert, channels=channels, now=now))
    if decision.poll_others:
        after = replace(after, status=before.status, since=before.since, next_poll_at=now + RETRY_AFTER_OTHERS)
        sources.poll_other_sources_now(conn, now, except_for=source.name, unless_polled_since=_failing_since(conn, before, now))
    rows.save_source(after)
    if after.skewed_since is not None or IncidentSubject.CLOCK in problems:
        rows.separate()
        recorded.add(record_clock(conn, after, open_subjects=problems, channels=channels, now=now))
    if decision.source_alert is not AlertReason.NOTHING:
        unmonitored = Unmonitored() if decision.source_alert.ends_incident else _find_unmonitored(conn, after)
        recorded.add(
            record_source_status(
                conn, source, before, after, decision.source_alert, unmonitored=unmonitored, channels=channels, now=now
            )
        )
    return recorded


def remind_of_source(
    conn: Connection, source: SourceConfig, incident: Incident, *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Remind the channels that are due a reminder that a source cannot be read, and plan the next review.

    Other incidents of a source have no reminders.
    """
    row = sources.find_source(conn, source.name)
    if incident.subject or incident.last_notified is None or row is None:
        return Recorded()
    if row.reason == PollOutcome.PUSH_STALE:  # notified once
        incidents.plan_reviews(conn, [(incident.id, None)])
        return Recorded()
    notified_at = incidents.notified_channels(conn, [incident.id]).get(incident.id, {})
    due, next_due = alerting.due_channels(notified_at, channels, source.policy_for(""), now)
    if not due:
        incidents.plan_reviews(conn, [(incident.id, next_due)])
        return Recorded()
    recorded = record_source_status(
        conn,
        source,
        row,
        row,
        AlertReason.REMINDER,
        unmonitored=_find_unmonitored(conn, row),
        channels=channels,
        now=now,
        reminded=due,
    )
    notified_now = replace_record(incident.last_notified, at=now, reminders=incident.last_notified.reminders + 1)
    incidents.save_last_notified(conn, [(incident.id, notified_now, next_due)])
    return recorded


def _find_unmonitored(conn: Connection, row: SourceRow) -> Unmonitored:
    """Return the connections that a source's failed polls leave without observations."""
    if row.reason == PollOutcome.PUSH_STALE:
        return Unmonitored()  # the message states which ones
    live = connection_queries.count_by_scope(conn, row.name)
    if row.reason != PollOutcome.PARTIAL:
        return Unmonitored(count=sum(live.values()), since=row.last_success_at)
    unread = [each for each in sources.all_scopes(conn, row.name) if each.last_complete_at != row.last_poll_at]
    missed = {each: max(live.get(each.scope, 0) - each.connections, 0) for each in unread}
    since = [each.last_complete_at for each, count in missed.items() if count]
    earliest = None if None in since else min(filter(None, since), default=None)
    scopes = tuple(each.scope for each, count in missed.items() if count)
    return Unmonitored(count=sum(missed.values()), since=earliest, scopes=scopes or None)


def _record_gap(
    conn: Connection, source: SourceConfig, before: SourceRow, *, outcome: PollOutcome, clock_skew: float | None, now: datetime
) -> None:
    """Add one entry to the source's history if the poll ends a gap, whatever the number of its connections."""
    if outcome not in _READ:
        return
    gap = freshness.find_gap(
        last_success_at=before.last_success_at,
        last_poll_at=before.last_poll_at,
        failures=before.failures,
        poll_every=source.poll_every,
        now=now,
        clock_skew=clock_skew,
    )
    if gap is None:
        return
    entry = Event(
        kind=EventKind.GAP,
        at=now,
        old=utc_text(gap.began_at),
        new=utc_text(now),
        reason=gap.reason,
        message=freshness.describe_gap(gap, until=now),
    )
    history.append(conn, source.name, None, [entry])
    log.warning("source.gap", source=source.name, reason=gap.reason, since=utc_text(gap.began_at))


def _row_after(
    before: SourceRow, source: SourceConfig, report: PollReport, *, clock_skew: float | None, now: datetime
) -> SourceRow:
    """Return the source's row after this poll. A poll that read only a part of the source counts as failed."""
    failures = 0 if report.outcome is PollOutcome.OK else before.failures + 1
    status = alerting.judge_source(
        outcome_ok=report.outcome is PollOutcome.OK,
        unauthorized=report.outcome is PollOutcome.UNAUTHORIZED,
        failures=failures,
        # A deadline that has passed needs no confirmation.
        confirm=1 if report.outcome is PollOutcome.PUSH_STALE else source.policy_for("").confirm_failures,
        before=before.status,
    )
    if status is SourceStatus.PENDING and report.outcome is PollOutcome.PARTIAL:
        status = SourceStatus.OK
    was_read = report.outcome in _READ
    return replace(
        before,
        status=status,
        reason=report.outcome,
        message=report.problem or "",
        since=before.since if status is before.status else now,
        failures=failures,
        last_poll_at=now,
        last_success_at=now if was_read else before.last_success_at,
        next_poll_at=_next_poll_at(source, report, failures=failures, now=now),
        connections=report.listed if was_read else before.connections,
        clock_skew=clock_skew,
        unmonitored_users=_unmonitored_users(before, source, report),
        skewed_since=skewed_since(before.skewed_since, report.clock_skew, now),
    )


def _unmonitored_users(before: SourceRow, source: SourceConfig, report: PollReport) -> int:
    if not source.users_unset:
        return 0
    return before.unmonitored_users if report.unmonitored_users is None else report.unmonitored_users


def _next_poll_at(source: SourceConfig, report: PollReport, *, failures: int, now: datetime) -> datetime:
    """Return when to poll again: at the usual pace where polling sooner would not help, else after the backoff.

    An API that refuses the key, or that keeps answering for a part only, is not polled more often than usual.
    """
    still_partial = report.outcome is PollOutcome.PARTIAL and failures > 1 and report.retry_after is None
    if report.outcome in (PollOutcome.OK, PollOutcome.UNAUTHORIZED, PollOutcome.PUSH_STALE) or still_partial:
        return schedule.next_poll(now, source.poll_every, key=source.name, jitter=source.jitter)
    return schedule.next_poll_after_failure(now, source.poll_every, failures=failures, retry_after=report.retry_after)


def _gather(
    conn: Connection, before: SourceRow, after: SourceRow, outcome: PollOutcome, *, now: datetime, problems: Collection[str]
) -> SourcePoll:
    """Return what the decision depends on. The other sources are read only where they matter: this runs at every poll.

    `problems` are the subjects of the monitor's own open incidents.
    """
    broken = after.status in (SourceStatus.FAILING, SourceStatus.UNAUTHORIZED)
    poll = SourcePoll(
        outcome=outcome,
        before=before.status,
        after=after.status,
        host=before.host,
        source_incident=broken and incidents.find_open_source(conn, before.name) is not None,
        network_incident=before.host != "" and IncidentSubject.NETWORK in problems,
        failing_since=now,
        now=now,
    )
    if not poll.needs_peers:
        return poll
    return dataclasses.replace(poll, failing_since=_failing_since(conn, before, now), peers=_peers(conn, before))


def _failing_since(conn: Connection, row: SourceRow, now: datetime) -> datetime:
    """Return the time of the source's first failed poll in a row."""
    failed = sources.last_polls(conn, row.name, limit=max(row.failures, 1)) if row.failures else []
    return min((poll.at for poll in failed if poll.outcome is PollOutcome.UNREACHABLE), default=now)


def _peers(conn: Connection, row: SourceRow) -> list[Peer]:
    return [
        Peer(
            host=other.host,
            unreachable=other.failures > 0 and other.reason == PollOutcome.UNREACHABLE,
            last_poll_at=other.last_poll_at,
            last_success_at=other.last_success_at,
        )
        for other in sources.all_sources(conn)
        if other.name != row.name and other.host  # without a host no requests are sent, which proves nothing
    ]


def _record_network(conn: Connection, alert: NetworkAlert, *, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    problem = alert is NetworkAlert.PROBLEM
    cause = "The cause is probably the monitor's own network. Connections keep their last status."
    text = f"No source can be reached on any host. {cause}" if problem else "Sources can be reached again."
    return record_monitor_alert(
        conn,
        subject=IncidentSubject.NETWORK,
        problem=problem,
        reason=IncidentReason.OWN_NETWORK,
        message=text,
        channels=channels,
        now=now,
    )
