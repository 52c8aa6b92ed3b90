"""The lock that allows one daemon per database. The operating system or the server releases it when its holder dies."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from monitor.domain import utc_text
from monitor.domain.errors import StoreHeld, StoreUnavailable
from monitor.domain.records import Record
from monitor.store import engines, sqlite_file
from monitor.store.db_errors import unavailable
from monitor.store.postgres import Server

if TYPE_CHECKING:
    import psycopg

_KEY = 0x746F6B656E6D6F6E  # one advisory lock per PostgreSQL database
_HOLDER = """
    SELECT a.application_name, a.backend_start FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32) + l.objid::bigint = %s
"""
_NAME_BYTES = 63  # PostgreSQL cuts application_name here
_PATIENCE = timedelta(seconds=10)
"""Statement timeout: a standby daemon must notice soon that the server is gone."""


class Holder(Record, frozen=True, kw_only=True):
    """The process that holds the lock of a database."""

    pid: int | None
    host: str | None
    since: datetime | None

    def __str__(self) -> str:
        who = f"process {self.pid or 'unknown'} on {self.host or 'an unknown host'}"
        return f"{who}, since {utc_text(self.since)}" if self.since else who


class _Lock(Protocol):
    name: str

    def try_acquire(self, me: Holder) -> bool: ...
    def is_alive(self) -> bool: ...
    def release(self) -> None: ...
    def holder(self) -> Holder | None: ...
    def watch_holder(self, me: Holder) -> Holder | None: ...


class DaemonLock:
    """The lock of the one daemon on a database. It is released when the process ends, even by kill -9."""

    def __init__(self, url: str, *, pid: int | None = None, host: str | None = None) -> None:
        """Open nothing. Raise StoreError if the URL names neither a SQLite file nor a PostgreSQL database."""
        parsed = engines.parse_url(url)
        self._pid = os.getpid() if pid is None else pid
        self._host = socket.gethostname() if host is None else host
        self._lock: _Lock = _FileLock(parsed) if isinstance(parsed, Path) else _ServerLock(parsed)
        self.can_wait = isinstance(self._lock, _ServerLock)
        """True if several daemons can share the database: one active, the others on standby."""

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()

    def acquire(self, now: datetime | None = None) -> None:
        """Take the lock; `now` is shown to others as its time. Do nothing if this process holds it already.

        Raise StoreHeld, with the holder, or StoreUnavailable if the lock cannot be accessed.
        """
        if self._lock.is_alive():
            return
        if self._lock.try_acquire(Holder(pid=self._pid, host=self._host, since=now or datetime.now(UTC))):
            return
        holder = self._lock.holder()
        detail = f" ({holder})" if holder else ""
        raise StoreHeld(
            f"Another token-monitor{detail} uses {self._lock.name}: only one daemon can use it at a time. "
            "Stop that one first, or set another database.url."
        )

    def keep(self, now: datetime | None = None) -> None:
        """Check that the lock is still held, and take it again if the server dropped it. Raise as acquire() does."""
        if not self._lock.is_alive():
            self._lock.release()
            self.acquire(now)

    def release(self) -> None:
        """Release the lock and close the connection of watch_holder(). Do nothing if there is neither."""
        self._lock.release()

    def watch_holder(self) -> Holder | None:
        """Return the holder like holder(), over a connection that stays open until release(), for repeated calls."""
        return self._lock.watch_holder(Holder(pid=self._pid, host=self._host, since=None))

    def holder(self) -> Holder | None:
        """Return the current holder, None if there is none. Raise StoreUnavailable if it cannot be determined."""
        return self._lock.holder()


class _FileLock:
    """A flock on a file beside the database. Releasing keeps the file: after deleting it, two processes could hold locks."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self.name = f"the database {database}"
        self._file: int | None = None

    def try_acquire(self, me: Holder) -> bool:
        try:
            sqlite_file.make_folder(self.path.parent)
            file = sqlite_file.open_private(self.path)
        except OSError as error:
            raise _unusable(self.path, error) from error
        if not _locked(file):
            os.close(file)
            return False
        with suppress(OSError):  # a full disk costs only the name of the holder
            os.ftruncate(file, 0)
            os.pwrite(file, f"{me.pid} {me.host} {utc_text(me.since)}\n".encode(), 0)
        self._file = file
        return True

    def is_alive(self) -> bool:
        return self._file is not None

    def release(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):  # a full disk must not keep the lock
            os.ftruncate(self._file, 0)
        os.close(self._file)
        self._file = None

    def holder(self) -> Holder | None:
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _parse_holder(os.pread(file, 500, 0).decode("utf-8", "replace"))
        else:
            return None
        finally:
            os.close(file)

    def watch_holder(self, me: Holder) -> Holder | None:  # noqa: ARG002 - only a server shows who asks
        return self.holder()


def _locked(file: int) -> bool:
    """Return True if the lock was taken. Reading the holder takes it for an instant, so a failure is retried."""
    for pause in (0.02, 0.05, None):
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if pause is not None:
            time.sleep(pause)
    return False


def _unusable(path: Path, error: OSError) -> StoreUnavailable:
    """Return the error of a lock file that cannot be opened, with its owner and what to do."""
    return unavailable(f"The lock file {path} cannot be opened: {error.strerror}{sqlite_file.describe_access(path)}.", error)


def _parse_holder(text: str) -> Holder:
    pid, _, rest = text.strip().partition(" ")
    host, _, since = rest.partition(" ")
    instant = None
    with suppress(ValueError):
        instant = datetime.fromisoformat(since)
    return Holder(pid=int(pid) if pid.isdecimal() else None, host=host or None, since=instant)


class _ServerLock:
    """An advisory lock on a separate connection, whose application_name identifies this process.

    The server releases it when the connection ends, so it cannot outlive its holder.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.name = f"the PostgreSQL database {server.database}"
        self._conn: psycopg.Connection[Any] | None = None
        self._watcher: psycopg.Connection[Any] | None = None

    def _connect(self, application: str | None = None) -> psycopg.Connection[Any]:
        return self._server.connect(application=application, statement_timeout=_PATIENCE)

    def try_acquire(self, me: Holder) -> bool:
        with self._server.translate_errors("cannot be reached for its lock"), ExitStack() as stack:
            conn = stack.enter_context(closing(self._connect(_application_name("token-monitor", me))))
            self._server.require_sessions(conn)
            row = conn.execute("SELECT pg_try_advisory_lock(%s)", (_KEY,)).fetchone()
            if row is None or not row[0]:
                return False
            stack.pop_all()
        self._conn = conn
        return True

    def is_alive(self) -> bool:
        if self._conn is None:
            return False
        import psycopg

        try:
            self._conn.execute("SELECT 1")
        except (psycopg.Error, OSError):
            return False
        return True

    def release(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None
        self._close_watch()

    def holder(self) -> Holder | None:
        with self._server.translate_errors("cannot be reached for its lock"), closing(self._connect()) as conn:
            return _read_holder(conn)

    def watch_holder(self, me: Holder) -> Holder | None:
        if self._watcher is None:
            with self._server.translate_errors("cannot be reached for its lock"):
                self._watcher = self._connect(_application_name("token-monitor standby", me))
        try:
            with self._server.translate_errors("does not report the holder of its lock"):
                return _read_holder(self._watcher)
        except StoreUnavailable:
            self._close_watch()
            raise

    def _close_watch(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None


def _application_name(name: str, me: Holder) -> str:
    """Return the name of this process in pg_stat_activity."""
    prefix = f"{name} {me.pid} ".encode()
    return (prefix + (me.host or "").encode()[: _NAME_BYTES - len(prefix)]).decode("utf-8", "ignore")


def _read_holder(conn: psycopg.Connection[Any]) -> Holder | None:
    row = conn.execute(_HOLDER, (_KEY,)).fetchone()
    if row is None:
        return None
    found = re.fullmatch(r"token-monitor (\d+) (.*)", row[0] or "")
    return Holder(pid=int(found[1]) if found else None, host=(found[2] or None) if found else None, since=row[1].astimezone(UTC))
