"""Enumerations: statuses, reasons, flags, severities, kinds and outcomes."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import overload


class Severity(StrEnum):
    """The urgency of an alert, for routing."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info to 2 for critical, for comparisons."""
        return _SEVERITY_RANK[self]


_SEVERITY_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class Status(StrEnum):
    """The status of a connection, in rising severity (INTERFACE: Statuses)."""

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
        """The severity of alerts about this status."""
        if self.rank <= 1:
            return Severity.INFO
        return Severity.WARNING if self is Status.EXPIRING_SOON else Severity.CRITICAL

    @property
    def needs_attention(self) -> bool:
        """True for every status that opens an incident."""
        return self.rank > 1


_STATUS_RANK = {status: rank for rank, status in enumerate(Status)}


class VerdictReason(StrEnum):
    """Reason for which a connection has its status. Stored, and shown as `reason`.

    Each sentence begins with the statuses that the reason can have. docs/statuses.md is generated from them.
    """

    PROVIDER_VALID = "provider_valid"
    """valid: The provider reports the token as valid."""
    NON_EXPIRING = "non_expiring"
    """valid: The token has no expiry date."""
    RENEWS_ITSELF = "renews_itself"
    """valid: The provider renews this short-lived token automatically."""
    OUTSIDE_WINDOW = "outside_window"
    """valid: The provider already warns, but the smaller window that you configured is not reached."""
    NO_EXPIRY_DATE = "no_expiry_date"
    """valid: The connection is listed without a status and without an expiry date (older API responses)."""
    DATE_AHEAD = "date_ahead"
    """valid: The list gives no status (older API responses), or an unknown one after a renewal, and the expiry date is ahead."""
    PROBE_OK = "probe_ok"
    """valid: The platform accepted the token, and the list gives no status or an expiry date that has passed."""
    NO_HEALTH_REPORTED = "no_health_reported"
    """unknown: The provider lists connections but reports no token health (PostPeer)."""
    PROVIDER_UNKNOWN = "provider_unknown"
    """unknown: The provider itself does not know the status."""
    UNRECOGNISED_STATUS = "unrecognised_status"
    """unknown: The provider reports a status that this version does not know."""
    STALE_DATE = "stale_date"
    """unknown: The expiry date is in the past, but dates of this platform are not reliable."""
    EXPIRES_WITHIN = "expires_within"
    """expiring_soon: The expiry date is within the window, and is trusted or has not moved for 48 hours; or it awaits a probe."""
    PROVIDER_EXPIRING_SOON = "provider_expiring_soon"
    """expiring_soon: The provider warns."""
    RENEWAL_OVERDUE = "renewal_overdue"
    """expiring_soon: The provider normally renews the token automatically and has not done so in the usual time."""
    REFRESH_FAILING = "refresh_failing"
    """expiring_soon: The provider's attempts to renew the token keep failing."""
    REFRESH_REJECTED = "refresh_rejected"
    """expiring_soon, expired: The provider could not renew the token, and retrying will not help."""
    EXPIRY_PASSED = "expiry_passed"
    """expired: The provider reports the token as expired, and its expiry date is in the past."""
    REJECTED_BY_PLATFORM = "rejected_by_platform"
    """expired: The provider reports the token as expired before its date, or without one: the platform rejected it."""
    DATE_PASSED = "date_passed"
    """expired: A trusted expiry date has passed."""
    DATE_PAST = "date_past"
    """expired: The only evidence is an expiry date, and it is in the past (older API responses)."""
    REFRESH_OVERDUE = "refresh_overdue"
    """expired: The expiry date passed without the usual renewal, or long ago; the provider still reports the token as active."""
    PROBE_EXPIRED = "probe_expired"
    """expired: The platform rejects the token and names expiry."""
    PROBE_REVOKED = "probe_revoked"
    """revoked: The platform rejects the token and names revocation."""
    PROBE_FAILING = "probe_failing"
    """failing: The platform rejects the connection, and names neither expiry nor revocation; also a missing permission."""
    PROBE_AMBIGUOUS = "probe_ambiguous"
    """failing, unknown: Telegram's answer fits both a revoked bot and a personal session; failing if it was accepted before."""
    PERMISSIONS_LOST = "permissions_lost"
    """failing: The token has lost a permission that publishing needs."""
    POST_REJECTED = "post_rejected"
    """failing: The platform rejected the last post and named the token; the connection is not probed."""
    PROVIDER_FAILING = "provider_failing"
    """failing: The provider reports a problem of the connection other than expiry or revocation, in several polls in a row."""
    PROVIDER_REVOKED = "provider_revoked"
    """revoked: The provider reports the token as revoked."""
    PROVIDER_DISCONNECTED = "provider_disconnected"
    """disconnected: The provider reports the connection as removed."""
    MISSING_FROM_LIST = "missing_from_list"
    """disconnected: The connection was absent from several complete lists in a row."""


class VerdictFlag(StrEnum):
    """Side notes to a verdict, which change no status. Stored, and shown as `flags`. docs/statuses.md is generated from them."""

    CONFLICT = "conflict"
    """Two kinds of evidence disagree: a reported status and a trusted date, or the list and the probe."""
    STALE_DATE = "stale_date"
    """The provider reports the token as valid beside an expiry date in the past that is not trusted."""
    FAILING_UNCONFIRMED = "failing_unconfirmed"
    """The provider reports a problem of the connection for the first time; the next poll must confirm it."""
    LOW_CONFIDENCE = "low_confidence"
    """The provider stated only a date, or nothing at all."""
    PROVIDER_UNKNOWN = "provider_unknown"
    """The provider does not know the status; the last known status is kept."""
    REFRESH_FAILING = "refresh_failing"
    """The provider's attempts to renew the token fail for a temporary reason."""
    LAZY_REFRESH = "lazy_refresh"
    """The expiry date has just passed, and the provider, which renews the token automatically, gets a grace period."""
    CLOCK_SUSPECT = "clock_suspect"
    """The clocks of this machine and of the provider differ by more than 2 minutes."""
    UNREADABLE = "unreadable"
    """The connection is listed in a row that cannot be read; its last status is kept."""
    DUPLICATE_ID = "duplicate_id"
    """The list contains the connection more than once; the worst row counts."""
    PROBE_REFUSED = "probe_refused"
    """A probe was refused and the refusal is not confirmed yet."""
    PROBE_UNSUPPORTED = "probe_unsupported"
    """The provider cannot test this platform or this kind of connection."""
    PROBE_MISSING = "probe_missing"
    """The probe was answered with 404; the list decides."""
    PROBE_BAD_ID = "probe_bad_id"
    """The provider's connection test does not accept this id."""
    PROBE_STALE = "probe_stale"
    """The last successful probe is older than three probe intervals."""
    MTPROTO_OR_REVOKED_BOT = "mtproto_or_revoked_bot"
    """Telegram's answer fits both a personal session and a revoked bot."""
    STATUS_MISSING = "status_missing"
    """This row has no status although other rows have one."""
    PLATFORM_MISSING = "platform_missing"
    """The row does not name its platform."""
    FIELD_IGNORED = "field_ignored"
    """A field of an unexpected type was ignored; id, status and date were read."""
    NAIVE_DATE = "naive_date"
    """The expiry date has no time zone; UTC was assumed."""
    EPOCH_DATE = "epoch_date"
    """The expiry date is a number instead of ISO 8601."""
    UNPARSED_DATE = "unparsed_date"
    """The expiry date cannot be read as a date."""
    ANCIENT_DATE = "ancient_date"
    """The expiry date is before 2015, when none of these providers existed; it is ignored."""
    FAR_DATE = "far_date"
    """The expiry date is more than five years ahead, which providers store for "does not expire"; it is ignored."""
    UNPARSED_SPAN = "unparsed_span"
    """A time left such as "82d 4h" could not be read."""
    COARSE_SPAN = "coarse_span"
    """A time left is given only in whole days."""
    SPAN_EXPIRED = "span_expired"
    """A time left is given as "expired", which contradicts the reported status."""


class SourceStatus(StrEnum):
    """The status of a source: the result of reading its API."""

    PENDING = "pending"
    OK = "ok"
    FAILING = "failing"
    UNAUTHORIZED = "unauthorized"


class ReportedStatus(StrEnum):
    """The status of a token as its provider reports it, in one vocabulary for all providers."""

    VALID = "valid"
    EXPIRING_SOON = "expiring_soon"
    EXPIRED = "expired"
    REVOKED = "revoked"
    DISCONNECTED = "disconnected"
    FAILING = "failing"  # a problem of the connection that is neither expiry nor revocation
    NON_EXPIRING = "non_expiring"  # "unknown" where the API document defines it as: platform uses non-expiring tokens
    UNKNOWN = "unknown"  # an explicit unknown that does mean: status not known
    UNRECOGNISED = "unrecognised"  # a status that this version does not know; the original text is in raw_status
    UNSTATED = "unstated"  # the API has such a field, this row does not (older responses)
    NO_HEALTH = "no_health"  # the API has no such field at all


class PollOutcome(StrEnum):
    """The result of polling a source."""

    OK = "ok"
    PARTIAL = "partial"  # at least one scope could not be read or was incomplete
    UNREACHABLE = "unreachable"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    INVALID = "invalid"  # a response that does not match the API document
    PUSH_STALE = "push_stale"  # a program no longer pushes reports about a connection


class ProbeStatus(StrEnum):
    """The probe axis of a connection, as users see it."""

    OK = "ok"
    FAILING = "failing"
    UNSUPPORTED = "unsupported"
    UNPROBED = "unprobed"


class ProbeFinding(StrEnum):
    """The meaning of a probe's answer (PROVIDERS 2a)."""

    OK = "ok"
    EXPIRED = "expired"
    REVOKED = "revoked"
    PERMISSION = "permission"  # the token works, but a permission, role or scope that publishing needs is missing
    FAILING = "failing"  # refused, naming neither expiry nor revocation nor a permission
    MISSING = "missing"  # 404: the list decides
    UNSUPPORTED = "unsupported"  # no validator for this platform: stop probing it
    AMBIGUOUS = "ambiguous"  # Telegram "Invalid bot token": MTProto, or a revoked bot
    TRANSIENT = "transient"  # no evidence about the token
    BAD_ID = "bad_id"  # 400: the provider does not accept this id

    @property
    def is_refusal(self) -> bool:
        """True if the platform refused the token or the call."""
        return self in (ProbeFinding.EXPIRED, ProbeFinding.REVOKED, ProbeFinding.PERMISSION, ProbeFinding.FAILING)


class AlertEvent(StrEnum):
    """The kind of an alert. The first five are statuses. A channel's `events` filter names these."""

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
    """The state of a delivery: pending, sending, then sent, pending again, or dead; skipped if no longer needed."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    DEAD = "dead"
    SKIPPED = "skipped"  # no longer needed when it was due, such as an escalation of an incident that was resolved meanwhile


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
    """An entry of a source: it was not observed from `old` to `new`."""


@overload
def utc_text(instant: datetime) -> str: ...
@overload
def utc_text(instant: datetime | None) -> str | None: ...
def utc_text(instant: datetime | None) -> str | None:
    """Return the instant as RFC 3339 in UTC ending in Z, whole seconds; None stays None."""
    if instant is None:
        return None
    return instant.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
