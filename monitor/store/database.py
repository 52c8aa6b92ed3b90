"""The store: engines, transactions, and the one way to run them off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from monitor.domain.errors import SchemaOutOfDate, StoreError, StoreUnavailable
from monitor.store import db_errors, engines, revisions, sqlite_file

log = structlog.get_logger(__name__)
T = TypeVar("T")


READERS = 4
_ONE_WRITER = 0x746F6B656D77
"""The advisory lock of whoever writes, for the length of a transaction."""


class Store:
    """One SQLite file or one PostgreSQL database. Making one opens nothing."""

    def __init__(self, url: str, *, busy_timeout: timedelta = timedelta(seconds=30)) -> None:
        """Raises StoreError where the URL names no database of the two kinds."""
        self.url = engines.parse_url(url)
        self.path: Path | None = None
        """The file of a SQLite database."""
        self._opened: tuple[int, int] | None = None
        if self.url.drivername == "sqlite":
            self.path = Path(self.url.database or "").absolute()
            self._writer = engines.sqlite_engine(self.path, busy_timeout=busy_timeout)
            self._readers = engines.sqlite_engine(self.path, busy_timeout=busy_timeout, readers=READERS)
        else:
            self._writer = engines.postgres_engine(self.url, pool_timeout=busy_timeout)
            self._readers = self._writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")

    def __repr__(self) -> str:
        return f"<Store {self.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    @property
    def name(self) -> str:
        """How messages call the database: its file, or its server and name, never a password."""
        if self.path is not None:
            return f"The database {self.path}"
        host = self.url.host or self.url.query.get("host") or "the local socket"
        return f"The PostgreSQL database {self.url.database} on {host}"

    @contextmanager
    def begin_write(self) -> Iterator[Connection]:
        """A connection in one transaction: committed when the block ends, rolled back when it raises.

        Raises StoreUnavailable where the database cannot be used for now, StoreError where it cannot be at all.
        An error at the very end leaves open whether the change was made: read it back. Writers wait for each other, on
        PostgreSQL as on SQLite: who decides by what it reads here decides by what the one before it wrote.
        """
        with self._connected(self._writer) as conn, conn.begin():
            if self.path is None:
                conn.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_ONE_WRITER,))
            yield conn

    @contextmanager
    def begin_read(self) -> Iterator[Connection]:
        """A connection that sees one consistent state and cannot write. Errors as with begin_write()."""
        with self._connected(self._readers) as conn, conn.begin():
            yield conn

    @contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        self._require_same_file()
        # The caller's own work inside the block may fail with an OSError too, which is none of the database's.
        with self._translate_errors(system=True):
            opened = engine.connect()
        with self._translate_errors(), opened as conn:
            self._remember_file()
            try:
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
        """An open file that was moved away would take our writes along without anybody seeing them again."""
        if self.path is None:
            return
        found = sqlite_file.identity(self.path)
        if self._opened is not None and found != self._opened:
            self._opened = None
            self._writer.dispose()
            self._readers.dispose()
            raise StoreUnavailable(f"{self.name} was moved, replaced or deleted while it was in use.")
        if found is None and sqlite_file.is_missing(self.path):
            raise StoreUnavailable(f"{self.name} does not exist: run `token-monitor db upgrade` to make it.")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one write transaction, in the store's one writer thread: writes queue up in order. Raises StoreError.

        Cancelling the wait does not stop the transaction: it runs to its end.
        """

        def transaction() -> T:
            with self.begin_write() as conn:
                return work(conn)

        return await asyncio.get_running_loop().run_in_executor(self._writing, transaction)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent state, in one of the store's reader threads. Raises StoreError."""

        def transaction() -> T:
            with self.begin_read() as conn:
                return work(conn)

        return await asyncio.get_running_loop().run_in_executor(self._reading, transaction)

    def close(self) -> None:
        """Finish what the threads are doing and close every connection. May be called twice."""
        self._writing.shutdown(wait=True)
        self._reading.shutdown(wait=True)
        self._readers.dispose()
        self._writer.dispose()

    def current(self) -> str | None:
        """The schema's revision in the database, None where there is no schema yet."""
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
            f"The database is at revision {found}, this version needs {revisions.HEAD}: run `token-monitor db upgrade`."
        )

    def upgrade(self, *, backup: bool = True) -> bool:
        """Bring the schema to this version's; True when there was something to do. Costs one small read when not.

        Makes the SQLite file where there is none, and copies it first where it is there (`backup`): without a copy there is
        no migration. Two processes at once: one waits for the other. Raises SchemaOutOfDate where a newer version has been
        at the database, StoreError where it cannot be copied.
        """
        if self.path is not None and sqlite_file.is_missing(self.path):
            with self._translate_errors(system=True):
                sqlite_file.create(self.path)
        self._protect()
        found = self.current()
        if found == revisions.HEAD:
            return False
        if found is not None and found not in revisions.KNOWN:
            raise SchemaOutOfDate(revisions.unknown(found))
        self._warn_of_network()
        from monitor.store import migrate

        with self._translate_errors(system=True):
            return migrate.upgrade(self.url, self.path, first=self._back_up if backup and self.path is not None else None)

    def _back_up(self, revision: str) -> None:
        from monitor.store.backup import before_migration

        assert self.path is not None  # noqa: S101 - only then is it called
        try:
            file = before_migration(self.path, revision, datetime.now(UTC))
        except StoreError as error:
            way = "Make room, or back it up yourself and run `token-monitor db upgrade --no-backup`."
            raise StoreError(f"Nothing was migrated, because no copy could be made first: {error} {way}") from error
        log.info("store.backed_up", file=str(file), revision=revision)

    def _protect(self) -> None:
        for path, mode in (sqlite_file.protect(self.path) if self.path is not None else {}).items():
            left = sqlite_file.is_open_to_others(path)
            advice = "It belongs to somebody else: have them chmod 600 it." if left else "Now its owner alone may read it."
            log.warning("store.open_to_others", path=str(path), mode=f"{mode:04o}", advice=advice)

    def shrink(self) -> None:
        """Return the space of deleted rows to the disk (SQLite only; PostgreSQL vacuums itself). Errors as with begin_write()."""
        if self.path is None:
            return
        with self._translate_errors(system=True), self._writer.connect() as conn:
            raw = conn.connection.driver_connection
            assert raw is not None  # noqa: S101 - it is connected
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                raw.execute(statement)

    def _warn_of_network(self) -> None:
        kind = sqlite_file.network_filesystem(self.path) if self.path else None
        if kind is not None:
            log.warning(
                "store.network_filesystem",
                path=str(self.path),
                filesystem=kind,
                advice="SQLite may lose data on a network filesystem: keep the database on a local disk or use PostgreSQL.",
            )


def open_store(url: str, *, upgrade: bool = True) -> Store:
    """A store whose schema is this version's: brought there where `upgrade`, else required. Errors as with Store."""
    store = Store(url)
    try:
        if upgrade:
            store.upgrade()
        else:
            store.require_current()
    except StoreError:
        store.close()
        raise
    return store
