"""The tables that daemons of a cluster share: leases and the daemons themselves, in a PostgreSQL schema beside the migrations.

Nothing in them has to be kept: they state who is working on what now. A database that was restored from a backup without them
gets new ones when the next daemon of a cluster starts.
"""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping

from monitor.domain.errors import DatabaseUnsuitable
from monitor.domain.records import Record
from monitor.store.postgres import Server

if TYPE_CHECKING:
    import psycopg

SCHEMA = "token_monitor_cluster"
QUEUE_SCHEMA = "token_monitor_queue_"
"""Beginning of the name of the queue's schema; a digest of the queue's tables follows."""
PRESENT_WITHIN = timedelta(seconds=20)
"""A daemon that has not reported itself for longer is taken for dead, and its leases have ended."""
FORGOTTEN_AFTER = timedelta(days=1)
_PREPARING = 0x746F6B656E636C75  # one advisory lock per database
_TABLES = """
    CREATE SCHEMA IF NOT EXISTS token_monitor_cluster;
    CREATE TABLE IF NOT EXISTS token_monitor_cluster.leases (
        name text PRIMARY KEY,
        number bigint NOT NULL,
        holder text,
        until timestamptz,
        handover jsonb,
        handed_over_at timestamptz
    );
    CREATE INDEX IF NOT EXISTS ix_leases_holder ON token_monitor_cluster.leases (holder) WHERE holder IS NOT NULL;
    CREATE TABLE IF NOT EXISTS token_monitor_cluster.daemons (
        id text PRIMARY KEY,
        host text NOT NULL,
        pid integer NOT NULL,
        version text NOT NULL,
        workers integer NOT NULL,
        queue text NOT NULL,
        configuration text NOT NULL,
        plans boolean NOT NULL,
        state text NOT NULL,
        detail text,
        units integer NOT NULL,
        clock_offset double precision NOT NULL,
        state_since timestamptz NOT NULL,
        started_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL
    );
"""
_QUEUED = """
    SELECT j.queue_name, count(*) FILTER (WHERE j.status = 'todo'), count(*) FILTER (WHERE j.status = 'doing'),
           min(e.at) FILTER (WHERE j.status = 'todo')
    FROM procrastinate_jobs j LEFT JOIN procrastinate_events e ON e.job_id = j.id AND e.type = 'deferred'
    WHERE j.status IN ('todo', 'doing') GROUP BY j.queue_name ORDER BY j.queue_name
"""


class DaemonRow(Record, frozen=True, kw_only=True):
    """One daemon of the cluster, as it reported itself last."""

    id: str
    host: str
    pid: int
    version: str
    workers: int
    configuration: str
    """Revision of its configuration."""
    plans: bool
    state: str
    detail: str | None
    units: int
    """Units of work that it is running."""
    clock_offset: float
    """Seconds by which its clock is ahead of the database server's."""
    state_since: datetime
    started_at: datetime
    seen_at: datetime
    present: bool
    """False if it has not reported itself recently."""


class QueueRow(Record, frozen=True, kw_only=True):
    """Units of one kind in the queue."""

    kind: str
    waiting: int
    running: int
    waiting_since: datetime | None
    """When the unit that has waited longest was queued."""


class ClusterState(Record, frozen=True, kw_only=True):
    """The daemons of a cluster and their work."""

    daemons: tuple[DaemonRow, ...]
    queues: tuple[QueueRow, ...]
    leases: int
    """Sources and channels that a daemon is working on."""


def prepare(server: Server) -> None:
    """Create the tables unless they exist. Raise DatabaseUnsuitable with the remedy if the role may not, and StoreUnavailable."""
    with server.translate_errors("is unavailable"), closing(server.connect()) as conn, conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (_PREPARING,))
        execute_definitions(server, conn, SCHEMA, _TABLES)
        conn.execute("DELETE FROM token_monitor_cluster.daemons WHERE seen_at < now() - %s", (FORGOTTEN_AFTER,))
        conn.execute(
            "DELETE FROM token_monitor_cluster.leases WHERE holder IS NULL AND handed_over_at < now() - %s", (FORGOTTEN_AFTER,)
        )


def prepare_queue(server: Server, schema: str, definitions: str) -> None:
    """Create the queue's schema from these definitions unless it exists, and drop those that no daemon uses.

    Raise as prepare().
    """
    with server.translate_errors("is unavailable"), closing(server.connect()) as conn, conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (_PREPARING,))
        found = {
            row[0] for row in conn.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (QUEUE_SCHEMA,))
        }
        used = conn.execute(
            "SELECT DISTINCT queue FROM token_monitor_cluster.daemons WHERE seen_at > now() - %s", (FORGOTTEN_AFTER,)
        )
        for unused in sorted(found - {schema} - {row[0] for row in used}):
            conn.execute(f'DROP SCHEMA "{unused}" CASCADE'.encode())
        if schema not in found:
            execute_definitions(
                server, conn, schema, f'CREATE SCHEMA "{schema}"; SET LOCAL search_path = "{schema}"; {definitions}'
            )


def execute_definitions(server: Server, conn: psycopg.Connection[Any], schema: str, definitions: str) -> None:
    """Run statements that create a schema. Raise DatabaseUnsuitable with the remedy if the role may not."""
    import psycopg

    try:
        conn.execute(definitions.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseUnsuitable(
            f"{server.name} does not allow this role to create the schema {schema}, which a cluster needs: run "
            f'GRANT CREATE ON DATABASE "{server.database}" TO the role, or set cluster.workers to 0.'
        ) from error


def has_cluster(conn: Connection) -> bool:
    """Return True if daemons of a cluster have used this database."""
    if conn.dialect.name != "postgresql":
        return False
    return bool(conn.exec_driver_sql("SELECT to_regclass('token_monitor_cluster.daemons') IS NOT NULL").scalar())


def read_state(conn: Connection) -> ClusterState | None:
    """Return the daemons of the cluster, and what is queued; None if there never was a cluster."""
    if not has_cluster(conn):
        return None
    rows = conn.exec_driver_sql(
        """
        SELECT *, seen_at > now() - %(within)s AS present FROM token_monitor_cluster.daemons
        WHERE seen_at > now() - %(forgotten)s ORDER BY present DESC, plans DESC, host, pid
        """,
        {"within": PRESENT_WITHIN, "forgotten": FORGOTTEN_AFTER},
    ).mappings()
    daemons = tuple(_daemon(row) for row in rows)
    leases = conn.exec_driver_sql("SELECT count(*) FROM token_monitor_cluster.leases WHERE until > now()").scalar() or 0
    return ClusterState(daemons=daemons, queues=_read_queues(conn), leases=leases)


def _daemon(row: RowMapping) -> DaemonRow:
    return DaemonRow(**{name: row[name] for name in DaemonRow.__struct_fields__})


def _read_queues(conn: Connection) -> tuple[QueueRow, ...]:
    """Return what waits in the queue of the planner, or of the newest daemon if no daemon plans.

    A daemon that waits for its upgrade reports no queue.
    """
    newest = "SELECT queue FROM token_monitor_cluster.daemons WHERE queue <> '' ORDER BY plans DESC, seen_at DESC LIMIT 1"
    queue = conn.exec_driver_sql(newest).scalar()
    if queue is None or not conn.exec_driver_sql("SELECT to_regclass(%(t)s)", {"t": f"{queue}.procrastinate_jobs"}).scalar():
        return ()
    before = conn.exec_driver_sql("SELECT current_setting('search_path')").scalar()
    conn.exec_driver_sql("SELECT set_config('search_path', %(queue)s, true)", {"queue": queue})
    rows = conn.exec_driver_sql(_QUEUED).all()
    conn.exec_driver_sql("SELECT set_config('search_path', %(before)s, true)", {"before": before})
    return tuple(QueueRow(kind=kind, waiting=waiting, running=running, waiting_since=at) for kind, waiting, running, at in rows)
