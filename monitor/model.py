"""The words of the domain: plain immutable values that every other module speaks. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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


class ProviderKind(StrEnum):
    """The four APIs."""

    POSTPOST = "postpost"
    PUBLORA = "publora"
    POSTBREEZE = "postbreeze"
    POSTPEER = "postpeer"


class Word(StrEnum):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """What a provider tells about its own token refreshes (Postbreeze). All instants aware UTC."""

    connected_at: datetime | None = None
    last_refreshed_at: datetime | None = None
    last_attempt_at: datetime | None = None
    error: str | None = None
    error_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastError:
    """The last posting error that a provider reports. Not a credential verdict."""

    message: str
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one poll saw of one connection. Texts are cleaned (no control characters) and capped at 256 characters."""

    external_id: str
    """The provider's id. PostPost and Publora: the whole platformId; the others: id."""
    scope: str | None = None  # managed user or workspace id, None for the key's owner
    platform: str  # common slug, lower case (x becomes twitter, facebook_page becomes facebook)
    word: Word
    raw_word: str | None = None  # the provider's own spelling of its word, where it has one
    expires_at: datetime | None = None
    """The stated expiry, aware UTC; None when none is stated or it means "does not expire"."""
    expires_before: datetime | None = None
    """Only a coarse span was stated ("82d 4h"): the expiry lies in the hour before this instant. Then expires_at is None."""
    refresh: Refresh | None = None
    account: str | None = None  # stable id on its platform, to recognise a reconnect that got a new external_id
    username: str | None = None
    display_name: str | None = None
    profile_url: str | None = None
    scopes: tuple[str, ...] | None = None  # granted OAuth scopes in the provider's order, None when not reported
    last_successful_post_at: datetime | None = None
    last_error: LastError | None = None
    flags: frozenset[str] = frozenset()
    """Findings while reading the row: naive_date, unparsed_date, far_date, epoch_date, ..."""

    @property
    def label(self) -> str:
        """The name to show to a person: display name, else user name, else id."""
        return self.display_name or self.username or self.external_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A row that could not be read. It costs one row: that connection keeps its last verdict."""

    external_id: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeReport:
    """What one poll saw of one scope."""

    scope: str | None
    complete: bool
    """True only when every row of the scope was certainly listed: then absence is evidence."""
    snapshots: tuple[Snapshot, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    problem: str | None = None
    """Why the scope is incomplete or could not be read, as a sentence."""
    gone: bool = False
    """The provider says that this scope is no longer ours (403 "User is not managed by key", 404 workspace)."""


class PollOutcome(StrEnum):
    """How a poll of a source ended."""

    OK = "ok"
    PARTIAL = "partial"  # at least one scope could not be read or was incomplete
    UNREACHABLE = "unreachable"
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    INVALID = "invalid"  # an answer that is not what the documents describe


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """Everything one poll of one source brought home. Never raised away: a failure is a report too."""

    outcome: PollOutcome
    scopes: tuple[ScopeReport, ...] = ()
    problem: str | None = None
    retry_after: float | None = None
    """Seconds to wait before the next request, where the provider said so."""
    clock_skew: float | None = None
    """Server Date minus local clock in seconds, None without a Date header."""
    requests: int = 0
    covers_all: bool = False
    """True when the list spans every scope of the key, so that a scope not named in it is known to be empty."""

    @property
    def listed(self) -> int:
        """How many rows were listed, readable or not."""
        return sum(len(scope.snapshots) + len(scope.unreadable) for scope in self.scopes)


class ProbeStatus(StrEnum):
    """The probe axis of a connection, as users see it."""

    OK = "ok"
    FAILING = "failing"
    UNSUPPORTED = "unsupported"
    UNPROBED = "unprobed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """What a test-connection call answered, before any judgement."""

    http_status: int
    status: str | None = None  # the body's own status word ("ok" or "error")
    message: str | None = None
    token_expires_in: str | None = None
    username: str | None = None
    permissions: tuple[str, ...] | None = None


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


class Event(StrEnum):
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


class DeliveryState(StrEnum):
    """A delivery's life: pending, sending, then sent, pending again, or dead; skipped where it was no longer wanted."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    DEAD = "dead"
    SKIPPED = "skipped"  # no longer wanted when its time came: an escalation of what was settled meanwhile


class HistoryKind(StrEnum):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenState:
    """The token axis as the rules last judged it."""

    status: Status
    reason: str
    message: str
    expires_at: datetime | None = None
    """The effective expiry that the verdict rests on (stated, or the end of a coarse span)."""
    crossed_at: datetime | None = None
    """The expiry date whose line was crossed: the verdict ends only when the date moves later than this by over an hour."""
    issued_at: datetime | None = None
    """When we saw the current date first: with expires_at the observed lifetime of a renewed token."""
    refresh_failures: int = 0
    """Polls in a row in which the provider's refresh failed for a passing reason, counted up to 3."""
    flags: frozenset[str] = frozenset()
    """Side notes of the rule that spoke: conflict, stale_date, low_confidence, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeState:
    """The probe axis: what the platform itself answers."""

    status: ProbeStatus = ProbeStatus.UNPROBED
    finding: ProbeFinding | None = None
    """The last finding that said something (never transient)."""
    refusals: int = 0
    """Refusals in a row, counted up to the confirmation threshold."""
    message: str | None = None
    at: datetime | None = None
    ever_ok: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What we hold to be true of a connection, and why."""

    status: Status
    reason: str  # a stable machine word
    message: str  # one sentence for a person
    since: datetime  # the instant of the change; the expiry date itself where a trusted date passed
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionState:
    """All that is remembered of one connection: the last snapshot, both axes, and the verdict merged from them."""

    snapshot: Snapshot
    token: TokenState
    probe: ProbeState
    verdict: Verdict
    stage: timedelta | None = None
    """While expiring_soon: the tightest stage whose line has been crossed, None before the first."""
    missing: int = 0
    """Complete lists in a row without it, counted up to confirm_missing."""
    next_change_at: datetime | None = None
    """The next instant at which time alone moves the verdict or the stage (trusted dates only)."""
    recheck_at: datetime | None = None
    """From this instant on a poll must judge again even where nothing else changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One thing that changed in a connection's history."""

    kind: HistoryKind
    at: datetime
    old: str | None = None
    new: str | None = None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The thresholds in force for one connection (source + platform, source, platform, policy; key by key)."""

    expiring_within: timedelta = timedelta(days=7)
    expiring_within_explicit: bool = False
    """Whether a person set it: only then may it overrule a provider's own expiring_soon."""
    stages: tuple[timedelta, ...] = (timedelta(days=7), timedelta(days=3), timedelta(days=1))
    confirm_failures: int = 2
    confirm_missing: int = 2
    remind_every: timedelta | None = timedelta(hours=24)
    flap_changes: int = 4
    """More status changes than this within flap_window are damped to one message an hour."""
    flap_window: timedelta | None = timedelta(hours=6)
    """None: nothing is damped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Somebody knows. Quietens an incident until it gets worse than this, recovers, or the date passes."""

    status: Status  # what was acknowledged
    stage: timedelta | None = None
    at: datetime
    until: datetime | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an open incident has said so far: the memory that keeps a restart from repeating itself."""

    status: Status
    stage: timedelta | None = None
    at: datetime
    reminders: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What is to be said, once: everything that routing and wording need, so that a message can be written later.

    Either a connection is described (external_id set), or a source, or the monitor itself (source empty). Holds no secret.
    """

    id: str
    incident: str
    """Stable id of the incident, for threads and deduplication keys."""
    event: Event
    reason: str
    """Why it is said: an AlertReason word."""
    severity: Severity
    at: datetime
    source: str  # empty for an alert about the monitor itself
    provider: ProviderKind | None = None  # None for an alert about the monitor itself
    subject: str = ""
    """What a source's or the monitor's own alert is about, where it is not the source as a whole (channel:ops, network, ...)."""
    count: int = 1
    """How many connections an alert about a source speaks of."""
    scope: str | None = None
    connection: str | None = None
    """The connection's public id (source/external_id), None for a source's alert."""
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
    reminder: int = 0
    """Which reminder this is, 1 for the first; 0 where it is none."""
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


def utc_text(instant: datetime | None) -> str | None:
    """RFC 3339 in UTC ending in Z, whole seconds; None stays None."""
    if instant is None:
        return None
    return instant.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
