"""Alerts about the channels themselves: broken channels, removed channels, undeliverable alerts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.config import ChannelConfig
from monitor.domain import CHANNEL_SUBJECTS, RECOVERY_EVENTS, Alert, IncidentSubject, split_subject
from monitor.domain.rules import routing
from monitor.domain.timefmt import span
from monitor.engine.recording import MONITOR, Recorded, close_quietly, record_monitor_alert
from monitor.store import Connection, alerts, channel_states, incidents, outbox, pending
from monitor.store.outbox import Claimed

SAID_EVERY = timedelta(days=1)
"""Dead deliveries of one channel are alerted at most this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelHealth:
    """How a channel has been doing. Survives restarts, but for what only this process knows."""

    name: str
    problem: str | None = None
    """The last failure, None while it works."""
    since: datetime | None = None
    """When the problem began."""
    rejected: bool = False
    """The service refused for good: a person must act."""
    last_sent_at: datetime | None = None


def works(conn: Connection, name: str, *, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    """The channel took a message. Where the others were told of a problem, they are told of its end."""
    before = channel_states.note_success(conn, name, now)
    if before.problem is None and not before.broken:
        return Recorded()
    since = f" after {span(now - before.failing_since)}" if before.failing_since and now > before.failing_since else ""
    told = record_monitor_alert(
        conn,
        subject=IncidentSubject.CHANNEL.of(name),
        problem=False,
        reason="channel_works",
        message=f"The channel {name} takes messages again{since}.",
        channels=channels,
        now=now,
        exclude={name},
    )
    if told.alerts:
        close_quietly(conn, MONITOR, IncidentSubject.DELIVERIES.of(name), now)  # one word about the same end is enough
        return told
    return record_monitor_alert(
        conn,
        subject=IncidentSubject.DELIVERIES.of(name),
        problem=False,
        reason="channel_works",
        message=f"The channel {name} takes messages again{since}. What was given up for it stays undelivered: alerts retry.",
        channels=channels,
        now=now,
        exclude={name},
    )


def fails(
    conn: Connection, name: str, *, problem: str, broken: bool, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """The channel did not take a message. Where it refused for good the others are told, once until it works again."""
    channel_states.note_failure(conn, name, now, problem=problem, broken=broken)
    if not broken:
        return Recorded()
    return record_monitor_alert(
        conn,
        subject=IncidentSubject.CHANNEL.of(name),
        problem=True,
        reason="channel_broken",
        message=f"The channel {name} refuses messages for good: {problem} What waits for it is tried hourly for three days.",
        channels=channels,
        now=now,
        exclude={name},
    )


def gave_up(
    conn: Connection, name: str, dead: Sequence[Claimed], *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Deliveries are dead. The fallback channels get what nobody else got; the others are told, at most once a day.

    What is over by now is not handed on: a fallback channel would hear of a problem that is none any more, or of the end
    of one that nobody heard of.
    """
    recorded = Recorded()
    fallbacks = [channel.name for channel in channels if channel.fallback and channel.name != name]
    owed = pending.hand_over(conn, alert_ids=[each.alert.id for each in dead], to=fallbacks, now=now)
    useless = pending.too_late(conn, {alert_id for alert_id, _, _ in owed})
    pending.add_skipped(conn, [each for each in owed if each[0] in useless], why=pending.TOO_LATE)
    owed = [each for each in owed if each[0] not in useless]
    outbox.add_deliveries(conn, owed, now)
    recorded.channels |= {channel for _, channel, _ in owed}
    told = incidents.find_open_source(conn, MONITOR, subject=IncidentSubject.DELIVERIES.of(name))
    if told is not None and now - told.opened_at >= SAID_EVERY:
        close_quietly(conn, MONITOR, IncidentSubject.DELIVERIES.of(name), now)
    recorded.add(
        record_monitor_alert(
            conn,
            subject=IncidentSubject.DELIVERIES.of(name),
            problem=True,
            reason="delivery_dead",
            message=_given_up(name, dead),
            channels=channels,
            now=now,
            exclude={name},
        )
    )
    return recorded


def _given_up(name: str, dead: Sequence[Claimed]) -> str:
    first = dead[0].alert.id
    what = f"1 alert ({first})" if len(dead) == 1 else f"{len(dead)} alerts ({first} and {len(dead) - 1} more)"
    return (
        f"The channel {name} took no message for three days, so {what} will not be delivered there: token-monitor alerts retry."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedChannels:
    """What became of removed channels."""

    ended: Counter[str] = field(default_factory=Counter)
    """How many deliveries were ended, by the channel that is no more."""
    handed_to: frozenset[str] = frozenset()
    """The channels that were given something to say."""


def settle(conn: Connection, channels: Sequence[ChannelConfig], now: datetime) -> RemovedChannels:
    """End what waits for channels that are not configured, and forget their troubles, in the caller's transaction.

    A renamed channel loses no alert: what no other channel has or will have goes to those that take it by the
    configuration of now.
    """
    names = {channel.name for channel in channels}
    for subject in incidents.open_subjects(conn, MONITOR):
        kind, name = split_subject(subject)
        if kind in CHANNEL_SUBJECTS and name not in names:
            close_quietly(conn, MONITOR, subject, now)
    for name in channel_states.all_states(conn).keys() - names:
        channel_states.forget_trouble(conn, name)
    waiting = [each for each in pending.waiting(conn) if each.channel not in names]
    if not waiting:
        return RemovedChannels()
    for name in sorted({each.channel for each in waiting}):
        ids = [each.delivery_id for each in waiting if each.channel == name]
        pending.call_off(conn, ids, why=f"Not sent: the channel {name} is no longer configured.")
    owed = _owed(conn, {each.alert_id for each in waiting}, channels, now)
    outbox.add_deliveries(conn, owed, now)
    return RemovedChannels(ended=Counter(each.channel for each in waiting), handed_to=frozenset(name for _, name, _ in owed))


def _owed(
    conn: Connection, alert_ids: Collection[str], channels: Sequence[ChannelConfig], now: datetime
) -> list[tuple[str, str, datetime]]:
    lost = pending.hand_over(conn, alert_ids=sorted(alert_ids), to=[channel.name for channel in channels], now=now)
    known = {alert.id: alert for alert in alerts.load_many(conn, {alert_id for alert_id, _, _ in lost})}
    problems = {alert.incident for alert in known.values() if alert.event not in RECOVERY_EVENTS}
    # The end of something that was told to a channel which is no more would be news to nobody.
    targets = {
        alert.id: _targets(alert, channels) if alert.event not in RECOVERY_EVENTS or alert.incident in problems else ()
        for alert in known.values()
    }
    return [each for each in lost if each[1] in targets.get(each[0], ())]


def _targets(alert: Alert, channels: Sequence[ChannelConfig]) -> Collection[str]:
    """The channels that take it at once; where there is none, the fallback and escalation ones."""
    usual = [channel for channel in channels if not channel.fallback and channel.after is None]
    return routing.route(alert, usual) or routing.route(alert, [channel for channel in channels if channel not in usual])
