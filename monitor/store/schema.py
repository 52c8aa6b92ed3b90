"""The tables, for SQLite and PostgreSQL. migrations/ creates exactly these; a test compares them.

The values of monitor.domain's enums are stored as text, so that a new value needs no migration.
A scope of None (the key's owner) is stored as the empty text, because unique indexes ignore NULL.
The conditions of partial indexes are the same on both databases. They are stated for SQLite only: stating them for
PostgreSQL loads every PostgreSQL driver that SQLAlchemy knows, in every command.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, PrimaryKeyConstraint, Table, text
from sqlalchemy import UniqueConstraint as Unique

from monitor.store.types import CleanText, Seconds, UtcDateTime, WordList, WordSet

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str, *rest: Any, null: bool = False, default: str | None = None) -> Column[Any]:
    return Column(name, CleanText, *rest, nullable=null, server_default=None if default is None else text(default))


def _at(name: str, *, null: bool = True) -> Column[Any]:
    return Column(name, UtcDateTime, nullable=null)


def _count(name: str) -> Column[Any]:
    return Column(name, Integer, nullable=False, server_default="0")


def _yes_no(name: str) -> Column[Any]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


def _ref(name: str, target: str, kind: Any, *, null: bool) -> Column[Any]:
    return Column(name, kind, ForeignKey(target), nullable=null)


sources = Table(
    "sources",
    metadata,
    Column("name", CleanText, primary_key=True),
    _text("provider"),
    _text("host"),
    _text("status"),
    _text("reason"),
    _text("message"),
    _at("since", null=False),
    _count("failures"),
    _at("last_poll_at"),
    _at("last_success_at"),
    _at("next_poll_at"),
    _count("connections"),
    Column("clock_skew", Float),
    _count("unmonitored_users"),
    _at("skewed_since"),
    _at("added_at", null=False),
    _at("removed_at"),
)

connections = Table(
    "connections",
    metadata,
    Column("id", Integer, primary_key=True),
    _ref("source", "sources.name", CleanText, null=False),
    _text("scope", default="''"),
    _text("external_id"),
    _text("fingerprint"),
    _count("missing"),
    Column("flags", WordSet, nullable=False, server_default=text("'[]'")),
    _at("recheck_at"),
    _at("expires_before"),
    _at("retired_at"),
    _at("next_change_at"),
    _at("next_probe_at"),
    Column("cohort", Integer, nullable=False),
    _text("provider"),
    _text("platform"),
    _text("status"),
    _text("reason"),
    _text("message"),
    _at("since", null=False),
    Column("stage", Seconds),
    _text("word"),
    _text("raw_word", null=True),
    _at("expires_at"),
    _yes_no("refresh_reported"),
    _at("refresh_connected_at"),
    _at("refresh_last_at"),
    _at("refresh_attempt_at"),
    _text("refresh_error", null=True),
    Column("refresh_error_status", Integer),
    _text("account", null=True),
    _text("username", null=True),
    _text("display_name", null=True),
    _text("profile_url", null=True),
    Column("scopes", WordList),
    _at("last_successful_post_at"),
    _text("last_error_message", null=True),
    _at("last_error_at"),
    Column("snapshot_flags", WordSet, nullable=False, server_default=text("'[]'")),
    _text("token_status"),
    _text("token_reason"),
    _text("token_message"),
    _at("token_expires_at"),
    _at("token_crossed_at"),
    _at("token_issued_at"),
    _count("token_refresh_failures"),
    _at("token_dated_since"),
    Column("token_renewal_gap", Seconds),
    Column("token_renewal_left", Seconds),
    _count("token_renewals"),
    _at("token_reconnected_at"),
    Column("token_flags", WordSet, nullable=False, server_default=text("'[]'")),
    _text("probe_status"),
    _text("probe_finding", null=True),
    _count("probe_refusals"),
    _text("probe_message", null=True),
    _at("probe_at"),
    _yes_no("probe_ever_ok"),
    _at("probe_refused_since"),
    _at("probe_ok_at"),
    _at("probe_silent_since"),
    _text("probe_refusal", null=True),
    _yes_no("probe_reconnected"),
    Column("permissions", WordList),
    Column("lost_permissions", WordList),
    Column("label_set", Integer),
    _at("added_at", null=False),
    _at("last_seen_at"),
)
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
    _ref("source", "sources.name", CleanText, null=False),
    _text("scope"),
    _text("name", null=True),
    _at("last_complete_at"),
    _text("problem", null=True),
    _count("connections"),
    _count("suspect_polls"),
    _text("digest", null=True),
    _count("unreadable"),
    _count("unreadable_polls"),
    PrimaryKeyConstraint("source", "scope"),
)

# Connections with the same labels share a row: there are as many rows as clients, and a filter by label is one by their ids.
# A connection without one (NULL) was not labelled yet; it has the labels of its source.
label_sets = Table(
    "label_sets",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("labels"),
    _yes_no("named_by_service"),
    Unique("labels", "named_by_service"),
)

# The ids that a connection had before its account was listed under a new one: they keep working in commands and URLs.
former_ids = Table(
    "former_ids",
    metadata,
    _ref("source", "sources.name", CleanText, null=False),
    _text("scope"),
    _text("external_id"),
    _ref("connection_id", "connections.id", Integer, null=False),
    _at("until", null=False),
    PrimaryKeyConstraint("source", "scope", "external_id"),
    Index("ix_former_ids_connection_id", "connection_id"),
)

cohorts = Table(
    "cohorts",
    metadata,
    _ref("source", "sources.name", CleanText, null=False),
    Column("cohort", Integer, nullable=False, autoincrement=False),
    _at("next_probe_at"),
    _at("probed_at"),
    PrimaryKeyConstraint("source", "cohort"),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    _ref("connection_id", "connections.id", Integer, null=True),
    _text("source"),
    _at("at", null=False),
    _text("kind"),
    _text("old", null=True),
    _text("new", null=True),
    _text("reason", null=True),
    _text("message", null=True),
    _text("author", null=True),
    Index("ix_events_connection_id", "connection_id"),
    Index("ix_events_at", "at"),
)

polls = Table(
    "polls",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("source"),
    _at("at", null=False),
    _count("duration_ms"),
    _text("outcome"),
    _text("problem", null=True),
    _count("requests"),
    _count("connections"),
    _count("changed"),
    Index("ix_polls_source_at", "source", "at"),
    Index("ix_polls_at", "at"),
)

probe_rollups = Table(
    "probe_rollups",
    metadata,
    _text("source"),
    _at("hour", null=False),
    _text("finding"),
    _count("count"),
    _count("total_ms"),
    PrimaryKeyConstraint("source", "hour", "finding"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", CleanText, primary_key=True),
    _text("source"),
    _text("subject", default="''"),
    _ref("connection_id", "connections.id", Integer, null=True),
    _at("opened_at", null=False),
    _at("closed_at"),
    _text("status", null=True),
    Column("stage", Seconds),
    _at("said_at"),
    _count("reminders"),
    _at("look_at"),
    _text("ack_status", null=True),
    Column("ack_stage", Seconds),
    _at("ack_until"),
    _at("acked_at"),
    _text("ack_comment", null=True),
    _text("ack_author", null=True),
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
    _ref("incident_id", "incidents.id", CleanText, null=True),
    _text("event"),
    _text("reason"),
    _text("severity"),
    _at("at", null=False),
    _text("source"),
    _text("platform", null=True),
    _ref("connection_id", "connections.id", Integer, null=True),
    _text("payload"),
    _text("note", null=True),
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
    _ref("alert_id", "alerts.id", CleanText, null=False),
    _text("channel"),
    _text("state"),
    _count("attempts"),
    _count("size_refusals"),
    _at("created_at", null=False),
    _at("next_attempt_at"),
    _text("lease_owner", null=True),
    _at("lease_until"),
    _yes_no("uncertain"),
    _yes_no("escalation"),
    _at("sent_at"),
    _text("last_error", null=True),
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
    _ref("delivery_id", "deliveries.id", Integer, null=False),
    Column("number", Integer, nullable=False),
    _at("started_at", null=False),
    _at("finished_at"),
    _text("outcome", null=True),
    _text("detail", null=True),
    Index("ix_attempts_delivery_id", "delivery_id"),
)

silences = Table(
    "silences",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("matchers"),
    _text("comment"),
    _at("created_at", null=False),
    _at("starts_at", null=False),
    _at("ends_at"),
    _text("rrule", null=True),
    Column("lasts", Seconds),
    _text("timezone", default="'UTC'"),
    _at("removed_at"),
    _text("author", null=True),
    _text("removed_by", null=True),
)

# A channel has no row until there is something to store.
channels = Table(
    "channels",
    metadata,
    Column("name", CleanText, primary_key=True),
    _text("problem", null=True),
    _at("failing_since"),
    _yes_no("broken"),
    _at("last_success_at"),
    _at("next_drill_at"),
    _at("next_report_at"),
)

# The id and the credential are digests: nothing in the database opens a session.
web_sessions = Table(
    "web_sessions",
    metadata,
    Column("id", CleanText, primary_key=True),
    _text("user"),
    _text("credential"),
    _at("created_at", null=False),
    _at("until", null=False),
    Index("ix_web_sessions_until", "until"),
)

# Read-only pages for people outside the team. The secret is the digest of the one in the page's address, which is not stored.
shares = Table(
    "shares",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("secret"),
    _text("labels"),
    _at("created_at", null=False),
    _text("created_by"),
    _at("until", null=False),
    _at("revoked_at"),
    _text("revoked_by", null=True),
    _at("last_read_at"),
    Index("uq_shares_secret", "secret", unique=True),
)

# Requests to check a connection now, and their results; kept as long as polls.
rechecks = Table(
    "rechecks",
    metadata,
    Column("id", Integer, primary_key=True),
    _ref("connection_id", "connections.id", Integer, null=False),
    _at("requested_at", null=False),
    _text("requested_by"),
    _at("started_at"),
    _at("finished_at"),
    _text("outcome", null=True),
    _text("message", null=True),
    _text("status_before", null=True),
    _text("status_after", null=True),
    Index("ix_rechecks_connection_id_requested_at", "connection_id", "requested_at"),
    Index("ix_rechecks_requested_at", "requested_at"),
)
_unanswered = text("finished_at IS NULL")
Index("ix_rechecks_unanswered", rechecks.c.connection_id, unique=True, sqlite_where=_unanswered)

meta = Table("meta", metadata, Column("key", CleanText, primary_key=True), _text("value"))
