"""Forgetting what is old: never an open incident, never a delivery that has not been sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, exists, select

from monitor.store import polls
from monitor.store.schema import alerts, attempts, connections, deliveries, events, incidents, probe_rollups


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How many rows of each kind were forgotten."""

    events: int
    alerts: int
    incidents: int
    connections: int
    polls: int
    rollups: int
    attempts: int = 0
    """Of the many that one delivery took while its channel was down."""


FIRST_ATTEMPTS, LAST_ATTEMPTS = 5, 20
"""So many of a delivery's failed attempts are kept: a channel that is down for days is tried thousands of times."""


def prune(conn: Connection, now: datetime, *, history: timedelta, polls_kept: timedelta) -> Pruned:
    """Forget history older than `history`, and polls and hourly probe counts older than `polls_kept`.

    A retired connection goes with the last of its history. Everything in one transaction.
    """
    before = now - history
    gone = polls.prune(conn, now - polls_kept)
    rollups = conn.execute(delete(probe_rollups).where(probe_rollups.c.hour < now - polls_kept)).rowcount
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
    """The failed attempts between a delivery's first and last ones. What says who has a message already stays."""
    many = exists().where(deliveries.c.id == attempts.c.delivery_id, deliveries.c.attempts - LAST_ATTEMPTS > attempts.c.number)
    failed = attempts.c.outcome == "failed", attempts.c.number > FIRST_ATTEMPTS
    return conn.execute(delete(attempts).where(*failed, many)).rowcount


def _prune_alerts(conn: Connection, before: datetime) -> int:
    waiting = exists().where(deliveries.c.alert_id == alerts.c.id, deliveries.c.next_attempt_at.is_not(None))
    unfinished = exists().where(incidents.c.id == alerts.c.incident_id, incidents.c.closed_at.is_(None))
    old = select(alerts.c.id).where(alerts.c.at < before, ~waiting, ~unfinished)
    theirs = select(deliveries.c.id).where(deliveries.c.alert_id.in_(old))
    conn.execute(delete(attempts).where(attempts.c.delivery_id.in_(theirs)))
    conn.execute(delete(deliveries).where(deliveries.c.alert_id.in_(old)))
    childless = ~exists().where(deliveries.c.alert_id == alerts.c.id)
    return conn.execute(delete(alerts).where(alerts.c.at < before, childless, ~unfinished)).rowcount


def _prune_incidents(conn: Connection, before: datetime) -> int:
    said = exists().where(alerts.c.incident_id == incidents.c.id)
    return conn.execute(delete(incidents).where(incidents.c.closed_at < before, ~said)).rowcount


def _prune_connections(conn: Connection, before: datetime) -> int:
    used = [exists().where(table.c.connection_id == connections.c.id) for table in (events, incidents, alerts)]
    where = connections.c.retired_at < before, *(~each for each in used)
    return conn.execute(delete(connections).where(*where)).rowcount
