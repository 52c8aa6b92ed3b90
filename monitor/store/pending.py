"""What waits for a channel, before it is claimed: brought forward, called off, or put off until quiet hours end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import MsgspecError
from sqlalchemy import Connection, Select, and_, exists, or_, select, update

from monitor.domain import RECOVERY_EVENTS, Alert, DeliveryState, Severity, Status
from monitor.store.alert_codec import decode_alert
from monitor.store.outbox import OVER, REACHED
from monitor.store.schema import alerts, attempts, connections, deliveries, incidents
from monitor.store.sql import Constant, chunked, insert_columns, mark, raw_instant, rows_by_key, update_many

_d = deliveries.c
_WAITING = (DeliveryState.PENDING.value,)
_CHANGES = ("worse", "changed")
_LOST = (DeliveryState.DEAD, DeliveryState.SKIPPED)
# Reasons that are read again: by them it is known what may be due once more, and who has a newer word.
_ACKNOWLEDGED = "Not sent: it was acknowledged when the escalation's time came."
_SUPERSEDED = "Not sent: superseded by a newer alert of the same incident that this channel has."
_PAST = "Not sent: its status was past when the escalation's time came, and another alert says the newer one."
_UNHEARD = "Not sent: this channel was not told of the problem."
TOO_LATE = "Not sent: it was over by the time the other channels had given it up."


def bring_forward(conn: Connection, *, channel: str, now: datetime, until: datetime) -> int:
    """Make a channel's waiting deliveries due at `now`: all that were tried before, and the new ones due by `until`. How many.

    So what waits goes along with what is due: one message instead of many, and nothing overtakes. An escalation that was
    never tried keeps its own time.
    """
    waiting = _d.channel == channel, _d.state.in_(_WAITING), _d.next_attempt_at > now
    joins = or_(_d.attempts > 0, and_(_d.next_attempt_at <= until, _d.escalation.is_(False)))
    return conn.execute(update(deliveries).where(*waiting, joins).values(next_attempt_at=now)).rowcount


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDeliveries:
    """What the next claim of a channel would take: its `limit` oldest deliveries that are due at `now`."""

    channel: str
    now: datetime
    limit: int

    def select(self, *columns: Any) -> Select[Any]:
        """These columns of them, where they wait and belong to an incident, with their alerts and incidents."""
        where = _d.channel == self.channel, _d.next_attempt_at <= self.now
        oldest = select(_d.id).where(*where).order_by(_d.id).limit(self.limit).cte("oldest")
        joined = deliveries.join(alerts, alerts.c.id == _d.alert_id).join(incidents, incidents.c.id == alerts.c.incident_id)
        query = select(*columns).select_from(joined)
        return query.where(_d.id.in_(select(oldest.c.id)), _d.state.in_(_WAITING))


_ESCALATIONS_DUE = """
SELECT COUNT(*) FROM (
  SELECT escalation FROM deliveries WHERE channel = {0} AND next_attempt_at <= {0} ORDER BY id LIMIT {0}
) oldest WHERE escalation
"""


def has_escalations(conn: Connection, due: DueDeliveries) -> bool:
    """Whether any of them is an escalation, which has most to be asked about it: hardly ever, and this costs little."""
    values = due.channel, raw_instant(conn, due.now), due.limit
    return bool(conn.exec_driver_sql(_ESCALATIONS_DUE.format(mark(conn)), values).scalar_one())


def cancel_superseded(conn: Connection, due: DueDeliveries) -> int:
    """Skip what the channel has newer word of already: what it says is not so any more. How many."""
    return cancel(conn, _superseded(conn, due), why=_SUPERSEDED)


def cancel_outdated(conn: Connection, due: DueDeliveries) -> int:
    """Skip what is due and no longer to be said, each with its reason. How many.

    Escalations whose incident is over, whose acknowledgement stands, or of which another status was said since; and
    whatever the channel has newer word of. An acknowledgement covers what was said before it; a later alert means that
    something got worse since.
    """
    acknowledged = and_(
        incidents.c.acked_at.is_not(None),
        incidents.c.acked_at >= alerts.c.at,
        or_(incidents.c.ack_until.is_(None), incidents.c.ack_until > due.now),
    )
    newer = alerts.alias()
    changed = exists().where(newer.c.incident_id == alerts.c.incident_id, newer.c.at > alerts.c.at, newer.c.reason.in_(_CHANGES))
    past = or_(
        and_(incidents.c.connection_id.is_not(None), incidents.c.status != alerts.c.event),
        # Of a source the incident does not tell what was said.
        and_(incidents.c.connection_id.is_(None), changed),
    )
    over = incidents.c.closed_at.is_not(None)
    query = due.select(_d.id, incidents.c.id, over, acknowledged).where(_d.escalation, or_(over, acknowledged, past))
    why: dict[int, str] = {}
    ended: set[str] = set()
    for key, incident, is_over, is_acknowledged in conn.execute(query):
        why[key] = OVER if is_over else _ACKNOWLEDGED if is_acknowledged else _PAST
        if is_over:
            ended.add(incident)
    superseded = _superseded(conn, due)
    for reason in set(why.values()):
        cancel(conn, [key for key, because in why.items() if because == reason], why=reason)
    unheard = _unheard(conn, due, ended) if ended else []
    cancel(conn, unheard, why=_UNHEARD)
    cancel(conn, [key for key in superseded if key not in why], why=_SUPERSEDED)
    return len({*why, *unheard, *superseded})


def _superseded(conn: Connection, due: DueDeliveries) -> list[int]:
    """Due deliveries of incidents of which the channel has a newer alert already: what they say is not so any more."""
    newer, sent = alerts.alias(), deliveries.alias()
    has = (
        select(sent.c.id)
        .join(newer, newer.c.id == sent.c.alert_id)
        .where(newer.c.incident_id == alerts.c.incident_id, newer.c.at > alerts.c.at)
        .where(sent.c.channel == due.channel, sent.c.state == DeliveryState.SENT)
    )
    return list(conn.scalars(due.select(_d.id).where(has.exists())))


def _unheard(conn: Connection, due: DueDeliveries, ended: Iterable[str]) -> list[int]:
    """Due recoveries of incidents whose escalation was called off just now, where nothing else of them can have arrived.

    It was being sent while the recovery was queued, and so counted as told.
    """
    found: list[int] = []
    reached = exists().where(attempts.c.delivery_id == _d.id, attempts.c.outcome == REACHED)
    for chunk in chunked(ended):
        query = due.select(_d.id, incidents.c.id).where(alerts.c.event.in_(RECOVERY_EVENTS), incidents.c.id.in_(chunk))
        waiting: dict[int, str] = dict(conn.execute(query).all())
        told = select(alerts.c.incident_id).join(deliveries, _d.alert_id == alerts.c.id)
        told = told.where(alerts.c.incident_id.in_(chunk), alerts.c.event.not_in(RECOVERY_EVENTS), _d.channel == due.channel)
        known = set(conn.scalars(told.where(or_(_d.uncertain, _d.state != DeliveryState.SKIPPED, reached))))
        found += [key for key, incident in waiting.items() if incident not in known]
    return found


def postpone_quiet(
    conn: Connection, *, channel: str, now: datetime, quiet_until: Callable[[Severity], datetime | None]
) -> dict[Severity, datetime]:
    """Move a channel's due deliveries to the end of the quiet that holds for their severity. Until when, by severity."""
    ends = {severity: end for severity in Severity if (end := quiet_until(severity)) is not None}
    for severity, end in ends.items():
        this_severe = exists().where(alerts.c.id == _d.alert_id, alerts.c.severity == severity.value)
        due = _d.channel == channel, _d.state.in_(_WAITING), _d.next_attempt_at <= now, this_severe
        conn.execute(update(deliveries).where(*due).values(next_attempt_at=end))
    return ends


def postpone_unreported(conn: Connection, due: DueDeliveries, *, until: datetime) -> int:
    """Put off due escalations whose connection has another status than they say, and than was said since. How many.

    Its news is held back or on its way, and decides what becomes of them.
    """
    query = due.select(_d.id).join(connections, connections.c.id == incidents.c.connection_id)
    other = connections.c.status.not_in((alerts.c.event, Status.UNKNOWN.value))
    found = list(conn.scalars(query.where(_d.escalation, other)))
    for chunk in chunked(found):
        conn.execute(update(deliveries).where(_d.id.in_(chunk)).values(next_attempt_at=until))
    return len(found)


def due_escalations(conn: Connection, due: DueDeliveries) -> dict[int, Alert]:
    """The due escalations about connections, by delivery."""
    query = due.select(_d.id, alerts.c.payload).where(_d.escalation, incidents.c.connection_id.is_not(None))
    found: dict[int, Alert] = {}
    for key, payload in conn.execute(query):
        with suppress(ValueError, TypeError, KeyError, AttributeError, MsgspecError):  # damaged: told, whatever is silenced
            found[key] = decode_alert(payload)
    return found


def postpone_silenced(conn: Connection, ends: Mapping[int, datetime]) -> None:
    """Move deliveries to the end of the silence that covers each: their time and their allowance begin there."""
    update_many(conn, deliveries, [{"id": key, "next_attempt_at": end, "created_at": end} for key, end in ends.items()])


def resume_silenced(conn: Connection, now: datetime) -> int:
    """Make due what was put off to the end of a silence, because one was taken back: another may still cover it. How many."""
    put_off = _d.state.in_(_WAITING), _d.escalation, _d.next_attempt_at > now, _d.created_at > now
    return conn.execute(update(deliveries).where(*put_off).values(next_attempt_at=now, created_at=now)).rowcount


_REVIVED = """
SELECT d.id FROM alerts a JOIN deliveries d ON d.alert_id = a.id JOIN incidents i ON i.id = a.incident_id
WHERE a.incident_id IN ({0}) AND i.closed_at IS NULL AND d.escalation AND d.state = {1} AND d.last_error = {1}
"""


def restore_escalations(conn: Connection, incident_ids: Iterable[str], now: datetime) -> int:
    """Make due the escalations of open incidents that only an acknowledgement had called off: it ended. How many."""
    values = DeliveryState.SKIPPED.value, _ACKNOWLEDGED
    found = [key for chunk in chunked(incident_ids) for (key,) in rows_by_key(conn, _REVIVED, chunk, *values)]
    again = {"state": DeliveryState.PENDING, "next_attempt_at": now, "created_at": now, "last_error": None}
    for chunk in chunked(found):
        conn.execute(update(deliveries).where(_d.id.in_(chunk)).values(again))
    return len(found)


def fallback_deliveries(
    conn: Connection, *, alert_ids: Iterable[str], to: Iterable[str], now: datetime
) -> list[tuple[str, str, datetime]]:
    """Which (alert, channel, not before) deliveries the fallback channels owe.

    Those of alerts that no channel has, or has newer word than, and none will have: every delivery is dead or was skipped.
    A channel that had its own delivery of an alert owes no second one.
    """
    fallbacks = list(to)
    tried: dict[str, dict[str, bool]] = {alert_id: {} for alert_id in alert_ids}
    for chunk in chunked(tried if fallbacks else ()):
        query = select(_d.alert_id, _d.channel, _d.state, _d.last_error).where(_d.alert_id.in_(chunk))
        for alert_id, channel, state, why in conn.execute(query):
            tried[alert_id][channel] = DeliveryState(state) in _LOST and why != _SUPERSEDED
    return [
        (alert_id, name, now)
        for alert_id, known in tried.items()
        if all(lost for lost in known.values())
        for name in fallbacks
        if name not in known
    ]


def outdated_alerts(conn: Connection, alert_ids: Iterable[str]) -> set[str]:
    """Which of these alerts are of no use to who hears of the incident only now: it is over, and nobody knows of it.

    The end of an incident of which some channel was told is still worth its word; a problem that is over is not.
    """
    told, sent = alerts.alias(), deliveries.alias()
    known = (
        select(sent.c.id)
        .join(told, told.c.id == sent.c.alert_id)
        .where(told.c.incident_id == alerts.c.incident_id, told.c.event.not_in(RECOVERY_EVENTS))
        .where(or_(sent.c.state == DeliveryState.SENT, sent.c.uncertain))
    )
    over = select(alerts.c.id).join(incidents, incidents.c.id == alerts.c.incident_id).where(incidents.c.closed_at.is_not(None))
    useless = over.where(or_(alerts.c.event.not_in(RECOVERY_EVENTS), ~known.exists()))
    return {key for chunk in chunked(alert_ids) for key in conn.scalars(useless.where(alerts.c.id.in_(chunk)))}


def add_skipped(conn: Connection, rows: Sequence[tuple[str, str, datetime]], *, why: str) -> None:
    """Note deliveries, given as (alert id, channel, when), that are owed and will not be made; `why` is shown with them."""
    columns: dict[str, list[Any] | Constant] = {
        "alert_id": [alert for alert, _, _ in rows],
        "channel": [channel for _, channel, _ in rows],
        "created_at": [at for _, _, at in rows],
        "state": Constant(DeliveryState.SKIPPED),
        "last_error": Constant(why),
    }
    insert_columns(conn, deliveries, columns)


@dataclass(frozen=True, slots=True)
class UnclaimedDelivery:
    """A delivery that nobody is sending now."""

    delivery_id: int
    alert_id: str
    channel: str


def unclaimed(conn: Connection) -> list[UnclaimedDelivery]:
    """Everything that waits, for whichever channel, the oldest first."""
    query = select(_d.id, _d.alert_id, _d.channel).where(_d.next_attempt_at.is_not(None), _d.state.in_(_WAITING))
    return [UnclaimedDelivery(*row) for row in conn.execute(query.order_by(_d.id))]


def cancel(conn: Connection, delivery_ids: Iterable[int], *, why: str) -> int:
    """End deliveries that are no longer wanted; `why` is shown with them. How many."""
    closed = 0
    for chunk in chunked(delivery_ids):
        values = {"state": DeliveryState.SKIPPED, "next_attempt_at": None, "last_error": why}
        closed += conn.execute(update(deliveries).where(_d.id.in_(chunk)).values(values)).rowcount
    return closed
