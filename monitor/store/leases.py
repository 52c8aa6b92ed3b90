"""Leases: which daemon of a cluster works on which source or channel, until when.

Each time a lease is taken it gets a new number, and whatever is stored on its basis checks the number in the same transaction:
a daemon that lost a lease stores nothing. The times are the server's, because the clocks of several machines differ.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from monitor.domain.errors import LeaseLost
from monitor.store.postgres import Server

if TYPE_CHECKING:
    import psycopg

LENGTH = timedelta(seconds=20)
"""Duration of a lease. Its holder renews it every few seconds, and stops working on its basis some seconds before it ends."""
_PATIENCE = timedelta(seconds=4)
_ACQUIRE = """
    WITH wanted AS (SELECT DISTINCT unnest(%(names)s::text[]) AS name),
    added AS (
        INSERT INTO token_monitor_cluster.leases (name, number, holder, until)
        SELECT name, 1, %(me)s, now() + %(length)s FROM wanted ORDER BY name
        ON CONFLICT (name) DO NOTHING RETURNING name, number, NULL::jsonb AS handover, NULL::float AS age, NULL::float AS lapsed
    ),
    free AS (
        SELECT l.name, l.handover, extract(epoch FROM now() - l.handed_over_at)::float AS age,
               CASE WHEN l.holder IS NOT NULL THEN extract(epoch FROM now() - l.until)::float END AS lapsed
        FROM token_monitor_cluster.leases l JOIN wanted ON wanted.name = l.name
        WHERE l.holder IS NULL OR l.until < now() OR l.holder = %(me)s ORDER BY l.name FOR UPDATE OF l SKIP LOCKED
    ),
    taken AS (
        UPDATE token_monitor_cluster.leases l SET number = l.number + 1, holder = %(me)s, until = now() + %(length)s FROM free
        WHERE l.name = free.name RETURNING l.name, l.number, free.handover, free.age, free.lapsed
    )
    SELECT * FROM added UNION ALL SELECT * FROM taken
"""
_SAVE = """
    UPDATE token_monitor_cluster.leases l SET {0} handover = given.handover, handed_over_at = now()
    FROM (SELECT unnest(%(names)s::text[]) AS name, unnest(%(handovers)s::jsonb[]) AS handover) given
    WHERE l.name = given.name AND l.holder = %(me)s
"""
_REPORT = """
    INSERT INTO token_monitor_cluster.daemons VALUES (
        %(id)s, %(host)s, %(pid)s, %(version)s, %(workers)s, %(queue)s, %(configuration)s, %(plans)s,
        %(state)s, %(detail)s, %(units)s, %(clock_offset)s, now(), now(), now())
    ON CONFLICT (id) DO UPDATE SET configuration = excluded.configuration, plans = excluded.plans, state = excluded.state,
        workers = excluded.workers, detail = excluded.detail, units = excluded.units,
        clock_offset = excluded.clock_offset, seen_at = excluded.seen_at,
        state_since = CASE WHEN daemons.state = excluded.state THEN daemons.state_since ELSE excluded.seen_at END
"""
_REQUIRE = """
    SELECT 1 FROM token_monitor_cluster.leases
    JOIN unnest(%(names)s::text[], %(numbers)s::bigint[]) AS wanted (name, number) USING (name, number)
    ORDER BY name FOR KEY SHARE OF leases
"""
_BEAT = """
    SELECT (SELECT version_num FROM alembic_version) AS revision, clock_timestamp() AS now,
           planner.configuration, planner.clock_offset,
           (SELECT count(*) FROM token_monitor_cluster.daemons
            WHERE seen_at > now() - %(length)s AND state = 'working' AND id <> %(me)s) AS others,
           (SELECT coalesce(sum(workers), 0) FROM token_monitor_cluster.daemons
            WHERE seen_at > now() - %(length)s AND state = 'working') AS workers
    FROM (VALUES (1)) one
    LEFT JOIN (
        SELECT configuration, clock_offset FROM token_monitor_cluster.daemons
        WHERE plans AND seen_at > now() - %(length)s ORDER BY seen_at DESC LIMIT 1
    ) planner ON true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease that this daemon holds."""

    name: str
    number: int
    handover: Mapping[str, Any] | None
    """What the previous holder left for the next one."""
    age: float
    """Seconds since that was written."""
    lapsed: float | None
    """Seconds since the end of the previous holder's time if it did not release the lease, else None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonReport:
    """How a daemon presents itself to the others."""

    id: str
    host: str
    pid: int
    version: str
    workers: int
    queue: str
    configuration: str
    plans: bool
    state: str
    detail: str | None
    units: int
    clock_offset: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a daemon learns each time it renews its leases."""

    held: frozenset[str]
    """The leases that it still holds."""
    revision: str | None
    """Revision of the schema."""
    now: datetime
    """The server's clock."""
    planned_configuration: str | None
    """Revision of the planner's configuration; None if no daemon plans."""
    planner_offset: float | None
    """Seconds by which the planner's clock is ahead of the server's; None if no daemon plans."""
    others: int
    """Number of other daemons at work, whatever this one reports about itself."""
    workers: int
    """Number of units that all daemons at work run at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHold:
    """A lease of any daemon, or what the last holder left for the next one."""

    live: bool
    lapsed: bool
    """True if its holder has ended, or lost the database, without releasing it."""
    handover: Mapping[str, Any] | None
    age: float


class Leases:
    """This daemon's leases, over one connection. Its methods block, and are called from one thread at a time.

    They raise StoreUnavailable.
    """

    def __init__(self, server: Server, *, me: str) -> None:
        """`me` identifies this process among all daemons, past ones included."""
        self._server, self._me = server, me
        self._conn: psycopg.Connection[Any] | None = None

    def acquire(self, names: Sequence[str]) -> list[Lease]:
        """Take those of these leases that no other daemon holds, and return them.

        One that this daemon holds already gets a new number: the answer that it was taken, or its release, was lost.
        """
        rows = self._execute(_ACQUIRE, {"names": list(names), "me": self._me, "length": LENGTH}).fetchall()
        return [
            Lease(name=name, number=number, handover=handover, age=age or 0.0, lapsed=lapsed)
            for name, number, handover, age, lapsed in rows
        ]

    def release(self, handovers: Mapping[str, Mapping[str, Any] | None]) -> None:
        """End these leases, and leave something for the next holder of each."""
        self._save(_SAVE.format("holder = NULL, until = NULL,"), handovers)

    def save(self, handovers: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Store what the next holder of each lease is to continue with, should this daemon die."""
        self._save(_SAVE.format(""), handovers)

    def _save(self, statement: str, handovers: Mapping[str, Mapping[str, Any] | None]) -> None:
        written = [None if each is None else json.dumps(each) for each in handovers.values()]
        self._execute(statement, {"names": list(handovers), "handovers": written, "me": self._me})

    def beat(self, report: DaemonReport, names: Collection[str]) -> Beat:
        """Renew these leases, report this daemon, and return what the others report.

        Other leases of this daemon end: it does not know that it holds them, because an answer was lost.
        """
        values = {name: getattr(report, name) for name in DaemonReport.__slots__}
        renewed = self._execute(
            """
            UPDATE token_monitor_cluster.leases SET until = now() + %(length)s
            WHERE holder = %(me)s AND name = ANY(%(names)s) RETURNING name
            """,
            {"length": LENGTH, "me": self._me, "names": list(names)},
        ).fetchall()
        self._execute(_REPORT, values)
        row = self._execute(_BEAT, {"length": LENGTH, "me": self._me}).fetchone()
        assert row is not None  # noqa: S101 - it selects constants
        revision, now, planned, offset, others, workers = row
        return Beat(
            held=frozenset(name for (name,) in renewed),
            revision=revision,
            now=now,
            planned_configuration=planned,
            planner_offset=offset,
            others=others,
            workers=workers,
        )

    def leave(self) -> None:
        """Remove this daemon from the list, and end its leases."""
        self._execute("UPDATE token_monitor_cluster.leases SET holder = NULL, until = NULL WHERE holder = %s", (self._me,))
        self._execute("DELETE FROM token_monitor_cluster.daemons WHERE id = %s", (self._me,))

    def held(self) -> dict[str, LeaseHold]:
        """Return the live leases of all daemons, and those of channels, live or not."""
        rows = self._execute(
            """
            SELECT name, coalesce(until > now(), false), coalesce(until <= now(), false), handover,
                   extract(epoch FROM now() - handed_over_at)::float
            FROM token_monitor_cluster.leases WHERE until > now() OR name LIKE 'channel:%%'
            """,
            {},
        )
        return {
            name: LeaseHold(live=live, lapsed=lapsed, handover=handover, age=age or 0.0)
            for name, live, lapsed, handover, age in rows
        }

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(Exception):
                conn.close()

    def _execute(self, statement: str, values: Any) -> psycopg.Cursor[Any]:
        try:
            with self._server.translate_errors("is unavailable"):
                if self._conn is None:
                    self._conn = self._server.connect(application="token-monitor leases", statement_timeout=_PATIENCE)
                return self._conn.execute(statement.encode(), values)
        except Exception:
            self.close()
            raise


def require(conn: Connection, numbers: Mapping[str, int]) -> None:
    """Raise LeaseLost unless each lease still has its number; then no daemon can take one before the transaction ends."""
    found = conn.exec_driver_sql(_REQUIRE, {"names": list(numbers), "numbers": list(numbers.values())}).all()
    if len(found) < len(numbers):
        raise LeaseLost
