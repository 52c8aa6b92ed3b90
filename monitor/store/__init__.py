"""The store: state, history, incidents and the outbox, on SQLite or PostgreSQL.

Each module has one topic: functions whose first argument is a connection from Store.begin_write() or Store.begin_read().
`Connection` is SQLAlchemy's, exported here for the signatures of other packages.
"""

from __future__ import annotations

from sqlalchemy import Connection

from monitor.store.database import Store, open_store

__all__ = ["Connection", "Store", "open_store"]
