"""Record how long rows of a source's lists have been unreadable, and alert once where that lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import IncidentReason, IncidentSubject, PollReport, ScopeReport
from monitor.domain.rules import unreadable_rows
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.system_alerts import close_without_alert, record_source_incident
from monitor.store import Connection, incidents, sources


def record_unreadable_rows(
    conn: Connection,
    source: SourceConfig,
    report: PollReport,
    *,
    before: Mapping[str | None, int],
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> Recorded:
    """Count the lists with unreadable rows, and open or close one incident for each scope.

    `before` is the number of such lists in a row by scope. An incomplete list decides nothing: the source counts as failing.
    """
    recorded = Recorded()
    if not before and not any(scope.unreadable for scope in report.scopes):
        return recorded
    confirm = source.policy_for("").confirm_failures
    counts: dict[str | None, tuple[int, int]] = {}
    for scope in report.scopes:
        if scope.complete:
            number = len(scope.unreadable)
            polls = unreadable_rows.count_polls(before.get(scope.scope, 0), number, confirm=confirm)
            counts[scope.scope] = number, polls
            if polls >= max(confirm, 1) or not number:
                recorded.add(_record_scope(conn, source, scope, channels=channels, now=now))
    for lost in _lost_scopes(report, before):
        counts[lost] = 0, 0
        close_without_alert(conn, source.name, IncidentSubject.UNREADABLE.of(lost or ""), now)
    sources.save_unreadable(conn, source.name, counts)
    return recorded


def describe_scope(scope: ScopeReport) -> str | None:
    """Return a sentence about the unreadable rows of a scope that was read to its end; None without such rows."""
    if not scope.unreadable or not scope.complete:
        return None
    rows = len(scope.snapshots) + len(scope.unreadable)
    return unreadable_rows.describe(scope.unreadable, rows, scope=scope.scope)


def _record_scope(
    conn: Connection, source: SourceConfig, scope: ScopeReport, *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    subject, problem = IncidentSubject.UNREADABLE.of(scope.scope or ""), describe_scope(scope)
    if problem is not None and incidents.find_open_source(conn, source.name, subject=subject) is not None:
        return Recorded()
    where = f" of {scope.scope}" if scope.scope else ""
    return record_source_incident(
        conn,
        source,
        subject=subject,
        problem=problem is not None,
        reason=IncidentReason.ROWS_UNREADABLE,
        status=IncidentReason.ROWS_UNREADABLE if problem else "ok",
        message=problem or f"Every row{where} can be read again.",
        channels=channels,
        now=now,
        count=max(len(scope.unreadable), 1),
    )


def _lost_scopes(report: PollReport, before: Mapping[str | None, int]) -> Iterator[str | None]:
    """Yield the scopes of `before` that the key has lost or that no longer list anything."""
    named = {scope.scope: scope for scope in report.scopes}
    for scope in before:
        if named[scope].gone if scope in named else report.covers_all:
            yield scope
