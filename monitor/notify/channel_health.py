"""The health of channels, and the alerts about it: rejected messages, messages given up, recovery."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from monitor.config import ChannelConfig
from monitor.domain import IncidentReason, IncidentSubject
from monitor.domain.records import Record
from monitor.domain.timefmt import span
from monitor.engine.recording import MONITOR, Recorded, close_without_alert, record_monitor_alert
from monitor.notify import handover
from monitor.store import Connection, channel_states, incidents
from monitor.store.outbox import Claimed

DEAD_ALERT_INTERVAL = timedelta(days=1)
"""Dead deliveries of one channel are alerted at most this often."""


class ChannelHealth(Record, frozen=True, kw_only=True):
    """The health of a channel. Kept in the store, except for what only this process knows."""

    name: str
    problem: str | None = None
    """The last failure, None while the channel works."""
    since: datetime | None = None
    """When the problem began."""
    rejected: bool = False
    """The service rejected a message permanently: only an operator can fix that."""
    last_sent_at: datetime | None = None


def record_success(conn: Connection, name: str, *, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    """Record that the channel accepted a message. Channels that were notified of a problem are notified of its end."""
    before = channel_states.record_success(conn, name, now)
    if before.problem is None and not before.broken:
        return Recorded()
    since = f" after {span(now - before.failing_since)}" if before.failing_since and now > before.failing_since else ""
    works = f"The channel {name} accepts messages again{since}."
    recorded = record_monitor_alert(
        conn,
        subject=IncidentSubject.CHANNEL.of(name),
        problem=False,
        reason=IncidentReason.CHANNEL_WORKS,
        message=works,
        channels=channels,
        now=now,
        exclude={name},
    )
    if recorded.alerts:
        close_without_alert(conn, MONITOR, IncidentSubject.DELIVERIES.of(name), now)  # one message about the same end is enough
        return recorded
    return record_monitor_alert(
        conn,
        subject=IncidentSubject.DELIVERIES.of(name),
        problem=False,
        reason=IncidentReason.CHANNEL_WORKS,
        message=f"{works} Alerts that were given up are not sent automatically; retry them with `token-monitor alerts retry`.",
        channels=channels,
        now=now,
        exclude={name},
    )


def record_failure(
    conn: Connection, name: str, *, problem: str, rejected: bool, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Record that the channel did not accept a message.

    Where it was rejected permanently the other channels are notified, once until this one works again.
    """
    channel_states.record_failure(conn, name, now, problem=problem, broken=rejected)
    if not rejected:
        return Recorded()
    return record_monitor_alert(
        conn,
        subject=IncidentSubject.CHANNEL.of(name),
        problem=True,
        reason=IncidentReason.CHANNEL_BROKEN,
        message=f"The channel {name} rejects messages: {problem} Queued alerts are retried every hour for three days.",
        channels=channels,
        now=now,
        exclude={name},
    )


def record_dead(
    conn: Connection, name: str, dead: Sequence[Claimed], *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Record that deliveries are given up: hand them to the fallback channels, and notify the others at most once a day."""
    recorded = Recorded()
    recorded.channels |= handover.hand_over_dead(conn, name, dead, channels=channels, now=now)
    notified = incidents.find_open_source(conn, MONITOR, subject=IncidentSubject.DELIVERIES.of(name))
    if notified is not None and now - notified.opened_at >= DEAD_ALERT_INTERVAL:
        close_without_alert(conn, MONITOR, IncidentSubject.DELIVERIES.of(name), now)
    recorded.add(
        record_monitor_alert(
            conn,
            subject=IncidentSubject.DELIVERIES.of(name),
            problem=True,
            reason=IncidentReason.DELIVERY_DEAD,
            message=_dead_message(name, dead),
            channels=channels,
            now=now,
            exclude={name},
        )
    )
    return recorded


def _dead_message(name: str, dead: Sequence[Claimed]) -> str:
    first = dead[0].alert.id
    which = f"1 alert ({first})" if len(dead) == 1 else f"{len(dead)} alerts ({first} and {len(dead) - 1} more)"
    return (
        f"The channel {name} accepted no message for three days, so {which} will not be delivered there. "
        "To retry an alert, use `token-monitor alerts retry`."
    )
