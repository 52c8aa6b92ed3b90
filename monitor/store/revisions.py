"""The schema's revisions, known without loading Alembic, so that a store that is current opens at once.

A test compares them with the scripts in migrations/versions.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

KNOWN: Final = ("0001", "0002")
"""Every revision that this version knows, in order."""
HEAD: Final = KNOWN[-1]


def stored(conn: Connection) -> str | None:
    """The revision that the database says it is at, None where it has no schema."""
    if conn.dialect.name == "sqlite":
        there = conn.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'").first()
    else:
        there = conn.exec_driver_sql("SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL").first()
    if there is None:
        return None
    row = conn.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def unknown(found: str) -> str:
    """The sentence for a database that a newer version has been at."""
    return (
        f"The database is at revision {found}, which this version does not know (it knows up to {HEAD}): "
        "upgrade the program, or restore a backup."
    )
