"""What waits for a channel goes along with what is due: one message instead of many, and nothing overtakes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, or_, update

from monitor.model import DeliveryState
from monitor.store.schema import deliveries

_d = deliveries.c


def bring_forward(conn: Connection, *, channel: str, now: datetime, until: datetime) -> int:
    """Make a channel's waiting deliveries due at `now`: all that were tried before, and the new ones due by `until`. How many."""
    waiting = _d.channel == channel, _d.state == DeliveryState.PENDING, _d.next_attempt_at > now
    statement = update(deliveries).where(*waiting, or_(_d.attempts > 0, _d.next_attempt_at <= until))
    return conn.execute(statement.values(next_attempt_at=now)).rowcount
