"""Alerts about a source as a whole and about the monitor itself: one alert instead of one per connection.

Each opens or closes an incident and queues its alert through `queueing`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import Alert, AlertEvent, IncidentSubject, LastNotified, Severity, SourceStatus, Status, split_subject
from monitor.domain.records import fresh_id
from monitor.domain.rules.alerting import AlertReason, due_channels
from monitor.domain.rules.source_reach import Unmonitored
from monitor.engine.recording.queueing import Audience, OutgoingAlert, Recorded, queue
from monitor.store import Connection, incidents, label_sets, outbox
from monitor.store.incidents import Incident
from monitor.store.sources import SourceRow

MONITOR = ""
"""The source of incidents about the monitor itself."""


def record_source_status(
    conn: Connection,
    source: SourceConfig,
    before: SourceRow,
    after: SourceRow,
    reason: AlertReason,
    *,
    unmonitored: Unmonitored,
    channels: Sequence[ChannelConfig],
    now: datetime,
    reminded: frozenset[str] = frozenset(),
) -> Recorded:
    """Queue the alert about a source that can no longer, or can again, be read. The caller writes the source's row.

    A reminder goes to the channels `reminded`.
    """
    previous = before.status if before.status not in (SourceStatus.PENDING, after.status) else None
    notified_now = {channel.name: now for channel in channels}
    return record_source_incident(
        conn,
        source,
        subject="",
        problem=not reason.ends_incident,
        reason=reason,
        status=after.status,
        message=after.message if reason.ends_incident else unmonitored.explain(after.message),
        cause=None if reason.ends_incident else after.message,
        unmonitored=unmonitored,
        channels=channels,
        now=now,
        verdict_reason=after.reason,
        previous=previous,
        count=max(unmonitored.count, 1),
        next_review_at=due_channels(notified_now, channels, source.policy_for(""), now)[1],
        reminded=reminded,
    )


def record_source_incident(
    conn: Connection,
    source: SourceConfig,
    *,
    subject: str,
    problem: bool,
    reason: str,
    status: str,
    message: str,
    channels: Sequence[ChannelConfig],
    now: datetime,
    verdict_reason: str = "",
    previous: str | None = None,
    platform: str | None = None,
    count: int = 1,
    next_review_at: datetime | None = None,
    reminded: frozenset[str] = frozenset(),
    cause: str | None = None,
    unmonitored: Unmonitored | None = None,
) -> Recorded:
    """Open, continue or (unless `problem`) close a source's incident about this subject, and queue the alert.

    Closing an incident that is not open does nothing. `next_review_at` is when a new incident is reviewed. A reminder goes to the
    channels `reminded`.
    """
    incident = incidents.find_open_source(conn, source.name, subject=subject)
    if not problem and incident is None:
        return Recorded()
    labelled = label_sets.count_by_set(conn, source.name, scopes=_scopes(subject, unmonitored), platform=platform)
    alert = Alert(
        id=fresh_id(now),
        incident=incident.id if incident else fresh_id(now),
        event=AlertEvent.SOURCE_FAILING if problem else AlertEvent.SOURCE_RECOVERED,
        reason=reason,
        severity=Severity.CRITICAL,
        at=now,
        source=source.name,
        provider=source.provider,
        subject=subject,
        count=count,
        platform=platform,
        status=status,
        verdict_reason=verdict_reason,
        message=message,
        since=incident.opened_at if incident else now,
        opened_at=incident.opened_at if incident else now,
        previous=previous,
        reminder=incident.last_notified.reminders + 1 if reminded and incident and incident.last_notified else 0,
        link=source.dashboard_url,
        labels=dict(source.labels),
        label_sets=[labels for labels, _ in labelled],
        label_counts=[number for _, number in labelled],
        cause=cause,
        unmonitored_since=unmonitored.since if unmonitored else None,
    )
    if reminded:
        reminder = OutgoingAlert(alert=alert, audience=Audience.DUE, channels=reminded)
        return queue(conn, [reminder], channels=channels, now=now)
    return _record(conn, alert, incident, problem=problem, channels=channels, now=now, next_review_at=next_review_at)


def _scopes(subject: str, unmonitored: Unmonitored | None) -> tuple[str | None, ...] | None:
    """Return the scopes that an alert about a source concerns; None: all of them."""
    kind, name = split_subject(subject)
    if kind in (IncidentSubject.MISSING, IncidentSubject.UNREADABLE):
        return (name or None,)
    return unmonitored.scopes if unmonitored else None


def record_monitor_alert(
    conn: Connection,
    *,
    subject: str,
    problem: bool,
    reason: str,
    message: str,
    channels: Sequence[ChannelConfig],
    now: datetime,
    exclude: Collection[str] = (),
) -> Recorded:
    """Open or (unless `problem`) close the monitor's incident about this subject, and queue the alert.

    Does nothing where the incident is already open or already closed. The excluded channels get no delivery.
    """
    incident = incidents.find_open_source(conn, MONITOR, subject=subject)
    if problem is (incident is not None):
        return Recorded()
    alert = Alert(
        id=fresh_id(now),
        incident=incident.id if incident else fresh_id(now),
        event=AlertEvent.MONITOR_PROBLEM if problem else AlertEvent.MONITOR_RECOVERED,
        reason=reason,
        severity=Severity.CRITICAL,
        at=now,
        source=MONITOR,
        subject=subject,
        message=message,
        since=incident.opened_at if incident else now,
        opened_at=incident.opened_at if incident else now,
    )
    others = [channel for channel in channels if channel.name not in exclude]
    return _record(conn, alert, incident, problem=problem, channels=others, now=now)


def close_without_alert(conn: Connection, source: str, subject: str, now: datetime) -> None:
    """Close an incident without an alert, because another alert reports the same."""
    incident = incidents.find_open_source(conn, source, subject=subject)
    if incident is not None:
        incidents.close(conn, incident.id, now)


def _record(
    conn: Connection,
    alert: Alert,
    incident: Incident | None,
    *,
    problem: bool,
    channels: Sequence[ChannelConfig],
    now: datetime,
    next_review_at: datetime | None = None,
) -> Recorded:
    if problem:
        if incident is None:
            new = incidents.NewIncident(
                id=alert.incident,
                source=alert.source,
                connection_id=None,
                last_notified=LastNotified(status=Status.FAILING, at=now),
                subject=alert.subject,
                next_review_at=next_review_at,
            )
            incidents.open_incidents(conn, [new], now)
        return queue(conn, [OutgoingAlert(alert=alert)], channels=channels, now=now)
    outbox.cancel_escalations(conn, [alert.incident])
    notified = incidents.notified_channels(conn, [alert.incident]).get(alert.incident, {})
    incidents.close(conn, alert.incident, now)
    recovery = OutgoingAlert(alert=alert, audience=Audience.NOTIFIED, channels=frozenset(notified))
    return queue(conn, [recovery], channels=channels, now=now)
