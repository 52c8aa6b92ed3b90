"""Store what rows of any service state, and when a service announced a change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    op.add_column("connections", sa.Column("detail", sa.Text, nullable=True))
    op.add_column("connections", sa.Column("trusted", sa.Boolean, nullable=True))
    op.add_column("connections", sa.Column("row_labels", sa.Text, nullable=True))
    op.add_column("connections", sa.Column("token_failing_polls", sa.Integer, nullable=False, server_default="0"))
    op.add_column("sources", sa.Column("hook_at", _INSTANT, nullable=True))
    op.add_column("sources", sa.Column("unannounced_changes", sa.Integer, nullable=False, server_default="0"))
    op.add_column("polls", sa.Column("by_hook", sa.Boolean, nullable=False, server_default=sa.text("false")))


def downgrade() -> None:
    op.drop_column("polls", "by_hook")
    op.drop_column("sources", "unannounced_changes")
    op.drop_column("sources", "hook_at")
    for column in ("token_failing_polls", "row_labels", "trusted", "detail"):
        op.drop_column("connections", column)
