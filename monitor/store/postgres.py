"""Connections to a PostgreSQL server: one way for the store and for the daemon's lock, with the session settings pinned."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from monitor.domain.errors import DatabaseUnsuitable, StoreError
from monitor.store.db_errors import cause_of, unavailable

if TYPE_CHECKING:
    import psycopg

NO_DRIVER = "PostgreSQL needs its driver: pip install 'psycopg[binary]' where token-monitor is installed."
APPLICATION = "token-monitor"
CONNECT_TIMEOUT = timedelta(seconds=5)
"""Time limit of each attempt to connect, and of the first statement: a pooler accepts a client before it has a server for it."""
STATEMENT_TIMEOUT = timedelta(seconds=30)
WRITERS_LOCK = 0x746F6B656D77
"""The advisory lock that a transaction holds while it writes or migrates."""
IDLE_IN_TRANSACTION = timedelta(minutes=5)
"""The longest time for which a process that is stopped inside a transaction blocks the other writers."""
_PINNED = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    # A writer must read after it got the writers' lock; with a snapshot from before it would overwrite what others wrote.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
}
"""Settings that change how values are sent or what a transaction reads. A server, role, database or environment may set them."""
_DEAD_CLIENT = {"tcp_keepalives_idle": 5, "tcp_keepalives_interval": 3, "tcp_keepalives_count": 4, "tcp_user_timeout": 17_000}
"""Settings of the server: a client machine that vanishes holds its locks for at most 17 seconds."""
_PLANNER = {"random_page_cost": "1.1", "max_parallel_workers_per_gather": "0", "jit": "off"}
"""Settings of the planner. What pages read is in memory: with the server's costs, which are those of a disk, it reads whole
tables where an index has few rows. To start workers or to compile a query takes longer than most queries."""
_SESSION = """
    SELECT concat(pg_backend_pid(), ' ', (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()))
"""
"""Identifies the server's process. The pid alone is not enough: a proxy may balance over servers with equal pids."""


class Server:
    """A PostgreSQL database and how to reach it. Creating one connects to nothing."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        """`parameters` are libpq's, from the database URL."""
        self._parameters = dict(parameters)

    @property
    def database(self) -> str:
        """The database's name, as libpq determines it."""
        given = self._parameters
        return given.get("dbname") or os.environ.get("PGDATABASE") or given.get("user") or given.get("service") or "of the user"

    @property
    def name(self) -> str:
        """The database and its host in messages; never a password."""
        given = self._parameters
        host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST")
        if host is None and "service" in given:
            host = f"service {given['service']}"
        return f"The PostgreSQL database {self.database} on {(host or 'the local socket').replace(',', ', ')}"

    @contextmanager
    def translate_errors(self, problem: str) -> Iterator[None]:
        """Raise the driver's errors as StoreUnavailable, with the problem and its cause; StoreError if the driver is missing."""
        try:
            import psycopg
        except ModuleNotFoundError:
            raise StoreError(NO_DRIVER) from None
        try:
            yield
        except (psycopg.Error, OSError) as error:
            raise unavailable(f"{self.name} {problem}: {cause_of(error)}.", error) from error

    def connect(
        self, *, application: str | None = None, statement_timeout: timedelta = STATEMENT_TIMEOUT, context: Any = None
    ) -> psycopg.Connection[Any]:
        """Return a connection in autocommit mode, with the session's settings.

        `application` is its application_name, over that of the URL; `context` is psycopg's adaptation context. Raise
        DatabaseUnsuitable if the database's encoding cannot store every name, and the driver's errors.
        """
        import psycopg

        conn = psycopg.connect(**self.arguments(application, statement_timeout), autocommit=True, context=context)
        try:
            self._require_utf8(conn)
            settings = "; ".join(
                f"SET {name} = '{value}'" for name, value in self.settings(conn.info.server_version, statement_timeout)
            )
            _execute_within(conn, settings, CONNECT_TIMEOUT)
        except BaseException:
            conn.close()
            raise
        return conn

    def arguments(self, application: str | None, statement_timeout: timedelta = STATEMENT_TIMEOUT) -> dict[str, Any]:
        """Return the arguments of the driver's connect(). The session's settings must follow, see settings()."""
        arguments: dict[str, Any] = {**self._defaults(statement_timeout), **self._parameters}
        arguments["client_encoding"] = "UTF8"  # over PGCLIENTENCODING, which may name an encoding that does not exist
        if application is not None:
            arguments["application_name"] = application
        arguments["prepare_threshold"] = None  # not every pooler keeps the prepared statements of a session
        return arguments

    def _defaults(self, statement_timeout: timedelta) -> dict[str, Any]:
        """Return libpq's parameters that the URL can override."""
        several = "," in self._parameters.get("host", "") + self._parameters.get("hostaddr", "")
        return {
            "connect_timeout": int(CONNECT_TIMEOUT.total_seconds()),
            "application_name": APPLICATION,
            # These detect a server that vanished within seconds instead of hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": milliseconds(statement_timeout),
            # The lock must be held on the server that is written to, not on its replica, where it excludes no other daemon.
            **({"target_session_attrs": "read-write"} if several else {}),
        }

    def settings(self, server_version: int, statement_timeout: timedelta = STATEMENT_TIMEOUT) -> Iterator[tuple[str, object]]:
        """Yield the session's settings. They are sent with SET, because poolers refuse them among the parameters of a connection.

        Time limits and settings of the planner in the URL's `options` take precedence.
        """
        yield from _PINNED.items()
        limits: dict[str, object] = {
            "statement_timeout": milliseconds(statement_timeout),
            "lock_timeout": 0,  # the statement timeout bounds it: writers wait for each other
            "idle_in_transaction_session_timeout": milliseconds(IDLE_IN_TRANSACTION),
            **_DEAD_CLIENT,
            **_PLANNER,
        }
        if server_version >= 140_000:
            limits["idle_session_timeout"] = 0  # it would end the connection that holds the daemon's lock
        if server_version >= 170_000:
            limits["transaction_timeout"] = 0
        given = {name.lower() for name in re.findall(r"(?:-c\s*|--)([\w-]+)\s*=", self._parameters.get("options", ""))}
        yield from ((name, value) for name, value in limits.items() if name not in {each.replace("-", "_") for each in given})

    def _require_utf8(self, conn: psycopg.Connection[Any]) -> None:
        encoding = conn.info.parameter_status("server_encoding") or "UTF8"
        if encoding.upper().replace("-", "") != "UTF8":
            raise DatabaseUnsuitable(
                f"{self.name} has the encoding {encoding}, which cannot store every name. Create a database with the encoding "
                f"UTF8 and set database.url to it: createdb --template=template0 --encoding=UTF8 --locale=C NAME"
            )

    def require_sessions(self, conn: psycopg.Connection[Any]) -> None:
        """Raise DatabaseUnsuitable if a connection pooler in front of the server is not in session mode.

        `conn` is an idle connection of connect(). Directly and in session mode, a connection keeps one process of the server,
        which no other connection gets. Raise the driver's errors.
        """
        import psycopg

        # A pooler that uses its servers in turns shows another one the second time; others do so once their server is in use.
        seen = [_execute_within(conn, _SESSION, CONNECT_TIMEOUT) for _ in range(2)]
        with closing(self.connect()) as other:
            try:
                held = _execute_within(other, f"BEGIN; {_SESSION}", CONNECT_TIMEOUT)
            except psycopg.errors.ProtocolViolation:  # PgBouncer in statement mode refuses BEGIN
                held = seen[0]
            if held not in seen:
                seen.append(_execute_within(conn, _SESSION, CONNECT_TIMEOUT))
        if held in seen or len(set(seen)) > 1:
            raise DatabaseUnsuitable(
                f"{self.name} is behind a connection pooler that is not in session mode, so the daemon's lock would be lost. Set "
                "pool_mode = session in the pooler, or connect to PostgreSQL directly."
            )


def milliseconds(length: timedelta) -> int:
    """Return a time limit in the unit of PostgreSQL's settings."""
    return int(length.total_seconds() * 1000)


def _execute_within(conn: psycopg.Connection[Any], statements: str, limit: timedelta) -> str | None:
    """Run statements in one round trip and return the first value of the last one. Raise the driver's errors.

    The client enforces the limit: a pooler without a free server lets the client wait, without the server's statement_timeout.
    """
    import psycopg
    from psycopg.pq import ExecStatus

    pgconn, deadline = conn.pgconn, time.monotonic() + limit.total_seconds()
    pgconn.send_query(statements.encode())
    value = None
    readable = select.poll()  # select() refuses descriptors above 1023, which a process with many requests under way has
    readable.register(pgconn.socket, select.POLLIN)
    while True:
        while pgconn.is_busy():
            if not readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                conn.close()
                raise psycopg.OperationalError(
                    f"the first statement got no response for {limit.total_seconds():g} s (a pooler may have no free connection)"
                )
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return value
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result)
        if result.ntuples:
            value = (result.get_value(0, 0) or b"").decode()
