"""Translation of driver errors: StoreUnavailable (temporary), StoreRefused (until an operator changes something), StoreError."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from monitor.domain.errors import StoreError, StoreRefused, StoreUnavailable

# SQLite's primary result codes: busy, locked, no memory, read-only, interrupted, I/O error, full, cannot open.
_PASSING_SQLITE = frozenset({5, 6, 7, 8, 9, 10, 13, 14})
_REFUSED_SQLITE = frozenset({8, 14})
_REFUSED_FILE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
_CORRUPT_SQLITE = frozenset({11, 26})
_FULL_SQLITE = 13
# After these the open connection cannot be trusted: I/O error (an fsync may have lied), corrupt, not a database.
_POISONED_SQLITE = frozenset({10, 11, 26})
# PostgreSQL's SQLSTATE classes: connection, transaction rollback, resources, object in use, intervention, system.
_PASSING_POSTGRES = ("08", "40", "53", "55", "57", "58", "XX")
_READ_ONLY_POSTGRES = "25006"
# Failed attempts to connect have no SQLSTATE. A server with another lc_messages is waited for instead, and alerted.
_REFUSED_POSTGRES = re.compile(
    r"password authentication failed|no password supplied|(?:role|user|database) \"[^\"]*\" does not exist"
    r"|no such (?:database|user)|pg_hba\.conf|is not permitted to log in|permission denied for database|certificate"
    r"|does not support SSL",
    re.IGNORECASE,
)


def cause_of(error: BaseException) -> str:
    """Return the cause in one line without its full stop: of several attempts to connect, that of each host."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    attempts = [line.removeprefix("- ") for line in lines if line.startswith("- host: ")]
    causes = list(dict.fromkeys(each.partition("connection failed: ")[2] or each for each in attempts))
    text = "; ".join(causes or lines[:1]) or type(error).__name__
    return text.removeprefix("connection failed: ")[:400].rstrip(". ")


def _sqlite_code(error: BaseException | None) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_poisoned(error: exc.DBAPIError) -> bool:
    """Return True if the connection that raised this error must be closed."""
    return _sqlite_code(error.orig) in _POISONED_SQLITE


def unavailable(message: str, error: BaseException) -> StoreUnavailable:
    """Return the error for a database, a server or a file that cannot be used: StoreRefused if waiting cannot help."""
    if isinstance(error, sqlite3.Error):
        refused = _sqlite_code(error) in _REFUSED_SQLITE
    elif isinstance(error, OSError):
        refused = error.errno in _REFUSED_FILE
    else:
        refused = _REFUSED_POSTGRES.search(str(error)) is not None
    return StoreRefused(message) if refused else StoreUnavailable(message)


def store_error(error: Exception, *, where: str, hint: str) -> StoreError:
    """Return the StoreError for an error of a database or its driver.

    `where` names the database without secrets; `hint` describes a file that cannot be used.
    """
    if isinstance(error, exc.TimeoutError):
        return StoreUnavailable(f"{where} is busy: all connections to it are in use.")
    if isinstance(error, OSError):
        return unavailable(f"{where} cannot be reached: {cause_of(error)}.", error)
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return _sqlite_error(cause, where=where, hint=hint)
    return _server_error(error, cause, where=where)


def _sqlite_error(cause: sqlite3.Error, *, where: str, hint: str) -> StoreError:
    code, detail = _sqlite_code(cause), cause_of(cause)
    if code in _CORRUPT_SQLITE:
        return StoreError(f"{where} is damaged ({detail}): stop the monitor and restore a backup of the file.")
    if code in (5, 6):
        return StoreUnavailable(f"{where} is locked by another process: {detail}.")
    if code == _FULL_SQLITE:
        return StoreUnavailable(
            f"{where} cannot be written: {detail}. Free space on its disk; the daemon then continues automatically."
        )
    if code in _PASSING_SQLITE:
        return unavailable(f"{where} is unavailable: {detail}{hint}.", cause)
    return StoreError(f"{where} refused a statement: {detail}.")


def _server_error(error: Exception, cause: BaseException | None, *, where: str) -> StoreError:
    detail = cause_of(cause or error)
    state = getattr(cause, "sqlstate", None)
    if state == _READ_ONLY_POSTGRES:
        return StoreUnavailable(f"{where} is read-only for now: {detail}.")
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    unreached = state is None and isinstance(error, exc.OperationalError | exc.InterfaceError)
    if lost or unreached or (state or "").startswith(_PASSING_POSTGRES):
        return unavailable(f"{where} is unavailable: {detail}.", cause or error)
    return StoreError(f"{where} refused a statement: {detail}.")


@contextmanager
def translate_errors(*, where: str, hint: Callable[[], str], system: bool = False) -> Iterator[None]:
    """Raise errors of the database or its driver as StoreError; other errors pass unchanged.

    `system` includes the operating system's errors, for blocks that only access the database.
    """
    kinds = (exc.SQLAlchemyError, sqlite3.Error, OSError) if system else (exc.SQLAlchemyError, sqlite3.Error)
    try:
        yield
    except kinds as error:
        raise store_error(error, where=where, hint=hint()) from error
