"""Consistent copies of a SQLite database, made while the daemon runs."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from monitor.domain.errors import StoreError
from monitor.store import db_errors, sqlite_file

KEPT = 3
"""Copies made before migrations that are kept; older ones are deleted."""


def require_free(file: Path) -> None:
    """Raise StoreError if a backup cannot be written to this path."""
    if file.exists():
        raise StoreError(f"The file {file} already exists: choose another name.")
    if not file.parent.is_dir():
        raise StoreError(f"The folder {file.parent} does not exist: create it, or choose another one.")


def copy(source: sqlite3.Connection, file: Path) -> int:
    """Copy a database into a new file that only its owner can read, and return its size in bytes.

    The file gets its name only once it is complete. Raise StoreError if it cannot be written.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        with db_errors.translate_errors(where=f"The backup {file}", hint=lambda: sqlite_file.describe_access(file), system=True):
            sqlite_file.create(part)
            with closing(sqlite3.connect(part, isolation_level=None)) as target:
                source.backup(target)
                # A single file that can be moved, without a log beside it.
                target.execute("PRAGMA journal_mode=DELETE")
            _flush(part)
            part.rename(file)
            _flush(file.parent)
    except StoreError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return file.stat().st_size


def before_migration(path: Path, revision: str, now: datetime) -> Path:
    """Copy a SQLite database at this revision, which is about to be migrated, into the same folder, and return the copy.

    Delete all but the newest KEPT of these copies. Raise StoreError if the copy cannot be made.
    """
    file = path.with_name(f"{path.name}.{revision}-{now:%Y%m%dT%H%M%SZ}.backup")
    if not file.exists():
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as source:
            copy(source, file)
    for old in made_before_migrations(path)[KEPT:]:
        with suppress(OSError):
            old.unlink()
    return file


def made_before_migrations(path: Path) -> list[Path]:
    """Return the copies that before_migration() made of this database, newest first."""
    pattern = re.compile(re.escape(path.name) + r"\.\w+-(\d{8}T\d{6}Z)\.backup")
    found = [(match[1], each) for each in path.parent.glob("*.backup") if (match := pattern.fullmatch(each.name))]
    return [each for _, each in sorted(found, reverse=True)]


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
