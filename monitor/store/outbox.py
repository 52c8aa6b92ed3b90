"""The outbox: one alert to one channel is a delivery, claimed with a lease, sent, then marked.

pending → sending → sent | pending again | dead; or skipped, if it is cancelled (see `pending`). Two workers never hold the
same delivery. A delivery that was being sent when its lease ended, or when the process died, is sent again and states that
it may be a repeat.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, func, or_, select, update

from monitor.domain import Alert, AlertEvent, DeliveryState, Severity
from monitor.domain.records import Record
from monitor.store.alert_codec import recover_alert
from monitor.store.deliveries import AttemptRow, DeliveryRow, deliveries_of, deliveries_of_many
from monitor.store.schema import alerts, attempts, deliveries
from monitor.store.sql import Constant, chunked, insert_columns, insert_many, rows_by_key

__all__ = [
    "AttemptRow",
    "Claimed",
    "DeliveryRow",
    "add_deliveries",
    "channels_due",
    "claim",
    "count_older",
    "deliveries_of",
    "deliveries_of_many",
    "mark_failed",
    "mark_sent",
    "next_delivery_due",
    "oldest_pending",
    "overdue",
    "pending_counts",
    "release_uncertain",
    "retry",
    "state_counts",
]
_d = deliveries.c
_first = select(func.min(_d.channel).label("channel")).where(_d.next_attempt_at.is_not(None)).cte("unfinished", recursive=True)
_following = select(func.min(_d.channel)).where(_d.next_attempt_at.is_not(None), _d.channel > _first.c.channel).scalar_subquery()
_unfinished = _first.union_all(select(_following).where(_first.c.channel.is_not(None)))
_is_due = exists().where(_d.channel == _unfinished.c.channel, _d.next_attempt_at <= bindparam("now"))
_CHANNELS_DUE = select(_unfinished.c.channel).where(_is_due).order_by(_unfinished.c.channel)
REACHED = "reached"
"""Outcome of the extra attempt row of a recipient that has the message although others of its channel do not."""
_LEASE_ENDED = "It is unknown whether this attempt arrived: it was not finished when its lease ended."


class Claimed(Record, frozen=True, kw_only=True):
    """A delivery that only this worker may send until its lease ends."""

    delivery_id: int
    alert: Alert
    attempt: int
    """1 for the first."""
    uncertain: bool
    """True if an earlier attempt may have arrived: the message then states that it may be a repeat."""
    created_at: datetime
    """The time until it is given up counts from here. A retry by hand restarts it."""
    escalation: bool = False
    reached: frozenset[str] = frozenset()
    """Keys of the channel's recipients that have the message already."""
    size_refusals: int = 0
    """Number of refusals by the channel that its size may explain: the next message is shorter."""


def add_deliveries(
    conn: Connection, rows: Sequence[tuple[str, str, datetime]], now: datetime, *, escalation: bool = False
) -> None:
    """Queue deliveries given as (alert id, channel, not before), in one statement.

    An escalation is sent only if its incident is still open and not acknowledged when it is due.
    """
    columns: dict[str, list[Any] | Constant] = {
        "alert_id": [alert for alert, _, _ in rows],
        "channel": [channel for _, channel, _ in rows],
        "next_attempt_at": [at for _, _, at in rows],
        "state": Constant(DeliveryState.PENDING),
        "created_at": Constant(now),
        "escalation": Constant(escalation),
    }
    insert_columns(conn, deliveries, columns)


def claim(conn: Connection, *, channel: str, owner: str, now: datetime, lease: timedelta, limit: int) -> list[Claimed]:
    """Claim up to `limit` due deliveries of a channel, the oldest first, and open an attempt for each.

    Also claims deliveries that another worker was sending when its lease ended.
    """
    due = (
        select(_d.id)
        .where(_d.channel == channel, _d.next_attempt_at <= now)
        .order_by(_d.id)
        .limit(limit)
        # On PostgreSQL, two workers do not wait for each other. SQLite has one writer at a time and ignores this.
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    statement = (
        update(deliveries)
        .where(_d.id.in_(select(due.c.id)))
        .values(
            uncertain=or_(_d.uncertain, _d.state == DeliveryState.SENDING),
            state=DeliveryState.SENDING,
            attempts=_d.attempts + 1,
            lease_owner=owner,
            lease_until=now + lease,
            next_attempt_at=now + lease,
        )
        .returning(_d.id, _d.alert_id, _d.attempts, _d.uncertain, _d.created_at, _d.escalation, _d.size_refusals)
    )
    rows = sorted(conn.execute(statement).all(), key=lambda row: row.id)
    if not rows:
        return []
    _finish_attempts(conn, [row.id for row in rows if row.uncertain], now, outcome="unknown", detail=_LEASE_ENDED)
    insert_many(conn, attempts, [{"delivery_id": row.id, "number": row.attempts, "started_at": now} for row in rows])
    found = _alerts(conn, {row.alert_id for row in rows})
    reached = _reached(conn, [row.id for row in rows if row.attempts > 1])
    return [
        Claimed(
            delivery_id=row.id,
            alert=found[row.alert_id],
            attempt=row.attempts,
            uncertain=row.uncertain,
            created_at=row.created_at,
            escalation=row.escalation,
            reached=frozenset(reached.get(row.id, ())),
            size_refusals=row.size_refusals,
        )
        for row in rows
    ]


def _reached(conn: Connection, ids: Iterable[int]) -> dict[int, set[str]]:
    """Return, by delivery, the recipients that have it, where only some of its channel's recipients do."""
    found: dict[int, set[str]] = {}
    for chunk in chunked(ids):
        query = select(attempts.c.delivery_id, attempts.c.detail)
        for delivery_id, key in conn.execute(query.where(attempts.c.delivery_id.in_(chunk), attempts.c.outcome == REACHED)):
            found.setdefault(delivery_id, set()).add(key)
    return found


_STORED = select(*(alerts.c[name] for name in ("payload", "id", "event", "reason", "severity", "at", "source", "incident_id")))


def _alerts(conn: Connection, ids: Iterable[str]) -> dict[str, Alert]:
    found: dict[str, Alert] = {}
    for chunk in chunked(ids):
        for row in conn.execute(_STORED.where(alerts.c.id.in_(chunk))):
            found[row.id] = recover_alert(
                row.payload,
                id=row.id,
                incident=row.incident_id or row.id,
                event=AlertEvent(row.event),
                reason=row.reason,
                severity=Severity(row.severity),
                at=row.at,
                source=row.source,
            )
    return found


def _finish_attempts(conn: Connection, ids: Iterable[int], now: datetime, *, outcome: str, detail: str | None) -> None:
    for chunk in chunked(ids):
        where = attempts.c.delivery_id.in_(chunk), attempts.c.finished_at.is_(None)
        conn.execute(update(attempts).where(*where).values(finished_at=now, outcome=outcome, detail=detail))


def _mark(conn: Connection, ids: Iterable[int], owner: str, values: dict[str, Any]) -> list[int]:
    """Change the deliveries that this owner still holds, and return their ids. Those of lost leases are left out."""
    marked: list[int] = []
    for chunk in chunked(ids):
        held = _d.id.in_(chunk), _d.state == DeliveryState.SENDING, _d.lease_owner == owner
        statement = update(deliveries).where(*held).values(**values, lease_owner=None, lease_until=None)
        marked += conn.scalars(statement.returning(_d.id)).all()
    return sorted(marked)


def mark_sent(conn: Connection, ids: Iterable[int], owner: str, now: datetime, *, detail: str | None = None) -> list[int]:
    """Mark deliveries as sent. Return the ids of those that this owner still held."""
    values = {"state": DeliveryState.SENT, "sent_at": now, "next_attempt_at": None, "last_error": None}
    marked = _mark(conn, ids, owner, values)
    _finish_attempts(conn, marked, now, outcome="sent", detail=detail)
    return marked


def mark_failed(
    conn: Connection,
    ids: Iterable[int],
    owner: str,
    now: datetime,
    *,
    next_attempt_at: datetime | None,
    detail: str,
    permanent: bool = False,
    reached: Collection[str] = (),
    uncertain: bool = False,
    maybe_too_large: bool = False,
) -> list[int]:
    """Mark deliveries as failed: pending again at `next_attempt_at`, or dead if that is None or the refusal is permanent.

    `uncertain`: they may nevertheless have arrived, and the next attempt states that it may be a repeat. `reached`: keys of
    recipients that have the message, to which it is not sent again. `maybe_too_large`: count one more refusal because of the
    size. Return the ids of those that this owner still held.
    """
    again = None if permanent else next_attempt_at
    state = DeliveryState.DEAD if again is None else DeliveryState.PENDING
    more: dict[str, Any] = {"uncertain": True} if uncertain else {}  # an earlier uncertainty stays, however certain this is
    if maybe_too_large:
        more["size_refusals"] = _d.size_refusals + 1
    marked = _mark(conn, ids, owner, {"state": state, "next_attempt_at": again, "last_error": detail, **more})
    _finish_attempts(conn, marked, now, outcome="rejected" if permanent else "failed", detail=detail)
    _save_reached(conn, marked, reached, now)
    return marked


def _save_reached(conn: Connection, ids: Sequence[int], keys: Collection[str], now: datetime) -> None:
    if not keys:
        return
    known = _reached(conn, ids)
    numbers: dict[int, int] = {}
    for chunk in chunked(ids):
        numbers.update(conn.execute(select(_d.id, _d.attempts).where(_d.id.in_(chunk))).all())
    rows = [
        {"delivery_id": each, "number": numbers[each], "started_at": now, "finished_at": now, "outcome": REACHED, "detail": key}
        for each in ids
        for key in sorted(set(keys) - known.get(each, set()))
    ]
    insert_many(conn, attempts, rows)


def release_uncertain(conn: Connection, now: datetime, *, channel: str | None = None) -> int:
    """Make deliveries (of this channel) that were being sent due now, as possible repeats. Return their number.

    For the start of a daemon, or of a unit with the channel's lease, when no worker can be alive.
    """
    values = {"state": DeliveryState.PENDING, "uncertain": True, "next_attempt_at": now}
    statement = update(deliveries).where(_d.state == DeliveryState.SENDING, _d.next_attempt_at.is_not(None))
    if channel is not None:
        statement = statement.where(_d.channel == channel)
    released = conn.scalars(statement.values(**values, lease_owner=None, lease_until=None).returning(_d.id)).all()
    _finish_attempts(conn, released, now, outcome="unknown", detail=_LEASE_ENDED)
    return len(released)


def retry(conn: Connection, alert_id: str, now: datetime) -> int:
    """Make an alert's dead and pending deliveries due now, with a new time limit. Return their number."""
    states = (DeliveryState.DEAD.value, DeliveryState.PENDING.value)
    statement = update(deliveries).where(_d.alert_id == alert_id, _d.state.in_(states))
    values = {"state": DeliveryState.PENDING, "next_attempt_at": now, "created_at": now}
    return conn.execute(statement.values(**values)).rowcount


def channels_due(conn: Connection, now: datetime) -> list[str]:
    """Return the names of the channels with due deliveries.

    Reads one entry of the index for each channel, however many deliveries are due.
    """
    return list(conn.execute(_CHANNELS_DUE, {"now": now}).scalars())


def next_delivery_due(conn: Connection, *, channel: str | None = None) -> datetime | None:
    """Return when the next delivery (of this channel) is due or its lease ends; None if none is unfinished."""
    query = select(func.min(_d.next_attempt_at)).where(_d.next_attempt_at.is_not(None))
    if channel is not None:
        query = query.where(_d.channel == channel)
    due: datetime | None = conn.scalars(query).one()
    return due


def pending_counts(conn: Connection) -> dict[str, int]:
    """Return by channel the number of deliveries that are pending or being sent."""
    query = select(_d.channel, func.count()).where(_d.next_attempt_at.is_not(None)).group_by(_d.channel)
    return dict(conn.execute(query).all())


def oldest_pending(conn: Connection) -> datetime | None:
    """Return when the oldest unfinished delivery was queued; None if there is none."""
    oldest: datetime | None = conn.scalars(select(func.min(_d.created_at)).where(_d.next_attempt_at.is_not(None))).one()
    return oldest


def overdue(conn: Connection, before: datetime) -> list[tuple[str, int, datetime]]:
    """Return unfinished deliveries that failed or were due before an instant, as (channel, number, oldest queued at)."""
    late = or_(and_(_d.attempts > 0, _d.state == DeliveryState.PENDING), _d.next_attempt_at <= before)
    query = select(_d.channel, func.count(), func.min(_d.created_at)).where(_d.next_attempt_at.is_not(None), late)
    return [(channel, count, at) for channel, count, at in conn.execute(query.group_by(_d.channel).order_by(_d.channel))]


def count_older(conn: Connection, *, channel: str, than: datetime) -> int:
    """Return how many of a channel's pending deliveries were queued before an instant."""
    old = _d.channel == channel, _d.next_attempt_at.is_not(None), _d.state == DeliveryState.PENDING, _d.created_at <= than
    return conn.scalars(select(func.count()).select_from(deliveries).where(*old)).one()


def state_counts(conn: Connection) -> dict[tuple[str, DeliveryState], int]:
    """Return the number of deliveries by channel and state."""
    rows = conn.execute(select(_d.channel, _d.state, func.count()).group_by(_d.channel, _d.state))
    return {(channel, DeliveryState(state)): count for channel, state, count in rows}


_ESCALATIONS = """
SELECT d.id FROM alerts a JOIN deliveries d ON d.alert_id = a.id
WHERE a.incident_id IN ({0}) AND d.escalation AND d.state = {1}
"""
INCIDENT_OVER = "Not sent: the incident was over before the escalation was due."


def cancel_escalations(conn: Connection, incident_ids: Iterable[str]) -> int:
    """Cancel the pending escalations of incidents that end, also those that failed before. Return their number."""
    # Queried first, because hardly any incident has one.
    pending = DeliveryState.PENDING.value
    found = [key for chunk in chunked(incident_ids) for (key,) in rows_by_key(conn, _ESCALATIONS, chunk, pending)]
    for chunk in chunked(found):
        statement = update(deliveries).where(_d.id.in_(chunk), _d.state == DeliveryState.PENDING)
        conn.execute(statement.values(state=DeliveryState.SKIPPED, next_attempt_at=None, last_error=INCIDENT_OVER))
    return len(found)
