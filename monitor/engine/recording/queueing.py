"""What is to be said goes out: stored, routed, and queued for each channel that takes it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from monitor.domain import RECOVERY_EVENTS, Alert
from monitor.domain.records import Record
from monitor.domain.rules import routing
from monitor.store import Connection, alerts, outbox

NO_CHANNEL = "No channel is configured that could be told."
NOT_ROUTED = "No channel takes this alert: see events, severity and the filters."
NOBODY_HEARD = "No channel was told of the problem, so none is told that it is over."

SHOWN = 2000
"""Alerts that are handed on by what wrote them."""


class ChannelSettings(routing.ChannelFilter, Protocol):
    """What the recorder needs of a configured channel."""

    @property
    def group_wait(self) -> timedelta:
        """How long the channel collects what happens together."""
        ...

    @property
    def after(self) -> timedelta | None:
        """Escalation: only what is still open and unacknowledged after this long."""
        ...

    @property
    def remind_every(self) -> timedelta | Literal["inherit"] | None:
        """Its own pace of reminders; "inherit" takes the policy's, None never reminds."""
        ...

    @property
    def fallback(self) -> bool:
        """Takes what no other channel takes."""
        ...


@dataclass(slots=True)
class Recorded:
    """What a transaction wrote, for the log and to wake the workers."""

    changed: int = 0
    said: int = 0
    """How many alerts."""
    alerts: list[Alert] = field(default_factory=list)
    """The first of them: all that are said at once by a large list would fill the memory."""
    channels: set[str] = field(default_factory=set)
    unrouted: list[Alert] = field(default_factory=list)
    """Alerts that no channel takes: an error that people must see."""

    def add(self, other: Recorded) -> None:
        """Take in what another part of the same cycle wrote."""
        self.changed += other.changed
        self.said += other.said
        self.alerts += other.alerts[: max(SHOWN - len(self.alerts), 0)]
        self.channels |= other.channels
        self.unrouted += other.unrouted


class OutgoingAlert(Record, frozen=True, kw_only=True):
    """One alert to go out."""

    alert: Alert
    row: int | None = None
    """The connection's row id."""
    heard: Collection[str] | None = None
    """For a recovery: the channels that were told of the problem. None: routing alone decides."""
    only: Collection[str] | None = None
    """For a reminder: the channels that are due one."""


def queue(conn: Connection, spoken: Sequence[OutgoingAlert], *, channels: Sequence[ChannelSettings], now: datetime) -> Recorded:
    """Store the alerts and one delivery for each channel that takes them."""
    by_name = {channel.name: channel for channel in channels}
    routed = _routed(spoken, channels)
    alerts.add_alerts(conn, [(each.alert, each.row, None if names else _note(each, channels)) for each, names in routed])
    at_once: list[tuple[str, str, datetime]] = []
    later: list[tuple[str, str, datetime]] = []
    for each, names in routed:
        for name in names:
            after = by_name[name].after
            if after is None or each.alert.event in RECOVERY_EVENTS:
                at_once.append((each.alert.id, name, now + by_name[name].group_wait))
            else:
                later.append((each.alert.id, name, now + max(after, by_name[name].group_wait)))
    outbox.add_deliveries(conn, at_once, now)
    outbox.add_deliveries(conn, later, now, escalation=True)
    unrouted = [each.alert for each, names in routed if channels and not names and each.heard is None and each.only is None]
    return Recorded(
        said=len(spoken),
        alerts=[each.alert for each in spoken],
        channels={name for _, name, _ in at_once + later},
        unrouted=unrouted,
    )


def _routed(spoken: Sequence[OutgoingAlert], channels: Sequence[ChannelSettings]) -> list[tuple[OutgoingAlert, list[str]]]:
    """Each with the channels that take it. What filters look at is alike in most of many that are said at once."""
    known: dict[tuple[object, ...], list[str]] = {}
    routed: list[tuple[OutgoingAlert, list[str]]] = []
    for each in spoken:
        if each.heard is not None or each.only is not None:
            routed.append((each, _targets(each, channels)))
            continue
        alert = each.alert
        key = (alert.event, alert.severity, alert.source, alert.platform, tuple(alert.labels.items()))
        if key not in known:
            known[key] = _targets(each, channels)
        routed.append((each, known[key]))
    return routed


def _targets(spoken: OutgoingAlert, channels: Sequence[ChannelSettings]) -> list[str]:
    """The channels that take it; the fallback ones where no other does; a recovery goes where the problem went."""
    if spoken.heard is not None:
        return [each.name for each in channels if each.name in spoken.heard and routing.wants(each, spoken.alert.event)]
    usual = routing.route(spoken.alert, [channel for channel in channels if not channel.fallback])
    names = usual or routing.route(spoken.alert, [channel for channel in channels if channel.fallback])
    return [name for name in names if spoken.only is None or name in spoken.only]


def _note(spoken: OutgoingAlert, channels: Sequence[ChannelSettings]) -> str:
    if not channels:
        return NO_CHANNEL
    return NOT_ROUTED if spoken.heard is None else NOBODY_HEARD
