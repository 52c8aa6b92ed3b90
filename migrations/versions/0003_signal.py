"""Store learned renewals, runs of refusals and of silence, permissions, unreadable rows, lasting skew and former ids."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def _at(name: str) -> sa.Column[Any]:
    return sa.Column(name, _INSTANT, nullable=True)


def _count(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def _added_to_connections() -> tuple[sa.Column[Any], ...]:
    return (
        _at("token_dated_since"),
        sa.Column("token_renewal_gap", sa.Integer),
        sa.Column("token_renewal_left", sa.Integer),
        _count("token_renewals"),
        _at("token_reconnected_at"),
        _at("probe_refused_since"),
        _at("probe_ok_at"),
        _at("probe_silent_since"),
        sa.Column("probe_refusal", sa.Text),
        sa.Column("probe_reconnected", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("permissions", sa.Text),
        sa.Column("lost_permissions", sa.Text),
    )


def upgrade() -> None:
    for column in _added_to_connections():
        op.add_column("connections", column)
    op.add_column("sources", _at("skewed_since"))
    op.add_column("scopes", _count("unreadable"))
    op.add_column("scopes", _count("unreadable_polls"))
    op.create_table(
        "former_ids",
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("external_id", sa.Text, nullable=False),
        sa.Column("connection_id", sa.Integer, nullable=False),
        sa.Column("until", _INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("source", "scope", "external_id", name="pk_former_ids"),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name="fk_former_ids_source"),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name="fk_former_ids_connection_id"),
    )
    op.create_index("ix_former_ids_connection_id", "former_ids", ["connection_id"])
    # The next poll judges every dated connection again, so that evidence about its date begins to be collected.
    op.execute("UPDATE connections SET recheck_at = added_at WHERE token_expires_at IS NOT NULL AND retired_at IS NULL")
    # A source that cannot be read is reminded from now on, also one that is unreadable already.
    op.execute("UPDATE incidents SET look_at = opened_at WHERE source <> '' AND subject = '' AND connection_id IS NULL")
    op.execute(
        "UPDATE connections SET probe_refused_since = probe_at, probe_refusal = probe_message"
        " WHERE probe_refusals > 0 AND retired_at IS NULL"
    )
    # A bot that may be a personal session by now was stored as revoked, and a further answer of the same kind would not end that.
    op.execute(
        "UPDATE connections SET probe_finding = 'ambiguous'"
        " WHERE platform = 'telegram' AND probe_finding = 'revoked' AND lower(probe_message) LIKE '%invalid bot token%'"
    )


def downgrade() -> None:
    op.drop_table("former_ids")
    op.drop_column("scopes", "unreadable_polls")
    op.drop_column("scopes", "unreadable")
    op.drop_column("sources", "skewed_since")
    for column in reversed(_added_to_connections()):
        op.drop_column("connections", column.name)
