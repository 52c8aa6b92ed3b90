"""A consistent copy of a SQLite database, taken while the daemon goes on."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from monitor.errors import StoreError
from monitor.store import failures, sqlite_file
from monitor.store.database import Store


def backup(store: Store, file: Path) -> int:
    """Copy the database into a new file that its owner alone can read; the size in bytes.

    The file appears under its name only when it is whole. Raises StoreError where it exists already, where it cannot be
    written, and for PostgreSQL, which has a tool of its own.
    """
    if store.path is None:
        raise StoreError("A PostgreSQL database is backed up with its own tool: run pg_dump.")
    if file.exists():
        raise StoreError(f"The file {file} exists already: name another one.")
    part = file.with_name(f".{file.name}.part")
    target = f"The backup {file}"
    try:
        with failures.translated(where=target, hint=lambda: sqlite_file.described(file), system=True):
            sqlite_file.create(part)
            with store.read() as conn, closing(sqlite3.connect(part, isolation_level=None)) as copy:
                source: Any = conn.connection.driver_connection
                source.backup(copy)
                # One file that can be moved about, rather than one with a log beside it.
                copy.execute("PRAGMA journal_mode=DELETE")
            _flush(part)
            part.rename(file)
            _flush(file.parent)
    except StoreError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return file.stat().st_size


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
