"""Channels that left the configuration: what waited for them ends, and what nobody else has goes where it would go now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from monitor.config import ChannelConfig
from monitor.domain import Alert
from monitor.domain.rules import routing
from monitor.engine.recording import MONITOR, close_quietly
from monitor.notify.channel_health import SUBJECTS
from monitor.notify.messages.alert_text import RECOVERIES
from monitor.store import alerts, channel_states, incidents, outbox, pending


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of removed channels."""

    ended: Counter[str] = field(default_factory=Counter)
    """How many deliveries were ended, by the channel that is no more."""
    handed_to: frozenset[str] = frozenset()
    """The channels that were given something to say."""


def settle(conn: Connection, channels: Sequence[ChannelConfig], now: datetime) -> Settled:
    """End what waits for channels that are not configured, and forget their troubles, in the caller's transaction.

    A renamed channel loses no alert: what no other channel has or will have goes to those that take it by the
    configuration of now.
    """
    names = {channel.name for channel in channels}
    for subject in incidents.open_subjects(conn, MONITOR):
        kind, _, name = subject.partition(":")
        if kind in SUBJECTS and name not in names:
            close_quietly(conn, MONITOR, subject, now)
    for name in channel_states.all_states(conn).keys() - names:
        channel_states.forget_trouble(conn, name)
    waiting = [each for each in pending.waiting(conn) if each.channel not in names]
    if not waiting:
        return Settled()
    for name in sorted({each.channel for each in waiting}):
        ids = [each.delivery_id for each in waiting if each.channel == name]
        pending.call_off(conn, ids, why=f"Not sent: the channel {name} is no longer configured.")
    owed = _owed(conn, {each.alert_id for each in waiting}, channels, now)
    outbox.add_deliveries(conn, owed, now)
    return Settled(ended=Counter(each.channel for each in waiting), handed_to=frozenset(name for _, name, _ in owed))


def _owed(
    conn: Connection, alert_ids: Collection[str], channels: Sequence[ChannelConfig], now: datetime
) -> list[tuple[str, str, datetime]]:
    lost = pending.hand_over(conn, alert_ids=sorted(alert_ids), to=[channel.name for channel in channels], now=now)
    known = {alert.id: alert for alert in alerts.load_many(conn, {alert_id for alert_id, _, _ in lost})}
    problems = {alert.incident for alert in known.values() if alert.event not in RECOVERIES}
    # The end of something that was told to a channel which is no more would be news to nobody.
    targets = {
        alert.id: _targets(alert, channels) if alert.event not in RECOVERIES or alert.incident in problems else ()
        for alert in known.values()
    }
    return [each for each in lost if each[1] in targets.get(each[0], ())]


def _targets(alert: Alert, channels: Sequence[ChannelConfig]) -> Collection[str]:
    """The channels that take it at once; where there is none, the fallback and escalation ones."""
    usual = [channel for channel in channels if not channel.fallback and channel.after is None]
    return routing.route(alert, usual) or routing.route(alert, [channel for channel in channels if channel not in usual])
