"""The rules of the token axis, in the order of `token.TOKEN_RULES`, and the evidence that they judge."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import Refresh, ReportedStatus, Snapshot, Status, TokenState, VerdictFlag, VerdictReason
from monitor.domain.records import Record
from monitor.domain.rules import expiry
from monitor.domain.rules.expiry import LATER_BY, Context

REFRESH_REJECTED = frozenset({400, 401, 403})
"""HTTP statuses of a refresh that no retry repairs: the user must reconnect."""

REFRESH_FAILURES_BEFORE_WARNING = 3
"""Polls in a row with a refresh that fails for a temporary reason, before that is a warning."""

NO_FLAGS: frozenset[VerdictFlag] = frozenset()


class Finding(Record, frozen=True):
    """The conclusion of a rule, with flags to show beside it."""

    status: Status
    reason: str  # a VerdictReason
    message: str
    flags: frozenset[str] = NO_FLAGS


class Evidence(Record, frozen=True, kw_only=True):
    """One row of a list, the previous conclusion, and what follows from its dates."""

    snapshot: Snapshot
    previous: TokenState | None
    context: Context
    expires_at: datetime | None
    left: timedelta | None
    """Time until expires_at, negative after it."""
    trusted: bool
    """True if the expiry date alone may move the verdict (PROVIDERS 2b)."""
    lifetime: timedelta | None
    window: timedelta
    refresh_fails: bool
    refresh_failures: int
    """Polls in a row, this one included, in which the refresh failed for a temporary reason; at most 3."""

    @property
    def reported(self) -> ReportedStatus:
        """The status that the provider reports."""
        return self.snapshot.reported

    @property
    def date_has_passed(self) -> bool:
        """True if the expiry date has been reached."""
        return self.left is not None and self.left <= timedelta(0)

    @property
    def date_may_decide(self) -> bool:
        """True if the expiry date alone may move the verdict now: it is trusted and the clocks agree."""
        return self.trusted and self.context.clock_trusted

    @property
    def date_has_not_moved(self) -> bool:
        """True if the expiry date is still the one (within an hour) whose threshold was crossed."""
        crossed = self.previous.crossed_at if self.previous else None
        return crossed is not None and self.expires_at is not None and not expiry.moved_later(crossed, self.expires_at, LATER_BY)


def gather(snapshot: Snapshot, previous: TokenState | None, context: Context) -> Evidence:
    """Collect the evidence for the rules."""
    expires_at = _held_date(snapshot, previous)
    issued_at = issued(previous, expires_at, context)
    lifetime = expiry.lifetime_of(snapshot, issued_at)
    fails = refresh_fails(snapshot.refresh)
    temporary = fails and snapshot.refresh is not None and snapshot.refresh.error_status not in REFRESH_REJECTED
    return Evidence(
        snapshot=snapshot,
        previous=previous,
        context=context,
        expires_at=expires_at,
        left=None if expires_at is None else expires_at - context.now,
        trusted=expiry.is_trusted(snapshot, context.provider),
        lifetime=lifetime,
        window=expiry.window_of(context.policy, lifetime),
        refresh_fails=fails,
        refresh_failures=_count_refresh_failures(previous, expires_at, context) if temporary else 0,
    )


def _held_date(snapshot: Snapshot, previous: TokenState | None) -> datetime | None:
    """Return the expiry date to use. A coarse span that still fits the remembered date does not move it later."""
    stated = expiry.effective_expiry(snapshot)
    if snapshot.expires_at is not None or stated is None or previous is None or previous.expires_at is None:
        return stated
    return min(stated, previous.expires_at) if abs(stated - previous.expires_at) <= LATER_BY else stated


def _count_refresh_failures(previous: TokenState | None, expires_at: datetime | None, context: Context) -> int:
    """Count this poll's failure. A date that moved later in between proves a successful refresh: counting restarts."""
    renewed = previous is not None and expiry.moved_later(previous.expires_at, expires_at, timedelta(0))
    before = previous.refresh_failures if previous is not None and not renewed else 0
    return min(before + context.polled, REFRESH_FAILURES_BEFORE_WARNING)


def issued(previous: TokenState | None, expires_at: datetime | None, context: Context) -> datetime | None:
    """Return since when the current date is known: now if it just moved later, None if it was there from the first poll."""
    if previous is None or expires_at is None:
        return None
    return context.now if expiry.moved_later(previous.expires_at, expires_at, LATER_BY) else previous.issued_at


def refresh_fails(refresh: Refresh | None) -> bool:
    """Return True if the provider's last attempt to renew the token failed. An error before a later success is ignored."""
    if refresh is None or not refresh.error or refresh.last_attempt_at is None:
        return False
    return refresh.last_refreshed_at is None or refresh.last_attempt_at > refresh.last_refreshed_at


_CONFLICT = frozenset({VerdictFlag.CONFLICT})
_STALE_DATE = frozenset({VerdictFlag.STALE_DATE})
_LOW_CONFIDENCE = frozenset({VerdictFlag.LOW_CONFIDENCE})
_LAZY_REFRESH = frozenset({VerdictFlag.LAZY_REFRESH})
_REFRESH_FAILING = frozenset({VerdictFlag.REFRESH_FAILING})
_PROVIDER_UNKNOWN = frozenset({VerdictFlag.PROVIDER_UNKNOWN})


def list_says_revoked(e: Evidence) -> Finding | None:
    """Believe the provider."""
    if e.reported is ReportedStatus.REVOKED:
        return Finding(Status.REVOKED, VerdictReason.PROVIDER_REVOKED, "The provider reports that access was revoked.")
    return None


def list_says_disconnected(e: Evidence) -> Finding | None:
    """Believe the provider."""
    if e.reported is ReportedStatus.DISCONNECTED:
        text = "The provider reports that the connection was removed."
        return Finding(Status.DISCONNECTED, VerdictReason.PROVIDER_DISCONNECTED, text)
    return None


def list_says_expired(e: Evidence) -> Finding | None:
    """Believe the provider regardless of the date: a null or future date means that the platform rejected the token."""
    if e.reported is not ReportedStatus.EXPIRED:
        return None
    if e.date_has_passed:
        return Finding(Status.EXPIRED, VerdictReason.EXPIRY_PASSED, "The provider reports that the token expired.")
    when = "without a date" if e.left is None else "before its date"
    text = f"The provider reports that the token expired {when}: the platform rejected it."
    return Finding(Status.EXPIRED, VerdictReason.REJECTED_BY_PLATFORM, text)


def provider_reports_no_health(e: Evidence) -> Finding | None:
    """Report unknown: the API lists connections without the health of their tokens."""
    if e.reported is ReportedStatus.NO_HEALTH:
        text = "Connected; this provider reports no token health."
        return Finding(Status.UNKNOWN, VerdictReason.NO_HEALTH_REPORTED, text)
    return None


def trusted_date_has_passed(e: Evidence) -> Finding | None:
    """Let a trusted date decide once it is reached. A provider that still reports valid contradicts its own date."""
    if not (e.date_has_passed and e.date_may_decide):
        return None
    reported_now = e.context.polled or (e.previous is not None and VerdictFlag.CONFLICT in e.previous.flags)
    disagrees = reported_now and e.reported in (ReportedStatus.VALID, ReportedStatus.EXPIRING_SOON)
    flags = _CONFLICT if disagrees else NO_FLAGS
    return Finding(Status.EXPIRED, VerdictReason.DATE_PASSED, "The token reached its expiry date.", flags)


def expired_date_has_not_moved(e: Evidence) -> Finding | None:
    """Keep a token expired until its date moves later by more than an hour."""
    if e.previous is None or e.previous.status is not Status.EXPIRED or not e.date_has_not_moved:
        return None
    disagrees = e.reported is ReportedStatus.VALID and e.previous.reason == VerdictReason.DATE_PASSED
    return Finding(Status.EXPIRED, e.previous.reason, e.previous.message, _CONFLICT if disagrees else NO_FLAGS)


def refresh_was_rejected(e: Evidence) -> Finding | None:
    """Ask for a reconnect: the provider tried to renew the token and was refused permanently."""
    refresh = e.snapshot.refresh
    if (
        e.reported is not ReportedStatus.VALID
        or refresh is None
        or not e.refresh_fails
        or refresh.error_status not in REFRESH_REJECTED
    ):
        return None
    text = f"The provider could not renew the token (HTTP {refresh.error_status}: {refresh.error})"
    if e.date_has_passed and e.context.clock_trusted:
        return Finding(Status.EXPIRED, VerdictReason.REFRESH_REJECTED, f"{text}, and it has expired.")
    return Finding(Status.EXPIRING_SOON, VerdictReason.REFRESH_REJECTED, f"{text}.")


def grace_has_passed(e: Evidence) -> Finding | None:
    """Report expired long after the date, even if the provider renews tokens automatically and still reports active."""
    if e.snapshot.refresh is None or e.reported is not ReportedStatus.VALID or e.left is None or not e.context.clock_trusted:
        return None
    if -e.left <= expiry.grace_of(e.snapshot, e.lifetime):
        return None
    text = "The token expired and was not renewed; the provider still reports it as active."
    return Finding(Status.EXPIRED, VerdictReason.REFRESH_OVERDUE, text)


def refresh_is_failing(e: Evidence) -> Finding | None:
    """Warn about a refresh that fails for a temporary reason only near the expiry or after three polls."""
    if e.reported is not ReportedStatus.VALID or not e.refresh_fails or e.snapshot.refresh is None:
        return None
    near = e.context.clock_trusted and e.left is not None and e.left <= e.window and not expiry.is_short_lived(e.snapshot)
    text = f"The provider's attempts to renew the token fail ({e.snapshot.refresh.error})."
    if near or e.refresh_failures >= REFRESH_FAILURES_BEFORE_WARNING:
        return Finding(Status.EXPIRING_SOON, VerdictReason.REFRESH_FAILING, text, _REFRESH_FAILING)
    return expiring_date_has_not_moved(e) or Finding(Status.VALID, VerdictReason.PROVIDER_VALID, text, _REFRESH_FAILING)


def short_lived_token_rotates(e: Evidence) -> Finding | None:
    """Never warn by time alone about a token with a lifetime of hours, which the provider renews automatically."""
    if e.snapshot.refresh is None or e.reported is not ReportedStatus.VALID or not expiry.is_short_lived(e.snapshot):
        return None
    text = "Valid; the provider renews this short-lived token automatically."
    return Finding(Status.VALID, VerdictReason.RENEWS_ITSELF, text, _LAZY_REFRESH if e.date_has_passed else NO_FLAGS)


def renewal_is_overdue(e: Evidence) -> Finding | None:
    """Warn near the expiry if the provider, which renews long-lived tokens automatically, has not done so."""
    if e.snapshot.refresh is None or e.reported is not ReportedStatus.VALID or e.left is None or e.date_has_passed:
        return None
    if e.left > e.window or not e.context.clock_trusted:
        return None
    text = "The token expires soon; the provider normally renews it automatically and has not done so."
    return Finding(Status.EXPIRING_SOON, VerdictReason.RENEWAL_OVERDUE, text)


def list_says_expiring_soon(e: Evidence) -> Finding | None:
    """Follow the provider's own warning, unless a smaller window is configured and a trusted date is still outside it."""
    if e.reported is not ReportedStatus.EXPIRING_SOON:
        return None
    overruled = (
        e.context.policy.expiring_within_explicit
        and e.window < e.context.provider.warning_window(e.snapshot.platform)
        and e.date_may_decide
        and e.left is not None
        and e.left > e.window
    )
    if overruled:
        text = "The provider already warns; the token expires later than the configured window."
        return expiring_date_has_not_moved(e) or Finding(Status.VALID, VerdictReason.OUTSIDE_WINDOW, text)
    text = "The provider reports that the token expires soon."
    return Finding(Status.EXPIRING_SOON, VerdictReason.PROVIDER_EXPIRING_SOON, text)


def trusted_date_is_near(e: Evidence) -> Finding | None:
    """Warn if a trusted date is within the window."""
    if e.date_may_decide and e.left is not None and e.left <= e.window:
        return Finding(Status.EXPIRING_SOON, VerdictReason.EXPIRES_WITHIN, "The token expires soon.")
    return None


def expiring_date_has_not_moved(e: Evidence) -> Finding | None:
    """Keep expiring_soon until the date moves later by more than an hour, or is gone while the provider reports valid."""
    if e.previous is None or e.previous.status is not Status.EXPIRING_SOON or not e.date_has_not_moved:
        return None
    return Finding(Status.EXPIRING_SOON, e.previous.reason, e.previous.message)


def date_is_within_grace(e: Evidence) -> Finding | None:
    """Accept a date that has just passed if the provider renews tokens automatically and still reports active."""
    if e.snapshot.refresh is not None and e.reported is ReportedStatus.VALID and e.date_has_passed:
        text = "Valid according to the provider; the expiry date has just passed."
        return Finding(Status.VALID, VerdictReason.PROVIDER_VALID, text, _LAZY_REFRESH)
    return None


def list_says_valid(e: Evidence) -> Finding | None:
    """Believe the status that the provider reports rather than its date."""
    if e.reported is not ReportedStatus.VALID:
        return None
    if e.expires_at is None:
        return Finding(Status.VALID, VerdictReason.NON_EXPIRING, "Valid; no expiry date.")
    return Finding(Status.VALID, VerdictReason.PROVIDER_VALID, "Valid.", _STALE_DATE if e.date_has_passed else NO_FLAGS)


def token_does_not_expire(e: Evidence) -> Finding | None:
    """Read PostPost's "unknown" without a date as documented: the platform's tokens do not expire."""
    if e.reported is ReportedStatus.NON_EXPIRING and e.expires_at is None:
        return Finding(Status.VALID, VerdictReason.NON_EXPIRING, "Does not expire.")
    return None


def list_states_only_a_date(e: Evidence) -> Finding | None:
    """Judge by the date if there is no status (older API responses): past is expired, unless tokens are renewed on use."""
    if e.reported not in (ReportedStatus.UNSTATED, ReportedStatus.NON_EXPIRING) or e.snapshot.refresh is not None:
        return None
    if e.expires_at is None:
        return Finding(Status.VALID, VerdictReason.NO_EXPIRY_DATE, "Listed, without an expiry date.", _LOW_CONFIDENCE)
    if not e.date_has_passed:
        text = "The provider states an expiry date and no status."
        return Finding(Status.VALID, VerdictReason.DATE_AHEAD, text, _LOW_CONFIDENCE)
    if e.snapshot.platform in expiry.RENEWED_BY_PROVIDER or not e.context.clock_trusted:
        text = "The stated expiry date is in the past, but dates of this platform are not reliable."
        return Finding(Status.UNKNOWN, VerdictReason.STALE_DATE, text)
    return Finding(Status.EXPIRED, VerdictReason.DATE_PAST, "The stated expiry date is in the past.")


def status_is_unknown(e: Evidence) -> Finding:
    """Report unknown for an explicit unknown, a missing status, or a status that this version does not know."""
    if e.reported is ReportedStatus.UNRECOGNISED:
        text = f"The provider reports the status {e.snapshot.raw_status!r}, which this version does not know."
        return Finding(Status.UNKNOWN, VerdictReason.UNRECOGNISED_STATUS, text, _PROVIDER_UNKNOWN)
    text = "The provider does not know the token's status."
    return Finding(Status.UNKNOWN, VerdictReason.PROVIDER_UNKNOWN, text, _PROVIDER_UNKNOWN)
