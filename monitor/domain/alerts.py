"""Alerts, the subjects of incidents, and acknowledgements."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.enums import AlertEvent, Severity, Status
from monitor.domain.providers import provider_info
from monitor.domain.records import Record, field


class Ack(Record, frozen=True, kw_only=True):
    """An acknowledgement: suppresses an incident until it is worse than this, recovers, or the date passes."""

    status: Status  # the acknowledged status
    stage: timedelta | None = None
    at: datetime
    until: datetime | None = None
    comment: str | None = None
    author: str | None = None


class LastNotified(Record, frozen=True, gc=False, kw_only=True):
    """The last alert of an open incident, stored so that a restart repeats nothing."""

    status: Status
    stage: timedelta | None = None
    at: datetime
    reminders: int = 0


class IncidentSubject(StrEnum):
    """Subject of an incident of a source or of the monitor. Stored with incidents, and `subject` of their alerts.

    Some are followed by a colon and a name: `outage:twitter`. An incident of a connection, and of a source that cannot be read,
    has an empty subject.
    """

    MISSING = "missing"
    """Many connections of one scope left the list in one go. Followed by the scope, which may be empty."""
    OUTAGE = "outage"
    """The probes of many connections of one platform are refused. Followed by the platform."""
    UNPOLLED = "unpolled"
    """A source is not polled, or was never read."""
    UNREADABLE = "unreadable"
    """Rows of one scope's list cannot be read. Followed by the scope, which may be empty."""
    PROBES = "probes"
    """Probes of a source's connections give no evidence."""
    STATUS = "status"
    """A source reports a status that this version does not know. Followed by the source, a colon and the status."""
    CLOCK = "clock"
    """The clocks of this machine and of sources differ."""
    NETWORK = "network"
    """No source can be reached: the monitor's own network."""
    DATABASE = "database"
    """The monitor's database cannot be used."""
    SERVICE = "service"
    """The monitor's service failed."""
    CHANNEL = "channel"
    """A channel takes no messages. Followed by the channel."""
    DELIVERIES = "deliveries"
    """Deliveries of a channel were given up. Followed by the channel."""
    FILTER = "filter"
    """The labels of a channel, a user or a share match nothing any more. Followed by the channel, `user/NAME` or `share/ID`."""
    STATUS_PAGE = "status_page"
    """The status page is not served."""

    def of(self, name: str) -> str:
        """Return the subject followed by a colon and a name."""
        return f"{self.value}:{name}"

    def names_in(self, subjects: Iterable[str]) -> frozenset[str]:
        """Return the names that follow this subject in any of these."""
        return frozenset(name for kind, name in map(split_subject, subjects) if kind == self)


class IncidentReason(StrEnum):
    """Reason for which an incident of a source or of the monitor began or ended: the `reason` of its alerts. Stored.

    An incident of a source that cannot be read has an AlertReason instead. Each sentence begins with the events that the reason
    can have. docs/alerts.md is generated from them.
    """

    SUSPICIOUS_LIST = "suspicious_list"
    """source_failing, source_recovered: Most known connections of a scope disappeared from the list in one poll."""
    ROWS_UNREADABLE = "rows_unreadable"
    """source_failing, source_recovered: Rows of a list could not be read in `confirm_failures` polls in a row."""
    PLATFORM_OUTAGE = "platform_outage"
    """source_failing, source_recovered: The platform refuses most connections of the source at the same time."""
    PROBES_UNANSWERED = "probes_unanswered"
    """source_failing, source_recovered: Probes of some connections have given no evidence for a day."""
    NOT_POLLED = "not_polled"
    """source_failing: The source was not polled for three intervals."""
    NEVER_READ = "never_read"
    """source_failing: No poll of the source has succeeded since it was added."""
    READ_AGAIN = "read_again"
    """source_recovered: A source that was not polled, or was never read, is read again."""
    UNRECOGNISED_STATUS = "unrecognised_status"
    """monitor_problem, monitor_recovered: A source reports a status that this version does not know."""
    CLOCK_SKEW = "clock_skew"
    """monitor_problem, monitor_recovered: The clocks of this machine and of sources have differed for at least an hour."""
    OWN_NETWORK = "own_network"
    """monitor_problem, monitor_recovered: No source can be reached on any host."""
    CHANNEL_BROKEN = "channel_broken"
    """monitor_problem: A channel rejects messages permanently."""
    DELIVERY_DEAD = "delivery_dead"
    """monitor_problem: Deliveries of a channel were given up."""
    FILTER_EMPTY = "filter_empty"
    """monitor_problem: A service renamed a user or workspace, and the labels of a channel, user or share match nothing now."""
    FILTER_MATCHES = "filter_matches"
    """monitor_recovered: The labels of a channel, user or share match connections again."""
    CHANNEL_WORKS = "channel_works"
    """monitor_recovered: A channel accepts messages again."""
    TOKEN_TOO_SHORT = "token_too_short"  # noqa: S105 - a reason
    """monitor_problem, monitor_recovered: The status page is not served, because `web.token` is too short."""
    SERVICE_FAILED = "service_failed"
    """monitor_problem: The monitor's service failed permanently."""
    SERVICE_BACK = "service_back"
    """monitor_recovered: The monitor's service runs again."""
    DATABASE_UNAVAILABLE = "blind"
    """monitor_problem, monitor_recovered: The monitor's database cannot be used."""


CHANNEL_SUBJECTS = (IncidentSubject.CHANNEL, IncidentSubject.DELIVERIES)
"""The subjects of the monitor's own incidents about a channel."""


def split_subject(subject: str) -> tuple[str, str]:
    """Split a subject into an IncidentSubject and the name after the colon, empty where there is none."""
    kind, _, name = subject.partition(":")
    return kind, name


class Alert(Record, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One alert, with everything that routing and the message need, so that the message can be written later.

    It describes a connection (external_id set), a source, or the monitor itself (source empty). It holds no secret.
    """

    id: str
    incident: str  # stable id of the incident, for threads and deduplication keys
    event: AlertEvent
    reason: str  # an AlertReason, or the machine word of a source's or the monitor's own problem
    severity: Severity
    at: datetime
    source: str  # empty for an alert about the monitor itself
    provider: str | None = None  # None for an alert about the monitor itself
    subject: str = ""
    """The subject of an alert about a source or the monitor (see IncidentSubject); empty for a source as a whole."""
    count: int = 1  # number of connections that an alert about a source concerns
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
    """When the incident began, so that a recovery can state its duration; None leaves that out."""
    expires_at: datetime | None = None
    previous: str | None = None
    stage: timedelta | None = None
    link: str | None = None
    reminder: int = 0  # number of this reminder, 1 for the first; 0 if it is not a reminder
    chart: str | None = None
    """A chart as SVG; channels that accept files attach it."""
    labels: dict[str, str] = field(default_factory=dict)
    label_sets: list[dict[str, str]] = field(default_factory=list)
    """Of an alert about a source: the different labels of its connections."""
    label_counts: list[int] = field(default_factory=list)
    """The number of these connections for each entry of `label_sets`."""
    cause: str | None = None
    """The reason why a source cannot be read: `message` without the number of its connections. None for all other alerts."""
    unmonitored_since: datetime | None = None
    """When the first of these connections was last observed; None: never, or unknown."""


def connection_id(source: str, provider: str, scope: str | None, external_id: str) -> str:
    """Return the public id: source/external_id, or source/scope/external_id for a managed user (INTERFACE: JSON).

    Ids of Postbreeze and PostPeer are unique within a key, so a workspace is not part of theirs.
    """
    if scope is None or not provider_info(provider).scope_in_ids:
        return f"{source}/{external_id}"
    return f"{source}/{scope}/{external_id}"
