"""Bringing the schema up to date with Alembic, set up in code and in one transaction: killed half-way, it never happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection
from sqlalchemy.pool import NullPool

import monitor
from monitor.domain.errors import SchemaOutOfDate, StoreError
from monitor.store import engines, revisions

_LOCK = 0x746F6B656D6967  # one advisory lock per database, held by whoever migrates
_WAIT = timedelta(minutes=5)


def scripts() -> Path:
    """The folder of the migrations: inside the installed package, else the repository's own."""
    package = Path(monitor.__file__).resolve().parent
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StoreError("The database migrations are missing from this installation: install it again.")


def configuration(conn: Connection | None = None) -> Config:
    """Alembic's configuration without a file; migrations/env.py takes the open connection from its attributes."""
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = conn
    return config


def upgrade(url: URL, path: Path | None, *, to: str = "head", first: Callable[[str], object] | None = None) -> bool:
    """Bring the schema to a revision; False when another process had done it meanwhile. Raises the driver's own errors.

    `first` is called with the revision that the database is at, where it has one, before anything changes: nobody else
    writes or migrates meanwhile, and what it raises leaves everything as it is.
    """
    with _migrating(url, path) as conn:
        found = revisions.stored(conn)
        if found == revisions.HEAD:
            return False
        if found is not None and found not in revisions.KNOWN:
            raise SchemaOutOfDate(revisions.unknown(found))
        if found is not None and first is not None:
            first(found)
        command.upgrade(configuration(conn), to)
        if path is not None:
            _require_references(conn)
    return True


def downgrade(url: URL, path: Path | None, *, to: str) -> None:
    """Take the schema back to an older revision ("base" for none)."""
    with _migrating(url, path) as conn:
        command.downgrade(configuration(conn), to)
        if path is not None:
            _require_references(conn)


@contextmanager
def _migrating(url: URL, path: Path | None) -> Iterator[Connection]:
    """A connection of its own in one transaction that no other migration shares: the second one waits."""
    if path is None:
        engine = engines.postgres_engine(url, pool=NullPool)
    else:
        # Rebuilding a table with foreign keys on would delete its children; the pragma cannot change inside a transaction.
        engine = engines.sqlite_engine(path, busy_timeout=_WAIT, foreign_keys=False)
    try:
        with engine.begin() as conn:
            if path is None:
                conn.exec_driver_sql(f"SET LOCAL statement_timeout = {int(_WAIT.total_seconds() * 1000)}")
                conn.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            yield conn
    finally:
        engine.dispose()


def _require_references(conn: Connection) -> None:
    broken = conn.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise StoreError(f"The migration would leave rows of {broken[0]} without what they belong to: nothing was changed.")
