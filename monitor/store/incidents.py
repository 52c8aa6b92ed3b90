"""Incidents: from the first bad verdict to recovery, with what was said so far."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from monitor.model import Said, Status
from monitor.store.bulk import insert_many, update_many
from monitor.store.schema import incidents
from monitor.store.sql import chunked


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident of a connection, or of a source where connection_id is None."""

    id: str
    source: str
    connection_id: int | None
    opened_at: datetime
    said: Said
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewIncident:
    """An incident to open."""

    source: str
    connection_id: int | None
    said: Said
    id: str | None = None
    """None lets the store choose one."""


def _row(row: Row[Any]) -> Incident:
    said = Said(status=Status(row.status), stage=row.stage, at=row.said_at, reminders=row.reminders)
    return Incident(
        id=row.id,
        source=row.source,
        connection_id=row.connection_id,
        opened_at=row.opened_at,
        said=said,
        closed_at=row.closed_at,
    )


def _said_values(said: Said) -> dict[str, Any]:
    return {"status": said.status, "stage": said.stage, "said_at": said.at, "reminders": said.reminders}


def new_id() -> str:
    """A fresh incident id, stable from then on."""
    return secrets.token_hex(8)


def open_incident(conn: Connection, *, source: str, connection_id: int | None, said: Said, now: datetime) -> str:
    """Open one incident and return its id. A second open one for the same connection or source is refused."""
    return open_incidents(conn, [NewIncident(source=source, connection_id=connection_id, said=said)], now)[0]


def open_incidents(conn: Connection, rows: Sequence[NewIncident], now: datetime) -> list[str]:
    """Open many in one statement; their ids in the order of the rows."""
    values = [
        {
            "id": row.id or new_id(),
            "source": row.source,
            "connection_id": row.connection_id,
            "opened_at": now,
            **_said_values(row.said),
        }
        for row in rows
    ]
    insert_many(conn, incidents, values)
    return [str(each["id"]) for each in values]


def find_open(conn: Connection, connection_ids: Iterable[int]) -> dict[int, Incident]:
    """The open incident of each of these connections that has one."""
    found: dict[int, Incident] = {}
    for chunk in chunked(connection_ids):
        query = select(incidents).where(incidents.c.connection_id.in_(chunk), incidents.c.closed_at.is_(None))
        found.update((row.connection_id, _row(row)) for row in conn.execute(query))
    return found


def find_open_source(conn: Connection, source: str) -> Incident | None:
    """The open incident about a source itself, if there is one."""
    query = select(incidents).where(
        incidents.c.source == source, incidents.c.connection_id.is_(None), incidents.c.closed_at.is_(None)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else _row(row)


def all_open(conn: Connection, *, source: str | None = None) -> list[Incident]:
    """Every open incident, the oldest first."""
    query = select(incidents).where(incidents.c.closed_at.is_(None)).order_by(incidents.c.opened_at, incidents.c.id)
    if source is not None:
        query = query.where(incidents.c.source == source)
    return [_row(row) for row in conn.execute(query)]


def find_incident(conn: Connection, incident_id: str) -> Incident | None:
    """One incident by id, open or closed."""
    row = conn.execute(select(incidents).where(incidents.c.id == incident_id)).one_or_none()
    return None if row is None else _row(row)


def note_said(conn: Connection, incident_id: str, said: Said) -> None:
    """Remember what an incident said last."""
    note_said_many(conn, [(incident_id, said)])


def note_said_many(conn: Connection, rows: Sequence[tuple[str, Said]]) -> None:
    """Remember what many incidents said last, in one statement."""
    update_many(conn, incidents, [{"id": key, **_said_values(said)} for key, said in rows])


def close(conn: Connection, incident_id: str, now: datetime) -> None:
    """End an incident; one that is closed already stays as it is."""
    close_many(conn, [incident_id], now)


def close_many(conn: Connection, incident_ids: Iterable[str], now: datetime) -> None:
    """End incidents; those that are closed already stay as they are."""
    for chunk in chunked(incident_ids):
        where = incidents.c.id.in_(chunk), incidents.c.closed_at.is_(None)
        conn.execute(update(incidents).where(*where).values(closed_at=now))
