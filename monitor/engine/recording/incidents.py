"""Decide which changed connections need an alert, and open, update and close their incidents.

`evaluate` reads what the decisions depend on (`_EvaluationContext`), decides about each connection with the rules in
`domain/rules/alerting.py` and `domain/rules/suppression.py`, collects the results (`_Outcome`) and writes them in bulk. The
caller queues the returned alerts (`queueing.queue`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from monitor.config import ChannelConfig, SourceConfig
from monitor.config.labelling import Labeller
from monitor.domain import (
    Ack,
    Alert,
    ConnectionState,
    Event,
    EventKind,
    IncidentSubject,
    LastNotified,
    Policy,
    Snapshot,
    connection_id,
)
from monitor.domain.records import Record, field, fresh_ids, replace
from monitor.domain.rules import alerting, silences, suppression, transitions
from monitor.domain.rules.alerting import AlertReason
from monitor.domain.rules.silences import Silence
from monitor.engine.recording.labelling import labeller_of
from monitor.engine.recording.queueing import Audience, OutgoingAlert
from monitor.store import Connection, alerts, history, incidents, outbox, pending
from monitor.store import silences as stored_silences
from monitor.store.incidents import Incident, NewIncident


class ConnectionUpdate(Record, frozen=True, gc=False, kw_only=True):
    """A connection that may need an alert: its state before and after a change. The same state twice for a review."""

    row: int
    before: ConnectionState | None
    """With an effect, the state of a connection that differs from this one only in its names."""
    after: ConnectionState
    effect: object | None = None
    """The same object for updates that differ only in the names of their connections, which keep these; None: unknown."""


class _Decision(Record, frozen=True, kw_only=True):
    """What follows for an update, and for every other one with the same effect under the same circumstances."""

    policy: Policy
    renewed: bool
    reason: AlertReason
    suppressed: suppression.Suppression | None = None
    alert: Alert | None = None
    """The alert to send, without its ids and what names its connection; None if none is sent, or a reminder."""
    ends: bool = False
    """True if the alert ends the incident."""
    notified: LastNotified | None = None
    """What was last notified once the alert is sent."""
    next_review_at: datetime | None = None


class _EvaluationContext(Record, frozen=True, kw_only=True):
    """The facts that the decisions depend on, read once for all connections."""

    source: SourceConfig
    labeller: Labeller
    channels: Sequence[ChannelConfig]
    now: datetime
    incidents: Mapping[int, Incident]
    """Open incidents by connection."""
    notified: Mapping[str, Mapping[str, datetime]]
    """By incident and channel, the time of the last alert."""
    escalating: Collection[str]
    """Incidents with a pending escalation."""
    silences: Sequence[Silence]
    outages: frozenset[str]
    """Platforms with an open outage incident."""
    status_changes: Mapping[int, int]
    """By connection, the number of recent status changes. Connections with too few to be flapping are left out."""
    last_alerted: Mapping[int, datetime]
    """By connection, the time of its last alert."""
    next_reminders: dict[int, datetime | None] = field(default_factory=dict)
    """By the identity of the policy, which the labeller keeps, when a reminder of an alert that goes out now may be due."""
    decisions: dict[tuple[object, ...], _Decision] = field(default_factory=dict)
    """Decisions about updates with the same effect under the same circumstances. Filled as needed."""
    ids: Iterator[str]
    """New ids for incidents and alerts."""


class _Outcome(Record):
    """The collected results, written in bulk at the end. The strings are incident ids."""

    alerts: list[OutgoingAlert] = field(default_factory=list)
    opened: list[NewIncident] = field(default_factory=list)
    notified: list[tuple[str, LastNotified, datetime | None]] = field(default_factory=list)
    """Incidents with what was last notified about them and their next review."""
    reviews: list[tuple[str, datetime | None]] = field(default_factory=list)
    """Incidents with their next review."""
    closed: list[str] = field(default_factory=list)
    unacknowledged: list[str] = field(default_factory=list)
    lowered: list[tuple[str, Ack]] = field(default_factory=list)
    """Acknowledgements that cover less from now on."""
    events: list[tuple[str, int | None, Event]] = field(default_factory=list)
    """Entries for the history of connections."""


def evaluate(
    conn: Connection,
    source: SourceConfig,
    updates: Sequence[ConnectionUpdate],
    *,
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> list[OutgoingAlert]:
    """Decide about each connection, write the incidents, and return the alerts for the caller to queue."""
    if not updates:
        return []
    context = _gather(conn, source, updates, channels=channels, now=now)
    outcome = _Outcome()
    for update in updates:
        _decide(update, context, outcome)
    recovered = [each.alert.incident for each in outcome.alerts if each.audience is Audience.NOTIFIED]
    cancelled = outbox.cancel_escalations(conn, [each for each in recovered if each in context.escalating])
    _write(conn, outcome, now)
    if not cancelled:
        return outcome.alerts
    # A channel whose escalation has just been cancelled was never notified, so it gets no recovery.
    notified = incidents.notified_channels(conn, recovered)
    return [
        replace(each, channels=frozenset(notified.get(each.alert.incident, {}))) if each.audience is Audience.NOTIFIED else each
        for each in outcome.alerts
    ]


def _gather(
    conn: Connection,
    source: SourceConfig,
    updates: Sequence[ConnectionUpdate],
    *,
    channels: Sequence[ChannelConfig],
    now: datetime,
) -> _EvaluationContext:
    rows = [update.row for update in updates]
    known = incidents.find_open(conn, rows)
    windows = source.flap_windows()
    # A connection with fewer changes is not flapping and needs neither count.
    fewest = source.fewest_flap_changes()
    changes = history.status_changes_since(conn, rows, now - max(windows), more_than=fewest) if windows else {}
    notified = incidents.find_notified(conn, [each.id for each in known.values() if each.last_notified is not None])
    return _EvaluationContext(
        source=source,
        labeller=labeller_of(conn, source),
        channels=channels,
        now=now,
        incidents=known,
        notified=notified.channels,
        escalating=notified.escalating,
        silences=stored_silences.all_current(conn, now),
        outages=IncidentSubject.OUTAGE.names_in(incidents.open_subjects(conn, source.name)),
        status_changes=changes,
        last_alerted=alerts.last_alerted(conn, changes),
        ids=fresh_ids(now),
    )


def _write(conn: Connection, outcome: _Outcome, now: datetime) -> None:
    incidents.open_incidents(conn, outcome.opened, now)
    incidents.unacknowledge(conn, outcome.unacknowledged)
    incidents.lower_acks(conn, outcome.lowered)
    history.append_many(conn, outcome.events)
    incidents.save_last_notified(conn, outcome.notified)
    incidents.plan_reviews(conn, outcome.reviews)
    incidents.close_many(conn, outcome.closed, now)
    pending.restore_escalations(conn, _with_wanted_escalations(outcome), now)


def _with_wanted_escalations(outcome: _Outcome) -> list[str]:
    """Return the incidents whose acknowledgement ended and may have cancelled escalations that are wanted again.

    Incidents that got worse or are over are left out: their new alert has escalations for the same channels.
    """
    if not outcome.unacknowledged:
        return []
    settled = {each.alert.incident for each in outcome.alerts if each.audience is not Audience.DUE}.union(outcome.closed)
    return [each for each in outcome.unacknowledged if each not in settled]


def _decide(update: ConnectionUpdate, context: _EvaluationContext, outcome: _Outcome) -> None:
    """Decide about one connection: alert now, suppress, remind, close, or do nothing."""
    incident = context.incidents.get(update.row)
    notified = incident.last_notified if incident else None
    after = update.after
    if incident and incident.ack:
        notified = _review_ack(update, incident, incident.ack, context, outcome)
    decision = _decision(update, incident, notified, context)
    reason = decision.reason
    if decision.alert is not None:
        _notify(update, incident, decision, context, outcome)
    elif reason in (AlertReason.NOTHING, AlertReason.REMINDER) and incident is not None and notified is not None:
        _remind(update, incident, notified, policy=decision.policy, context=context, outcome=outcome)
        if decision.renewed and after.verdict.status is notified.status:
            outcome.notified.append((incident.id, replace(notified, stage=after.stage), incident.next_review_at))
    elif reason is not AlertReason.NOTHING:
        if decision.suppressed is not None:
            _suppress(update, incident, decision.suppressed, context, outcome)
    elif incident is not None and not after.verdict.status.needs_attention:
        outcome.closed.append(incident.id)  # nothing was ever notified about it, so no recovery either
    elif incident is not None:
        outcome.reviews.append((incident.id, None))


def _decision(
    update: ConnectionUpdate, incident: Incident | None, notified: LastNotified | None, context: _EvaluationContext
) -> _Decision:
    """Return the decision about an update: that about a similar one if nothing but names can distinguish the two."""
    if update.effect is None or context.silences or (incident and incident.ack):
        return _apply_rules(update, incident, notified, context)
    row = update.row
    key = (id(update.effect), notified, context.status_changes.get(row, 0), context.last_alerted.get(row))
    found = context.decisions.get(key)
    if found is None:
        found = context.decisions[key] = _apply_rules(update, incident, notified, context)
    return found


def _apply_rules(
    update: ConnectionUpdate, incident: Incident | None, notified: LastNotified | None, context: _EvaluationContext
) -> _Decision:
    after, now = update.after, context.now
    policy = context.labeller.policy(after.snapshot)
    renewed = transitions.is_renewal(update.before, after)
    reason = alerting.decide_alert(
        notified,
        after,
        policy=policy,
        now=now,
        renewed=renewed,
        reconnected=update.effect is None and transitions.is_reconnect(update.before, after),
    )
    if reason in (AlertReason.NOTHING, AlertReason.REMINDER):
        return _Decision(policy=policy, renewed=renewed, reason=reason)
    suppressed = suppression.find_suppression(reason, after, _suppression_context(update, incident, policy, context))
    if suppressed is not None:
        return _Decision(policy=policy, renewed=renewed, reason=reason, suppressed=suppressed)
    return _Decision(
        policy=policy,
        renewed=renewed,
        reason=reason,
        alert=_alert_without_names(update, reason, notified, context),
        ends=reason.ends_incident,
        notified=alerting.next_notified(reason, notified, after, now),
        next_review_at=_next_reminder(update, policy, context),
    )


def _review_ack(
    update: ConnectionUpdate, incident: Incident, ack: Ack, context: _EvaluationContext, outcome: _Outcome
) -> LastNotified | None:
    """Keep, lower or end an incident's acknowledgement. Return what counts as last notified."""
    after = update.after
    if suppression.ack_covers(ack, after, context.now):
        lowered = suppression.lower_ack(ack, after)
        if lowered is not None:
            outcome.lowered.append((incident.id, lowered))
        return incident.last_notified
    outcome.unacknowledged.append(incident.id)
    if not after.verdict.status.needs_attention:
        return incident.last_notified
    dated = ack.until is not None and ack.until <= context.now
    reason, message = ("until", "The acknowledgement expired.") if dated else ("worse", "The status worsened.")
    entry = Event(kind=EventKind.UNACKNOWLEDGED, at=context.now, reason=reason, message=message)
    outcome.events.append((context.source.name, update.row, entry))
    if dated or incident.last_notified is None:
        return incident.last_notified
    return suppression.cap_at_ack(incident.last_notified, ack)


def _suppression_context(
    update: ConnectionUpdate, incident: Incident | None, policy: Policy, context: _EvaluationContext
) -> suppression.SuppressionContext:
    snapshot = update.after.snapshot
    return suppression.SuppressionContext(
        now=context.now,
        policy=policy,
        ack=incident.ack if incident else None,
        silenced_until=_silenced_until(snapshot, context) if context.silences else None,
        outage=snapshot.platform in context.outages,
        recent_changes=context.status_changes.get(update.row, 0),
        last_notified_at=context.last_alerted.get(update.row),
    )


def _silenced_until(snapshot: Snapshot, context: _EvaluationContext) -> datetime | None:
    source = context.source
    return silences.silenced_until(
        context.silences,
        source=source.name,
        platform=snapshot.platform,
        connection=connection_id(source.name, source.provider, snapshot.scope, snapshot.external_id),
        external_id=snapshot.external_id,
        labels=context.labeller.labels(snapshot).values,
        now=context.now,
    )


def _suppress(
    update: ConnectionUpdate,
    incident: Incident | None,
    suppressed: suppression.Suppression,
    context: _EvaluationContext,
    outcome: _Outcome,
) -> None:
    """Open or keep the incident without an alert. It is reviewed when the suppression ends."""
    if incident is not None:
        outcome.reviews.append((incident.id, _next_review(incident, suppressed.until, context.now)))
        return
    outcome.opened.append(
        NewIncident(source=context.source.name, connection_id=update.row, last_notified=None, next_review_at=suppressed.until)
    )


def _notify(
    update: ConnectionUpdate, incident: Incident | None, decision: _Decision, context: _EvaluationContext, outcome: _Outcome
) -> None:
    """Raise the alert of a decision, and open, update or close the incident with it."""
    assert decision.alert is not None  # noqa: S101 - the caller checks it
    incident_id = incident.id if incident else next(context.ids)
    opened_at = incident.opened_at if incident else context.now
    alert = _named(decision.alert, update.after.snapshot, context, incident_id=incident_id, opened_at=opened_at)
    if decision.ends:
        channels = frozenset(context.notified.get(incident_id, ()))
        outcome.alerts.append(OutgoingAlert(alert=alert, row=update.row, audience=Audience.NOTIFIED, channels=channels))
        if incident is not None:
            outcome.closed.append(incident_id)
            return
    else:
        outcome.alerts.append(OutgoingAlert(alert=alert, row=update.row))
    if incident is not None and decision.notified is not None:
        outcome.notified.append((incident_id, decision.notified, decision.next_review_at))
        return
    outcome.opened.append(
        NewIncident(
            id=incident_id,
            source=context.source.name,
            connection_id=update.row,
            last_notified=decision.notified,
            next_review_at=decision.next_review_at,
        )
    )


def _next_reminder(update: ConnectionUpdate, policy: Policy, context: _EvaluationContext) -> datetime | None:
    """Return when a reminder may be due if nothing changes until then; None where none follow."""
    if not alerting.is_reminded(update.after.verdict):
        return None
    if id(policy) not in context.next_reminders:
        notified_now = {channel.name: context.now for channel in context.channels}
        context.next_reminders[id(policy)] = alerting.due_channels(notified_now, context.channels, policy, context.now)[1]
    return context.next_reminders[id(policy)]


def _remind(
    update: ConnectionUpdate,
    incident: Incident,
    notified: LastNotified,
    *,
    policy: Policy,
    context: _EvaluationContext,
    outcome: _Outcome,
) -> None:
    """Remind the channels that are due a reminder, and plan the next review."""
    review_is_due = incident.next_review_at is not None and incident.next_review_at <= context.now
    if not alerting.is_reminded(update.after.verdict):
        if review_is_due:
            outcome.reviews.append((incident.id, _next_review(incident, None, context.now)))
        return
    due, next_due = alerting.due_channels(context.notified.get(incident.id, {}), context.channels, policy, context.now)
    if not due:
        if incident.next_review_at is None or review_is_due:
            outcome.reviews.append((incident.id, _next_review(incident, next_due, context.now)))
        return
    suppressed = suppression.find_suppression(
        AlertReason.REMINDER, update.after, _suppression_context(update, incident, policy, context)
    )
    if suppressed is not None:
        outcome.reviews.append((incident.id, _next_review(incident, suppressed.until, context.now)))
        return
    similar = _alert_without_names(update, AlertReason.REMINDER, notified, context)
    alert = _named(similar, update.after.snapshot, context, incident_id=incident.id, opened_at=incident.opened_at)
    outcome.alerts.append(OutgoingAlert(alert=alert, row=update.row, audience=Audience.DUE, channels=due))
    outcome.notified.append((incident.id, replace(notified, at=context.now, reminders=notified.reminders + 1), next_due))


def _next_review(incident: Incident, at: datetime | None, now: datetime) -> datetime | None:
    """Return the earlier of `at` and the end of the incident's acknowledgement, if that lies ahead."""
    until = incident.ack.until if incident.ack else None
    return at if until is None or until <= now else min(until, at or until)


def _named(similar: Alert, snapshot: Snapshot, context: _EvaluationContext, *, incident_id: str, opened_at: datetime) -> Alert:
    """Return the alert, with all that routing and the message need: it may be sent much later."""
    source = context.source
    return replace(
        similar,
        id=next(context.ids),
        incident=incident_id,
        opened_at=opened_at,
        connection=connection_id(source.name, source.provider, snapshot.scope, snapshot.external_id),
        external_id=snapshot.external_id,
        label=snapshot.label,
        labels=dict(context.labeller.labels(snapshot).values),
    )


def _alert_without_names(
    update: ConnectionUpdate, reason: AlertReason, notified: LastNotified | None, context: _EvaluationContext
) -> Alert:
    """Return what alerts about all updates with the same effect have in common."""
    state, source = update.after, context.source
    snapshot, verdict = state.snapshot, state.verdict
    return Alert(
        id="",
        incident="",
        event=alerting.event_of(reason, verdict.status),
        reason=reason,
        severity=alerting.severity_of(reason, verdict.status, notified),
        at=context.now,
        source=source.name,
        provider=source.provider,
        scope=snapshot.scope,
        platform=snapshot.platform,
        status=verdict.status,
        verdict_reason=verdict.reason,
        message=verdict.message,
        since=verdict.since,
        expires_at=state.token.expires_at,
        previous=notified.status if notified else None,
        stage=state.stage,
        reminder=notified.reminders + 1 if reason is AlertReason.REMINDER and notified else 0,
        link=source.dashboard_url,
    )
