"""Decide about each connection that may want to speak; open, note, look after and close the incidents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from monitor.config import SourceConfig
from monitor.domain import (
    Ack,
    Alert,
    ConnectionState,
    Event,
    EventKind,
    IncidentSubject,
    LastNotified,
    Policy,
    Severity,
    Snapshot,
    connection_id,
)
from monitor.domain.records import Record, fresh_id, replace
from monitor.domain.rules import alerting, silences, suppression, transitions
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.rules.silences import Silence
from monitor.engine.recording.queueing import ChannelSettings, OutgoingAlert
from monitor.store import Connection, alerts, history, incidents, outbox, pending
from monitor.store import silences as stored_silences
from monitor.store.incidents import Incident, NewIncident


class ConnectionUpdate(Record, frozen=True, kw_only=True):
    """A connection that may want to speak, before and after what happened (the same twice where only time passed)."""

    row: int
    before: ConnectionState | None
    after: ConnectionState


@dataclass(slots=True)
class _Outcome:
    """What is to be written about incidents, in bulk at the end."""

    spoken: list[OutgoingAlert] = field(default_factory=list)
    opened: list[NewIncident] = field(default_factory=list)
    noted: list[tuple[str, LastNotified, datetime | None]] = field(default_factory=list)
    looks: list[tuple[str, datetime | None]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    unacknowledged: list[str] = field(default_factory=list)
    lowered: list[tuple[str, Ack]] = field(default_factory=list)
    """Acknowledgements that cover less from now on."""
    noticed: list[tuple[str, int | None, Event]] = field(default_factory=list)
    """For the history of connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """What is known around all of them, read once."""

    source: SourceConfig
    channels: Sequence[ChannelSettings]
    now: datetime
    known: Mapping[int, Incident]
    heard: Mapping[str, Mapping[str, datetime]]
    silences: Sequence[Silence]
    outages: frozenset[str]
    changes: Mapping[int, int]
    spoken_at: Mapping[int, datetime]
    reminded_at: dict[str, datetime | None] = field(default_factory=dict)
    """By platform, when a reminder of what is said now may be due."""


def speak(
    conn: Connection,
    source: SourceConfig,
    subjects: Sequence[ConnectionUpdate],
    *,
    channels: Sequence[ChannelSettings],
    now: datetime,
) -> list[OutgoingAlert]:
    """What is to be said about these connections now; the incidents are written, the alerts are the caller's to queue."""
    if not subjects:
        return []
    around = _look_around(conn, source, subjects, channels=channels, now=now)
    outcome = _Outcome()
    for subject in subjects:
        _decide(subject, around, outcome)
    over = [each.alert.incident for each in outcome.spoken if each.heard is not None]
    called_off = outbox.skip_escalations(conn, over)
    incidents.open_incidents(conn, outcome.opened, now)
    incidents.unacknowledge(conn, outcome.unacknowledged)
    incidents.lower_acks(conn, outcome.lowered)
    history.append_many(conn, outcome.noticed)
    incidents.note_said_many(conn, outcome.noted)
    incidents.plan_looks(conn, outcome.looks)
    incidents.close_many(conn, outcome.closed, now)
    pending.revive_escalations(conn, _kept_back(outcome), now)
    heard = incidents.heard(conn, over) if called_off else around.heard  # whose escalation was called off was not told
    return [
        each if each.heard is None else replace(each, heard=frozenset(heard.get(each.alert.incident, {})))
        for each in outcome.spoken
    ]


def _kept_back(outcome: _Outcome) -> list[str]:
    """The incidents whose acknowledgement ended, and whose escalations it may have called off that are still wanted.

    Where it got worse or is over the news goes to the same channels, with escalations of its own.
    """
    if not outcome.unacknowledged:
        return []
    settled = {each.alert.incident for each in outcome.spoken if each.only is None}.union(outcome.closed)
    return [each for each in outcome.unacknowledged if each not in settled]


def _look_around(
    conn: Connection,
    source: SourceConfig,
    subjects: Sequence[ConnectionUpdate],
    *,
    channels: Sequence[ChannelSettings],
    now: datetime,
) -> _Context:
    rows = [subject.row for subject in subjects]
    known = incidents.find_open(conn, rows)
    open_subjects = incidents.open_subjects(conn, source.name)
    windows = [policy.flap_window for policy in source.all_policies() if policy.flap_window is not None]
    # Once is no flapping, and nothing was spoken of it before.
    changes = history.status_changes_since(conn, rows, now - max(windows), more_than=1) if windows else {}
    return _Context(
        source=source,
        channels=channels,
        now=now,
        known=known,
        heard=incidents.heard(conn, [incident.id for incident in known.values() if incident.said is not None]),
        silences=stored_silences.all_current(conn, now),
        outages=IncidentSubject.OUTAGE.names_in(open_subjects),
        changes=changes,
        spoken_at=alerts.last_spoken(conn, changes),
    )


def _decide(subject: ConnectionUpdate, around: _Context, outcome: _Outcome) -> None:
    """One connection: what to say, what holds it back, and when to look again."""
    incident = around.known.get(subject.row)
    said = incident.said if incident else None
    after = subject.after
    policy = around.source.policy_for(after.snapshot.platform)
    renewed = transitions.is_renewal(subject.before, after)
    if incident and incident.ack:
        said = _acknowledged(subject, incident, incident.ack, around, outcome)
    reason = alerting.decide_alert(said, after, policy=policy, now=around.now, renewed=renewed)
    if reason in (AlertReason.NOTHING, AlertReason.REMINDER) and incident is not None and said is not None:
        _remind(subject, incident, said, policy=policy, around=around, outcome=outcome)
        if renewed and after.verdict.status is said.status:
            outcome.noted.append((incident.id, replace(said, stage=after.stage), incident.look_at))
        return
    if reason is AlertReason.NOTHING:
        if incident is not None and not after.verdict.status.needs_attention:
            outcome.closed.append(incident.id)  # nothing was ever said: it ends as quietly as it began
        elif incident is not None:
            outcome.looks.append((incident.id, None))
        return
    hold = suppression.find_suppression(reason, after, _circumstances(subject, incident, policy, around))
    if hold is not None:
        _held(subject, incident, hold, around, outcome)
        return
    _say(subject, incident, reason, around, outcome, said=said)


def _acknowledged(
    subject: ConnectionUpdate, incident: Incident, ack: Ack, around: _Context, outcome: _Outcome
) -> LastNotified | None:
    """What becomes of an incident's acknowledgement, and what counts as said of it."""
    after = subject.after
    if suppression.ack_covers(ack, after, around.now):
        lowered = suppression.lower_ack(ack, after)
        if lowered is not None:
            outcome.lowered.append((incident.id, lowered))
        return incident.said
    outcome.unacknowledged.append(incident.id)
    if not after.verdict.status.needs_attention:
        return incident.said
    dated = ack.until is not None and ack.until <= around.now
    why, said_so = ("until", "Its date passed.") if dated else ("worse", "It got worse.")
    entry = Event(kind=EventKind.UNACKNOWLEDGED, at=around.now, reason=why, message=said_so)
    outcome.noticed.append((around.source.name, subject.row, entry))
    return incident.said if dated or incident.said is None else suppression.cap_at_ack(incident.said, ack)


def _circumstances(
    subject: ConnectionUpdate, incident: Incident | None, policy: Policy, around: _Context
) -> suppression.SuppressionContext:
    snapshot = subject.after.snapshot
    silenced_until = _silenced_until(snapshot, around) if around.silences else None
    return suppression.SuppressionContext(
        now=around.now,
        policy=policy,
        ack=incident.ack if incident else None,
        silenced_until=silenced_until,
        outage=snapshot.platform in around.outages,
        recent_changes=around.changes.get(subject.row, 0),
        last_notified_at=around.spoken_at.get(subject.row),
    )


def _silenced_until(snapshot: Snapshot, around: _Context) -> datetime | None:
    public = connection_id(around.source.name, around.source.provider, snapshot.scope, snapshot.external_id)
    return silences.silenced_until(
        around.silences,
        source=around.source.name,
        platform=snapshot.platform,
        connection=public,
        external_id=snapshot.external_id,
        labels=around.source.labels,
        now=around.now,
    )


def _held(
    subject: ConnectionUpdate, incident: Incident | None, hold: suppression.Suppression, around: _Context, outcome: _Outcome
) -> None:
    """Keep it back: the incident is there, and is judged again when the hold ends."""
    if incident is None:
        outcome.opened.append(NewIncident(source=around.source.name, connection_id=subject.row, said=None, look_at=hold.until))
    else:
        outcome.looks.append((incident.id, _next_look(incident, hold.until, around.now)))


def _say(
    subject: ConnectionUpdate,
    incident: Incident | None,
    reason: AlertReason,
    around: _Context,
    outcome: _Outcome,
    *,
    said: LastNotified | None,
) -> None:
    incident_id = incident.id if incident else fresh_id(around.now)
    opened_at = incident.opened_at if incident else around.now
    alert = _alert(subject, reason, said, around, incident_id=incident_id, opened_at=opened_at)
    outcome.spoken.append(OutgoingAlert(alert=alert, row=subject.row, heard=() if reason.ends_incident else None))
    if incident is not None and reason.ends_incident:
        outcome.closed.append(incident_id)
        return
    after = alerting.next_said(reason, said, subject.after, around.now)
    look_at = _next_reminder(subject, around)
    if incident is None:
        outcome.opened.append(
            NewIncident(id=incident_id, source=around.source.name, connection_id=subject.row, said=after, look_at=look_at)
        )
    else:
        outcome.noted.append((incident_id, after, look_at))


def _next_reminder(subject: ConnectionUpdate, around: _Context) -> datetime | None:
    """When a reminder may be due if nothing changes until then: only while it is broken."""
    if subject.after.verdict.status.severity is not Severity.CRITICAL:
        return None
    platform = subject.after.snapshot.platform
    if platform not in around.reminded_at:
        told_now = {channel.name: around.now for channel in around.channels}
        policy = around.source.policy_for(platform)
        around.reminded_at[platform] = alerting.due_channels(told_now, around.channels, policy, around.now)[1]
    return around.reminded_at[platform]


def _remind(
    subject: ConnectionUpdate, incident: Incident, said: LastNotified, *, policy: Policy, around: _Context, outcome: _Outcome
) -> None:
    """Remind the channels whose time has come; plan the next look."""
    if subject.after.verdict.status.severity is not Severity.CRITICAL:
        if incident.look_at is not None and incident.look_at <= around.now:
            outcome.looks.append((incident.id, _next_look(incident, None, around.now)))
        return
    heard = around.heard.get(incident.id, {})
    due, coming = alerting.due_channels(heard, around.channels, policy, around.now)
    if due:
        hold = suppression.find_suppression(
            AlertReason.REMINDER, subject.after, _circumstances(subject, incident, policy, around)
        )
        if hold is not None:
            outcome.looks.append((incident.id, _next_look(incident, hold.until, around.now)))
            return
        alert = _alert(subject, AlertReason.REMINDER, said, around, incident_id=incident.id, opened_at=incident.opened_at)
        outcome.spoken.append(OutgoingAlert(alert=alert, row=subject.row, only=due))
        outcome.noted.append((incident.id, replace(said, at=around.now, reminders=said.reminders + 1), coming))
    elif incident.look_at is None or incident.look_at <= around.now:
        outcome.looks.append((incident.id, _next_look(incident, coming, around.now)))


def _next_look(incident: Incident, coming: datetime | None, now: datetime) -> datetime | None:
    """When to look again, given what else is coming: at the end of the acknowledgement at the latest."""
    until = incident.ack.until if incident.ack else None
    return coming if until is None or until <= now else min(until, coming or until)


def _alert(
    subject: ConnectionUpdate,
    reason: AlertReason,
    said: LastNotified | None,
    around: _Context,
    *,
    incident_id: str,
    opened_at: datetime,
) -> Alert:
    """Everything that routing and wording need, so that the message can be written at any later time."""
    state, source = subject.after, around.source
    snapshot, verdict = state.snapshot, state.verdict
    return Alert(
        id=fresh_id(around.now),
        incident=incident_id,
        event=alerting.event_of(reason, verdict.status),
        reason=reason,
        severity=alerting.severity_of(reason, verdict.status, said),
        at=around.now,
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
        reminder=said.reminders + 1 if reason is AlertReason.REMINDER and said else 0,
        link=source.dashboard_url,
        labels=dict(source.labels),
    )
