"""Store who acknowledged, silenced and retired, and the pages that are shared with people outside the team."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
_AUTHORS = ("events", "author"), ("incidents", "ack_author"), ("silences", "author"), ("silences", "removed_by")


def upgrade() -> None:
    _note_earlier_sources()
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


def _note_earlier_sources() -> None:
    """Note the sources from before version 0.2: two of them may have the same API key."""
    names = [name for (name,) in op.get_bind().execute(sa.text("SELECT name FROM sources ORDER BY name"))]
    if names:
        value = json.dumps(names, separators=(",", ":"))
        op.get_bind().execute(sa.text("INSERT INTO meta (key, value) VALUES ('sources:before-0.2', :value)"), {"value": value})


def downgrade() -> None:
    op.execute("DELETE FROM meta WHERE key = 'sources:before-0.2'")
    op.drop_table("shares")
    for table, column in reversed(_AUTHORS):
        op.drop_column(table, column)
