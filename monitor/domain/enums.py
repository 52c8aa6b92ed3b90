"""The words of the domain that are one of a few: statuses, severities, kinds, outcomes."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum


class Severity(StrEnum):
    """How urgent something is, for routing."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info to 2 for critical, for comparisons."""
        return _SEVERITY_RANK[self]


_SEVERITY_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Status(StrEnum):
    """A connection's verdict, in rising severity (INTERFACE: Statuses)."""

    VALID = "valid"
    UNKNOWN = "unknown"
    EXPIRING_SOON = "expiring_soon"
    FAILING = "failing"
    EXPIRED = "expired"
    REVOKED = "revoked"
    DISCONNECTED = "disconnected"

    @property
    def rank(self) -> int:
        """Position in rising severity, 0 for valid."""
        return _STATUS_RANK[self]

    @property
    def severity(self) -> Severity:
        """info, warning or critical."""
        if self.rank <= 1:
            return Severity.INFO
        return Severity.WARNING if self is Status.EXPIRING_SOON else Severity.CRITICAL

    @property
    def needs_attention(self) -> bool:
        """True for every status that opens an incident."""
        return self.rank > 1


_STATUS_RANK = {status: rank for rank, status in enumerate(Status)}


class SourceStatus(StrEnum):
    """Whether a source's API can be read."""

    PENDING = "pending"
    OK = "ok"
    FAILING = "failing"
    UNAUTHORIZED = "unauthorized"


class ReportedStatus(StrEnum):
    """What a provider states about a token, in one vocabulary. Only the provider's word, no conclusion of ours."""

    VALID = "valid"
    EXPIRING_SOON = "expiring_soon"
    EXPIRED = "expired"
    REVOKED = "revoked"
    DISCONNECTED = "disconnected"
    NON_EXPIRING = "non_expiring"  # "unknown" where the documents say: platform uses non-expiring tokens
    UNKNOWN = "unknown"  # an explicit unknown that does mean: cannot tell
    UNRECOGNISED = "unrecognised"  # a word this version does not know; the word itself is in raw_word
    UNSTATED = "unstated"  # the API has such a field, this answer does not (old shape)
    NO_HEALTH = "no_health"  # the API has no such field at all


class PollOutcome(StrEnum):
    """How a poll of a source ended."""

    OK = "ok"
    PARTIAL = "partial"  # at least one scope could not be read or was incomplete
    UNREACHABLE = "unreachable"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    INVALID = "invalid"  # an answer that is not what the documents describe


class ProbeStatus(StrEnum):
    """The probe axis of a connection, as users see it."""

    OK = "ok"
    FAILING = "failing"
    UNSUPPORTED = "unsupported"
    UNPROBED = "unprobed"


class ProbeFinding(StrEnum):
    """What a probe answer means (PROVIDERS 2a)."""

    OK = "ok"
    EXPIRED = "expired"
    REVOKED = "revoked"
    FAILING = "failing"
    MISSING = "missing"  # 404: the list decides
    UNSUPPORTED = "unsupported"  # no validator for this platform: stop probing it
    AMBIGUOUS = "ambiguous"  # Telegram "Invalid bot token": MTProto, or a revoked bot
    TRANSIENT = "transient"  # says nothing about the token
    BAD_ID = "bad_id"  # 400: the provider does not take this id

    @property
    def is_refusal(self) -> bool:
        """True where the platform refused the token or the call."""
        return self in (ProbeFinding.EXPIRED, ProbeFinding.REVOKED, ProbeFinding.FAILING)


class AlertEvent(StrEnum):
    """What an alert is about. The first five are statuses; a channel's `events` filter names these."""

    EXPIRING_SOON = "expiring_soon"
    EXPIRED = "expired"
    REVOKED = "revoked"
    DISCONNECTED = "disconnected"
    FAILING = "failing"
    RECOVERED = "recovered"
    SOURCE_FAILING = "source_failing"
    SOURCE_RECOVERED = "source_recovered"
    MONITOR_PROBLEM = "monitor_problem"
    MONITOR_RECOVERED = "monitor_recovered"
    REPORT = "report"
    DRILL = "drill"


RECOVERY_EVENTS = frozenset({AlertEvent.RECOVERED, AlertEvent.SOURCE_RECOVERED, AlertEvent.MONITOR_RECOVERED})
"""The events that end an incident."""


class DeliveryState(StrEnum):
    """A delivery's life: pending, sending, then sent, pending again, or dead; skipped where it was no longer wanted."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    DEAD = "dead"
    SKIPPED = "skipped"  # no longer wanted when its time came: an escalation of what was settled meanwhile


class EventKind(StrEnum):
    """Kinds of entries in a connection's append-only history."""

    APPEARED = "appeared"
    STATUS_CHANGED = "status_changed"
    RENEWED = "renewed"
    RENAMED = "renamed"
    SCOPES_CHANGED = "scopes_changed"
    VANISHED = "vanished"
    RETURNED = "returned"
    RECONNECTED = "reconnected"
    PROBE_CHANGED = "probe_changed"
    RETIRED = "retired"
    ACKNOWLEDGED = "acknowledged"
    UNACKNOWLEDGED = "unacknowledged"
    SILENCED = "silenced"
    UNSILENCED = "unsilenced"
    GAP = "gap"
    """Of a source: it was not observed from `old` to `new`."""


def utc_text(instant: datetime | None) -> str | None:
    """RFC 3339 in UTC ending in Z, whole seconds; None stays None."""
    if instant is None:
        return None
    return instant.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
