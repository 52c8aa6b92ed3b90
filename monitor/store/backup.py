"""A consistent copy of a SQLite database, taken while the daemon goes on."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from monitor.domain.errors import StoreError
from monitor.store import db_errors, sqlite_file

if TYPE_CHECKING:
    from monitor.store.database import Store


KEPT = 3
"""Copies made before migrations that stay; older ones go."""


def backup(store: Store, file: Path) -> int:
    """Copy the database into a new file that its owner alone can read; the size in bytes.

    The file appears under its name only when it is whole. Raises StoreError where it exists already, where it cannot be
    written, and for PostgreSQL, which has a tool of its own.
    """
    if store.path is None:
        raise StoreError("A PostgreSQL database is backed up with its own tool: run pg_dump.")
    if file.exists():
        raise StoreError(f"The file {file} exists already: name another one.")
    if not file.parent.is_dir():
        raise StoreError(f"The folder {file.parent} of the backup does not exist: make it, or name another one.")
    with store.begin_read() as conn:
        source: Any = conn.connection.driver_connection
        _copy(source, file)
    return file.stat().st_size


def before_migration(path: Path, revision: str, now: datetime) -> Path:
    """Copy a SQLite database that is about to be migrated, as it is at this revision, beside itself; the copy.

    The newest KEPT of these copies stay. Raises StoreError where it cannot be made.
    """
    file = path.with_name(f"{path.name}.{revision}-{now:%Y%m%dT%H%M%SZ}.backup")
    if not file.exists():
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as source:
            _copy(source, file)
    for old in made_before_migrations(path)[KEPT:]:
        with suppress(OSError):
            old.unlink()
    return file


def made_before_migrations(path: Path) -> list[Path]:
    """The copies that before_migration() made of this database, the newest first."""
    ours = re.compile(re.escape(path.name) + r"\.\w+-(\d{8}T\d{6}Z)\.backup")
    found = [(match[1], each) for each in path.parent.glob("*.backup") if (match := ours.fullmatch(each.name))]
    return [each for _, each in sorted(found, reverse=True)]


def _copy(source: sqlite3.Connection, file: Path) -> None:
    part = file.with_name(f".{file.name}.part")
    try:
        with db_errors.translate_errors(where=f"The backup {file}", hint=lambda: sqlite_file.describe_access(file), system=True):
            sqlite_file.create(part)
            with closing(sqlite3.connect(part, isolation_level=None)) as copy:
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


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
