"""Alembic's entry. The program hands over its open connection; `alembic -x url=… revision` works for developers."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from monitor.store import Store
from monitor.store.schema import metadata


def migrate(conn: Connection) -> None:
    # SQLite can roll back DDL when its transaction is ours: with this, a migration that is killed never happened.
    context.configure(connection=conn, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if isinstance(given, Connection):
    migrate(given)
else:
    with Store(context.get_x_argument(as_dictionary=True)["url"]) as store, store.begin_write() as connection:
        migrate(connection)
