"""The `incidents` table, with acknowledgements."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update

from monitor.domain import Ack, DeliveryState, LastNotified, Status
from monitor.domain.records import Record, fresh_id
from monitor.store.connection_codec import STATUS
from monitor.store.schema import connections, incidents
from monitor.store.sql import Constant, change_by_key, chunked, insert_columns, raw_instant, rows_by_key, update_many
from monitor.store.types import Seconds, instant_reader


def all_acks(conn: Connection) -> dict[int, Ack]:
    """The acknowledgements of open incidents by the row id of their connection; whether they still stand is for the rules."""
    table = incidents.c
    columns = table.connection_id, table.ack_status, table.ack_stage, table.acked_at, table.ack_until, table.ack_comment
    query = select(*columns).where(
        table.closed_at.is_(None), table.connection_id.is_not(None), table.acked_at.is_not(None), table.ack_status.is_not(None)
    )
    return {
        row.connection_id: Ack(
            status=Status(row.ack_status), stage=row.ack_stage, at=row.acked_at, until=row.ack_until, comment=row.ack_comment
        )
        for row in conn.execute(query)
    }


class Incident(Record, frozen=True, kw_only=True):
    """One incident of a connection, or where connection_id is None of a source (or of the monitor: source empty)."""

    id: str
    source: str
    connection_id: int | None
    opened_at: datetime
    said: LastNotified | None
    """None while nothing was said: it was held back from the start."""
    closed_at: datetime | None = None
    subject: str = ""
    """What a source's incident is about, where it is not that the source cannot be read."""
    look_at: datetime | None = None
    """When it must be judged again although nothing changed: a reminder, the end of a hold."""
    ack: Ack | None = None


class NewIncident(Record, frozen=True, kw_only=True):
    """An incident to open."""

    source: str
    connection_id: int | None
    said: LastNotified | None
    id: str | None = None
    """None lets the store choose one."""
    subject: str = ""
    look_at: datetime | None = None


def _same(value: Any) -> Any:
    return value


def _row(row: Any, *, at: Callable[[Any], Any] = _same, stage: Callable[[Any], Any] = _same) -> Incident:
    """An incident from a row; `at` and `stage` read the values of one that did not go through the column types."""
    said = ack = None
    if row.status is not None:
        said = LastNotified(status=STATUS[row.status], stage=stage(row.stage), at=at(row.said_at), reminders=row.reminders)
    if row.acked_at is not None:
        ack = Ack(
            status=STATUS[row.ack_status],
            stage=stage(row.ack_stage),
            at=at(row.acked_at),
            until=at(row.ack_until),
            comment=row.ack_comment,
        )
    return Incident(
        id=row.id,
        source=row.source,
        connection_id=row.connection_id,
        opened_at=at(row.opened_at),
        said=said,
        closed_at=at(row.closed_at),
        subject=row.subject,
        look_at=at(row.look_at),
        ack=ack,
    )


def _said_values(said: LastNotified | None) -> dict[str, Any]:
    if said is None:
        return {"status": None, "stage": None, "said_at": None, "reminders": 0}
    return {"status": said.status, "stage": said.stage, "said_at": said.at, "reminders": said.reminders}


def open_incident(
    conn: Connection, *, source: str, connection_id: int | None, said: LastNotified | None, now: datetime, subject: str = ""
) -> str:
    """Open one incident and return its id. A second open one for the same connection, or source and subject, is refused."""
    return open_incidents(conn, [NewIncident(source=source, connection_id=connection_id, said=said, subject=subject)], now)[0]


def open_incidents(conn: Connection, rows: Sequence[NewIncident], now: datetime) -> list[str]:
    """Open many in one statement; their ids in the order of the rows."""
    ids = [row.id or fresh_id(now) for row in rows]
    said = [row.said for row in rows]
    columns: dict[str, list[Any] | Constant] = {
        "id": ids,
        "source": [row.source for row in rows],
        "subject": [row.subject for row in rows],
        "connection_id": [row.connection_id for row in rows],
        "opened_at": Constant(now),
        "look_at": [row.look_at for row in rows],
        "status": [each and each.status for each in said],
        "stage": [each and each.stage for each in said],
        "said_at": [each and each.at for each in said],
        "reminders": [each.reminders if each else 0 for each in said],
    }
    insert_columns(conn, incidents, columns)
    return ids


_Stored = namedtuple("_Stored", incidents.c.keys())  # type: ignore[misc]  # noqa: PYI024 - the fields are the table's columns
_OPEN = f"SELECT {', '.join(_Stored._fields)} FROM incidents WHERE closed_at IS NULL AND connection_id IN ({{0}})"  # noqa: S608 - our own names


def find_open(conn: Connection, connection_ids: Iterable[int]) -> dict[int, Incident]:
    """The open incident of each of these connections that has one."""
    at = instant_reader(conn.dialect)
    rows: Iterator[Any] = (_Stored._make(row) for chunk in chunked(connection_ids) for row in rows_by_key(conn, _OPEN, chunk))
    return {row.connection_id: _row(row, at=at, stage=Seconds.read) for row in rows}


_OPEN_SOURCE = select(incidents).where(
    incidents.c.source == bindparam("about"),
    incidents.c.subject == bindparam("subject"),
    incidents.c.connection_id.is_(None),
    incidents.c.closed_at.is_(None),
)


def find_open_source(conn: Connection, source: str, *, subject: str = "") -> Incident | None:
    """The open incident about a source itself (or about this subject of it), if there is one."""
    row = conn.execute(_OPEN_SOURCE, {"about": source, "subject": subject}).one_or_none()  # at every poll, so built once
    return None if row is None else _row(row)


def sources_with_open(conn: Connection, *, subject: str) -> set[str]:
    """The sources that have an open incident about this subject."""
    query = select(incidents.c.source).where(
        incidents.c.subject == subject, incidents.c.connection_id.is_(None), incidents.c.closed_at.is_(None)
    )
    return set(conn.scalars(query))


def open_subjects(conn: Connection, source: str) -> list[str]:
    """What the open incidents about a source itself are about; the empty text means that it cannot be read."""
    query = select(incidents.c.subject).where(
        incidents.c.source == source, incidents.c.connection_id.is_(None), incidents.c.closed_at.is_(None)
    )
    return list(conn.scalars(query.order_by(incidents.c.subject)))


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


def note_said(conn: Connection, incident_id: str, said: LastNotified, *, look_at: datetime | None = None) -> None:
    """Remember what an incident said last, and when to look at it again."""
    note_said_many(conn, [(incident_id, said, look_at)])


def note_said_many(conn: Connection, rows: Sequence[tuple[str, LastNotified, datetime | None]]) -> None:
    """Remember what many incidents said last and when to look at each again, in one statement."""
    if not rows:
        return
    update_many(conn, incidents, [{"id": key, "look_at": at, **_said_values(said)} for key, said, at in rows])


def plan_looks(conn: Connection, rows: Sequence[tuple[str, datetime | None]]) -> None:
    """Set when incidents are to be judged again although nothing changed; None: only when something changes."""
    update_many(conn, incidents, [{"id": key, "look_at": at} for key, at in rows])


def look_at_all(conn: Connection, now: datetime, *, source: str | None = None) -> int:
    """Have every open incident of a connection judged again now: a silence came or went. How many."""
    statement = update(incidents).where(incidents.c.closed_at.is_(None), incidents.c.connection_id.is_not(None))
    if source is not None:
        statement = statement.where(incidents.c.source == source)
    return conn.execute(statement.values(look_at=now)).rowcount


def look_at_platform(conn: Connection, at: datetime, *, source: str, platform: str) -> int:
    """Have every open incident of a source's connections on a platform judged again by an instant. How many.

    What is to be looked at before that stays so.
    """
    theirs = select(connections.c.id).where(connections.c.source == source, connections.c.platform == platform)
    statement = update(incidents).where(incidents.c.closed_at.is_(None), incidents.c.source == source)
    statement = statement.where(
        incidents.c.connection_id.in_(theirs), or_(incidents.c.look_at.is_(None), incidents.c.look_at > at)
    )
    return conn.execute(statement.values(look_at=at)).rowcount


def due_looks(conn: Connection, now: datetime, *, limit: int) -> list[Incident]:
    """Open incidents of connections that are to be judged again by now, the longest waiting first."""
    query = select(incidents).where(
        incidents.c.look_at <= now, incidents.c.closed_at.is_(None), incidents.c.connection_id.is_not(None)
    )
    return [_row(row) for row in conn.execute(query.order_by(incidents.c.look_at, incidents.c.id).limit(limit))]


_NEXT_LOOK = (
    select(incidents.c.look_at)
    .where(incidents.c.look_at.is_not(None), incidents.c.closed_at.is_(None), incidents.c.connection_id.is_not(None))
    .order_by(incidents.c.look_at)
    .limit(1)
)


def next_look_due(conn: Connection) -> datetime | None:
    """The earliest instant at which an incident is to be judged again; None when none is planned."""
    return conn.scalars(_NEXT_LOOK).first()  # asked at every tick, so built once


def acknowledge(conn: Connection, incident_id: str, ack: Ack) -> None:
    """Record that somebody knows. The incident is judged again when the acknowledgement ends by its date."""
    values = {
        "ack_status": ack.status,
        "ack_stage": ack.stage,
        "ack_until": ack.until,
        "acked_at": ack.at,
        "ack_comment": ack.comment,
        "look_at": ack.until,
    }
    conn.execute(update(incidents).where(incidents.c.id == incident_id).values(values))


def unacknowledge(conn: Connection, incident_ids: Iterable[str], *, look_at: datetime | None = None) -> None:
    """Take acknowledgements back; with `look_at` the incidents are judged again then."""
    values: dict[str, Any] = dict.fromkeys(("ack_status", "ack_stage", "ack_until", "acked_at", "ack_comment"))
    if look_at is not None:
        values["look_at"] = look_at
    for chunk in chunked(incident_ids):
        conn.execute(update(incidents).where(incidents.c.id.in_(chunk)).values(values))


def lower_acks(conn: Connection, rows: Sequence[tuple[str, Ack]]) -> None:
    """What these incidents' acknowledgements cover from now on, in one statement; whose they are and until when stays."""
    update_many(conn, incidents, [{"id": key, "ack_status": ack.status, "ack_stage": ack.stage} for key, ack in rows])


_HEARD = """
SELECT a.incident_id, d.channel, MAX(a.at) FROM alerts a JOIN deliveries d ON d.alert_id = a.id
WHERE a.incident_id IN ({0}) AND (d.state <> {1} OR d.uncertain
  OR EXISTS (SELECT 1 FROM attempts t WHERE t.delivery_id = d.id AND t.outcome = 'reached'))
GROUP BY a.incident_id, d.channel
"""


def heard(conn: Connection, incident_ids: Iterable[str]) -> dict[str, dict[str, datetime]]:
    """Which channels were given word of each incident, and the instant of the last alert for each of them.

    What was called off counts where it may have arrived all the same, or did at some of the channel's recipients.
    """
    instant = instant_reader(conn.dialect)
    found: dict[str, dict[str, datetime]] = {}
    for chunk in chunked(incident_ids):
        for incident_id, channel, at in rows_by_key(conn, _HEARD, chunk, DeliveryState.SKIPPED.value):
            found.setdefault(incident_id, {})[channel] = instant(at)
    return found


def close(conn: Connection, incident_id: str, now: datetime) -> None:
    """End an incident; one that is closed already stays as it is."""
    close_many(conn, [incident_id], now)


def close_many(conn: Connection, incident_ids: Iterable[str], now: datetime) -> None:
    """End incidents; those that are closed already stay as they are."""
    statement = "UPDATE incidents SET closed_at = {1} WHERE closed_at IS NULL AND id IN ({0})"
    for chunk in chunked(incident_ids):
        change_by_key(conn, statement, chunk, raw_instant(conn, now))
