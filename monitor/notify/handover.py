"""Handing alerts over to other channels, where one gave up on them or is no longer configured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime

from monitor.config import ChannelConfig
from monitor.domain import CHANNEL_SUBJECTS, RECOVERY_EVENTS, Alert, split_subject
from monitor.domain.records import Record, field
from monitor.domain.rules import routing
from monitor.engine.recording import MONITOR, close_without_alert
from monitor.store import Connection, alerts, channel_states, incidents, outbox, pending
from monitor.store.outbox import Claimed


def hand_over_dead(
    conn: Connection, name: str, dead: Sequence[Claimed], *, channels: Sequence[ChannelConfig], now: datetime
) -> set[str]:
    """Queue on the fallback channels what this channel gave up and no other delivers. Return the channels to wake.

    What is over by now is recorded as skipped instead: a fallback channel would get a problem that no longer exists, or
    the recovery from one that no channel was notified of.
    """
    fallbacks = [channel.name for channel in channels if channel.fallback and channel.name != name]
    rows = pending.fallback_deliveries(conn, alert_ids=[each.alert.id for each in dead], to=fallbacks, now=now)
    outdated = pending.outdated_alerts(conn, {alert_id for alert_id, _, _ in rows})
    pending.add_skipped(conn, [row for row in rows if row[0] in outdated], why=pending.TOO_LATE)
    rows = [row for row in rows if row[0] not in outdated]
    outbox.add_deliveries(conn, rows, now)
    return {channel for _, channel, _ in rows}


class RemovedChannels(Record, frozen=True, kw_only=True):
    """The result of ending the deliveries of removed channels."""

    ended: Counter[str] = field(default_factory=Counter)
    """The number of deliveries that were ended, by removed channel."""
    handed_to: frozenset[str] = frozenset()
    """The channels to wake."""


def hand_over_removed(conn: Connection, channels: Sequence[ChannelConfig], now: datetime) -> RemovedChannels:
    """End the deliveries and problems of channels that are not in `channels`, in the caller's transaction.

    A renamed channel loses no alert: what no other channel has or will get is queued on those that take it by the current
    configuration.
    """
    names = {channel.name for channel in channels}
    for subject in incidents.open_subjects(conn, MONITOR):
        kind, name = split_subject(subject)
        if kind in CHANNEL_SUBJECTS and name not in names:
            close_without_alert(conn, MONITOR, subject, now)
    for name in channel_states.all_states(conn).keys() - names:
        channel_states.clear_problem(conn, name)
    waiting = [each for each in pending.unclaimed(conn) if each.channel not in names]
    if not waiting:
        return RemovedChannels()
    for name in sorted({each.channel for each in waiting}):
        ids = [each.delivery_id for each in waiting if each.channel == name]
        pending.cancel(conn, ids, why=f"Not sent: the channel {name} is no longer configured.")
    rows = _undelivered(conn, {each.alert_id for each in waiting}, channels, now)
    outbox.add_deliveries(conn, rows, now)
    return RemovedChannels(ended=Counter(each.channel for each in waiting), handed_to=frozenset(name for _, name, _ in rows))


def _undelivered(
    conn: Connection, alert_ids: Collection[str], channels: Sequence[ChannelConfig], now: datetime
) -> list[tuple[str, str, datetime]]:
    rows = pending.fallback_deliveries(conn, alert_ids=sorted(alert_ids), to=[channel.name for channel in channels], now=now)
    known = {alert.id: alert for alert in alerts.load_many(conn, {alert_id for alert_id, _, _ in rows})}
    problems = {alert.incident for alert in known.values() if alert.event not in RECOVERY_EVENTS}
    # A recovery alone goes to no other channel: none of them was notified of the problem.
    targets = {
        alert.id: _targets(alert, channels) if alert.event not in RECOVERY_EVENTS or alert.incident in problems else ()
        for alert in known.values()
    }
    return [row for row in rows if row[1] in targets.get(row[0], ())]


def _targets(alert: Alert, channels: Sequence[ChannelConfig]) -> Collection[str]:
    """Return the channels that take the alert immediately; where there is none, the fallback and escalation channels."""
    usual = [channel for channel in channels if not channel.fallback and channel.after is None]
    return routing.route(alert, usual) or routing.route(alert, [channel for channel in channels if channel not in usual])
