"""Store alerts, route them, and queue one delivery for each channel that takes them.

The last step of a poll or probe inside the engine. From here on the workers in `monitor/notify` take over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from monitor.config import ChannelConfig
from monitor.domain import RECOVERY_EVENTS, Alert
from monitor.domain.records import Record, field
from monitor.domain.rules import routing
from monitor.store import Connection, alerts, outbox

NO_CHANNEL = "No channel is configured."
NOT_ROUTED = "No channel accepts this alert. Check the channels' events, severity and filters."
PROBLEM_NOT_NOTIFIED = "No channel was notified of the problem, so none is notified of the recovery."

MAX_KEPT = 2000
"""Alerts kept in `Recorded`. A large list can raise many more in one go, which would fill the memory."""


class Recorded(Record):
    """Summary of what a transaction wrote, for the log and to wake the delivery workers."""

    changed: int = 0
    """Number of connections that changed."""
    alert_count: int = 0
    alerts: list[Alert] = field(default_factory=list)
    """The first MAX_KEPT of the alerts."""
    channels: set[str] = field(default_factory=set)
    """Names of the channels that have new deliveries."""
    unrouted: list[Alert] = field(default_factory=list)
    """Alerts that no channel takes. The operator must learn of these: they are logged as errors."""

    def add(self, other: Recorded) -> None:
        """Add what another part of the same transaction wrote."""
        self.changed += other.changed
        self.alert_count += other.alert_count
        self.alerts += other.alerts[: max(MAX_KEPT - len(self.alerts), 0)]
        self.channels |= other.channels
        self.unrouted += other.unrouted


class Audience(Enum):
    """Channels that an alert is for."""

    ROUTED = "routed"
    """A problem: the channels that routing selects, else the fallback channels."""
    NOTIFIED = "notified"
    """A recovery: the channels in `OutgoingAlert.channels`, which were notified of the problem, whatever routing selects now."""
    DUE = "due"
    """A reminder: the channels that routing selects and that are in `OutgoingAlert.channels`."""


class OutgoingAlert(Record, frozen=True, gc=False, kw_only=True):
    """An alert to store and queue."""

    alert: Alert
    row: int | None = None
    """The connection's row id, for an alert of a stored incident; None for an alert about a source or the monitor."""
    audience: Audience = Audience.ROUTED
    channels: frozenset[str] = frozenset()
    """Channel names, for an audience other than ROUTED."""


def queue(conn: Connection, outgoing: Sequence[OutgoingAlert], *, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    """Store the alerts and one delivery for each channel that takes them."""
    sent_at = {channel.name: now + channel.group_wait for channel in channels}
    escalated_at = {
        channel.name: now + max(channel.after, channel.group_wait) for channel in channels if channel.after is not None
    }
    routed = _route_all(outgoing, channels)
    incidents = {each.alert.incident for each in outgoing if each.row is not None}
    rows = [(each.alert, each.row, None if names else _note(each, channels)) for each, names in routed]
    alerts.add_alerts(conn, rows, stored_incidents=incidents)
    immediate: list[tuple[str, str, datetime]] = []
    escalations: list[tuple[str, str, datetime]] = []
    for each, names in routed:
        for name in names:
            if name not in escalated_at or each.alert.event in RECOVERY_EVENTS:
                immediate.append((each.alert.id, name, sent_at[name]))
            else:
                escalations.append((each.alert.id, name, escalated_at[name]))
    outbox.add_deliveries(conn, immediate, now)
    outbox.add_deliveries(conn, escalations, now, escalation=True)
    return Recorded(
        alert_count=len(outgoing),
        alerts=[each.alert for each in outgoing],
        channels={name for _, name, _ in immediate + escalations},
        unrouted=[each.alert for each, names in routed if channels and not names and each.audience is Audience.ROUTED],
    )


def _route_all(outgoing: Sequence[OutgoingAlert], channels: Sequence[ChannelConfig]) -> list[tuple[OutgoingAlert, list[str]]]:
    """Return each alert with the names of its channels. Alerts that are the same to the filters are routed only once."""
    known: dict[tuple[object, ...], list[str]] = {}
    routed: list[tuple[OutgoingAlert, list[str]]] = []
    for each in outgoing:
        alert = each.alert
        if alert.label_sets:
            routed.append((each, _channels_of(each, channels)))
            continue
        key = (each.audience, each.channels, alert.event, alert.severity, alert.source, alert.platform, *alert.labels.items())
        if key not in known:
            known[key] = _channels_of(each, channels)
        routed.append((each, known[key]))
    return routed


def _channels_of(each: OutgoingAlert, channels: Sequence[ChannelConfig]) -> list[str]:
    """Return the names of the channels that take an alert."""
    if each.audience is Audience.NOTIFIED:
        return [
            channel.name for channel in channels if channel.name in each.channels and routing.wants(channel, each.alert.event)
        ]
    usual = routing.route(each.alert, [channel for channel in channels if not channel.fallback])
    names = usual or routing.route(each.alert, [channel for channel in channels if channel.fallback])
    return names if each.audience is Audience.ROUTED else [name for name in names if name in each.channels]


def _note(each: OutgoingAlert, channels: Sequence[ChannelConfig]) -> str:
    """Return why an alert has no delivery."""
    if not channels:
        return NO_CHANNEL
    return PROBLEM_NOT_NOTIFIED if each.audience is Audience.NOTIFIED else NOT_ROUTED
