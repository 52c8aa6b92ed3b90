"""A store without a file, for a report while no database can be used and no folder can be written."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from monitor.store import creation
from monitor.store.database import Store


class MemoryStore(Store):
    """A SQLite database in the memory of this process, empty at first and lost at the end; it has one connection."""

    def __init__(self) -> None:
        super().__init__("sqlite:///memory")
        self._writer = self._readers = _engine()

    @property
    def name(self) -> str:
        """The database in messages."""
        return "The database in memory"

    def upgrade(self, *, copy_first: bool = True, check_sessions: bool = True) -> bool:  # noqa: ARG002 - there is nothing to copy
        """Create the tables of this version; return True."""
        with self.begin_write() as conn:
            creation.create(conn)
        return True

    def _require_same_file(self) -> None:
        """Do nothing, because there is no file."""

    def _remember_file(self) -> None:
        """Do nothing, because there is no file."""


def _engine() -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(raw: sqlite3.Connection, _record: object) -> None:
        raw.execute("PRAGMA temp_store=MEMORY")

    @event.listens_for(engine, "begin")
    def start(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
