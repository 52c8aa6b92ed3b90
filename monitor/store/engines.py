"""SQLAlchemy engines for SQLite and PostgreSQL: how connections are opened and transactions begin."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, Pool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, QueuePool

from monitor.domain.errors import StoreError

NO_DRIVER = "PostgreSQL needs its driver: pip install 'psycopg[binary]' where token-monitor is installed."
APPLICATION = "token-monitor"
CONNECT_TIMEOUT = timedelta(seconds=5)
STATEMENT_TIMEOUT = timedelta(seconds=30)
DEAD_CLIENT = {"tcp_keepalives_idle": 5, "tcp_keepalives_interval": 3, "tcp_keepalives_count": 4, "tcp_user_timeout": 17_000}
"""Settings of the server: a client machine that vanishes holds its locks for at most 17 seconds."""


def parse_url(text: str) -> URL:
    """Return the URL of a SQLite file or a PostgreSQL database. Raise StoreError, without the URL's text, for any other."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise StoreError("The database URL is invalid: write sqlite:///file or postgresql://user@host/name.") from None
    backend = url.drivername.partition("+")[0]
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreError(f"The database kind {backend} is not supported: use sqlite or postgresql.")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise StoreError("The SQLite database needs a file, for example sqlite:///monitor.db.")
    return url.set(drivername="sqlite")


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


def postgres_engine(url: URL, *, pool: type[Pool] = QueuePool, pool_timeout: timedelta = timedelta(seconds=30)) -> Engine:
    """Return an engine for a PostgreSQL server: every wait has a limit, and a lost connection is replaced automatically."""
    sized = {} if pool is NullPool else {"pool_size": 4, "max_overflow": 4, "pool_timeout": pool_timeout.total_seconds()}
    try:
        return create_engine(
            url,
            poolclass=pool,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=connect_arguments(url, application=APPLICATION),
            **sized,
        )
    except ModuleNotFoundError:
        raise StoreError(NO_DRIVER) from None


def connect_arguments(url: URL, *, application: str, statement_timeout: timedelta = STATEMENT_TIMEOUT) -> dict[str, Any]:
    """Return psycopg's arguments in addition to the URL; settings in the URL take precedence."""
    given = url.query.get("options", "")
    options = given if isinstance(given, str) else " ".join(given)
    milliseconds = int(statement_timeout.total_seconds() * 1000)
    defaults = {
        "connect_timeout": int(CONNECT_TIMEOUT.total_seconds()),
        "application_name": application,
        # These detect a server that vanished within seconds instead of hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": milliseconds,
    }
    arguments = {name: value for name, value in defaults.items() if name not in url.query}
    server = {"timezone": "UTC", "statement_timeout": milliseconds, **DEAD_CLIENT}
    settings = " ".join(f"-c {name}={value}" for name, value in server.items())
    return {**arguments, "options": f"{settings} {options}".strip()}
