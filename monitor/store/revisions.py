"""Schema revisions. They are listed here so that opening a current store does not load Alembic.

A test compares them with the scripts in migrations/versions.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

KNOWN: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009")
"""All revisions of this version, in order."""
HEAD: Final = KNOWN[-1]


def stored(conn: Connection) -> str | None:
    """Return the revision in the database, None if it has no schema."""
    if conn.dialect.name == "sqlite":
        there = conn.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'").first()
    else:
        there = conn.exec_driver_sql("SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL").first()
    if there is None:
        return None
    row = conn.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def unknown(found: str) -> str:
    """Return the error text for a database that a newer version has migrated."""
    return (
        f"The database is at revision {found}, which this version does not support (its latest is {HEAD}): "
        "upgrade the program, or restore a backup."
    )
