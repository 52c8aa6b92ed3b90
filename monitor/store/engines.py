"""SQLAlchemy engines for SQLite and PostgreSQL: how connections are opened and transactions begin."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, Pool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from monitor.config.database_urls import parse
from monitor.config.secrets import UnusableError
from monitor.domain.errors import StoreError
from monitor.store.postgres import NO_DRIVER, Server


def parse_url(text: str) -> Path | Server:
    """Return the SQLite file, absolute, or the PostgreSQL database of a URL. Raise StoreError, without the URL's text."""
    try:
        target = parse(text)
    except UnusableError as error:
        raise StoreError(f"The database URL {error}") from None
    return Server(target) if isinstance(target, dict) else target.absolute()


def sqlite_engine(path: Path, *, busy_timeout: timedelta, readers: int | None = None, foreign_keys: bool = True) -> Engine:
    """Return an engine for an existing file (it never creates one).

    `readers` is the number of read-only connections. Without it the engine has one writer, whose transactions take the
    write lock when they begin: a plain BEGIN that upgrades later loses updates or fails.
    """

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw",
            uri=True,
            timeout=busy_timeout.total_seconds(),
            isolation_level=None,
            check_same_thread=False,
        )

    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        creator=connect,
        poolclass=QueuePool,
        pool_size=readers or 1,
        max_overflow=0,
        pool_timeout=busy_timeout.total_seconds(),
        hide_parameters=True,
    )
    last = "query_only=ON" if readers else "synchronous=FULL"
    pragmas = (f"foreign_keys={'ON' if foreign_keys else 'OFF'}", "temp_store=MEMORY", "journal_size_limit=16777216", last)
    begin = "BEGIN" if readers else "BEGIN IMMEDIATE"

    @event.listens_for(engine, "connect")
    def prepare(raw: Any, _record: Any) -> None:
        if not readers and raw.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            raw.execute("PRAGMA journal_mode=WAL")
        for pragma in pragmas:
            raw.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    return engine


def postgres_engine(server: Server, *, pool: type[Pool] = QueuePool, pool_timeout: timedelta = timedelta(seconds=30)) -> Engine:
    """Return an engine for a PostgreSQL server, with a limit for every wait.

    Without a pool, a transaction begins with its first statement; the connections of a pool are in autocommit mode, and a
    transaction begins by begin().
    """
    sized = {} if pool is NullPool else {"pool_size": 4, "max_overflow": 4, "pool_timeout": pool_timeout.total_seconds()}
    try:
        engine = create_engine(
            "postgresql+psycopg://",
            poolclass=pool,
            hide_parameters=True,
            use_native_hstore=False,  # which each process would ask the server for
            **sized,
        )
    except ModuleNotFoundError:
        raise StoreError(NO_DRIVER) from None

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, _positional: Any, given: dict[str, Any]) -> Any:
        conn = server.connect(context=given.get("context"))
        conn.autocommit = pool is not NullPool
        return conn

    return engine


def begin(engine: Engine, statement: str) -> Connection:
    """Return a connection of a PostgreSQL engine's pool on which `statement` has begun a transaction.

    It is sent a second time, on a new connection, if the first one was lost while it was idle: nothing was changed by then.
    """
    try:
        return _begin(engine, statement)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return _begin(engine, statement)


def _begin(engine: Engine, statement: str) -> Connection:
    conn = engine.connect()
    try:
        conn.begin()
        conn.exec_driver_sql(statement, execution_options={"no_parameters": True})
    except BaseException:
        conn.close()
        raise
    return conn
