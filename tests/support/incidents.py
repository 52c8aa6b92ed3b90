"""Opening and listing incidents, one by one, as only tests do."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from monitor.domain import LastNotified
from monitor.store import Connection
from monitor.store.incidents import Incident, NewIncident, find_incident, open_incidents
from monitor.store.schema import incidents


def open_incident(
    conn: Connection,
    *,
    source: str,
    connection_id: int | None,
    last_notified: LastNotified | None,
    now: datetime,
    subject: str = "",
) -> str:
    """Open one incident and return its id."""
    new = NewIncident(source=source, connection_id=connection_id, last_notified=last_notified, subject=subject)
    return open_incidents(conn, [new], now)[0]


def all_open(conn: Connection, *, source: str | None = None) -> list[Incident]:
    """Return every open incident, the oldest first."""
    query = select(incidents.c.id).where(incidents.c.closed_at.is_(None)).order_by(incidents.c.opened_at, incidents.c.id)
    if source is not None:
        query = query.where(incidents.c.source == source)
    return [found for key in conn.scalars(query) if (found := find_incident(conn, key)) is not None]
