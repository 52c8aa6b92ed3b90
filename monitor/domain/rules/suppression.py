"""Alert suppression: which alerts are held back, and until when.

SUPPRESSION_RULES is the specification of what is checked when a change is recorded: the first rule that applies holds the
alert. Its incident is nevertheless open, and is reviewed when the suppression ends. What can change while a delivery waits is
checked again when a channel claims it:

| check | when the change is recorded | when a delivery is claimed |
| --- | --- | --- |
| silence | held until the silence ends | escalation about a connection: postponed until the silence ends |
| acknowledgement | held until it ends or the status worsens; a recovery passes | escalation: cancelled, restored when it ends |
| platform outage | held until the outage ends; one alert for all | not checked |
| flapping | held until an hour after the last alert | not checked |
| many missing at once | held until three complete lists agree; one alert for all | not checked |
| the monitor's own network | held; one alert for all sources | not checked |
| incident closed | not checked | escalation: cancelled, and the recovery of a channel that received nothing |
| status changed since | not checked | escalation: cancelled, or postponed by a minute until the new status is notified |
| newer alert sent on the channel | not checked | cancelled |
| quiet hours of the channel | not checked | postponed until they end |

The first set of checks is in monitor/engine/recording (incidents.py; list_changes.py for missing connections,
source_status.py for the network), the second in monitor/notify (escalations.py, and worker.py for quiet
hours) with the queries of monitor/store/pending.py.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from monitor.domain import Ack, ConnectionState, LastNotified, Policy, ProbeFinding, Status
from monitor.domain.records import Record, replace
from monitor.domain.rules.alerting import AlertReason

FLAPPING_ALERT_EVERY = timedelta(hours=1)
"""Least time between two alerts of a flapping connection; each reports the net change."""


class Suppression(Record, frozen=True):
    """The reason why an alert is held, and until when."""

    reason: str
    """silenced, acknowledged, outage or flapping."""
    until: datetime | None
    """None: until something changes."""


class SuppressionContext(Record, frozen=True, kw_only=True):
    """The circumstances of a connection that decide about its alert."""

    now: datetime
    policy: Policy
    ack: Ack | None = None
    silenced_until: datetime | None = None
    outage: bool = False
    """True if the probes of many connections of its platform are refused, which is a separate alert."""
    recent_changes: int = 0
    """Changes of its status within the policy's flap_window, this one included."""
    last_notified_at: datetime | None = None
    """The time of its last alert, in this incident or an earlier one."""


def find_suppression(reason: AlertReason, state: ConnectionState, context: SuppressionContext) -> Suppression | None:
    """Return the first suppression that applies; None if the alert may be sent now."""
    for rule in SUPPRESSION_RULES:
        suppression = rule(reason, state, context)
        if suppression is not None:
            return suppression
    return None


def silence_matches(_: AlertReason, __: ConnectionState, context: SuppressionContext) -> Suppression | None:
    """Hold the alert while an active silence matches the connection."""
    if context.silenced_until is not None and context.silenced_until > context.now:
        return Suppression("silenced", context.silenced_until)
    return None


def acknowledgement_covers(reason: AlertReason, state: ConnectionState, context: SuppressionContext) -> Suppression | None:
    """Hold the alert while the incident is acknowledged and has not become worse."""
    if not reason.ends_incident and ack_covers(context.ack, state, context.now):
        return Suppression("acknowledged", context.ack.until if context.ack else None)
    return None


def outage_explains_status(_: AlertReason, state: ConnectionState, context: SuppressionContext) -> Suppression | None:
    """Hold the alert while an outage of the platform explains the status."""
    if context.outage and is_outage_symptom(state):
        return Suppression("outage", None)
    return None


def is_outage_symptom(state: ConnectionState) -> bool:
    """Return True if an outage of the platform can explain the status: refused for another reason than expiry or revocation."""
    return state.verdict.status is Status.FAILING and state.probe.finding in (ProbeFinding.PERMISSION, ProbeFinding.FAILING)


def connection_is_flapping(reason: AlertReason, _: ConnectionState, context: SuppressionContext) -> Suppression | None:
    """Hold the alert of a status that changes more often than the policy allows. A tighter stage is always notified."""
    policy = context.policy
    if policy.flap_window is None or context.recent_changes <= policy.flap_changes or context.last_notified_at is None:
        return None
    if reason is AlertReason.STAGE:
        return None
    until = context.last_notified_at + FLAPPING_ALERT_EVERY
    return Suppression("flapping", until) if until > context.now else None


SUPPRESSION_RULES: tuple[Callable[[AlertReason, ConnectionState, SuppressionContext], Suppression | None], ...] = (
    silence_matches,  # an active silence matches -> until it ends
    acknowledgement_covers,  # acknowledged, not worse since, not a recovery -> until the acknowledgement ends
    outage_explains_status,  # refused while the platform has an outage -> until the outage ends
    connection_is_flapping,  # more than flap_changes changes within flap_window -> until an hour after the last alert
)


# --- Acknowledgements


def ack_covers(ack: Ack | None, state: ConnectionState, now: datetime) -> bool:
    """Return True if an acknowledgement still applies: nothing is worse than it covers, and it has not ended."""
    return ack_covers_status(ack, state.verdict.status, state.stage, now)


def ack_covers_status(ack: Ack | None, status: Status, stage: timedelta | None, now: datetime) -> bool:
    """Return ack_covers() for a connection with this status and stage."""
    if ack is None or (ack.until is not None and ack.until <= now):
        return False
    if not status.needs_attention or status.rank > ack.status.rank:
        return False
    tighter = stage is not None and (ack.stage is None or stage < ack.stage)
    return not (status is Status.EXPIRING_SOON and ack.status is status and tighter)


def lower_ack(ack: Ack, state: ConnectionState) -> Ack | None:
    """Return the acknowledgement reduced to a state that became milder, or None if it stays the same.

    So that a later worsening ends it, even if only back to what was acknowledged first.
    """
    status, stage = state.verdict.status, state.stage
    return replace(ack, status=status, stage=stage) if _is_milder(status, stage, ack.status, ack.stage) else None


def cap_at_ack(notified: LastNotified, ack: Ack) -> LastNotified:
    """Return what counts as notified when a worsening ends the acknowledgement: at most what that covered in the end."""
    if _is_milder(ack.status, ack.stage, notified.status, notified.stage):
        return replace(notified, status=ack.status, stage=ack.stage)
    return notified


def _is_milder(status: Status, stage: timedelta | None, than: Status, than_stage: timedelta | None) -> bool:
    if status is Status.EXPIRING_SOON and than is status:
        return than_stage is not None and (stage is None or stage > than_stage)
    return status.rank < than.rank


# --- Mass failures: many failures that are one failure


MASS_MINIMUM = 5
"""Minimum number of connections for a mass failure."""

AGREEING_POLLS = 3
"""Complete lists in a row that confirm a mass loss: the first that lacks most connections, and two more."""


def is_mass_failure(affected: int, of: int) -> bool:
    """Return True if more than half are affected, and at least five."""
    return affected >= MASS_MINIMUM and affected * 2 > of
