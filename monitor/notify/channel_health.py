"""How a channel stands: what is remembered of it, and what the other channels are told about it, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from monitor.config import ChannelConfig
from monitor.domain.timefmt import span
from monitor.engine.recording import MONITOR, Recorded, close_quietly, record_monitor_alert
from monitor.store import channel_states, incidents, outbox, pending
from monitor.store.outbox import Claimed

SAID_EVERY = timedelta(days=1)
"""Dead deliveries of one channel are alerted at most this often."""

_BROKEN, _DEAD = "channel", "deliveries"
SUBJECTS = (_BROKEN, _DEAD)
"""What the monitor's own incidents about a channel begin with, before a colon and its name."""


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
        subject=_broken(name),
        problem=False,
        reason="channel_works",
        message=f"The channel {name} takes messages again{since}.",
        channels=channels,
        now=now,
        exclude={name},
    )
    if told.alerts:
        close_quietly(conn, MONITOR, _dead(name), now)  # one word about the same end is enough
        return told
    return record_monitor_alert(
        conn,
        subject=_dead(name),
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
        subject=_broken(name),
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
    told = incidents.find_open_source(conn, MONITOR, subject=_dead(name))
    if told is not None and now - told.opened_at >= SAID_EVERY:
        close_quietly(conn, MONITOR, _dead(name), now)
    recorded.add(
        record_monitor_alert(
            conn,
            subject=_dead(name),
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


def _broken(name: str) -> str:
    return f"{_BROKEN}:{name}"


def _dead(name: str) -> str:
    return f"{_DEAD}:{name}"
