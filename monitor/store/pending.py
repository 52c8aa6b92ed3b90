"""Deliveries that wait for a channel: brought forward, postponed or cancelled before the channel claims them.

What can change while a delivery waits is checked again here, as the table in `domain/rules/suppression.py` lists it. A
cancelled delivery has the state `skipped`, and its `last_error` is the reason, which is shown with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import MsgspecError
from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, or_, select, update

from monitor.domain import RECOVERY_EVENTS, Alert, DeliveryState, Severity, Status
from monitor.domain.records import Record
from monitor.store.alert_codec import decode_alert
from monitor.store.outbox import INCIDENT_OVER, REACHED
from monitor.store.schema import alerts, attempts, connections, deliveries, incidents
from monitor.store.sql import Constant, chunked, insert_columns, placeholder, raw_instant, rows_by_key, update_many

_d = deliveries.c
_PENDING = DeliveryState.PENDING.value
_STATUS_CHANGES = ("worse", "changed")
_FAILED_STATES = (DeliveryState.DEAD, DeliveryState.SKIPPED)
# The next two texts are compared with stored ones, so they must stay: deliveries that an acknowledgement cancelled can be
# restored, and one that was superseded counts as delivered.
_ACKNOWLEDGED = "Not sent: it was acknowledged when the escalation's time came."
_SUPERSEDED = "Not sent: superseded by a newer alert of the same incident on this channel."
_STATUS_CHANGED = "Not sent: the status had changed before the escalation was due, and another alert reports the new one."
_PROBLEM_NOT_NOTIFIED = "Not sent: this channel was not notified of the problem."
TOO_LATE = "Not sent: the incident was over by the time the other channels gave up."


def bring_forward(conn: Connection, *, channel: str, now: datetime, until: datetime) -> int:
    """Make a channel's deliveries due at `now`: those that were tried before, and new ones that are due by `until`.

    They join what is due in one message, and none is overtaken. An escalation that was never tried keeps its time. Return the
    number of deliveries changed.
    """
    waiting = _d.channel == channel, _d.state == _PENDING, _d.next_attempt_at > now
    joins = or_(_d.attempts > 0, and_(_d.next_attempt_at <= until, _d.escalation.is_(False)))
    return conn.execute(update(deliveries).where(*waiting, joins).values(next_attempt_at=now)).rowcount


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDeliveries:
    """The deliveries that the next claim of a channel would take: its `limit` oldest ones that are due at `now`."""

    channel: str
    now: datetime
    limit: int

    def select(self, *columns: Any) -> Select[Any]:
        """Return a query of these columns of the pending ones that belong to an incident, joined with alert and incident."""
        where = _d.channel == self.channel, _d.next_attempt_at <= self.now
        oldest = select(_d.id).where(*where).order_by(_d.id).limit(self.limit).cte("oldest")
        joined = deliveries.join(alerts, alerts.c.id == _d.alert_id).join(incidents, incidents.c.id == alerts.c.incident_id)
        query = select(*columns).select_from(joined)
        return query.where(_d.id.in_(select(oldest.c.id)), _d.state == _PENDING)


_ESCALATIONS_DUE = """
SELECT COUNT(*) FROM (
  SELECT escalation FROM deliveries WHERE channel = {0} AND next_attempt_at <= {0} ORDER BY id LIMIT {0}
) oldest WHERE escalation
"""


def has_escalations(conn: Connection, due: DueDeliveries) -> bool:
    """Return True if any of them is an escalation. Rarely true, and cheaper than the checks that escalations need."""
    values = due.channel, raw_instant(conn, due.now), due.limit
    return bool(conn.exec_driver_sql(_ESCALATIONS_DUE.format(placeholder(conn)), values).scalar_one())


def cancel_superseded(conn: Connection, due: DueDeliveries) -> int:
    """Cancel deliveries that a newer alert supersedes. Return their number."""
    return cancel(conn, conn.scalars(due.select(_d.id).where(_superseded(due.channel))), why=_SUPERSEDED)


def cancel_outdated(conn: Connection, due: DueDeliveries) -> int:
    """Cancel deliveries that are no longer wanted, each with the first reason that applies. Return their number.

    Escalations: the incident is over, the acknowledgement still stands, or another alert reported a newer status. All
    deliveries: a newer alert supersedes them. Then recoveries of which the channel was not notified of the problem.
    """
    reason = case(
        (and_(_d.escalation, incidents.c.closed_at.is_not(None)), INCIDENT_OVER),
        (and_(_d.escalation, _acknowledged(due.now)), _ACKNOWLEDGED),
        (and_(_d.escalation, _status_changed()), _STATUS_CHANGED),
        (_superseded(due.channel), _SUPERSEDED),
    )
    by_reason: dict[str, list[int]] = {}
    over: set[str] = set()
    for key, incident, why in conn.execute(due.select(_d.id, incidents.c.id, reason).where(reason.is_not(None))):
        by_reason.setdefault(why, []).append(key)
        if why == INCIDENT_OVER:
            over.add(incident)
    cancelled = sum(cancel(conn, ids, why=why) for why, ids in by_reason.items())
    return cancelled + cancel(conn, _recoveries_without_problem(conn, due, over), why=_PROBLEM_NOT_NOTIFIED)


def _acknowledged(now: datetime) -> ColumnElement[bool]:
    """Return the condition that an acknowledgement covers the alert. A later alert means that something got worse since."""
    return and_(
        incidents.c.acked_at.is_not(None),
        incidents.c.acked_at >= alerts.c.at,
        or_(incidents.c.ack_until.is_(None), incidents.c.ack_until > now),
    )


def _status_changed() -> ColumnElement[bool]:
    """Return the condition that another status than the alert's was notified since."""
    newer = alerts.alias()
    changed = exists().where(
        newer.c.incident_id == alerts.c.incident_id, newer.c.at > alerts.c.at, newer.c.reason.in_(_STATUS_CHANGES)
    )
    return or_(
        and_(incidents.c.connection_id.is_not(None), incidents.c.status != alerts.c.event),
        and_(incidents.c.connection_id.is_(None), changed),  # the incident of a source does not store its status
    )


def _superseded(channel: str) -> ColumnElement[bool]:
    """Return the condition that the channel has received a newer alert of the same incident."""
    newer, sent = alerts.alias(), deliveries.alias()
    received = (
        select(sent.c.id)
        .join(newer, newer.c.id == sent.c.alert_id)
        .where(newer.c.incident_id == alerts.c.incident_id, newer.c.at > alerts.c.at)
        .where(sent.c.channel == channel, sent.c.state == DeliveryState.SENT)
    )
    return received.exists()


def _recoveries_without_problem(conn: Connection, due: DueDeliveries, incident_ids: Iterable[str]) -> list[int]:
    """Return due recoveries of these incidents where no alert about the problem can have reached the channel.

    Their escalation has just been cancelled. It was being sent when the recovery was queued, and so counted as notified.
    """
    found: list[int] = []
    reached = exists().where(attempts.c.delivery_id == _d.id, attempts.c.outcome == REACHED)
    for chunk in chunked(incident_ids):
        query = due.select(_d.id, incidents.c.id).where(alerts.c.event.in_(RECOVERY_EVENTS), incidents.c.id.in_(chunk))
        recoveries: dict[int, str] = dict(conn.execute(query).all())
        problems = select(alerts.c.incident_id).join(deliveries, _d.alert_id == alerts.c.id)
        problems = problems.where(
            alerts.c.incident_id.in_(chunk), alerts.c.event.not_in(RECOVERY_EVENTS), _d.channel == due.channel
        )
        notified = set(conn.scalars(problems.where(or_(_d.uncertain, _d.state != DeliveryState.SKIPPED, reached))))
        found += [key for key, incident in recoveries.items() if incident not in notified]
    return found


def postpone_quiet(
    conn: Connection, *, channel: str, now: datetime, quiet_until: Callable[[Severity], datetime | None]
) -> dict[Severity, datetime]:
    """Postpone a channel's due deliveries to the end of the quiet hours for their severity. Return these ends by severity."""
    ends = {severity: end for severity in Severity if (end := quiet_until(severity)) is not None}
    for severity, end in ends.items():
        this_severe = exists().where(alerts.c.id == _d.alert_id, alerts.c.severity == severity.value)
        due = _d.channel == channel, _d.state == _PENDING, _d.next_attempt_at <= now, this_severe
        conn.execute(update(deliveries).where(*due).values(next_attempt_at=end))
    return ends


def postpone_unreported(conn: Connection, due: DueDeliveries, *, until: datetime) -> int:
    """Postpone due escalations whose connection has a new status that was not notified yet. Return their number.

    The alert about the new status is suppressed or on its way, and decides what becomes of them.
    """
    query = due.select(_d.id).join(connections, connections.c.id == incidents.c.connection_id)
    other = connections.c.status.not_in((alerts.c.event, Status.UNKNOWN.value))
    found = list(conn.scalars(query.where(_d.escalation, other)))
    for chunk in chunked(found):
        conn.execute(update(deliveries).where(_d.id.in_(chunk)).values(next_attempt_at=until))
    return len(found)


def due_escalations(conn: Connection, due: DueDeliveries) -> dict[int, Alert]:
    """Return the due escalations about connections, by delivery. Damaged alerts are left out: no silence covers them."""
    query = due.select(_d.id, alerts.c.payload).where(_d.escalation, incidents.c.connection_id.is_not(None))
    found: dict[int, Alert] = {}
    for key, payload in conn.execute(query):
        with suppress(ValueError, TypeError, KeyError, AttributeError, MsgspecError):
            found[key] = decode_alert(payload)
    return found


def postpone_silenced(conn: Connection, ends: Mapping[int, datetime]) -> None:
    """Postpone deliveries to the end of the silence that covers each. The time until they are given up begins there, too."""
    update_many(conn, deliveries, [{"id": key, "next_attempt_at": end, "created_at": end} for key, end in ends.items()])


def resume_silenced(conn: Connection, now: datetime) -> int:
    """Make due what was postponed for a silence, because one was removed. Return the number of deliveries.

    Those that another silence covers are postponed again when they are claimed.
    """
    postponed = _d.state == _PENDING, _d.escalation, _d.next_attempt_at > now, _d.created_at > now
    return conn.execute(update(deliveries).where(*postponed).values(next_attempt_at=now, created_at=now)).rowcount


_RESTORABLE = """
SELECT d.id FROM alerts a JOIN deliveries d ON d.alert_id = a.id JOIN incidents i ON i.id = a.incident_id
WHERE a.incident_id IN ({0}) AND i.closed_at IS NULL AND d.escalation AND d.state = {1} AND d.last_error = {1}
"""


def restore_escalations(conn: Connection, incident_ids: Iterable[str], now: datetime) -> int:
    """Make due the escalations of open incidents that an acknowledgement, which has ended, cancelled. Return their number."""
    values = DeliveryState.SKIPPED.value, _ACKNOWLEDGED
    found = [key for chunk in chunked(incident_ids) for (key,) in rows_by_key(conn, _RESTORABLE, chunk, *values)]
    again = {"state": DeliveryState.PENDING, "next_attempt_at": now, "created_at": now, "last_error": None}
    for chunk in chunked(found):
        conn.execute(update(deliveries).where(_d.id.in_(chunk)).values(again))
    return len(found)


def fallback_deliveries(
    conn: Connection, *, alert_ids: Iterable[str], to: Iterable[str], now: datetime
) -> list[tuple[str, str, datetime]]:
    """Return the deliveries, as (alert id, channel, not before), that these channels are to make for the others.

    Those of alerts that no channel received and none will: every delivery is dead or cancelled, and none superseded. A channel
    that had its own delivery of an alert gets no second one.
    """
    channels = list(to)
    failed: dict[str, dict[str, bool]] = {alert_id: {} for alert_id in alert_ids}
    for chunk in chunked(failed if channels else ()):
        query = select(_d.alert_id, _d.channel, _d.state, _d.last_error).where(_d.alert_id.in_(chunk))
        for alert_id, channel, state, why in conn.execute(query):
            failed[alert_id][channel] = DeliveryState(state) in _FAILED_STATES and why != _SUPERSEDED
    return [
        (alert_id, name, now)
        for alert_id, by_channel in failed.items()
        if by_channel and all(by_channel.values())  # an alert without deliveries was erased meanwhile
        for name in channels
        if name not in by_channel
    ]


def outdated_alerts(conn: Connection, alert_ids: Iterable[str]) -> set[str]:
    """Return those of the alerts that are useless to a channel that receives them only now.

    The incident is over: alerts about the problem are useless, and its recovery is if no channel was notified of the problem.
    """
    problem, sent = alerts.alias(), deliveries.alias()
    notified = (
        select(sent.c.id)
        .join(problem, problem.c.id == sent.c.alert_id)
        .where(problem.c.incident_id == alerts.c.incident_id, problem.c.event.not_in(RECOVERY_EVENTS))
        .where(or_(sent.c.state == DeliveryState.SENT, sent.c.uncertain))
    )
    over = select(alerts.c.id).join(incidents, incidents.c.id == alerts.c.incident_id).where(incidents.c.closed_at.is_not(None))
    useless = over.where(or_(alerts.c.event.not_in(RECOVERY_EVENTS), ~notified.exists()))
    return {key for chunk in chunked(alert_ids) for key in conn.scalars(useless.where(alerts.c.id.in_(chunk)))}


def add_skipped(conn: Connection, rows: Sequence[tuple[str, str, datetime]], *, why: str) -> None:
    """Store deliveries, given as (alert id, channel, created at), that will not be made; `why` is shown with them."""
    columns: dict[str, list[Any] | Constant] = {
        "alert_id": [alert for alert, _, _ in rows],
        "channel": [channel for _, channel, _ in rows],
        "created_at": [at for _, _, at in rows],
        "state": Constant(DeliveryState.SKIPPED),
        "last_error": Constant(why),
    }
    insert_columns(conn, deliveries, columns)


class UnclaimedDelivery(Record, frozen=True):
    """A pending delivery: no worker holds it."""

    delivery_id: int
    alert_id: str
    channel: str


def unclaimed(conn: Connection) -> list[UnclaimedDelivery]:
    """Return the pending deliveries of all channels, the oldest first."""
    query = select(_d.id, _d.alert_id, _d.channel).where(_d.next_attempt_at.is_not(None), _d.state == _PENDING)
    return [UnclaimedDelivery(*row) for row in conn.execute(query.order_by(_d.id))]


def cancel(conn: Connection, delivery_ids: Iterable[int], *, why: str) -> int:
    """Cancel deliveries; `why` is shown with them. Return their number."""
    cancelled = 0
    for chunk in chunked(delivery_ids):
        values = {"state": DeliveryState.SKIPPED, "next_attempt_at": None, "last_error": why}
        cancelled += conn.execute(update(deliveries).where(_d.id.in_(chunk)).values(values)).rowcount
    return cancelled
