"""After the wall clock was wrong: what was dated by it must neither wait for weeks nor be given up as old."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from monitor.domain import DeliveryState
from monitor.store import incidents as open_incidents
from monitor.store.bulk import update_many
from monitor.store.schema import alerts, connections, deliveries, incidents

_d, _i = deliveries.c, incidents.c


def after_jump(conn: Connection, now: datetime, *, by: timedelta) -> None:
    """The wall clock was moved by this much, not counting the time that passed; `now` is what it shows since.

    What waits keeps its age and is tried again at once; what is said to lie ahead of now is taken to be now.
    """
    waiting = conn.execute(
        select(_d.id, _d.created_at, _d.next_attempt_at, _d.state, _d.escalation).where(_d.next_attempt_at.is_not(None))
    ).all()
    rows = []
    for row in waiting:
        due = row.next_attempt_at
        if row.state == DeliveryState.PENDING:
            due = (due + min(by, timedelta(0))) if row.escalation else min(due, now)
        rows.append({"id": row.id, "created_at": min(row.created_at + by, now), "next_attempt_at": due})
    update_many(conn, deliveries, rows)
    if by < timedelta(0):
        conn.execute(update(connections).where(connections.c.since > now).values(since=now))
    not_ahead(conn, now)
    open_incidents.look_at_all(conn, now)


def not_ahead(conn: Connection, now: datetime) -> None:
    """What is dated later than now, by a clock that was wrong in an earlier life, is taken to be of now: else it would wait."""
    waits = _d.next_attempt_at.is_not(None), _d.created_at > now
    conn.execute(update(deliveries).where(*waits, _d.state == DeliveryState.PENDING).values(next_attempt_at=now))
    conn.execute(update(deliveries).where(*waits).values(created_at=now))
    conn.execute(update(deliveries).where(_d.sent_at > now).values(sent_at=now))
    conn.execute(update(alerts).where(alerts.c.at > now).values(at=now))  # reminders count from here
    for column in (_i.opened_at, _i.said_at):
        conn.execute(update(incidents).where(_i.closed_at.is_(None), column > now).values({column.key: now, "look_at": now}))
