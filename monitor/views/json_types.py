"""The JSON objects of the command line and the API. The OpenAPI document is generated from these classes.

Every member is always present; absent values are null. Later versions may add members.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Protocol

from msgspec import Meta, Struct

from monitor.domain import AlertEvent, DeliveryState, EventKind, ProbeStatus, Severity, SourceStatus, Status, utc_text
from monitor.domain.providers import provider_names
from monitor.store.rechecks import RecheckOutcome


class Shaped(Protocol):
    """An object with a JSON form."""

    def json(self) -> object:
        """Return the JSON form, a struct of json_types or a dict: every key is present, absent values are None."""
        ...


def listing(name: str, items: Iterable[Shaped], *, now: datetime) -> dict[str, Any]:
    """Return one object with the time of the answer and one array, named after the listed things."""
    return {"generated_at": utc_text(now), name: [item.json() for item in items]}


Count = Annotated[int, Meta(ge=0)]
Instant = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""RFC 3339 in UTC with whole seconds, ending in Z."""
Provider = Annotated[str, Meta(extra_json_schema={"enum": [str(name) for name in provider_names()]})]


class ProbeJson(Struct, frozen=True, kw_only=True):
    """The result of the last probe."""

    status: Annotated[
        ProbeStatus,
        Meta(description="unsupported if it cannot be probed, unprobed without a successful probe in three probe intervals."),
    ]
    message: str | None
    at: Instant | None
    last_ok_at: Annotated[Instant | None, Meta(description="The last successful probe, however long ago.")]


class PostErrorJson(Struct, frozen=True, kw_only=True):
    """The last posting error."""

    message: str
    occurred_at: Instant | None


class RenewalJson(Struct, frozen=True, kw_only=True):
    """The renewals of a token by its provider."""

    every: Annotated[Count | None, Meta(description="The longest time between recent renewals, in seconds; null until learned.")]
    left: Annotated[
        int | None, Meta(description="The shortest time that recent renewals left, in seconds; negative after the expiry.")
    ]
    last_at: Instant | None
    overdue_at: Annotated[Instant | None, Meta(description="When the next renewal is overdue; null if none is expected.")]


class ConnectionJson(Struct, frozen=True, kw_only=True):
    """One social account that a source lists."""

    id: Annotated[str, Meta(description="source/external_id, or source/scope/external_id for a managed user.")]
    source: str
    provider: Provider
    scope: Annotated[str | None, Meta(description="Managed user or workspace; null for the owner of the key.")]
    scope_name: Annotated[str | None, Meta(description="The name that the service gives it; null for the owner.")]
    platform: str
    external_id: str
    username: str | None
    display_name: str | None
    profile_url: str | None
    status: Status
    reason: Annotated[str, Meta(description="A stable code for the reason of the status.")]
    message: str
    since: Instant
    expires_at: Instant | None
    seconds_left: Annotated[int | None, Meta(description="Negative after the expiry.")]
    probe: ProbeJson
    last_seen_at: Instant | None
    last_successful_post_at: Instant | None
    last_error: PostErrorJson | None
    scopes: Annotated[list[str] | None, Meta(description="The permissions that the token has.")]
    lost_permissions: Annotated[list[str], Meta(description="Permissions that publishing needs and the token has lost.")]
    renewal: Annotated[RenewalJson | None, Meta(description="Null if the provider does not state when it renewed the token.")]
    labels: dict[str, str]
    flags: list[str]
    acked: bool
    silenced_until: Instant | None
    stale: Annotated[bool, Meta(description="True if its source has not reported it for three poll intervals.")]


class SourceJson(Struct, frozen=True, kw_only=True):
    """One API key at one provider."""

    name: str
    provider: Provider
    status: SourceStatus
    reason: str
    message: str | None
    last_poll_at: Instant | None
    last_success_at: Instant | None
    connections: Count
    flags: list[str]
    clock_skew_seconds: Annotated[
        float | None, Meta(description="The provider's clock minus the monitor's, as of the last poll that measured it.")
    ]


class ChannelJson(Struct, frozen=True, kw_only=True):
    """A destination of alerts."""

    name: str
    problem: str | None
    failing_since: Instant | None
    broken: Annotated[bool, Meta(description="True if the channel has refused permanently; it is retried hourly.")]
    last_success_at: Instant | None


class EventJson(Struct, frozen=True, kw_only=True):
    """One entry of a connection's or source's history."""

    connection: Annotated[str | None, Meta(description="The connection's ID; null for an event of the source itself.")]
    source: str
    at: Instant
    kind: EventKind
    old: str | None
    new: str | None
    reason: str | None
    message: str | None
    author: Annotated[str | None, Meta(description="The user who made the change; null if the monitor recorded it.")]


class AttemptJson(Struct, frozen=True, kw_only=True):
    """One attempt to send a delivery."""

    number: int
    started_at: Instant
    finished_at: Instant | None
    outcome: str | None
    detail: str | None


class DeliveryJson(Struct, frozen=True, kw_only=True):
    """One alert to one channel."""

    channel: str
    state: DeliveryState
    created_at: Instant
    next_attempt_at: Instant | None
    sent_at: Instant | None
    last_error: str | None
    may_repeat: Annotated[bool, Meta(description="True if an attempt ended without an answer, so the message may arrive twice.")]
    attempts: list[AttemptJson]


class AlertJson(Struct, frozen=True, kw_only=True):
    """One alert with its deliveries."""

    id: str
    incident: str
    event: AlertEvent
    reason: str
    severity: Severity
    at: Instant
    source: Annotated[str, Meta(description="Empty for an alert about the monitor itself.")]
    provider: Provider | None
    scope: str | None
    connection: str | None
    external_id: str | None
    platform: str | None
    label: str | None
    status: str | None
    previous: str | None
    rule: str | None
    message: str | None
    since: Instant | None
    expires_at: Instant | None
    stage_seconds: Count | None
    labels: dict[str, str]
    note: Annotated[str | None, Meta(description="Why there are no deliveries.")]
    deliveries: list[DeliveryJson]


class NeedJson(Struct, frozen=True, kw_only=True):
    """One connection of a reconnect batch."""

    id: str
    external_id: str
    label: str
    status: Status
    since: Instant
    expires_at: Instant | None
    seconds_left: int | None
    message: str
    acked: bool


class ReconnectBatchJson(Struct, frozen=True, kw_only=True):
    """A reconnect batch: connections of one client, source and platform that expire within three days of each other."""

    overdue: bool
    first_at: Instant
    last_at: Instant
    group: Annotated[str | None, Meta(description="The client, or the value of another label of `group_by`; null without one.")]
    source: str
    provider: Provider
    platform: str
    link: str | None
    count: Count
    connections: list[NeedJson]


class RecheckJson(Struct, frozen=True, kw_only=True):
    """A request to check a connection now, and its result."""

    id: Count
    connection: Annotated[str, Meta(description="The connection's ID.")]
    requested_at: Instant
    requested_by: str
    started_at: Instant | None
    finished_at: Annotated[Instant | None, Meta(description="Null while the result is pending.")]
    outcome: Annotated[
        RecheckOutcome | None,
        Meta(
            description="unread: its source could not be read, nothing changed. expired: no daemon answered. Null while pending."
        ),
    ]
    message: str | None
    status_before: Status | None
    status_after: Annotated[Status | None, Meta(description="Null if it was not checked.")]


class SilenceJson(Struct, frozen=True, kw_only=True):
    """A silence: its matchers, and when it is active."""

    id: Count
    state: Annotated[str, Meta(extra_json_schema={"enum": ["active", "coming", "over", "removed"]})]
    sources: list[str]
    platforms: list[str]
    connections: Annotated[list[str], Meta(description="Globs on IDs.")]
    labels: dict[str, str]
    comment: str
    created_at: Instant | None
    author: Annotated[str | None, Meta(description="The user who added it; null if it was added by version 0.1.")]
    starts_at: Instant
    ends_at: Instant | None
    rrule: str | None
    window_seconds: Count | None
    timezone: str
    removed_at: Instant | None
    removed_by: str | None
    active_until: Instant | None
    next_starts_at: Instant | None


class ShareJson(Struct, frozen=True, kw_only=True):
    """A read-only page for people outside the team."""

    id: Count
    state: Annotated[str, Meta(extra_json_schema={"enum": ["open", "expired", "revoked"]})]
    labels: dict[str, str]
    created_at: Instant
    created_by: str
    until: Instant
    revoked_at: Instant | None
    revoked_by: str | None
    last_read_at: Annotated[Instant | None, Meta(description="To the hour; null if the page was never read.")]


class MemberJson(Struct, frozen=True, kw_only=True):
    """One daemon of a cluster, as it reported itself last."""

    id: str
    host: str
    pid: Count
    version: str
    state: Annotated[str, Meta(extra_json_schema={"enum": ["working", "waiting", "draining", "dead"]})]
    reason: Annotated[str | None, Meta(description="Why it takes no work: a sentence.")]
    state_since: Instant
    plans: bool
    workers: Count
    units: Annotated[Count, Meta(description="Sources and channels that it is working on.")]
    configuration: Annotated[str | None, Meta(description="The revision of its configuration.")]
    clock_offset_seconds: Annotated[float, Meta(description="Its clock minus the database server's.")]
    started_at: Instant
    last_seen_at: Instant


class ClusterQueueJson(Struct, frozen=True, kw_only=True):
    """Units of work of one kind."""

    kind: Annotated[str, Meta(extra_json_schema={"enum": ["polls", "probes", "deliveries"]})]
    waiting: Count
    running: Count
    waiting_since: Annotated[Instant | None, Meta(description="When the oldest waiting unit was queued.")]


class SkippedConnectionJson(Struct, frozen=True, kw_only=True):
    """A connection that a change skipped."""

    id: Annotated[str, Meta(description="The connection's ID.")]
    reason: Annotated[str, Meta(description="A sentence.")]


class BulkChangeJson(Struct, frozen=True, kw_only=True):
    """The outcome of one change of many connections."""

    generated_at: Instant
    dry_run: Annotated[bool, Meta(description="True if nothing was changed: the request asked what would be.")]
    connections: Annotated[list[str], Meta(description="The IDs of the connections that were changed, or would be.")]
    skipped: Annotated[list[SkippedConnectionJson], Meta(description="Those to which the change does not apply.")]
