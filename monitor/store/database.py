"""Store: the database's engines, its transactions, and how to run them off the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from monitor.domain.errors import SchemaOutOfDate, StoreError, StoreUnavailable
from monitor.domain.threads import DaemonExecutor, NoThread
from monitor.store import db_errors, engines, migrate, revisions, sqlite_file
from monitor.store.postgres import WRITERS_LOCK, Server, milliseconds

log = structlog.get_logger(__name__)
T = TypeVar("T")

READERS = 4

_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_BEGIN_WRITE = f"BEGIN; SELECT pg_advisory_xact_lock({WRITERS_LOCK})"
"""In one round trip. The isolation is READ COMMITTED: what follows sees what the previous holder of the lock wrote."""


class Store:
    """One SQLite file or one PostgreSQL database. Creating a Store opens nothing."""

    def __init__(self, url: str, *, busy_timeout: timedelta = timedelta(seconds=30)) -> None:
        """Raise StoreError if the URL names neither a SQLite file nor a PostgreSQL database."""
        self.target = engines.parse_url(url)
        """The file of a SQLite database, or the PostgreSQL database."""
        self.path: Path | None = None
        """The file of a SQLite database; None for PostgreSQL."""
        self._opened: tuple[int, int] | None = None
        if isinstance(self.target, Path):
            self.path = self.target
            self._writer = engines.sqlite_engine(self.path, busy_timeout=busy_timeout)
            self._readers = engines.sqlite_engine(self.path, busy_timeout=busy_timeout, readers=READERS)
        else:
            self._writer = engines.postgres_engine(self.target, pool_timeout=busy_timeout)
            self._readers = self._writer
        self.checks_schema = False
        """True if another daemon may migrate the database meanwhile: nothing is written to another version's schema then."""
        self.write_idle_limit: timedelta | None = None
        """Time after which PostgreSQL ends a write that its process does not continue; None for the session's limit."""
        self._writing = DaemonExecutor(1, name="store-write")
        self._reading = DaemonExecutor(READERS, name="store-read")

    def __repr__(self) -> str:
        return f"<Store {self.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The database in messages: its file, or its name and server; never a password."""
        return f"The database {self.target}" if isinstance(self.target, Path) else self.target.name

    @property
    def server(self) -> Server:
        """The PostgreSQL server. Raise StoreError for SQLite."""
        if isinstance(self.target, Path):
            raise StoreError("A cluster needs PostgreSQL: set database.url to a postgresql:// URL.")
        return self.target

    @contextmanager
    def begin_write(self) -> Iterator[Connection]:
        """Return a connection in one transaction: committed when the block ends, rolled back when it raises.

        Raise StoreUnavailable if the database cannot be used for now, StoreError if it cannot be used at all. After an
        error in the commit it is unknown if the change was made: read it back. Writers wait for each other, on PostgreSQL
        as on SQLite, so that each reads what the previous one wrote.
        """
        begin = _BEGIN_WRITE
        if self.write_idle_limit is not None:
            begin += f"; SET LOCAL idle_in_transaction_session_timeout = {milliseconds(self.write_idle_limit)}"
        with self._transaction(self._writer, begin) as conn:
            if self.checks_schema:
                self.check_revision(conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())
            yield conn

    @contextmanager
    def begin_read(self) -> Iterator[Connection]:
        """Return a read-only connection that sees one consistent state. Raise as begin_write() does."""
        with self._transaction(self._readers, _BEGIN_READ) as conn:
            yield conn

    @contextmanager
    def _transaction(self, engine: Engine, begin: str) -> Iterator[Connection]:
        """Return a connection in a transaction, on PostgreSQL begun by this statement."""
        self._require_same_file()
        # An OSError of the caller's own code inside the block is not an error of the database.
        with self._translate_errors(system=True):
            opened = engine.connect() if self.path is not None else engines.begin(engine, begin)
        with self._translate_errors(), opened as conn:
            self._remember_file()
            try:
                with conn.get_transaction() or conn.begin():
                    yield conn
            except DBAPIError as error:
                if db_errors.is_poisoned(error):
                    conn.invalidate(error)
                raise

    def _translate_errors(self, *, system: bool = False) -> AbstractContextManager[None]:
        path = self.path
        hint = lambda: "" if path is None else sqlite_file.describe_access(path)  # noqa: E731 - looked up only when needed
        return db_errors.translate_errors(where=self.name, hint=hint, system=system)

    def _remember_file(self) -> None:
        if self.path is not None and self._opened is None:
            self._opened = sqlite_file.identity(self.path)

    def _require_same_file(self) -> None:
        """Raise StoreUnavailable if the file was moved, replaced or deleted: writes to the open file would be lost."""
        if self.path is None:
            return
        found = sqlite_file.identity(self.path)
        if self._opened is not None and found != self._opened:
            self._opened = None
            self._writer.dispose()
            self._readers.dispose()
            raise StoreUnavailable(f"{self.name} was moved, replaced or deleted while it was in use.")
        if found is None and sqlite_file.is_missing(self.path):
            raise StoreUnavailable(f"{self.name} does not exist: run `token-monitor db upgrade` to create it.")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one write transaction, in the store's one writer thread: writes queue up in order. Raise StoreError.

        Cancelling the call does not stop the transaction: it runs to its end.
        """

        def transaction() -> T:
            with self.begin_write() as conn:
                return work(conn)

        return await self._call(self._writing, transaction)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent state, in one of the store's reader threads. Raise StoreError."""

        def transaction() -> T:
            with self.begin_read() as conn:
                return work(conn)

        return await self._call(self._reading, transaction)

    async def _call(self, executor: DaemonExecutor, transaction: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, transaction)
        except NoThread as error:
            raise StoreUnavailable(f"{self.name} cannot be used: {error}.") from None

    def close(self, *, within: timedelta | None = None) -> None:
        """Wait for the running transactions and close every connection. A second call does nothing.

        `within` limits the wait, for a server that does not respond: a transaction that is still running is then undone when
        the process ends.
        """
        deadline = None if within is None else time.monotonic() + within.total_seconds()
        for executor in (self._writing, self._reading):
            executor.shutdown(within=None if deadline is None else timedelta(seconds=deadline - time.monotonic()))
        self._readers.dispose()
        self._writer.dispose()

    def current(self) -> str | None:
        """Return the revision of the schema in the database, None if there is no schema yet."""
        if self.path is not None and sqlite_file.is_missing(self.path):
            return None
        with self.begin_read() as conn:
            return revisions.stored(conn)

    def require_current(self) -> None:
        """Raise SchemaOutOfDate, with the remedy, unless the schema is the one of this version."""
        self.check_revision(self.current())

    def check_revision(self, found: str | None) -> None:
        """Raise SchemaOutOfDate, with the remedy, unless this revision of the schema is the one of this version."""
        if found == revisions.HEAD:
            return
        if found is None:
            raise SchemaOutOfDate(f"{self.name} has no tables yet: run `token-monitor db upgrade`.")
        if found not in revisions.KNOWN:
            raise SchemaOutOfDate(revisions.unknown(found))
        raise SchemaOutOfDate(
            f"The database is at revision {found}; this version needs {revisions.HEAD}: run `token-monitor db upgrade`."
        )

    def upgrade(self, *, copy_first: bool = True, check_sessions: bool = True) -> bool:
        """Migrate the schema to this version's and return True; if it is current, read one row and return False.

        Create the SQLite file if it does not exist; copy an existing one first (`copy_first`), and do not migrate if that
        fails. A second process waits. Raise SchemaOutOfDate if a newer version has migrated the database, StoreError if
        the copy fails, and DatabaseUnsuitable if a pooler in front of PostgreSQL is not in session mode. `check_sessions` is
        False for a process that holds the database's lock, or has tried to take it: that checks the same.
        """
        if self.path is not None and sqlite_file.is_missing(self.path):
            with self._translate_errors(system=True):
                sqlite_file.create(self.path)
        self._protect()
        if check_sessions:
            self._require_sessions()
        found = self.current()
        if found == revisions.HEAD:
            return False
        if found is not None and found not in revisions.KNOWN:
            raise SchemaOutOfDate(revisions.unknown(found))
        self._warn_of_network()
        with self._translate_errors(system=True):
            return migrate.upgrade(self.target, before=self._write_copy if copy_first and self.path is not None else None)

    def _require_sessions(self) -> None:
        if isinstance(self.target, Path):
            return
        with self.target.translate_errors("is unavailable"), closing(self.target.connect()) as conn:
            self.target.require_sessions(conn)

    def _write_copy(self, revision: str) -> None:
        assert self.path is not None  # noqa: S101 - only then is it called
        try:
            file = sqlite_file.before_migration(self.path, revision, datetime.now(UTC))
        except StoreError as error:
            advice = "Free some space, or make a backup yourself and run `token-monitor db upgrade --no-backup`."
            raise StoreError(f"The database was not migrated, because it could not be copied first: {error} {advice}") from error
        log.info("store.backed_up", file=str(file), revision=revision)

    def _protect(self) -> None:
        for path, mode in (sqlite_file.protect(self.path) if self.path is not None else {}).items():
            left = sqlite_file.is_open_to_others(path)
            advice = "It belongs to another user, who must run chmod 600 on it." if left else "Now only its owner can read it."
            log.warning("store.open_to_others", path=str(path), mode=f"{mode:04o}", advice=advice)

    def backup(self, file: Path) -> int:
        """Copy a SQLite database into a new file and return its size in bytes.

        Raise StoreError if the file exists or cannot be written, and for PostgreSQL, which has its own tool.
        """
        if self.path is None:
            raise StoreError("Back up a PostgreSQL database with its own tool: run pg_dump.")
        sqlite_file.require_free(file)
        with self.begin_read() as conn:
            source: Any = conn.connection.driver_connection
            return sqlite_file.copy(source, file)

    def shrink(self) -> bool:
        """Return the space of deleted rows to the disk (SQLite only; PostgreSQL vacuums itself). Raise as begin_write() does.

        Return False if a reader kept the log of SQLite from being emptied, so that it may still contain deleted rows.
        """
        if self.path is None:
            return True
        with self._translate_errors(system=True), self._writer.connect() as conn:
            raw = conn.connection.driver_connection
            assert raw is not None  # noqa: S101 - it is connected
            raw.execute("VACUUM")
            [busy, *_] = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def _warn_of_network(self) -> None:
        kind = sqlite_file.network_filesystem(self.path) if self.path else None
        if kind is not None:
            log.warning(
                "store.network_filesystem",
                path=str(self.path),
                filesystem=kind,
                advice="SQLite can lose data on a network filesystem: keep the database on a local disk, or use PostgreSQL.",
            )


def open_store(url: str, *, upgrade: bool = True, check_sessions: bool = True) -> Store:
    """Return a store whose schema is this version's: migrated if `upgrade`, else required. Raise as Store.upgrade() does."""
    store = Store(url)
    try:
        if upgrade:
            store.upgrade(check_sessions=check_sessions)
        else:
            store.require_current()
    except StoreError:
        store.close()
        raise
    return store
