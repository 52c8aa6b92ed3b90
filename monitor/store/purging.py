"""Erase connections: their rows and everything that is stored about them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, and_, delete, exists, or_, select

from monitor.store import connection_queries, label_sets, silences
from monitor.store.connection_queries import ConnectionRow
from monitor.store.schema import alerts, attempts, connections, deliveries, events, former_ids, incidents, rechecks, scopes
from monitor.store.sql import chunked

_c = connections.c


def purge(conn: Connection, keys: Iterable[int]) -> int:
    """Erase the connections with these row ids, and return the number of rows of `connections` that were deleted.

    Erased with them: retired connections of the same ids, history, incidents, alerts with their deliveries, rechecks, former ids,
    and the ids in silences, names and labels that no other connection has. A delivery that is being sent is sent at most
    once more.
    """
    erased = 0
    for chunk in chunked(keys, 400):
        rows = connection_queries.get_connections(conn, _with_twins(conn, chunk))
        ids = [row.id for row in rows]
        _delete_alerts(conn, ids)
        for table in (incidents, events, rechecks, former_ids):
            conn.execute(delete(table).where(table.c.connection_id.in_(ids)))
        erased += conn.execute(delete(connections).where(_c.id.in_(ids))).rowcount
        silences.erase_ids(conn, _names(rows) - _names(_namesakes(conn, rows)))
        for source, scope in {(row.source, row.state.snapshot.scope) for row in rows if row.state.snapshot.scope is not None}:
            used = exists().where(_c.source == scopes.c.source, _c.scope == scopes.c.scope)
            conn.execute(delete(scopes).where(scopes.c.source == source, scopes.c.scope == scope, ~used))
    label_sets.prune(conn)
    return erased


def _names(rows: Iterable[ConnectionRow]) -> set[str]:
    """Return the ids by which silences may name these connections."""
    return {name for row in rows for name in (row.public_id, row.state.snapshot.external_id)}


def _namesakes(conn: Connection, rows: Iterable[ConnectionRow]) -> list[ConnectionRow]:
    """Return the stored connections that have the external id of one of these: silences that name it are also about them."""
    external_ids = {row.state.snapshot.external_id for row in rows}
    return connection_queries.get_connections(conn, conn.scalars(select(_c.id).where(_c.external_id.in_(external_ids))))


def _with_twins(conn: Connection, keys: list[int]) -> set[int]:
    """Return the row ids with those of retired connections of the same source, scope and external id."""
    twin = connections.alias()
    same = and_(twin.c.source == _c.source, twin.c.scope == _c.scope, twin.c.external_id == _c.external_id)
    query = select(twin.c.id).join_from(connections, twin, same).where(_c.id.in_(keys), twin.c.retired_at.is_not(None))
    return {*keys, *conn.scalars(query)}


def _delete_alerts(conn: Connection, ids: list[int]) -> None:
    of_incident = select(incidents.c.id).where(incidents.c.connection_id.in_(ids))
    about = select(alerts.c.id).where(or_(alerts.c.connection_id.in_(ids), alerts.c.incident_id.in_(of_incident)))
    theirs = select(deliveries.c.id).where(deliveries.c.alert_id.in_(about))
    conn.execute(delete(attempts).where(attempts.c.delivery_id.in_(theirs)))
    conn.execute(delete(deliveries).where(deliveries.c.alert_id.in_(about)))
    conn.execute(delete(alerts).where(alerts.c.id.in_(about)))
