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
    VerdictFlag,
)


def due_channels(
    heard: Mapping[str, datetime], channels: Sequence[ChannelRules], policy: Policy, now: datetime
) -> tuple[frozenset[str], datetime | None]:
    """Which channels are due a reminder now, and when the next one of any channel is.

    `heard` tells when each channel was last given word of the incident. The first value's channels count as told now.
    """
    due: set[str] = set()
    coming: list[datetime] = []
    for channel in channels:
        pace = policy.remind_every if channel.remind_every == "inherit" else channel.remind_every
        last = heard.get(channel.name)
        if pace is None or pace <= timedelta(0) or last is None:
            continue
        if now - last >= pace:
            due.add(channel.name)
            last = now
        coming.append(last + pace)
    return frozenset(due), min(coming, default=None)


class AlertReason(StrEnum):
    """Why an alert is said, or that there is nothing to say."""

    NOTHING = "nothing"
    FIRST = "first"
    """The first notice of an incident."""
    WORSE = "worse"
    """A more severe status than the one last said."""
    CHANGED = "changed"
    """A less severe status than the one last said, which still needs a person."""
    STAGE = "stage"
    """Still expiring_soon, and a tighter stage was crossed."""
    REMINDER = "reminder"
    """Still broken, and remind_every passed since the last word."""
    RECOVERED = "recovered"
    """Good again."""
    RENEWED = "renewed"
    """Good again because the token was renewed."""

    @property
    def ends_incident(self) -> bool:
        """Whether the incident is over with this."""
        return self in (AlertReason.RECOVERED, AlertReason.RENEWED)


def decide_alert(
    said: LastNotified | None, state: ConnectionState, *, policy: Policy, now: datetime, renewed: bool
) -> AlertReason:
    """What to say about a connection, given what its open incident has said (None: there is no open incident).

    Compares remembered stages and instants, never a day count: a stage that was crossed while nobody looked is said
    late, once, and only the tightest.
    """
    status = state.verdict.status
    if said is None:
        return AlertReason.FIRST if status.needs_attention else AlertReason.NOTHING
    if not status.needs_attention:
        return _ending(said, status, renewed=renewed)
    if status.rank > said.status.rank:
        return AlertReason.WORSE
    if status.rank < said.status.rank:
        return AlertReason.NOTHING if _list_lags_behind(said, state) else AlertReason.CHANGED
    if status is Status.EXPIRING_SOON:
        return AlertReason.STAGE if _tighter(state.stage, said.stage) else AlertReason.NOTHING
    if policy.remind_every is not None and timedelta(0) < policy.remind_every <= now - said.at:
        return AlertReason.REMINDER
    return AlertReason.NOTHING


def _ending(said: LastNotified, status: Status, *, renewed: bool) -> AlertReason:
    """Unknown resolves nothing, save that presence in a list ends `disconnected`."""
    if status is Status.UNKNOWN and said.status is not Status.DISCONNECTED:
        return AlertReason.NOTHING
    date_was_the_trouble = said.status in (Status.EXPIRING_SOON, Status.EXPIRED)
    return AlertReason.RENEWED if renewed and date_was_the_trouble else AlertReason.RECOVERED


def _list_lags_behind(said: LastNotified, state: ConnectionState) -> bool:
    """The platform takes the token again that it had refused, and the list still says lost: its next answer settles it."""
    return said.status is Status.REVOKED and state.probe.status is ProbeStatus.OK and VerdictFlag.CONFLICT in state.verdict.flags


def _tighter(stage: timedelta | None, said: timedelta | None) -> bool:
    return stage is not None and (said is None or stage < said)


def event_of(reason: AlertReason, status: Status) -> AlertEvent:
    """The event that an alert for this reason carries."""
    return AlertEvent.RECOVERED if reason.ends_incident else AlertEvent(status.value)


def severity_of(reason: AlertReason, status: Status, said: LastNotified | None) -> Severity:
    """The status's severity; a recovery carries the severity of what it ends."""
    if reason.ends_incident and said is not None:
        return said.status.severity
    return status.severity


def next_notified(reason: AlertReason, said: LastNotified | None, state: ConnectionState, now: datetime) -> LastNotified:
    """What the incident has said after this alert."""
    reminders = said.reminders + 1 if reason is AlertReason.REMINDER and said is not None else 0
    return LastNotified(status=state.verdict.status, stage=state.stage, at=now, reminders=reminders)


def judge_source(*, outcome_ok: bool, unauthorized: bool, failures: int, confirm: int, before: SourceStatus) -> SourceStatus:
    """A source's status after a poll: unauthorized at once, failing after `confirm` failed polls in a row.

    `failures` counts this poll. A failed poll that is not yet confirmed leaves the status as it was, save that
    a rejected key that now merely cannot be reached stays rejected until proven otherwise.
    """
    if outcome_ok:
        return SourceStatus.OK
    if unauthorized:
        return SourceStatus.UNAUTHORIZED
    if before in (SourceStatus.UNAUTHORIZED, SourceStatus.FAILING):
        return before
    return SourceStatus.FAILING if failures >= max(confirm, 1) else before


def decide_source_alert(before: SourceStatus, after: SourceStatus) -> AlertReason:
    """What to say about a source. Its stored status is what was said: both change in one transaction."""
    broken = (SourceStatus.FAILING, SourceStatus.UNAUTHORIZED)
    if after is before:
        return AlertReason.NOTHING
    if after in broken:
        if before not in broken:
            return AlertReason.FIRST
        return AlertReason.WORSE if after is SourceStatus.UNAUTHORIZED else AlertReason.CHANGED
    return AlertReason.RECOVERED if before in broken else AlertReason.NOTHING
