"""Retention, renamed sources and channels, and repair of timestamps after a clock jump."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, exists, func, select, update

from monitor.domain import CHANNEL_SUBJECTS, DeliveryState, Event, EventKind, IncidentSubject, split_subject
from monitor.domain.records import Record
from monitor.store import history, meta, rechecks, web_sessions
from monitor.store import incidents as open_incidents
from monitor.store.connection_conditions import each_of
from monitor.store.schema import (
    alerts,
    attempts,
    channels,
    cohorts,
    connections,
    deliveries,
    events,
    former_ids,
    incidents,
    polls,
    probe_rollups,
    scopes,
    silences,
    sources,
)
from monitor.store.sources import prune as prune_polls
from monitor.store.sql import update_many

_d, _i = deliveries.c, incidents.c
_EARLY_SOURCES = "sources:before-0.2"
"""Written by migration 0007."""


def after_jump(conn: Connection, now: datetime, *, by: timedelta) -> None:
    """Repair timestamps after the wall clock was set. `by` is the change without the time that passed, `now` the new time.

    Pending deliveries keep their age and are due immediately; timestamps in the future become now.
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
    open_incidents.review_all(conn, now)


def not_ahead(conn: Connection, now: datetime) -> None:
    """Set timestamps in the future to now: a clock that was wrong earlier wrote them."""
    alerts_not_ahead(conn, now)
    observations_not_ahead(conn, now)


def alerts_not_ahead(conn: Connection, now: datetime) -> None:
    """Set the times of alerts, deliveries and incidents in the future to now: work would wait for them."""
    waits = _d.next_attempt_at.is_not(None), _d.created_at > now
    conn.execute(update(deliveries).where(*waits, _d.state == DeliveryState.PENDING).values(next_attempt_at=now))
    conn.execute(update(deliveries).where(*waits).values(created_at=now))
    conn.execute(update(deliveries).where(_d.sent_at > now).values(sent_at=now))
    conn.execute(update(alerts).where(alerts.c.at > now).values(at=now))  # reminders count from here
    for column in (_i.opened_at, _i.said_at):
        conn.execute(update(incidents).where(_i.closed_at.is_(None), column > now).values({column.key: now, "look_at": now}))


_c = connections.c
_OBSERVED = (
    _c.token_issued_at,
    _c.token_dated_since,
    _c.token_reconnected_at,
    _c.probe_at,
    _c.probe_ok_at,
    _c.probe_refused_since,
    _c.probe_silent_since,
)
"""Times at which something was observed, from which the rules count."""


def observations_not_ahead(conn: Connection, now: datetime) -> None:
    """Set observations in the future to now: until that time they would prove a success, hide an error or delay a warning.

    It reads every connection.
    """
    # SQLite would read every row from an index, which takes three times as long as reading the table.
    last = conn.execute(select(*(func.max(column) for column in _OBSERVED)).where(each_of(_c.retired_at).is_(None))).one()
    for column, latest in zip(_OBSERVED, last, strict=True):
        if latest is not None and latest > now:
            conn.execute(update(connections).where(column > now, _c.retired_at.is_(None)).values({column.key: now}))
    conn.execute(update(cohorts).where(cohorts.c.probed_at > now).values(probed_at=now))


class Pruned(Record, frozen=True, kw_only=True):
    """The numbers of deleted rows."""

    events: int
    alerts: int
    incidents: int
    connections: int
    polls: int
    rollups: int
    attempts: int = 0
    """Failed attempts between a delivery's first and last ones."""


_FOREVER = timedelta(days=36500)
FIRST_ATTEMPTS, LAST_ATTEMPTS = 5, 20
"""Failed attempts kept per delivery: a channel that is down for days is tried thousands of times."""


def prune(conn: Connection, now: datetime, *, history: timedelta | None, polls_kept: timedelta | None) -> Pruned:
    """Delete history older than `history`, and polls and hourly probe counts older than `polls_kept`; None keeps all.

    Rechecks are kept as long as polls, and expired sessions of the status page are deleted. A retired connection is deleted with
    the last row of its history.
    """
    before, polls_before = (now - (kept or _FOREVER) for kept in (history, polls_kept))
    gone = prune_polls(conn, polls_before)
    web_sessions.prune(conn, now)
    rechecks.prune(conn, polls_before)
    rollups = conn.execute(delete(probe_rollups).where(probe_rollups.c.hour < polls_before)).rowcount
    return Pruned(
        events=conn.execute(delete(events).where(events.c.at < before)).rowcount,
        alerts=_prune_alerts(conn, before),
        incidents=_prune_incidents(conn, before),
        connections=_prune_connections(conn, before),
        polls=gone,
        rollups=rollups,
        attempts=_thin_attempts(conn),
    )


def _thin_attempts(conn: Connection) -> int:
    """Delete a delivery's failed attempts between its first and last ones; successful ones show who got the message."""
    many = exists().where(deliveries.c.id == attempts.c.delivery_id, deliveries.c.attempts - LAST_ATTEMPTS > attempts.c.number)
    failed = attempts.c.outcome == "failed", attempts.c.number > FIRST_ATTEMPTS
    return conn.execute(delete(attempts).where(*failed, many)).rowcount


def _prune_alerts(conn: Connection, before: datetime) -> int:
    waiting = exists().where(deliveries.c.alert_id == alerts.c.id, deliveries.c.next_attempt_at.is_not(None))
    unfinished = exists().where(incidents.c.id == alerts.c.incident_id, incidents.c.closed_at.is_(None))
    old = select(alerts.c.id).where(alerts.c.at < before, ~waiting, ~unfinished)
    old_deliveries = select(deliveries.c.id).where(deliveries.c.alert_id.in_(old))
    conn.execute(delete(attempts).where(attempts.c.delivery_id.in_(old_deliveries)))
    conn.execute(delete(deliveries).where(deliveries.c.alert_id.in_(old)))
    childless = ~exists().where(deliveries.c.alert_id == alerts.c.id)
    return conn.execute(delete(alerts).where(alerts.c.at < before, childless, ~unfinished)).rowcount


def _prune_incidents(conn: Connection, before: datetime) -> int:
    has_alerts = exists().where(alerts.c.incident_id == incidents.c.id)
    return conn.execute(delete(incidents).where(incidents.c.closed_at < before, ~has_alerts)).rowcount


def _prune_connections(conn: Connection, before: datetime) -> int:
    used = [exists().where(table.c.connection_id == connections.c.id) for table in (events, incidents, alerts)]
    where = connections.c.retired_at < before, *(~each for each in used)
    old = select(connections.c.id).where(*where)
    conn.execute(delete(former_ids).where(former_ids.c.connection_id.in_(old)))
    rechecks.delete_of(conn, old)
    return conn.execute(delete(connections).where(*where)).rowcount


_SOURCE_TABLES = (connections, former_ids, scopes, cohorts, events, polls, probe_rollups, incidents, alerts)


def rename_source(conn: Connection, old: str, new: str, now: datetime) -> bool:
    """Rename a source in every table and in silences. Return False if it does not exist or the new name is taken."""
    row = conn.execute(select(sources).where(sources.c.name == old)).mappings().one_or_none()
    if row is None or conn.execute(select(sources.c.name).where(sources.c.name == new)).first() is not None:
        return False
    conn.execute(sources.insert().values({**row, "name": new}))
    for table in _SOURCE_TABLES:
        conn.execute(update(table).where(table.c.source == old).values(source=new))
    conn.execute(delete(sources).where(sources.c.name == old))
    settings = meta.get(conn, f"settings:{old}")
    if settings is not None:
        meta.set(conn, f"settings:{new}", settings)
    early = early_sources(conn)
    if old in early:
        meta.set(conn, _EARLY_SOURCES, json.dumps(sorted(early - {old} | {new})))
    _rename_in_silences(conn, old, new)
    for subject in open_incidents.open_subjects(conn, ""):
        kind, name = split_subject(subject)
        if kind == IncidentSubject.STATUS and name.startswith(f"{old}:"):
            renamed = IncidentSubject.STATUS.of(new + name.removeprefix(old))
            about = incidents.c.source == "", incidents.c.subject == subject, incidents.c.closed_at.is_(None)
            conn.execute(update(incidents).where(*about).values(subject=renamed))
    text = f"The source was renamed from {old} to {new} in the configuration."
    history.append(conn, new, None, [Event(kind=EventKind.RENAMED, at=now, old=old, new=new, message=text)])
    return True


def early_sources(conn: Connection) -> set[str]:
    """Return the names of the sources that were in the database before version 0.2 migrated it."""
    return set(json.loads(meta.get(conn, _EARLY_SOURCES) or "[]"))


def _rename_in_silences(conn: Connection, old: str, new: str) -> None:
    for row in conn.execute(select(silences.c.id, silences.c.matchers).where(silences.c.removed_at.is_(None))).all():
        try:
            matchers = json.loads(row.matchers)
        except ValueError:
            continue
        if old in matchers.get("sources", ()):
            matchers["sources"] = [new if name == old else name for name in matchers["sources"]]
            text = json.dumps(matchers, sort_keys=True, separators=(",", ":"))
            conn.execute(update(silences).where(silences.c.id == row.id).values(matchers=text))


def rename_channel(conn: Connection, old: str, new: str) -> bool:
    """Rename a channel in its deliveries, state and incidents. Return False if the new name has data already."""
    used = select(exists().where(deliveries.c.channel == new)), select(exists().where(channels.c.name == new))
    if any(conn.scalar(query) for query in used):
        return False
    conn.execute(update(deliveries).where(deliveries.c.channel == old).values(channel=new))
    conn.execute(update(channels).where(channels.c.name == old).values(name=new))
    for about in CHANNEL_SUBJECTS:
        about_channel = incidents.c.subject == about.of(old), incidents.c.source == ""
        conn.execute(update(incidents).where(*about_channel, incidents.c.closed_at.is_(None)).values(subject=about.of(new)))
    return True
