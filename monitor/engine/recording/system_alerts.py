"""What is said about a source as a whole, and about the monitor itself: one alert instead of one per connection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from monitor.config import SourceConfig
from monitor.domain import Alert, AlertEvent, LastNotified, Severity, SourceStatus, Status
from monitor.domain.records import fresh_id
from monitor.domain.rules.alerting import AlertReason
from monitor.engine.recording.queueing import ChannelSettings, OutgoingAlert, Recorded, queue
from monitor.store import Connection, incidents, outbox
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
    channels: Sequence[ChannelSettings],
    now: datetime,
) -> Recorded:
    """Queue the alert about a source that can no longer, or can again, be read. The caller writes the source's row."""
    previous = before.status if before.status not in (SourceStatus.PENDING, after.status) else None
    return record_source_incident(
        conn,
        source,
        subject="",
        problem=not reason.ends_incident,
        reason=reason,
        status=after.status,
        message=after.message,
        channels=channels,
        now=now,
        verdict_reason=after.reason,
        previous=previous,
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
    channels: Sequence[ChannelSettings],
    now: datetime,
    verdict_reason: str = "",
    previous: str | None = None,
    platform: str | None = None,
    count: int = 1,
) -> Recorded:
    """Open or go on with a source's incident about this subject and say so, or end it and say that.

    Ending one that is not open says nothing.
    """
    incident = incidents.find_open_source(conn, source.name, subject=subject)
    if not problem and incident is None:
        return Recorded()
    incident_id = incident.id if incident else fresh_id(now)
    alert = Alert(
        id=fresh_id(now),
        incident=incident_id,
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
        link=source.dashboard_url,
        labels=dict(source.labels),
    )
    return _say(conn, alert, source.name, subject, is_open=incident is not None, problem=problem, channels=channels, now=now)


def record_monitor_alert(
    conn: Connection,
    *,
    subject: str,
    problem: bool,
    reason: str,
    message: str,
    channels: Sequence[ChannelSettings],
    now: datetime,
    exclude: Collection[str] = (),
) -> Recorded:
    """Say once that the monitor itself has this trouble, or that it is over, on every channel but the excluded ones.

    A problem that is said already, or an end of what was never said, is not said again.
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
    return _say(conn, alert, MONITOR, subject, is_open=incident is not None, problem=problem, channels=others, now=now)


def close_quietly(conn: Connection, source: str, subject: str, now: datetime) -> None:
    """End an incident without a word: something else says it."""
    incident = incidents.find_open_source(conn, source, subject=subject)
    if incident is not None:
        incidents.close(conn, incident.id, now)


def _say(
    conn: Connection,
    alert: Alert,
    source: str,
    subject: str,
    *,
    is_open: bool,
    problem: bool,
    channels: Sequence[ChannelSettings],
    now: datetime,
) -> Recorded:
    said = LastNotified(status=Status.FAILING, at=now)
    if not is_open:
        new = incidents.NewIncident(id=alert.incident, source=source, connection_id=None, said=said, subject=subject)
        incidents.open_incidents(conn, [new], now)
    if problem:
        return queue(conn, [OutgoingAlert(alert=alert)], channels=channels, now=now)
    outbox.skip_escalations(conn, [alert.incident])
    heard = incidents.heard(conn, [alert.incident]).get(alert.incident, {})
    incidents.close(conn, alert.incident, now)
    return queue(conn, [OutgoingAlert(alert=alert, heard=frozenset(heard))], channels=channels, now=now)
