"""What people were told and what they answered: alerts, what was said last, acknowledgements."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain.enums import AlertEvent, ProviderKind, Severity, Status
from monitor.domain.records import Record, field


class Ack(Record, frozen=True, kw_only=True):
    """Somebody knows. Quietens an incident until it gets worse than this, recovers, or the date passes."""

    status: Status  # what was acknowledged
    stage: timedelta | None = None
    at: datetime
    until: datetime | None = None
    comment: str | None = None


class LastNotified(Record, frozen=True, kw_only=True):
    """What an open incident has said so far: the memory that keeps a restart from repeating itself."""

    status: Status
    stage: timedelta | None = None
    at: datetime
    reminders: int = 0


class Alert(Record, frozen=True, kw_only=True):
    """What is to be said, once: everything that routing and wording need, so that a message can be written later.

    Either a connection is described (external_id set), or a source, or the monitor itself (source empty). Holds no secret.
    """

    id: str
    incident: str  # stable id of the incident, for threads and deduplication keys
    event: AlertEvent
    reason: str  # why it is said: an AlertReason word
    severity: Severity
    at: datetime
    source: str  # empty for an alert about the monitor itself
    provider: ProviderKind | None = None  # None for an alert about the monitor itself
    subject: str = ""
    """What a source's or the monitor's own alert is about, where it is not the source as a whole (channel:ops, network, ...)."""
    count: int = 1  # how many connections an alert about a source speaks of
    scope: str | None = None
    connection: str | None = None  # the connection's public id (source/external_id), None for a source's alert
    external_id: str | None = None
    platform: str | None = None
    label: str | None = None
    status: str = ""
    verdict_reason: str = ""
    message: str = ""
    since: datetime | None = None
    opened_at: datetime | None = None
    """When the incident began, so that a recovery can say how long it took; None leaves that out."""
    expires_at: datetime | None = None
    previous: str | None = None
    stage: timedelta | None = None
    link: str | None = None
    reminder: int = 0  # which reminder this is, 1 for the first; 0 where it is none
    chart: str | None = None
    """A picture that belongs to it, as SVG without any text element; channels that carry files show it."""
    labels: dict[str, str] = field(default_factory=dict)


def connection_id(source: str, provider: ProviderKind, scope: str | None, external_id: str) -> str:
    """The public id: source/external_id, or source/scope/external_id for a managed user (INTERFACE: JSON).

    Ids of Postbreeze and PostPeer are unique within a key, so a workspace is not part of theirs.
    """
    if scope is None or provider not in (ProviderKind.POSTPOST, ProviderKind.PUBLORA):
        return f"{source}/{external_id}"
    return f"{source}/{scope}/{external_id}"
