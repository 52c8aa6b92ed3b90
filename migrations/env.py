"""Entry point of Alembic. The program passes its open connection; developers can run `alembic -x url=… revision`."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from monitor.store import Store
from monitor.store.schema import metadata


def migrate(conn: Connection) -> None:
    # With transactional_ddl SQLite rolls DDL back too, so a migration that is killed changes nothing.
    context.configure(connection=conn, target_metadata=metadata, transactional_ddl=True, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if isinstance(given, Connection):
    migrate(given)
else:
    with Store(context.get_x_argument(as_dictionary=True)["url"]) as store, store.begin_write() as connection:
        migrate(connection)
