"""Schema migrations with Alembic, configured in code and run in one transaction: a migration that is killed is rolled back.

A new database gets its schema from `monitor.store.creation`. Alembic is loaded only where there is something to migrate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.pool import NullPool

import monitor
from monitor.domain.errors import SchemaOutOfDate, StoreError
from monitor.domain.imports import without
from monitor.store import creation, engines, revisions
from monitor.store.postgres import WRITERS_LOCK, Server

if TYPE_CHECKING:
    from alembic.config import Config

_LOCK = 0x746F6B656D6967  # one advisory lock per database, held by the process that migrates
_WAIT = timedelta(minutes=5)


def scripts() -> Path:
    """Return the folder of the migrations: inside the installed package, else in the repository. Raise StoreError."""
    package = Path(monitor.__file__).resolve().parent
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StoreError("The database migrations are missing from this installation: reinstall it.")


def configuration(conn: Connection | None = None) -> Config:
    """Return Alembic's configuration without a file; migrations/env.py takes the open connection from its attributes."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = conn
    return config


def upgrade(target: Path | Server, *, to: str = "head", before: Callable[[str], object] | None = None) -> bool:
    """Migrate the schema to a revision; return False if another process has done so. Raise the driver's errors.

    `before` is called with the database's revision, if it has one, before any change: no other process writes or migrates
    at that time, and an error that it raises changes nothing.
    """
    with _migrating(target) as conn:
        found = revisions.stored(conn)
        if found == revisions.HEAD:
            return False
        if found is not None and found not in revisions.KNOWN:
            raise SchemaOutOfDate(revisions.unknown(found))
        if found is not None and before is not None:
            before(found)
        if found is None and to == "head":
            creation.create(conn)
            return True
        _commands().upgrade(configuration(conn), to)
        if isinstance(target, Path):
            _require_references(conn)
    return True


def downgrade(target: Path | Server, *, to: str) -> None:
    """Downgrade the schema to an older revision ("base" for no schema)."""
    with _migrating(target) as conn:
        _commands().downgrade(configuration(conn), to)
        if isinstance(target, Path):
            _require_references(conn)


def _commands() -> Any:
    """Return Alembic's commands."""
    with without("pygments"):  # Mako, which Alembic loads, imports it for coloured errors: 4 MB
        from alembic import command

    return command


@contextmanager
def _migrating(target: Path | Server) -> Iterator[Connection]:
    """Return a new connection in one transaction that excludes other migrations: a second one waits."""
    if isinstance(target, Server):
        engine = engines.postgres_engine(target, pool=NullPool)
    else:
        # Rebuilding a table with foreign keys on would delete its children; the pragma cannot change inside a transaction.
        engine = engines.sqlite_engine(target, busy_timeout=_WAIT, foreign_keys=False)
    try:
        with engine.begin() as conn:
            if isinstance(target, Server):
                conn.exec_driver_sql(f"SET LOCAL lock_timeout = {int(_WAIT.total_seconds() * 1000)}")
                conn.exec_driver_sql("SET LOCAL statement_timeout = 0")  # an index of a large table takes as long as it takes
                conn.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                conn.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (WRITERS_LOCK,))  # daemons of a cluster write meanwhile
            yield conn
    finally:
        engine.dispose()


def _require_references(conn: Connection) -> None:
    broken = conn.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise StoreError(f"The migration would break references of table {broken[0]}: nothing was changed.")
