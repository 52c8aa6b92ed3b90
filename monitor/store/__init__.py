"""The store: state, history, incidents and the outbox, on SQLite or PostgreSQL. The only home of SQLAlchemy and Alembic.

A module per topic holds plain functions whose first argument is a connection from Store.begin_write() or Store.begin_read().
"""

from __future__ import annotations

from monitor.store.database import Store, open_store

__all__ = ["Store", "open_store"]
