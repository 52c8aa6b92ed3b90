"""The `incidents` table, with acknowledgements."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, or_, select, update

from monitor.domain import Ack, DeliveryState, LastNotified, Status
from monitor.domain.records import Record, fresh_id
from monitor.store.connection_codec import STATUS
from monitor.store.schema import connections, incidents
from monitor.store.sql import Constant, chunked, insert_columns, raw_instant, rows_by_key, update_by_key, update_many
from monitor.store.types import Seconds, instant_reader


def all_acks(conn: Connection) -> dict[int, Ack]:
    """Return the acknowledgements of open incidents by their connection's row id. The rules decide which still apply."""
    table = incidents.c
    names = "ack_status", "ack_stage", "acked_at", "ack_until", "ack_comment", "ack_author"
    columns = table.connection_id, *(table[name] for name in names)
    query = select(*columns).where(
        table.closed_at.is_(None), table.connection_id.is_not(None), table.acked_at.is_not(None), table.ack_status.is_not(None)
    )
    return {
        row.connection_id: Ack(
            status=Status(row.ack_status),
            stage=row.ack_stage,
            at=row.acked_at,
            until=row.ack_until,
            comment=row.ack_comment,
            author=row.ack_author,
        )
        for row in conn.execute(query)
    }


class Incident(Record, frozen=True, kw_only=True):
    """An incident of a connection; of a source where connection_id is None; of the monitor where the source is empty as well."""

    id: str
    source: str
    connection_id: int | None
    opened_at: datetime
    last_notified: LastNotified | None
    """None while no alert went out, because it was suppressed from the start."""
    closed_at: datetime | None = None
    subject: str = ""
    """An IncidentSubject of a source or the monitor; empty for a connection, and for a source that cannot be read."""
    next_review_at: datetime | None = None
    """Time to evaluate it again although nothing changed: a reminder is due, or a suppression ends."""
    ack: Ack | None = None


class NewIncident(Record, frozen=True, kw_only=True):
    """An incident to open."""

    source: str
    connection_id: int | None
    last_notified: LastNotified | None
    id: str | None = None
    """None: the store chooses one."""
    subject: str = ""
    next_review_at: datetime | None = None


def _unchanged(value: Any) -> Any:
    return value


def _row(row: Any, *, at: Callable[[Any], Any] = _unchanged, stage: Callable[[Any], Any] = _unchanged) -> Incident:
    """Return an incident from a row. `at` and `stage` convert raw values of a row that bypassed the column types."""
    last_notified = ack = None
    if row.status is not None:
        last_notified = LastNotified(
            status=STATUS[row.status], stage=stage(row.stage), at=at(row.said_at), reminders=row.reminders
        )
    if row.acked_at is not None:
        ack = Ack(
            status=STATUS[row.ack_status],
            stage=stage(row.ack_stage),
            at=at(row.acked_at),
            until=at(row.ack_until),
            comment=row.ack_comment,
            author=row.ack_author,
        )
    return Incident(
        id=row.id,
        source=row.source,
        connection_id=row.connection_id,
        opened_at=at(row.opened_at),
        last_notified=last_notified,
        closed_at=at(row.closed_at),
        subject=row.subject,
        next_review_at=at(row.look_at),
        ack=ack,
    )


def open_incidents(conn: Connection, rows: Sequence[NewIncident], now: datetime) -> list[str]:
    """Open incidents in one statement and return their ids in the order of the rows.

    The database refuses a second open incident for the same connection, or the same source and subject.
    """
    ids = [row.id or fresh_id(now) for row in rows]
    notified = [row.last_notified for row in rows]
    columns: dict[str, list[Any] | Constant] = {
        "id": ids,
        "source": [row.source for row in rows],
        "subject": [row.subject for row in rows],
        "connection_id": [row.connection_id for row in rows],
        "opened_at": Constant(now),
        "look_at": [row.next_review_at for row in rows],
        "status": [each and each.status for each in notified],
        "stage": [each and each.stage for each in notified],
        "said_at": [each and each.at for each in notified],
        "reminders": [each.reminders if each else 0 for each in notified],
    }
    insert_columns(conn, incidents, columns)
    return ids


_Stored = namedtuple("_Stored", incidents.c.keys())  # type: ignore[misc]  # noqa: PYI024 - the fields are the table's columns
_OPEN = f"SELECT {', '.join(_Stored._fields)} FROM incidents WHERE closed_at IS NULL AND connection_id IN ({{0}})"  # noqa: S608 - our own names


def find_open(conn: Connection, connection_ids: Iterable[int]) -> dict[int, Incident]:
    """Return the open incidents of these connections, by connection. Connections without one are left out."""
    at = instant_reader(conn.dialect)
    rows: Iterator[Any] = (_Stored._make(row) for chunk in chunked(connection_ids) for row in rows_by_key(conn, _OPEN, chunk))
    return {row.connection_id: _row(row, at=at, stage=Seconds.read) for row in rows}


# Runs at every poll, so the statement is built once.
_OPEN_SOURCE = select(incidents).where(
    incidents.c.source == bindparam("about"),
    incidents.c.subject == bindparam("subject"),
    incidents.c.connection_id.is_(None),
    incidents.c.closed_at.is_(None),
)


def find_open_source(conn: Connection, source: str, *, subject: str = "") -> Incident | None:
    """Return the open incident of a source itself about this subject, or None."""
    row = conn.execute(_OPEN_SOURCE, {"about": source, "subject": subject}).one_or_none()
    return None if row is None else _row(row)


def sources_with_open(conn: Connection, *, subject: str) -> set[str]:
    """Return the names of the sources that have an open incident about this subject."""
    query = select(incidents.c.source).where(
        incidents.c.subject == subject, incidents.c.connection_id.is_(None), incidents.c.closed_at.is_(None)
    )
    return set(conn.scalars(query))


_OPEN_SUBJECTS = (
    select(incidents.c.subject)
    .where(incidents.c.source == bindparam("about"), incidents.c.connection_id.is_(None), incidents.c.closed_at.is_(None))
    .order_by(incidents.c.subject)
)


def open_subjects(conn: Connection, source: str) -> list[str]:
    """Return the subjects of the open incidents of a source itself. An empty subject: the source cannot be read."""
    return list(conn.scalars(_OPEN_SUBJECTS, {"about": source}))  # runs at every poll, so the statement is built once


def find_incident(conn: Connection, incident_id: str) -> Incident | None:
    """Return the incident with this id, open or closed, or None."""
    row = conn.execute(select(incidents).where(incidents.c.id == incident_id)).one_or_none()
    return None if row is None else _row(row)


def save_last_notified(conn: Connection, rows: Sequence[tuple[str, LastNotified, datetime | None]]) -> None:
    """Save what was last notified about incidents, and their next review, in one statement."""
    if not rows:
        return
    update_many(
        conn,
        incidents,
        [
            {
                "id": key,
                "status": notified.status,
                "stage": notified.stage,
                "said_at": notified.at,
                "reminders": notified.reminders,
                "look_at": next_review_at,
            }
            for key, notified, next_review_at in rows
        ],
    )


def plan_reviews(conn: Connection, rows: Sequence[tuple[str, datetime | None]]) -> None:
    """Set when incidents are reviewed although nothing changed. None: only when something changes."""
    update_many(conn, incidents, [{"id": key, "look_at": at} for key, at in rows])


def review_all(conn: Connection, now: datetime, *, source: str | None = None) -> int:
    """Make the review of every open incident due now. Return the number of incidents.

    For a silence that was added or removed, or other settings. With `source`, only the incidents of that source.
    """
    statement = update(incidents).where(incidents.c.closed_at.is_(None))
    if source is not None:
        statement = statement.where(incidents.c.source == source)
    return conn.execute(statement.values(look_at=now)).rowcount


def review_platform(conn: Connection, at: datetime, *, source: str, platform: str) -> int:
    """Review the open incidents of a source's connections on a platform at `at` or earlier. Return the number changed.

    Reviews that are planned for an earlier time stay.
    """
    members = select(connections.c.id).where(connections.c.source == source, connections.c.platform == platform)
    statement = update(incidents).where(incidents.c.closed_at.is_(None), incidents.c.source == source)
    statement = statement.where(
        incidents.c.connection_id.in_(members), or_(incidents.c.look_at.is_(None), incidents.c.look_at > at)
    )
    return conn.execute(statement.values(look_at=at)).rowcount


def due_for_review(conn: Connection, now: datetime, *, limit: int) -> list[Incident]:
    """Return open incidents whose review is due, the longest overdue first."""
    query = select(incidents).where(incidents.c.look_at <= now, incidents.c.closed_at.is_(None))
    return [_row(row) for row in conn.execute(query.order_by(incidents.c.look_at, incidents.c.id).limit(limit))]


NEXT_REVIEW = (
    select(incidents.c.look_at)
    .where(incidents.c.look_at.is_not(None), incidents.c.closed_at.is_(None))
    .order_by(incidents.c.look_at)
    .limit(1)
)
"""When the next review of an incident is due."""


def acknowledge(conn: Connection, incident_id: str, ack: Ack) -> None:
    """Save an acknowledgement. The incident is reviewed at the acknowledgement's end date, if it has one."""
    values = {
        "ack_status": ack.status,
        "ack_stage": ack.stage,
        "ack_until": ack.until,
        "acked_at": ack.at,
        "ack_comment": ack.comment,
        "ack_author": ack.author,
        "look_at": ack.until,
    }
    conn.execute(update(incidents).where(incidents.c.id == incident_id).values(values))


def unacknowledge(conn: Connection, incident_ids: Iterable[str], *, next_review_at: datetime | None = None) -> None:
    """Remove the acknowledgements of incidents. With `next_review_at`, the incidents are reviewed then."""
    values: dict[str, Any] = dict.fromkeys(("ack_status", "ack_stage", "ack_until", "acked_at", "ack_comment", "ack_author"))
    if next_review_at is not None:
        values["look_at"] = next_review_at
    for chunk in chunked(incident_ids):
        conn.execute(update(incidents).where(incidents.c.id.in_(chunk)).values(values))


def lower_acks(conn: Connection, rows: Sequence[tuple[str, Ack]]) -> None:
    """Set what the acknowledgements of incidents cover, in one statement. Their end dates and comments stay."""
    update_many(conn, incidents, [{"id": key, "ack_status": ack.status, "ack_stage": ack.stage} for key, ack in rows])


_ESCALATES = f"MAX(CASE WHEN d.escalation AND d.state = '{DeliveryState.PENDING.value}' THEN 1 ELSE 0 END)"
_NOTIFIED = f"""
SELECT a.incident_id, d.channel, MAX(a.at), {_ESCALATES} FROM alerts a JOIN deliveries d ON d.alert_id = a.id
WHERE a.incident_id IN ({{0}}) AND (d.state <> {{1}} OR d.uncertain
  OR EXISTS (SELECT 1 FROM attempts t WHERE t.delivery_id = d.id AND t.outcome = 'reached'))
GROUP BY a.incident_id, d.channel
"""  # noqa: S608 - constants


class Notified(NamedTuple):
    """The deliveries of some incidents."""

    channels: dict[str, dict[str, datetime]]
    """By incident and channel, the time of the last alert of which the channel has a delivery."""
    escalating: set[str]
    """The incidents with a pending escalation."""


def find_notified(conn: Connection, incident_ids: Iterable[str]) -> Notified:
    """Return the channels that were notified of incidents, and which incidents have a pending escalation.

    A cancelled delivery counts only if it may have arrived, or did arrive at some of the channel's recipients.
    """
    instant = instant_reader(conn.dialect)
    found = Notified({}, set())
    for chunk in chunked(incident_ids):
        for incident_id, channel, at, escalates in rows_by_key(conn, _NOTIFIED, chunk, DeliveryState.SKIPPED.value):
            found.channels.setdefault(incident_id, {})[channel] = instant(at)
            if escalates:
                found.escalating.add(incident_id)
    return found


def notified_channels(conn: Connection, incident_ids: Iterable[str]) -> dict[str, dict[str, datetime]]:
    """Return the channels of find_notified()."""
    return find_notified(conn, incident_ids).channels


def close(conn: Connection, incident_id: str, now: datetime) -> None:
    """Close an incident. A closed one keeps its closing time."""
    close_many(conn, [incident_id], now)


def close_many(conn: Connection, incident_ids: Iterable[str], now: datetime) -> None:
    """Close incidents. Closed ones keep their closing time."""
    statement = "UPDATE incidents SET closed_at = {1} WHERE closed_at IS NULL AND id IN ({0})"
    for chunk in chunked(incident_ids):
        update_by_key(conn, statement, chunk, raw_instant(conn, now))
