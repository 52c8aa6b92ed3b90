"""What waits for a channel, before it is claimed: brought forward, called off, or put off until quiet hours end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, exists, or_, select, update

from monitor.model import DeliveryState, Severity
from monitor.store.schema import alerts, deliveries, incidents
from monitor.store.sql import chunked

_d = deliveries.c
_WAITING = (DeliveryState.PENDING.value,)
_SETTLED = "Not sent: it was over or acknowledged before the escalation's time came."


def bring_forward(conn: Connection, *, channel: str, now: datetime, until: datetime) -> int:
    """Make a channel's waiting deliveries due at `now`: all that were tried before, and the new ones due by `until`. How many.

    So what waits goes along with what is due: one message instead of many, and nothing overtakes. An escalation that was
    never tried keeps its own time.
    """
    waiting = _d.channel == channel, _d.state.in_(_WAITING), _d.next_attempt_at > now
    joins = or_(_d.attempts > 0, and_(_d.next_attempt_at <= until, _d.escalation.is_(False)))
    return conn.execute(update(deliveries).where(*waiting, joins).values(next_attempt_at=now)).rowcount


def call_off_settled(conn: Connection, *, channel: str, now: datetime) -> int:
    """Skip a channel's due escalations whose incident is over, or whose acknowledgement stands. How many.

    An acknowledgement covers what was said before it; a later alert means that something got worse since.
    """
    acknowledged = and_(
        incidents.c.acked_at.is_not(None),
        incidents.c.acked_at >= alerts.c.at,
        or_(incidents.c.ack_until.is_(None), incidents.c.ack_until > now),
    )
    settled = (
        select(_d.id)
        .join(alerts, alerts.c.id == _d.alert_id)
        .join(incidents, incidents.c.id == alerts.c.incident_id)
        .where(_d.channel == channel, _d.escalation, _d.state.in_(_WAITING), _d.next_attempt_at <= now)
        .where(or_(incidents.c.closed_at.is_not(None), acknowledged))
    )
    return _close(conn, conn.scalars(settled).all(), state=DeliveryState.SKIPPED, why=_SETTLED)


def put_off(
    conn: Connection, *, channel: str, now: datetime, quiet_until: Callable[[Severity], datetime | None]
) -> dict[Severity, datetime]:
    """Move a channel's due deliveries to the end of the quiet that holds for their severity. Until when, by severity."""
    ends = {severity: end for severity in Severity if (end := quiet_until(severity)) is not None}
    for severity, end in ends.items():
        this_severe = exists().where(alerts.c.id == _d.alert_id, alerts.c.severity == severity.value)
        due = _d.channel == channel, _d.state.in_(_WAITING), _d.next_attempt_at <= now, this_severe
        conn.execute(update(deliveries).where(*due).values(next_attempt_at=end))
    return ends


def hand_over(conn: Connection, *, alert_ids: Iterable[str], to: Iterable[str], now: datetime) -> list[tuple[str, str, datetime]]:
    """Which (alert, channel, not before) deliveries the fallback channels owe.

    Those of alerts that no channel has, and none will have: every delivery is dead or was skipped. A channel that had
    its own delivery of an alert owes no second one.
    """
    fallbacks = list(to)
    tried: dict[str, dict[str, DeliveryState]] = {alert_id: {} for alert_id in alert_ids}
    for chunk in chunked(tried if fallbacks else ()):
        query = select(_d.alert_id, _d.channel, _d.state).where(_d.alert_id.in_(chunk))
        for alert_id, channel, state in conn.execute(query):
            tried[alert_id][channel] = DeliveryState(state)
    lost = (DeliveryState.DEAD, DeliveryState.SKIPPED)
    return [
        (alert_id, name, now)
        for alert_id, known in tried.items()
        if all(state in lost for state in known.values())
        for name in fallbacks
        if name not in known
    ]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that nobody is sending now."""

    delivery_id: int
    alert_id: str
    channel: str


def waiting(conn: Connection) -> list[Waiting]:
    """Everything that waits, for whichever channel, the oldest first."""
    query = select(_d.id, _d.alert_id, _d.channel).where(_d.next_attempt_at.is_not(None), _d.state.in_(_WAITING))
    return [Waiting(*row) for row in conn.execute(query.order_by(_d.id))]


def call_off(conn: Connection, delivery_ids: Iterable[int], *, why: str) -> int:
    """End deliveries that are no longer wanted; `why` is shown with them. How many."""
    return _close(conn, delivery_ids, state=DeliveryState.SKIPPED, why=why)


def _close(conn: Connection, ids: Iterable[int], *, state: DeliveryState, why: str) -> int:
    closed = 0
    for chunk in chunked(ids):
        values = {"state": state, "next_attempt_at": None, "last_error": why}
        closed += conn.execute(update(deliveries).where(_d.id.in_(chunk)).values(values)).rowcount
    return closed
