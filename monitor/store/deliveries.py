"""Deliveries with their attempts, for display."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, func, select

from monitor.domain import DeliveryState
from monitor.domain.records import Record
from monitor.store.schema import attempts, deliveries
from monitor.store.sql import chunked


class AttemptRow(Record, frozen=True, kw_only=True):
    """One attempt to send a delivery."""

    number: int
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    """sent, failed, rejected (permanently) or unknown (being sent during a crash); None while it is being sent.

    `reached` marks an extra row beside a failed one: a recipient of the channel that has the message nevertheless.
    """
    detail: str | None
    """The service's answer; for `reached` the recipient's key."""


class DeliveryRow(Record, frozen=True, kw_only=True):
    """One alert to one channel."""

    id: int
    alert_id: str
    channel: str
    state: DeliveryState
    created_at: datetime
    next_attempt_at: datetime | None
    """When it is due; while it is being sent, the end of the lease; None once it is finished."""
    sent_at: datetime | None
    last_error: str | None
    uncertain: bool
    attempts: tuple[AttemptRow, ...]


def deliveries_of(conn: Connection, alert_id: str) -> list[DeliveryRow]:
    """Return an alert's deliveries by channel, each with its attempts in order."""
    return deliveries_of_many(conn, [alert_id]).get(alert_id, [])


def alerts_sent_together(conn: Connection, rows: Iterable[DeliveryRow]) -> dict[str, int]:
    """Return, by channel, how many alerts the message with each of these deliveries contained.

    Deliveries of one message have the same time of sending.
    """
    found: dict[str, int] = {}
    for row in rows:
        if row.sent_at is not None:
            same = deliveries.c.channel == row.channel, deliveries.c.sent_at == row.sent_at
            found[row.channel] = conn.scalars(select(func.count()).select_from(deliveries).where(*same)).one()
    return found


def deliveries_of_many(conn: Connection, alert_ids: Iterable[str]) -> dict[str, list[DeliveryRow]]:
    """Return the deliveries of many alerts, as deliveries_of. Alerts without deliveries are left out."""
    found: dict[str, list[DeliveryRow]] = {}
    for chunk in chunked(alert_ids):
        attempted: dict[int, list[AttemptRow]] = {}
        query = select(attempts).join(deliveries, deliveries.c.id == attempts.c.delivery_id)
        for row in conn.execute(query.where(deliveries.c.alert_id.in_(chunk)).order_by(attempts.c.id)).mappings():
            values = {name: value for name, value in row.items() if name not in ("id", "delivery_id")}
            attempted.setdefault(row["delivery_id"], []).append(AttemptRow(**values))
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
                    attempts=tuple(attempted.get(each.id, ())),
                )
            )
    return found
