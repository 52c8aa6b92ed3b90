"""Alert suppression: acknowledgements, silences, outages, flapping and mass failures."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import Ack, ConnectionState, LastNotified, Policy, ProbeFinding, Status
from monitor.domain.records import Record, replace
from monitor.domain.rules.alerting import AlertReason

MANY = 5
"""Fewer than this is no crowd."""

AGREEING_POLLS = 3
"""The list that lost most of its connections, and two further complete ones that say the same."""


def is_mass(affected: int, of: int) -> bool:
    """More than half, and at least five."""
    return affected >= MANY and affected * 2 > of


SUMMARY_EVERY = timedelta(hours=1)
"""A flapping connection says its net change at most this often."""


class Suppression(Record, frozen=True):
    """Something is kept back, and until when."""

    why: str
    """acknowledged, silenced, outage or flapping."""
    until: datetime | None
    """None: until something changes."""


class SuppressionContext(Record, frozen=True, kw_only=True):
    """What is known around a connection when it wants to speak."""

    now: datetime
    policy: Policy
    ack: Ack | None = None
    silenced_until: datetime | None = None
    outage: bool = False
    """Many connections of its platform are refused at once: that is one alert, and not this one's."""
    recent_changes: int = 0
    """Its changes of status within the policy's flap_window, this one included."""
    last_spoken_at: datetime | None = None
    """When it was last spoken of, in this incident or an earlier one."""


def hold_for(reason: AlertReason, state: ConnectionState, around: SuppressionContext) -> Suppression | None:
    """The first hold that applies, None where it may be said now."""
    if around.silenced_until is not None and around.silenced_until > around.now:
        return Suppression("silenced", around.silenced_until)
    if not reason.ends_incident and ack_covers(around.ack, state, around.now):
        return Suppression("acknowledged", around.ack.until if around.ack else None)
    if around.outage and is_outage_symptom(state):
        return Suppression("outage", None)
    return _damped(reason, around)


def ack_covers(ack: Ack | None, state: ConnectionState, now: datetime) -> bool:
    """Whether an acknowledgement still stands: nothing got worse since, and its date has not passed."""
    if ack is None or (ack.until is not None and ack.until <= now):
        return False
    status = state.verdict.status
    if not status.needs_attention or status.rank > ack.status.rank:
        return False
    tighter = state.stage is not None and (ack.stage is None or state.stage < ack.stage)
    return not (status is Status.EXPIRING_SOON and ack.status is status and tighter)


def ack_lowered(ack: Ack, state: ConnectionState) -> Ack | None:
    """What an acknowledgement that stands covers from now on, where that is less than before: it got better. None: the same.

    So that getting worse again, even back to what was acknowledged, ends it.
    """
    status, stage = state.verdict.status, state.stage
    return replace(ack, status=status, stage=stage) if _milder(status, stage, ack.status, ack.stage) else None


def said_at_most(said: LastNotified, ack: Ack) -> LastNotified:
    """What counts as said when an acknowledgement ends because it got worse: no more than what that covered in the end."""
    return replace(said, status=ack.status, stage=ack.stage) if _milder(ack.status, ack.stage, said.status, said.stage) else said


def _milder(status: Status, stage: timedelta | None, than: Status, than_stage: timedelta | None) -> bool:
    if status is Status.EXPIRING_SOON and than is status:
        return than_stage is not None and (stage is None or stage > than_stage)
    return status.rank < than.rank


def is_outage_symptom(state: ConnectionState) -> bool:
    """Whether a platform's outage explains it: refused for another reason than expiry or revocation."""
    return state.verdict.status is Status.FAILING and state.probe.finding is ProbeFinding.FAILING


def _damped(reason: AlertReason, around: SuppressionContext) -> Suppression | None:
    """More changes than the policy allows within its window: one message an hour, with the net change."""
    policy = around.policy
    if policy.flap_window is None or around.recent_changes <= policy.flap_changes or around.last_spoken_at is None:
        return None
    if reason is AlertReason.STAGE:
        return None
    until = around.last_spoken_at + SUMMARY_EVERY
    return Suppression("flapping", until) if until > around.now else None
