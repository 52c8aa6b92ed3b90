"""Store who acknowledged, silenced and retired, and the pages that are shared with people outside the team."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
_AUTHORS = ("events", "author"), ("incidents", "ack_author"), ("silences", "author"), ("silences", "removed_by")


def upgrade() -> None:
    for table, column in _AUTHORS:
        op.add_column(table, sa.Column(column, sa.Text, nullable=True))
    op.create_table(
        "shares",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("until", _INSTANT, nullable=False),
        sa.Column("revoked_at", _INSTANT, nullable=True),
        sa.Column("revoked_by", sa.Text, nullable=True),
        sa.Column("last_read_at", _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_shares"),
    )
    op.create_index("uq_shares_secret", "shares", ["secret"], unique=True)


def downgrade() -> None:
    op.drop_table("shares")
    for table, column in reversed(_AUTHORS):
        op.drop_column(table, column)
