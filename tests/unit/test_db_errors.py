"""Errors of a database that pass without intervention, and those that an operator has to correct."""

from __future__ import annotations

import errno
import sqlite3

import pytest

from monitor.domain.errors import StoreRefused, StoreUnavailable
from monitor.store.db_errors import unavailable


def sqlite_error(code: int) -> sqlite3.Error:
    made = sqlite3.OperationalError("failed")
    made.sqlite_errorcode = code
    return made


@pytest.mark.parametrize(
    "error",
    [
        Exception("connection to server at 127.0.0.1, port 5432 failed: Connection refused"),
        Exception("FATAL:  the database system is starting up"),
        Exception("FATAL:  the database system is in recovery mode"),
        Exception("FATAL:  sorry, too many clients already"),
        Exception("connection timeout expired"),
        Exception("failed to resolve host 'db.example': [Errno -3] Temporary failure in name resolution"),
        Exception("server closed the connection unexpectedly"),
        Exception("session is read-only"),
        sqlite_error(sqlite3.SQLITE_FULL),
        sqlite_error(sqlite3.SQLITE_BUSY),
        sqlite_error(sqlite3.SQLITE_IOERR),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ],
    ids=str,
)
def test_a_temporary_error_is_waited_for(error: Exception) -> None:
    assert type(unavailable("It is away.", error)) is StoreUnavailable


@pytest.mark.parametrize(
    "error",
    [
        Exception('FATAL:  password authentication failed for user "monitor"'),
        Exception("fe_sendauth: no password supplied"),
        Exception('FATAL:  database "monitor" does not exist'),
        Exception('FATAL:  role "monitor" does not exist'),
        Exception("FATAL:  no such database: monitor"),
        Exception('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "monitor", database "monitor"'),
        Exception('FATAL:  role "monitor" is not permitted to log in'),
        Exception('FATAL:  permission denied for database "monitor"'),
        Exception("SSL error: certificate verify failed"),
        Exception("server does not support SSL, but SSL was required"),
        sqlite_error(sqlite3.SQLITE_READONLY),
        sqlite_error(sqlite3.SQLITE_CANTOPEN),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EROFS, "Read-only file system"),
    ],
    ids=str,
)
def test_P43_an_error_that_an_operator_has_to_correct_is_refused(error: Exception) -> None:
    found = unavailable("It is away.", error)
    assert isinstance(found, StoreRefused)
    assert str(found) == "It is away."
