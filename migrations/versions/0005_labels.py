"""Store names of managed users and workspaces, and the labels of connections."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_LIVE = sa.text("retired_at IS NULL")
_UNLABELLED = sa.text("label_set IS NULL AND retired_at IS NULL")


def _index(name: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, "connections", columns, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    op.add_column("sources", sa.Column("unmonitored_users", sa.Integer, nullable=False, server_default="0"))
    op.add_column("scopes", sa.Column("name", sa.Text, nullable=True))
    op.add_column("connections", sa.Column("label_set", sa.Integer, nullable=True))
    op.create_table(
        "label_sets",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("named_by_service", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.PrimaryKeyConstraint("id", name="pk_label_sets"),
        sa.UniqueConstraint("labels", "named_by_service", name="uq_label_sets_labels_named_by_service"),
    )
    op.drop_index("ix_connections_status", "connections")
    _index("ix_connections_status", ["source", "status", "platform", "label_set", "retired_at"], _LIVE)
    _index("ix_connections_unlabelled", ["source"], _UNLABELLED)


def downgrade() -> None:
    op.drop_index("ix_connections_unlabelled", "connections")
    op.drop_index("ix_connections_status", "connections")
    _index("ix_connections_status", ["source", "status", "platform", "retired_at"], _LIVE)
    op.drop_table("label_sets")
    op.drop_column("connections", "label_set")
    op.drop_column("scopes", "name")
    op.drop_column("sources", "unmonitored_users")
