"""The schema of a new database: made from the tables of the code in one step, without loading Alembic (80 ms and 11 MB).

Migrations are for databases of older versions. A test compares what both make.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from monitor.store import revisions
from monitor.store.schema import INCLUDED, VACUUM_OFTEN, metadata

_VERSION = """
    CREATE TABLE IF NOT EXISTS alembic_version (
        version_num VARCHAR(32) NOT NULL,
        CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
    )
"""


def create(conn: Connection) -> None:
    """Create every table and index of this version in a database without tables, and record the revision."""
    if conn.dialect.name == "postgresql":
        _state_index_options()
    metadata.create_all(conn, checkfirst=False)
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql(VACUUM_OFTEN)
    conn.exec_driver_sql(_VERSION)
    conn.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revisions.HEAD})


def _state_index_options() -> None:
    """Set for PostgreSQL the index options that the schema sets for SQLite only."""
    for index in (index for table in metadata.tables.values() for index in table.indexes):
        options = index.dialect_options["postgresql"]
        options["where"] = index.dialect_options["sqlite"]["where"]
        options["include"] = INCLUDED.get(str(index.name))
