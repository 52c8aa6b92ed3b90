"""Record whether a source can be read, outages of the monitor's own network, and gaps in monitoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from monitor.config import SourceConfig
from monitor.domain import Event, EventKind, IncidentSubject, PollOutcome, PollReport, SourceStatus, utc_text
from monitor.domain.rules import alerting, freshness, schedule, suppression
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.rules.suppression import Peer, Reach
from monitor.engine.recording import ChannelSettings, Recorded, record_monitor_alert, record_source_incident, record_source_status
from monitor.store import Connection, history, incidents, polls, sources
from monitor.store.sources import SourceRow

log = structlog.get_logger(__name__)


def record_gap(
    conn: Connection,
    source: SourceConfig,
    before: SourceRow,
    *,
    outcome: PollOutcome,
    clock_skew: float | None,
    now: datetime,
) -> None:
    """One entry in the source's own history, whatever the number of its connections, where a poll ends a gap.

    `before` is the source as the last poll left it. In the caller's transaction.
    """
    if outcome not in (PollOutcome.OK, PollOutcome.PARTIAL):
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
        message=freshness.told(gap, until=now),
    )
    history.append(conn, source.name, None, [entry])
    log.warning("source.gap", source=source.name, reason=gap.reason, since=utc_text(gap.began_at))


_READ = (PollOutcome.OK, PollOutcome.PARTIAL)


ASK_AGAIN = timedelta(seconds=5)


class Answered(Protocol):
    """A poll that came home."""

    @property
    def report(self) -> PollReport:
        """What it brought."""
        ...

    @property
    def now(self) -> datetime:
        """When."""
        ...


def judge_source(
    before: SourceRow, source: SourceConfig, report: PollReport, *, clock_skew: float | None, now: datetime
) -> SourceRow:
    """The source's row after this poll. A poll that read only a part of it counts as a failed one, and says which part."""
    good = report.outcome is PollOutcome.OK
    failures = 0 if good else before.failures + 1
    status = alerting.judge_source(
        outcome_ok=good,
        unauthorized=report.outcome is PollOutcome.UNAUTHORIZED,
        failures=failures,
        confirm=source.policy_for("").confirm_failures,
        before=before.status,
    )
    if status is SourceStatus.PENDING and report.outcome is PollOutcome.PARTIAL:
        status = SourceStatus.OK
    refused = report.outcome is PollOutcome.UNAUTHORIZED  # asking a refusing API more often helps nobody
    next_poll_at = (
        schedule.next_poll(now, source.poll_every, key=source.name, jitter=source.jitter)
        if good or refused or (report.outcome is PollOutcome.PARTIAL and failures > 1 and report.retry_after is None)
        else schedule.next_poll_after_failure(now, source.poll_every, failures=failures, retry_after=report.retry_after)
    )
    return replace(
        before,
        status=status,
        reason=report.outcome,
        message=report.problem or "",
        since=before.since if status is before.status else now,
        failures=failures,
        last_poll_at=now,
        last_success_at=now if report.outcome in _READ else before.last_success_at,
        next_poll_at=next_poll_at,
        connections=report.listed if report.outcome in _READ else before.connections,
        clock_skew=clock_skew,
    )


def record_reach(
    conn: Connection,
    source: SourceConfig,
    before: SourceRow,
    after: SourceRow,
    poll: Answered,
    *,
    channels: Sequence[ChannelSettings],
) -> Recorded:
    """Write the source's row, and say what is to be said about whether it can be read."""
    now, outcome = poll.now, poll.report.outcome
    recorded = Recorded()
    network_is_down = incidents.find_open_source(conn, "", subject=IncidentSubject.NETWORK) is not None
    if outcome is not PollOutcome.UNREACHABLE and network_is_down:
        recorded.add(_network_is_back(conn, channels=channels, now=now))
        network_is_down = False
    if outcome is PollOutcome.UNREACHABLE and after.status is SourceStatus.FAILING:
        unsaid = incidents.find_open_source(conn, source.name) is None
        since = _failing_since(conn, before, now)
        reach = _reach(conn, before, since, now) if unsaid and not network_is_down else Reach.ITS_OWN
        if reach is Reach.ASK_OTHERS:
            sources.save_source(conn, replace(after, status=before.status, since=before.since, next_poll_at=now + ASK_AGAIN))
            sources.poll_others_now(conn, now, but=source.name, not_since=since)
            return recorded
        if reach is Reach.OUR_NETWORK:
            recorded.add(_network_is_gone(conn, channels=channels, now=now))
            network_is_down = True
        if network_is_down and unsaid:
            sources.save_source(conn, after)
            return recorded
    sources.save_source(conn, after)
    recorded.add(_source_itself(conn, source, before, after, channels=channels, now=now))
    return recorded


def _source_itself(
    conn: Connection,
    source: SourceConfig,
    before: SourceRow,
    after: SourceRow,
    *,
    channels: Sequence[ChannelSettings],
    now: datetime,
) -> Recorded:
    broken = (SourceStatus.FAILING, SourceStatus.UNAUTHORIZED)
    still_unsaid = (
        after.status in broken and before.status is after.status and incidents.find_open_source(conn, source.name) is None
    )
    if not still_unsaid:
        return record_source_status(conn, source, before, after, channels=channels, now=now)
    # It failed together with everything else, that is over, and it still fails.
    return record_source_incident(
        conn,
        source,
        subject="",
        problem=True,
        reason=AlertReason.FIRST,
        status=after.status,
        message=after.message,
        channels=channels,
        now=now,
        verdict_reason=after.reason,
    )


def _failing_since(conn: Connection, row: SourceRow, now: datetime) -> datetime:
    """When the first of its failed polls in a row was."""
    failed = polls.last_polls(conn, row.name, limit=max(row.failures, 1)) if row.failures else []
    return min((poll.at for poll in failed if poll.outcome is PollOutcome.UNREACHABLE), default=now)


def _reach(conn: Connection, row: SourceRow, since: datetime, now: datetime) -> Reach:
    """Ask what the other sources have seen since this one began to fail."""
    peers = [
        Peer(
            host=other.host,
            unreachable=other.failures > 0 and other.reason == PollOutcome.UNREACHABLE,
            last_poll_at=other.last_poll_at,
            last_success_at=other.last_success_at,
        )
        for other in sources.all_sources(conn)
        if other.name != row.name
    ]
    return suppression.judge_reach(row.host, peers, failing_since=since, now=now)


def _network_is_gone(conn: Connection, *, channels: Sequence[ChannelSettings], now: datetime) -> Recorded:
    text = "No source can be reached, on any host: this looks like the monitor's own network. Connections keep their last status."
    return record_monitor_alert(
        conn, subject=IncidentSubject.NETWORK, problem=True, reason="own_network", message=text, channels=channels, now=now
    )


def _network_is_back(conn: Connection, *, channels: Sequence[ChannelSettings], now: datetime) -> Recorded:
    text = "Sources can be reached again."
    return record_monitor_alert(
        conn, subject=IncidentSubject.NETWORK, problem=False, reason="own_network", message=text, channels=channels, now=now
    )
