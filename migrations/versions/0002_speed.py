"""Add a digest per scope, which identifies an unchanged list, and index the next probes by source."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_condition = sa.text("next_probe_at IS NOT NULL")
_planned: dict[str, Any] = {"sqlite_where": _condition, "postgresql_where": _condition}


def upgrade() -> None:
    op.add_column("scopes", sa.Column("digest", sa.Text, nullable=True))
    retired = sa.text("retired_at IS NOT NULL")
    columns = ["source", "scope", "external_id"]
    op.create_index("ix_connections_retired", "connections", columns, sqlite_where=retired, postgresql_where=retired)
    op.drop_index("ix_connections_next_probe_at", "connections")
    op.create_index("ix_connections_next_probe_at", "connections", ["source", "next_probe_at"], **_planned)
    op.drop_index("ix_cohorts_next_probe_at", "cohorts")


def downgrade() -> None:
    op.create_index("ix_cohorts_next_probe_at", "cohorts", ["next_probe_at"])
    op.drop_index("ix_connections_next_probe_at", "connections")
    op.create_index("ix_connections_next_probe_at", "connections", ["next_probe_at"], **_planned)
    op.drop_index("ix_connections_retired", "connections")
    op.drop_column("scopes", "digest")
