"""Decide what to say about what changed, and write both down in the caller's one transaction.

State, history, incidents, alerts and deliveries commit together or not at all: an alert can be neither lost nor said
about a change that was rolled back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Connection

from monitor.config import SourceConfig
from monitor.model import Alert, ConnectionState, Event, HistoryEntry, Said, Severity, SourceStatus, Status, connection_id
from monitor.rules import alerting, routing, transitions
from monitor.rules.alerting import AlertReason
from monitor.store import alerts, connections, history, incidents, outbox
from monitor.store.connections import KEEP, ChangedConnection, Keep, NewConnection
from monitor.store.incidents import Incident, NewIncident
from monitor.store.sources import SourceRow


class ChannelSettings(routing.ChannelFilter, Protocol):
    """What the recorder needs of a configured channel."""

    @property
    def group_wait(self) -> timedelta:
        """How long the channel collects what happens together."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One connection whose state changed, or that is new (before and row None)."""

    row: int | None = None
    before: ConnectionState | None = None
    after: ConnectionState
    fingerprint: str | None = None
    next_probe_at: datetime | Keep | None = KEEP
    last_seen_at: datetime | None = None
    extra: tuple[HistoryEntry, ...] = ()


@dataclass(slots=True)
class Recorded:
    """What a transaction wrote, for the log and to wake the workers."""

    changed: int = 0
    alerts: list[Alert] = field(default_factory=list)
    channels: set[str] = field(default_factory=set)

    def add(self, other: Recorded) -> None:
        """Take in what another part of the same cycle wrote."""
        self.changed += other.changed
        self.alerts += other.alerts
        self.channels |= other.channels


def record_changes(
    conn: Connection, source: SourceConfig, changes: Sequence[Change], *, channels: Sequence[ChannelSettings], now: datetime
) -> Recorded:
    """Write the changes of one source's connections, their history, and what is to be said about them."""
    rows = _write_states(conn, source, changes, now)
    history.append_many(conn, _history(source.name, zip(rows, changes, strict=True), now))
    touched = [(row, change) for row, change in zip(rows, changes, strict=True) if _may_speak(change)]
    known = incidents.find_open(conn, [row for row, _ in touched])
    spoken = _speak(conn, source, touched, known, now)
    return _queue(conn, spoken, channels=channels, now=now, changed=len(changes))


def record_source_status(
    conn: Connection,
    source: SourceConfig,
    before: SourceRow,
    after: SourceRow,
    *,
    channels: Sequence[ChannelSettings],
    now: datetime,
) -> Recorded:
    """Say what changed about a source itself. The caller writes the source's row in the same transaction."""
    reason = alerting.decide_source_alert(before.status, after.status)
    if reason is AlertReason.NOTHING:
        return Recorded()
    incident = incidents.find_open_source(conn, source.name)
    said = Said(status=Status.FAILING, at=now)
    if reason.ends_incident:
        if incident is None:
            return Recorded()
        incidents.close(conn, incident.id, now)
    incident_id = (
        incident.id if incident else incidents.open_incident(conn, source=source.name, connection_id=None, said=said, now=now)
    )
    alert = Alert(
        id=new_alert_id(now),
        incident=incident_id,
        event=Event.SOURCE_RECOVERED if reason.ends_incident else Event.SOURCE_FAILING,
        reason=reason,
        severity=Severity.CRITICAL,
        at=now,
        source=source.name,
        provider=source.provider,
        status=after.status,
        verdict_reason=after.reason,
        message=after.message,
        since=before.since if reason.ends_incident else after.since,
        opened_at=incident.opened_at if incident else now,
        previous=before.status if before.status is not SourceStatus.PENDING else None,
        link=source.dashboard_url,
        labels=dict(source.labels),
    )
    return _queue(conn, [(alert, None)], channels=channels, now=now, changed=0)


def new_alert_id(now: datetime) -> str:
    """A fresh id that sorts by time: seconds, then chance."""
    return f"{int(now.timestamp()):08x}{secrets.token_hex(6)}"


def _write_states(conn: Connection, source: SourceConfig, changes: Sequence[Change], now: datetime) -> list[int]:
    """Insert what is new, update what is known; the row ids in the order of the changes."""
    fresh = [change for change in changes if change.row is None]
    new = [
        NewConnection(
            state=change.after,
            fingerprint=change.fingerprint or "",
            next_probe_at=None if change.next_probe_at is KEEP else change.next_probe_at,
        )
        for change in fresh
    ]
    ids = iter(connections.insert(conn, source=source.name, provider=source.provider, rows=new, now=now) if new else ())
    known = [
        ChangedConnection(
            id=change.row,
            state=change.after,
            fingerprint=change.fingerprint,
            next_probe_at=change.next_probe_at,
            last_seen_at=change.last_seen_at,
        )
        for change in changes
        if change.row is not None
    ]
    connections.update(conn, known)
    return [next(ids) if change.row is None else change.row for change in changes]


def _history(source: str, rows: Iterable[tuple[int, Change]], now: datetime) -> Iterable[tuple[str, int | None, HistoryEntry]]:
    for row, change in rows:
        for entry in (*change.extra, *transitions.detect(change.before, change.after, now)):
            yield source, row, entry


def _may_speak(change: Change) -> bool:
    """Whether an incident can be involved: the connection needs attention now, or did before."""
    was = change.before is not None and change.before.verdict.status.needs_attention
    return was or change.after.verdict.status.needs_attention


def _speak(
    conn: Connection, source: SourceConfig, touched: Sequence[tuple[int, Change]], known: dict[int, Incident], now: datetime
) -> list[tuple[Alert, int]]:
    """Decide about each connection; open, note and close the incidents; give back what is to be said."""
    spoken: list[tuple[Alert, int]] = []
    opened: list[NewIncident] = []
    noted: list[tuple[str, Said]] = []
    closed: list[str] = []
    for row, change in touched:
        incident = known.get(row)
        said = incident.said if incident else None
        renewed = transitions.is_renewal(change.before, change.after)
        policy = source.policy_for(change.after.snapshot.platform)
        reason = alerting.decide_alert(said, change.after, policy=policy, now=now, renewed=renewed)
        if reason is AlertReason.NOTHING:
            if incident and renewed and said and change.after.verdict.status is said.status:
                noted.append((incident.id, replace(said, stage=change.after.stage)))
            continue
        incident_id = incident.id if incident else incidents.new_id()
        after = alerting.next_said(reason, said, change.after, now)
        if incident is None:
            opened.append(NewIncident(id=incident_id, source=source.name, connection_id=row, said=after))
        elif reason.ends_incident:
            closed.append(incident_id)
        else:
            noted.append((incident_id, after))
        opened_at = incident.opened_at if incident else now
        spoken.append((_alert(source, change, reason, said, incident_id=incident_id, opened_at=opened_at, now=now), row))
    incidents.open_incidents(conn, opened, now)
    incidents.note_said_many(conn, noted)
    incidents.close_many(conn, closed, now)
    return spoken


def _alert(
    source: SourceConfig,
    change: Change,
    reason: AlertReason,
    said: Said | None,
    *,
    incident_id: str,
    opened_at: datetime,
    now: datetime,
) -> Alert:
    """Everything that routing and wording need, so that the message can be written at any later time."""
    state, snapshot, verdict = change.after, change.after.snapshot, change.after.verdict
    return Alert(
        id=new_alert_id(now),
        incident=incident_id,
        event=alerting.event_of(reason, verdict.status),
        reason=reason,
        severity=alerting.severity_of(reason, verdict.status, said),
        at=now,
        source=source.name,
        provider=source.provider,
        scope=snapshot.scope,
        connection=connection_id(source.name, source.provider, snapshot.scope, snapshot.external_id),
        external_id=snapshot.external_id,
        platform=snapshot.platform,
        label=snapshot.label,
        status=verdict.status,
        verdict_reason=verdict.reason,
        message=verdict.message,
        since=verdict.since,
        opened_at=opened_at,
        expires_at=state.token.expires_at,
        previous=said.status if said else None,
        stage=state.stage,
        link=source.dashboard_url,
        labels=dict(source.labels),
    )


def _queue(
    conn: Connection,
    spoken: Sequence[tuple[Alert, int | None]],
    *,
    channels: Sequence[ChannelSettings],
    now: datetime,
    changed: int,
) -> Recorded:
    """Store the alerts and one delivery for each channel that takes them."""
    waits = {channel.name: channel.group_wait for channel in channels}
    routed = [(alert, row, routing.route(alert, channels)) for alert, row in spoken]
    note = "No channel is configured." if not waits else "No channel takes this alert: see events, severity and the filters."
    alerts.add_alerts(conn, [(alert, row, None if names else note) for alert, row, names in routed])
    queued = [(alert.id, name, now + waits[name]) for alert, _, names in routed for name in names]
    outbox.add_deliveries(conn, queued, now)
    return Recorded(changed=changed, alerts=[alert for alert, _ in spoken], channels={name for _, name, _ in queued})
