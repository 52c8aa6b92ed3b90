"""Deliveries as people look at them: with every attempt."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, func, select

from monitor.domain import DeliveryState
from monitor.domain.records import Record
from monitor.store.schema import attempts, deliveries
from monitor.store.sql import chunked


class AttemptRow(Record, frozen=True, kw_only=True):
    """One try to send a delivery."""

    number: int
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    """sent, failed, rejected (for good) or unknown (in flight at a crash); None while it is being sent.

    `reached` is a line of its own beside a failed one: a recipient of the channel that has the message all the same.
    """
    detail: str | None
    """What the service answered; for `reached` the recipient's key."""


class DeliveryRow(Record, frozen=True, kw_only=True):
    """One alert to one channel."""

    id: int
    alert_id: str
    channel: str
    state: DeliveryState
    created_at: datetime
    next_attempt_at: datetime | None
    """When it is due; while sending, the end of the lease; None once it is over."""
    sent_at: datetime | None
    last_error: str | None
    uncertain: bool
    attempts: tuple[AttemptRow, ...]


def deliveries_of(conn: Connection, alert_id: str) -> list[DeliveryRow]:
    """An alert's deliveries by channel, each with its attempts in order."""
    return deliveries_of_many(conn, [alert_id]).get(alert_id, [])


def alerts_sent_together(conn: Connection, rows: Iterable[DeliveryRow]) -> dict[str, int]:
    """By channel, how many alerts the message that carried each of these held, this one included. One message, one instant."""
    found: dict[str, int] = {}
    for row in rows:
        if row.sent_at is not None:
            same = deliveries.c.channel == row.channel, deliveries.c.sent_at == row.sent_at
            found[row.channel] = conn.scalars(select(func.count()).select_from(deliveries).where(*same)).one()
    return found


def deliveries_of_many(conn: Connection, alert_ids: Iterable[str]) -> dict[str, list[DeliveryRow]]:
    """The same for many alerts; an alert without deliveries is left out."""
    found: dict[str, list[DeliveryRow]] = {}
    for chunk in chunked(alert_ids):
        tried: dict[int, list[AttemptRow]] = {}
        query = select(attempts).join(deliveries, deliveries.c.id == attempts.c.delivery_id)
        for row in conn.execute(query.where(deliveries.c.alert_id.in_(chunk)).order_by(attempts.c.id)).mappings():
            values = {name: value for name, value in row.items() if name not in ("id", "delivery_id")}
            tried.setdefault(row["delivery_id"], []).append(AttemptRow(**values))
        rows = conn.execute(select(deliveries).where(deliveries.c.alert_id.in_(chunk)).order_by(deliveries.c.channel))
        for each in rows:
            found.setdefault(each.alert_id, []).append(
                DeliveryRow(
                    id=each.id,
                    alert_id=each.alert_id,
                    channel=each.channel,
                    state=DeliveryState(each.state),
                    created_at=each.created_at,
                    next_attempt_at=each.next_attempt_at,
                    sent_at=each.sent_at,
                    last_error=each.last_error,
                    uncertain=each.uncertain,
                    attempts=tuple(tried.get(each.id, ())),
                )
            )
    return found
