"""Every table of the first version."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Not imported from the program: a migration must keep its result when the program changes.
_INSTANT = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")


def _text(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=null, server_default=None if default is None else sa.text(default))


def _at(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, _INSTANT, nullable=null)


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.Integer, nullable=False)


def _number(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=null)


def _count(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def _yes_no(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.text("false"))


def _index(name: str, table: str, columns: list[str], *, where: str | None = None, unique: bool = False) -> None:
    only = None if where is None else sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=only, postgresql_where=only)


def upgrade() -> None:
    _create_sources()
    _create_connections()
    _create_history()
    _create_alerts()
    _create_outbox()


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)


_TABLES = (
    "attempts",
    "deliveries",
    "alerts",
    "incidents",
    "events",
    "scopes",
    "connections",
    "cohorts",
    "sources",
    "probe_rollups",
    "polls",
    "silences",
    "channels",
    "meta",
)  # children before their parents


def _create_sources() -> None:
    op.create_table(
        "sources",
        _text("name"),
        _text("provider"),
        _text("host"),
        _text("status"),
        _text("reason"),
        _text("message"),
        _at("since"),
        _count("failures"),
        _at("last_poll_at", null=True),
        _at("last_success_at", null=True),
        _at("next_poll_at", null=True),
        _count("connections"),
        sa.Column("clock_skew", sa.Float),
        _at("added_at"),
        _at("removed_at", null=True),
        sa.PrimaryKeyConstraint("name", name="pk_sources"),
    )
    op.create_table(
        "scopes",
        _text("source"),
        _text("scope"),
        _at("last_complete_at", null=True),
        _text("problem", null=True),
        _count("connections"),
        _count("suspect_polls"),
        sa.PrimaryKeyConstraint("source", "scope", name="pk_scopes"),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name="fk_scopes_source"),
    )
    op.create_table(
        "cohorts",
        _text("source"),
        sa.Column("cohort", sa.Integer, nullable=False, autoincrement=False),
        _at("next_probe_at", null=True),
        _at("probed_at", null=True),
        sa.PrimaryKeyConstraint("source", "cohort", name="pk_cohorts"),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name="fk_cohorts_source"),
    )
    _index("ix_cohorts_next_probe_at", "cohorts", ["next_probe_at"])


def _create_connections() -> None:
    op.create_table(
        "connections",
        _id(),
        _text("source"),
        _text("scope", default="''"),
        _text("external_id"),
        _text("fingerprint"),
        _count("missing"),
        _text("flags", default="'[]'"),
        _at("recheck_at", null=True),
        _at("expires_before", null=True),
        _at("retired_at", null=True),
        _at("next_change_at", null=True),
        _at("next_probe_at", null=True),
        _number("cohort"),
        _text("provider"),
        _text("platform"),
        _text("status"),
        _text("reason"),
        _text("message"),
        _at("since"),
        _number("stage", null=True),
        _text("word"),
        _text("raw_word", null=True),
        _at("expires_at", null=True),
        _yes_no("refresh_reported"),
        _at("refresh_connected_at", null=True),
        _at("refresh_last_at", null=True),
        _at("refresh_attempt_at", null=True),
        _text("refresh_error", null=True),
        _number("refresh_error_status", null=True),
        _text("account", null=True),
        _text("username", null=True),
        _text("display_name", null=True),
        _text("profile_url", null=True),
        _text("scopes", null=True),
        _at("last_successful_post_at", null=True),
        _text("last_error_message", null=True),
        _at("last_error_at", null=True),
        _text("snapshot_flags", default="'[]'"),
        _text("token_status"),
        _text("token_reason"),
        _text("token_message"),
        _at("token_expires_at", null=True),
        _at("token_crossed_at", null=True),
        _at("token_issued_at", null=True),
        _count("token_refresh_failures"),
        _text("token_flags", default="'[]'"),
        _text("probe_status"),
        _text("probe_finding", null=True),
        _count("probe_refusals"),
        _text("probe_message", null=True),
        _at("probe_at", null=True),
        _yes_no("probe_ever_ok"),
        _at("added_at"),
        _at("last_seen_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_connections"),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name="fk_connections_source"),
    )
    _index("ix_connections_account", "connections", ["source", "account"], where="account IS NOT NULL")
    _index("ix_connections_cohort", "connections", ["source", "cohort"], where="retired_at IS NULL")
    known = ["source", "scope", "external_id", "id", "fingerprint", "missing", "flags", "recheck_at", "expires_before"]
    _index("ix_connections_known", "connections", [*known, "retired_at"], where="retired_at IS NULL")
    _index("ix_connections_next_change_at", "connections", ["next_change_at"], where="next_change_at IS NOT NULL")
    _index("ix_connections_next_probe_at", "connections", ["next_probe_at"], where="next_probe_at IS NOT NULL")
    _index("ix_connections_status", "connections", ["source", "status", "platform", "retired_at"], where="retired_at IS NULL")
    _index("uq_connections_live", "connections", ["source", "scope", "external_id"], where="retired_at IS NULL", unique=True)


def _create_history() -> None:
    op.create_table(
        "events",
        _id(),
        _number("connection_id", null=True),
        _text("source"),
        _at("at"),
        _text("kind"),
        _text("old", null=True),
        _text("new", null=True),
        _text("reason", null=True),
        _text("message", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name="fk_events_connection_id"),
    )
    _index("ix_events_at", "events", ["at"])
    _index("ix_events_connection_id", "events", ["connection_id"])
    op.create_table(
        "polls",
        _id(),
        _text("source"),
        _at("at"),
        _count("duration_ms"),
        _text("outcome"),
        _text("problem", null=True),
        _count("requests"),
        _count("connections"),
        _count("changed"),
        sa.PrimaryKeyConstraint("id", name="pk_polls"),
    )
    _index("ix_polls_at", "polls", ["at"])
    _index("ix_polls_source_at", "polls", ["source", "at"])
    op.create_table(
        "probe_rollups",
        _text("source"),
        _at("hour"),
        _text("finding"),
        _count("count"),
        _count("total_ms"),
        sa.PrimaryKeyConstraint("source", "hour", "finding", name="pk_probe_rollups"),
    )


def _create_alerts() -> None:
    op.create_table(
        "incidents",
        _text("id"),
        _text("source"),
        _text("subject", default="''"),
        _number("connection_id", null=True),
        _at("opened_at"),
        _at("closed_at", null=True),
        _text("status", null=True),
        _number("stage", null=True),
        _at("said_at", null=True),
        _count("reminders"),
        _at("look_at", null=True),
        _text("ack_status", null=True),
        _number("ack_stage", null=True),
        _at("ack_until", null=True),
        _at("acked_at", null=True),
        _text("ack_comment", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name="fk_incidents_connection_id"),
    )
    _index("ix_incidents_connection_id", "incidents", ["connection_id"])
    _index(
        "uq_incidents_open_connection",
        "incidents",
        ["connection_id"],
        where="closed_at IS NULL AND connection_id IS NOT NULL",
        unique=True,
    )
    _index(
        "uq_incidents_open_source",
        "incidents",
        ["source", "subject"],
        where="closed_at IS NULL AND connection_id IS NULL",
        unique=True,
    )
    _index("ix_incidents_look_at", "incidents", ["look_at"], where="look_at IS NOT NULL AND closed_at IS NULL")
    op.create_table(
        "alerts",
        _text("id"),
        _text("incident_id", null=True),
        _text("event"),
        _text("reason"),
        _text("severity"),
        _at("at"),
        _text("source"),
        _text("platform", null=True),
        _number("connection_id", null=True),
        _text("payload"),
        _text("note", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], name="fk_alerts_incident_id"),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name="fk_alerts_connection_id"),
    )
    _index("ix_alerts_at", "alerts", ["at"])
    _index("ix_alerts_connection_id", "alerts", ["connection_id"])
    _index("ix_alerts_incident_id", "alerts", ["incident_id"])


def _create_outbox() -> None:
    op.create_table(
        "deliveries",
        _id(),
        _text("alert_id"),
        _text("channel"),
        _text("state"),
        _count("attempts"),
        _at("created_at"),
        _at("next_attempt_at", null=True),
        _text("lease_owner", null=True),
        _at("lease_until", null=True),
        _yes_no("uncertain"),
        _yes_no("escalation"),
        _at("sent_at", null=True),
        _text("last_error", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name="fk_deliveries_alert_id"),
        sa.UniqueConstraint("alert_id", "channel", name="uq_deliveries_alert_id_channel"),
    )
    _index("ix_deliveries_due", "deliveries", ["channel", "next_attempt_at"], where="next_attempt_at IS NOT NULL")
    op.create_table(
        "attempts",
        _id(),
        _number("delivery_id"),
        _number("number"),
        _at("started_at"),
        _at("finished_at", null=True),
        _text("outcome", null=True),
        _text("detail", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name="fk_attempts_delivery_id"),
    )
    _index("ix_attempts_delivery_id", "attempts", ["delivery_id"])
    op.create_table(
        "silences",
        _id(),
        _text("matchers"),
        _text("comment"),
        _at("created_at"),
        _at("starts_at"),
        _at("ends_at", null=True),
        _text("rrule", null=True),
        _number("lasts", null=True),
        _text("timezone", default="'UTC'"),
        _at("removed_at", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_silences"),
    )
    op.create_table(
        "channels",
        _text("name"),
        _text("problem", null=True),
        _at("failing_since", null=True),
        _yes_no("broken"),
        _at("last_success_at", null=True),
        _at("next_drill_at", null=True),
        _at("next_report_at", null=True),
        sa.PrimaryKeyConstraint("name", name="pk_channels"),
    )
    op.create_table(
        "meta",
        _text("key"),
        _text("value"),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
