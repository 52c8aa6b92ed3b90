"""Store requests to check a connection now, and their results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
_UNANSWERED = sa.text("finished_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "rechecks",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("connection_id", sa.Integer, nullable=False),
        sa.Column("requested_at", _INSTANT, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("started_at", _INSTANT, nullable=True),
        sa.Column("finished_at", _INSTANT, nullable=True),
        sa.Column("outcome", sa.Text, nullable=True),
        sa.Column("message", sa.Text, nullable=True),
        sa.Column("status_before", sa.Text, nullable=True),
        sa.Column("status_after", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_rechecks"),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name="fk_rechecks_connection_id"),
    )
    op.create_index("ix_rechecks_connection_id_requested_at", "rechecks", ["connection_id", "requested_at"])
    op.create_index("ix_rechecks_requested_at", "rechecks", ["requested_at"])
    op.create_index(
        "ix_rechecks_unanswered",
        "rechecks",
        ["connection_id"],
        unique=True,
        sqlite_where=_UNANSWERED,
        postgresql_where=_UNANSWERED,
    )


def downgrade() -> None:
    op.drop_table("rechecks")
