"""The tables, for SQLite and PostgreSQL. A new database is made from them, an older one by migrations/; a test compares both.

The values of monitor.domain's enums are stored as text, so that a new value needs no migration.
A scope of None (the key's owner) is stored as the empty text, because unique indexes ignore NULL.
The conditions of partial indexes are the same on both databases. They are stated for SQLite only: stating them for
PostgreSQL loads every PostgreSQL driver that SQLAlchemy knows, in every command.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, PrimaryKeyConstraint, Table, text
from sqlalchemy import UniqueConstraint as Unique

from monitor.store.columns import count, expiry_key, flag, instant, name_key, reference, text_column
from monitor.store.types import CleanText, LabelMap, Seconds, WordList, WordSet

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

sources = Table(
    "sources",
    metadata,
    Column("name", CleanText, primary_key=True),
    text_column("provider"),
    text_column("host"),
    text_column("status"),
    text_column("reason"),
    text_column("message"),
    instant("since", null=False),
    count("failures"),
    instant("last_poll_at"),
    instant("last_success_at"),
    instant("next_poll_at"),
    count("connections"),
    Column("clock_skew", Float),
    count("unmonitored_users"),
    instant("hook_at"),
    count("unannounced_changes"),
    instant("skewed_since"),
    instant("added_at", null=False),
    instant("removed_at"),
)

connections = Table(
    "connections",
    metadata,
    Column("id", Integer, primary_key=True),
    reference("source", "sources.name", CleanText, null=False),
    text_column("scope", default="''"),
    text_column("external_id"),
    text_column("fingerprint"),
    count("missing"),
    Column("flags", WordSet, nullable=False, server_default=text("'[]'")),
    instant("recheck_at"),
    instant("expires_before"),
    instant("retired_at"),
    instant("next_change_at"),
    instant("next_probe_at"),
    Column("cohort", Integer, nullable=False),
    text_column("provider"),
    text_column("platform"),
    text_column("status"),
    text_column("reason"),
    text_column("message"),
    instant("since", null=False),
    Column("stage", Seconds),
    text_column("word"),
    text_column("raw_word", null=True),
    text_column("detail", null=True),
    Column("trusted", Boolean),
    Column("row_labels", LabelMap),
    instant("expires_at"),
    flag("refresh_reported"),
    instant("refresh_connected_at"),
    instant("refresh_last_at"),
    instant("refresh_attempt_at"),
    text_column("refresh_error", null=True),
    Column("refresh_error_status", Integer),
    text_column("account", null=True),
    text_column("username", null=True),
    text_column("display_name", null=True),
    text_column("profile_url", null=True),
    Column("scopes", WordList),
    instant("last_successful_post_at"),
    text_column("last_error_message", null=True),
    instant("last_error_at"),
    Column("snapshot_flags", WordSet, nullable=False, server_default=text("'[]'")),
    text_column("token_status"),
    text_column("token_reason"),
    text_column("token_message"),
    instant("token_expires_at"),
    instant("token_crossed_at"),
    instant("token_issued_at"),
    count("token_refresh_failures"),
    count("token_failing_polls"),
    instant("token_dated_since"),
    Column("token_renewal_gap", Seconds),
    Column("token_renewal_left", Seconds),
    count("token_renewals"),
    instant("token_reconnected_at"),
    Column("token_flags", WordSet, nullable=False, server_default=text("'[]'")),
    text_column("probe_status"),
    text_column("probe_finding", null=True),
    count("probe_refusals"),
    text_column("probe_message", null=True),
    instant("probe_at"),
    flag("probe_ever_ok"),
    instant("probe_refused_since"),
    instant("probe_ok_at"),
    instant("probe_silent_since"),
    text_column("probe_refusal", null=True),
    flag("probe_reconnected"),
    Column("permissions", WordList),
    Column("lost_permissions", WordList),
    Column("label_set", Integer),
    instant("added_at", null=False),
    instant("last_seen_at"),
)
# PostgreSQL counts from an index alone only where a vacuum has passed since the last change, by default after changes of 20 % of
# the rows: until then counts of a million connections take four times as long.
VACUUM_OFTEN = "ALTER TABLE connections SET (autovacuum_vacuum_scale_factor = 0.02)"
_live: dict[str, Any] = {"sqlite_where": text("retired_at IS NULL")}  # on PostgreSQL too: see the module docstring
# A retired connection may share its id with a live one, which was removed and added again.
Index("uq_connections_live", connections.c.source, connections.c.scope, connections.c.external_id, unique=True, **_live)
Index(
    "ix_connections_retired",
    *(connections.c[name] for name in ("source", "scope", "external_id")),
    sqlite_where=text("retired_at IS NOT NULL"),
)
Index("ix_connections_cohort", connections.c.source, connections.c.cohort, **_live)
# These two indexes cover what a poll compares and what is counted: 100,000 connections take 10 MB to read, not the table.
# Both contain retired_at, which is always NULL here: for a condition on a column outside the index SQLite reads the row.
_known = "source", "scope", "external_id", "id", "fingerprint", "missing", "flags", "recheck_at", "expires_before", "retired_at"
_counted = "source", "status", "platform", "label_set", "retired_at"
Index("ix_connections_status", *(connections.c[name] for name in _counted), **_live)
Index("ix_connections_unlabelled", connections.c.source, sqlite_where=text("label_set IS NULL AND retired_at IS NULL"))
Index("ix_connections_known", *(connections.c[name] for name in _known), **_live)
# What lists sort by, each in an index with the columns of filters: a far page skips entries of the index alone. The status is not
# among them: a change of it would write each of these indexes.
by_expiry, by_name = expiry_key(connections), name_key(connections)
INCLUDED = {
    "ix_connections_by_expiry": ("token_expires_at", "expires_at", "expires_before"),
    "ix_connections_by_name": ("display_name", "username", "external_id", "scope", "provider"),
}
"""Columns of expressions and of searches for a text, by index: PostgreSQL reads only the index if it also has them."""
_filtered = tuple(connections.c[name] for name in ("source", "platform", "label_set", "retired_at"))
Index("ix_connections_by_expiry", by_expiry, connections.c.id, *_filtered, **_live)
Index("ix_connections_by_since", connections.c.since.desc(), connections.c.id, *_filtered, **_live)
Index("ix_connections_by_name", by_name, connections.c.id, *_filtered, **_live)
Index(
    "ix_connections_account",
    *(connections.c[name] for name in ("source", "account")),
    sqlite_where=text("account IS NOT NULL"),
)
Index(
    "ix_connections_next_change_at",
    connections.c.next_change_at,
    sqlite_where=text("next_change_at IS NOT NULL"),
)
Index(
    "ix_connections_next_probe_at",
    connections.c.source,
    connections.c.next_probe_at,
    sqlite_where=text("next_probe_at IS NOT NULL"),
)

scopes = Table(
    "scopes",
    metadata,
    reference("source", "sources.name", CleanText, null=False),
    text_column("scope"),
    text_column("name", null=True),
    instant("last_complete_at"),
    text_column("problem", null=True),
    count("connections"),
    count("suspect_polls"),
    text_column("digest", null=True),
    count("unreadable"),
    count("unreadable_polls"),
    PrimaryKeyConstraint("source", "scope"),
)

# Connections with the same labels share a row: there are as many rows as clients, and a filter by label is one by their ids.
# A connection without one (NULL) was not labelled yet; it has the labels of its source.
label_sets = Table(
    "label_sets",
    metadata,
    Column("id", Integer, primary_key=True),
    text_column("labels"),
    flag("named_by_service"),
    Unique("labels", "named_by_service"),
)

# The ids that a connection had before its account was listed under a new one: they keep working in commands and URLs.
former_ids = Table(
    "former_ids",
    metadata,
    reference("source", "sources.name", CleanText, null=False),
    text_column("scope"),
    text_column("external_id"),
    reference("connection_id", "connections.id", Integer, null=False),
    instant("until", null=False),
    PrimaryKeyConstraint("source", "scope", "external_id"),
    Index("ix_former_ids_connection_id", "connection_id"),
)

cohorts = Table(
    "cohorts",
    metadata,
    reference("source", "sources.name", CleanText, null=False),
    Column("cohort", Integer, nullable=False, autoincrement=False),
    instant("next_probe_at"),
    instant("probed_at"),
    PrimaryKeyConstraint("source", "cohort"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    reference("connection_id", "connections.id", Integer, null=True),
    text_column("source"),
    instant("at", null=False),
    text_column("kind"),
    text_column("old", null=True),
    text_column("new", null=True),
    text_column("reason", null=True),
    text_column("message", null=True),
    text_column("author", null=True),
    Index("ix_events_connection_id", "connection_id"),
    Index("ix_events_at", "at"),
)

polls = Table(
    "polls",
    metadata,
    Column("id", Integer, primary_key=True),
    text_column("source"),
    instant("at", null=False),
    count("duration_ms"),
    text_column("outcome"),
    text_column("problem", null=True),
    count("requests"),
    count("connections"),
    count("changed"),
    flag("by_hook"),
    Index("ix_polls_source_at", "source", "at"),
    Index("ix_polls_at", "at"),
)

probe_rollups = Table(
    "probe_rollups",
    metadata,
    text_column("source"),
    instant("hour", null=False),
    text_column("finding"),
    count("count"),
    count("total_ms"),
    PrimaryKeyConstraint("source", "hour", "finding"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", CleanText, primary_key=True),
    text_column("source"),
    text_column("subject", default="''"),
    reference("connection_id", "connections.id", Integer, null=True),
    instant("opened_at", null=False),
    instant("closed_at"),
    text_column("status", null=True),
    Column("stage", Seconds),
    instant("said_at"),
    count("reminders"),
    instant("look_at"),
    text_column("ack_status", null=True),
    Column("ack_stage", Seconds),
    instant("ack_until"),
    instant("acked_at"),
    text_column("ack_comment", null=True),
    text_column("ack_author", null=True),
    Index("ix_incidents_connection_id", "connection_id"),
)
_open_connection = text("closed_at IS NULL AND connection_id IS NOT NULL")
_open_source = text("closed_at IS NULL AND connection_id IS NULL")
Index(
    "uq_incidents_open_connection",
    incidents.c.connection_id,
    unique=True,
    sqlite_where=_open_connection,
)
Index(
    "uq_incidents_open_source",
    incidents.c.source,
    incidents.c.subject,
    unique=True,
    sqlite_where=_open_source,
)
_to_look_at = text("look_at IS NOT NULL AND closed_at IS NULL")
Index("ix_incidents_look_at", incidents.c.look_at, sqlite_where=_to_look_at)

alerts = Table(
    "alerts",
    metadata,
    Column("id", CleanText, primary_key=True),
    reference("incident_id", "incidents.id", CleanText, null=True),
    text_column("event"),
    text_column("reason"),
    text_column("severity"),
    instant("at", null=False),
    text_column("source"),
    text_column("platform", null=True),
    reference("connection_id", "connections.id", Integer, null=True),
    text_column("payload"),
    text_column("note", null=True),
    Index("ix_alerts_at", "at"),
    Index("ix_alerts_incident_id", "incident_id"),
    Index("ix_alerts_connection_id", "connection_id"),
)

# next_attempt_at is when a worker must handle the delivery: when it is due or, while it is being sent, the end of its
# lease. It is NULL once the delivery is finished, so that one partial index finds all work.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    reference("alert_id", "alerts.id", CleanText, null=False),
    text_column("channel"),
    text_column("state"),
    count("attempts"),
    count("size_refusals"),
    instant("created_at", null=False),
    instant("next_attempt_at"),
    text_column("lease_owner", null=True),
    instant("lease_until"),
    flag("uncertain"),
    flag("escalation"),
    instant("sent_at"),
    text_column("last_error", null=True),
    Unique("alert_id", "channel"),
)
_unfinished = text("next_attempt_at IS NOT NULL")
Index(
    "ix_deliveries_due",
    deliveries.c.channel,
    deliveries.c.next_attempt_at,
    sqlite_where=_unfinished,
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    reference("delivery_id", "deliveries.id", Integer, null=False),
    Column("number", Integer, nullable=False),
    instant("started_at", null=False),
    instant("finished_at"),
    text_column("outcome", null=True),
    text_column("detail", null=True),
    Index("ix_attempts_delivery_id", "delivery_id"),
)

silences = Table(
    "silences",
    metadata,
    Column("id", Integer, primary_key=True),
    text_column("matchers"),
    text_column("comment"),
    instant("created_at", null=False),
    instant("starts_at", null=False),
    instant("ends_at"),
    text_column("rrule", null=True),
    Column("lasts", Seconds),
    text_column("timezone", default="'UTC'"),
    instant("removed_at"),
    text_column("author", null=True),
    text_column("removed_by", null=True),
)

# A channel has no row until there is something to store.
channels = Table(
    "channels",
    metadata,
    Column("name", CleanText, primary_key=True),
    text_column("problem", null=True),
    instant("failing_since"),
    flag("broken"),
    instant("last_success_at"),
    instant("next_drill_at"),
    instant("next_report_at"),
)

# The id and the credential are digests: nothing in the database opens a session.
web_sessions = Table(
    "web_sessions",
    metadata,
    Column("id", CleanText, primary_key=True),
    text_column("user"),
    text_column("credential"),
    instant("created_at", null=False),
    instant("until", null=False),
    Index("ix_web_sessions_until", "until"),
)

# Read-only pages for people outside the team. The secret is the digest of the one in the page's address, which is not stored.
shares = Table(
    "shares",
    metadata,
    Column("id", Integer, primary_key=True),
    text_column("secret"),
    text_column("labels"),
    instant("created_at", null=False),
    text_column("created_by"),
    instant("until", null=False),
    instant("revoked_at"),
    text_column("revoked_by", null=True),
    instant("last_read_at"),
    Index("uq_shares_secret", "secret", unique=True),
)

# Requests to check a connection now, and their results; kept as long as polls.
rechecks = Table(
    "rechecks",
    metadata,
    Column("id", Integer, primary_key=True),
    reference("connection_id", "connections.id", Integer, null=False),
    instant("requested_at", null=False),
    text_column("requested_by"),
    instant("started_at"),
    instant("finished_at"),
    text_column("outcome", null=True),
    text_column("message", null=True),
    text_column("status_before", null=True),
    text_column("status_after", null=True),
    Index("ix_rechecks_connection_id_requested_at", "connection_id", "requested_at"),
    Index("ix_rechecks_requested_at", "requested_at"),
)
_unanswered = text("finished_at IS NULL")
Index("ix_rechecks_unanswered", rechecks.c.connection_id, unique=True, sqlite_where=_unanswered)

meta = Table("meta", metadata, Column("key", CleanText, primary_key=True), text_column("value"))
