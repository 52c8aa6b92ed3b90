"""Decide whether a change needs an alert, and when a reminder is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain import (
    AlertEvent,
    ChannelRules,
    ConnectionState,
    LastNotified,
    Policy,
    ProbeStatus,
    Severity,
    SourceStatus,
    Status,
    Verdict,
    VerdictFlag,
    VerdictReason,
)


def due_channels(
    notified_at: Mapping[str, datetime], channels: Sequence[ChannelRules], policy: Policy, now: datetime
) -> tuple[frozenset[str], datetime | None]:
    """Return the channels that are due a reminder now, and when the next reminder of any channel is due.

    `notified_at` holds when each channel was last notified of the incident. The returned channels count as notified now.
    """
    due: set[str] = set()
    coming: list[datetime] = []
    for channel in channels:
        pace = policy.remind_every if channel.remind_every == "inherit" else channel.remind_every
        last = notified_at.get(channel.name)
        if pace is None or pace <= timedelta(0) or last is None:
            continue
        if now - last >= pace:
            due.add(channel.name)
            last = now
        coming.append(last + pace)
    return frozenset(due), min(coming, default=None)


class AlertReason(StrEnum):
    """Reason for which an alert is sent, or for which none is."""

    NOTHING = "nothing"
    FIRST = "first"
    """The first alert of an incident."""
    WORSE = "worse"
    """The status is more severe than the one last notified."""
    CHANGED = "changed"
    """The status is less severe than the one last notified, and still needs attention."""
    STAGE = "stage"
    """Still expiring_soon, and a tighter stage was reached."""
    REMINDER = "reminder"
    """Still broken, and remind_every passed since the last alert."""
    RECOVERED = "recovered"
    """The connection works again."""
    RENEWED = "renewed"
    """The connection works again because the token was renewed."""
    RECONNECTED = "reconnected"
    """The connection works again because its account is listed under a new id."""

    @property
    def ends_incident(self) -> bool:
        """True if this ends the incident."""
        return self in (AlertReason.RECOVERED, AlertReason.RENEWED, AlertReason.RECONNECTED)


def decide_alert(
    notified: LastNotified | None,
    state: ConnectionState,
    *,
    policy: Policy,
    now: datetime,
    renewed: bool,
    reconnected: bool = False,
) -> AlertReason:
    """Return the reason to alert about a connection, given the last alert of its open incident (None: no open incident).

    `renewed` if the change moved the token's date later, `reconnected` if the account is now listed under a new id.
    Compares stored stages and times, never a day count: stages that were reached while the monitor was off cause one late
    alert, for the tightest.
    """
    status = state.verdict.status
    if notified is None:
        return AlertReason.FIRST if status.needs_attention else AlertReason.NOTHING
    if not status.needs_attention:
        return AlertReason.RECONNECTED if reconnected else _ending(notified, status, renewed=renewed)
    if status.rank > notified.status.rank:
        return AlertReason.WORSE
    if status.rank < notified.status.rank:
        return AlertReason.NOTHING if _list_lags_behind(notified, state) else AlertReason.CHANGED
    if status is Status.EXPIRING_SOON:
        return AlertReason.STAGE if _is_tighter(state.stage, notified.stage) else AlertReason.NOTHING
    if not is_reminded(state.verdict):
        return AlertReason.NOTHING
    if policy.remind_every is not None and timedelta(0) < policy.remind_every <= now - notified.at:
        return AlertReason.REMINDER
    return AlertReason.NOTHING


def is_reminded(verdict: Verdict) -> bool:
    """Return True if reminders follow while this lasts: it is critical, and not probably harmless."""
    return verdict.status.severity is Severity.CRITICAL and verdict.reason != VerdictReason.PROBE_AMBIGUOUS


def _ending(notified: LastNotified, status: Status, *, renewed: bool) -> AlertReason:
    """Return how an incident ends. Unknown ends nothing, except that presence in a list ends `disconnected`."""
    if status is Status.UNKNOWN and notified.status is not Status.DISCONNECTED:
        return AlertReason.NOTHING
    expiry_was_the_problem = notified.status in (Status.EXPIRING_SOON, Status.EXPIRED)
    return AlertReason.RENEWED if renewed and expiry_was_the_problem else AlertReason.RECOVERED


def _list_lags_behind(notified: LastNotified, state: ConnectionState) -> bool:
    """Return True if the platform accepts a token that it had rejected, while the list still reports it as lost.

    The next list decides.
    """
    return (
        notified.status is Status.REVOKED and state.probe.status is ProbeStatus.OK and VerdictFlag.CONFLICT in state.verdict.flags
    )


def _is_tighter(stage: timedelta | None, notified: timedelta | None) -> bool:
    return stage is not None and (notified is None or stage < notified)


def event_of(reason: AlertReason, status: Status) -> AlertEvent:
    """Return the event of an alert for this reason."""
    return AlertEvent.RECOVERED if reason.ends_incident else AlertEvent(status.value)


def severity_of(reason: AlertReason, status: Status, notified: LastNotified | None) -> Severity:
    """Return the severity of the status; a recovery has the severity of the status that it ends."""
    if reason.ends_incident and notified is not None:
        return notified.status.severity
    return status.severity


def next_notified(reason: AlertReason, notified: LastNotified | None, state: ConnectionState, now: datetime) -> LastNotified:
    """Return the last alert of the incident, this one included."""
    reminders = notified.reminders + 1 if reason is AlertReason.REMINDER and notified is not None else 0
    return LastNotified(status=state.verdict.status, stage=state.stage, at=now, reminders=reminders)


def judge_source(*, outcome_ok: bool, unauthorized: bool, failures: int, confirm: int, before: SourceStatus) -> SourceStatus:
    """Return a source's status after a poll: unauthorized immediately, failing after `confirm` failed polls in a row.

    `failures` includes this poll. A failed poll that is not yet confirmed leaves the status unchanged, and an unauthorized
    source stays so while it merely cannot be reached.
    """
    if outcome_ok:
        return SourceStatus.OK
    if unauthorized:
        return SourceStatus.UNAUTHORIZED
    if before in (SourceStatus.UNAUTHORIZED, SourceStatus.FAILING):
        return before
    return SourceStatus.FAILING if failures >= max(confirm, 1) else before


def decide_source_alert(before: SourceStatus, after: SourceStatus) -> AlertReason:
    """Return the reason to alert about a source. Its stored status is the last notified one: both change in one transaction."""
    broken = (SourceStatus.FAILING, SourceStatus.UNAUTHORIZED)
    if after is before:
        return AlertReason.NOTHING
    if after in broken:
        if before not in broken:
            return AlertReason.FIRST
        return AlertReason.WORSE if after is SourceStatus.UNAUTHORIZED else AlertReason.CHANGED
    return AlertReason.RECOVERED if before in broken else AlertReason.NOTHING
