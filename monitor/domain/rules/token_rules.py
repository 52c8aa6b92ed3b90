"""The rules of the token axis, in the order of `token.TOKEN_RULES`."""

from __future__ import annotations

from monitor.domain import ReportedStatus, Status, VerdictFlag, VerdictReason, timefmt, utc_text
from monitor.domain.records import Record
from monitor.domain.rules import expiry, renewals
from monitor.domain.rules.token_evidence import REFRESH_FAILURES_BEFORE_WARNING, REFRESH_REJECTED, WORKING, Evidence

NO_FLAGS: frozenset[VerdictFlag] = frozenset()


class Finding(Record, frozen=True, gc=False):
    """The conclusion of a rule, with flags to show beside it."""

    status: Status
    reason: str  # a VerdictReason
    message: str
    flags: frozenset[str] = NO_FLAGS


_CONFLICT = frozenset({VerdictFlag.CONFLICT})
_STALE_DATE = frozenset({VerdictFlag.STALE_DATE})
_LOW_CONFIDENCE = frozenset({VerdictFlag.LOW_CONFIDENCE})
_LAZY_REFRESH = frozenset({VerdictFlag.LAZY_REFRESH})
_REFRESH_FAILING = frozenset({VerdictFlag.REFRESH_FAILING})
_PROVIDER_UNKNOWN = frozenset({VerdictFlag.PROVIDER_UNKNOWN})


def _explained(text: str, e: Evidence) -> str:
    """Return the sentence with the provider's explanation, if it gave one."""
    detail = (e.snapshot.detail or "").rstrip(". ")
    return f"{text}: {detail}." if detail else f"{text}."


def list_reports_revoked(e: Evidence) -> Finding | None:
    """Believe the provider."""
    if e.reported is ReportedStatus.REVOKED:
        return Finding(
            Status.REVOKED, VerdictReason.PROVIDER_REVOKED, _explained("The provider reports that access was revoked", e)
        )
    return None


def list_reports_disconnected(e: Evidence) -> Finding | None:
    """Believe the provider."""
    if e.reported is ReportedStatus.DISCONNECTED:
        text = _explained("The provider reports that the connection was removed", e)
        return Finding(Status.DISCONNECTED, VerdictReason.PROVIDER_DISCONNECTED, text)
    return None


def list_reports_expired(e: Evidence) -> Finding | None:
    """Believe the provider regardless of the date: a null or future date means that the platform rejected the token."""
    if e.reported is not ReportedStatus.EXPIRED:
        return None
    if e.date_has_passed:
        return Finding(Status.EXPIRED, VerdictReason.EXPIRY_PASSED, _explained("The provider reports that the token expired", e))
    when = "without a date" if e.left is None else "before its date"
    text = _explained(f"The provider reports that the token expired {when}, because the platform rejected it", e)
    return Finding(Status.EXPIRED, VerdictReason.REJECTED_BY_PLATFORM, text)


def list_reports_failing(e: Evidence) -> Finding | None:
    """Believe a provider that reports another problem in enough polls in a row, or whose reports are final."""
    if e.reported is not ReportedStatus.FAILING:
        return None
    was_confirmed = e.previous is not None and e.previous.reason == VerdictReason.PROVIDER_FAILING
    if not (was_confirmed or e.context.provider.reports_are_final or e.failing_polls >= e.context.policy.confirm_failures):
        return None
    text = _explained("The provider reports a problem of the connection", e)
    return Finding(Status.FAILING, VerdictReason.PROVIDER_FAILING, text)


def failing_is_unconfirmed(e: Evidence) -> Finding | None:
    """Keep the last known status until further polls confirm a reported problem."""
    if e.reported is not ReportedStatus.FAILING:
        return None
    text = _explained("The provider reports a problem of the connection, which the next poll must confirm", e)
    return Finding(Status.UNKNOWN, VerdictReason.PROVIDER_UNKNOWN, text, frozenset({VerdictFlag.FAILING_UNCONFIRMED}))


def provider_reports_no_health(e: Evidence) -> Finding | None:
    """Report unknown: the API lists connections without the health of their tokens."""
    if e.reported is ReportedStatus.NO_HEALTH:
        text = "Connected; this provider reports no token health."
        return Finding(Status.UNKNOWN, VerdictReason.NO_HEALTH_REPORTED, text)
    return None


def trusted_date_has_passed(e: Evidence) -> Finding | None:
    """Let a trusted date decide once it is reached. A provider that still reports valid contradicts its own date."""
    if not (e.date_has_passed and e.trusted):
        return None
    reported_now = e.context.polled or (e.previous is not None and VerdictFlag.CONFLICT in e.previous.flags)
    disagrees = reported_now and e.reported in (ReportedStatus.VALID, ReportedStatus.EXPIRING_SOON)
    flags = _CONFLICT if disagrees else NO_FLAGS
    return Finding(Status.EXPIRED, VerdictReason.DATE_PASSED, "The token reached its expiry date.", flags)


def expired_date_has_not_moved(e: Evidence) -> Finding | None:
    """Keep a token expired until its date moves later by more than an hour."""
    if e.previous is None or e.previous.status is not Status.EXPIRED or not e.date_has_not_moved:
        return None
    if e.previous.reason == VerdictReason.DATE_PAST and e.reported in WORKING and not e.states_only_a_date:
        return None  # the date was the only evidence, and a status is better
    disagrees = e.reported is ReportedStatus.VALID and e.previous.reason == VerdictReason.DATE_PASSED
    return Finding(Status.EXPIRED, e.previous.reason, e.previous.message, _CONFLICT if disagrees else NO_FLAGS)


def refresh_was_rejected(e: Evidence) -> Finding | None:
    """Ask for a reconnect: the provider tried to renew the token and was refused permanently."""
    refresh = e.snapshot.refresh
    if not e.reports_renewals or refresh is None or not e.refresh_fails or refresh.error_status not in REFRESH_REJECTED:
        return None
    text = f"The provider could not renew the token (HTTP {refresh.error_status}{f': {refresh.error}' if refresh.error else ''})"
    if e.date_has_passed:
        return Finding(Status.EXPIRED, VerdictReason.REFRESH_REJECTED, f"{text}, and it has expired.")
    return Finding(Status.EXPIRING_SOON, VerdictReason.REFRESH_REJECTED, f"{text}.")


def renewals_stopped_before_expiry(e: Evidence) -> Finding | None:
    """Report expired at the date if the renewal, which is usually early, has not come, or if its last attempt failed."""
    if not e.reports_renewals or not e.date_has_passed or e.expired_at is None:
        return None
    if not e.has_come(e.expires_at if e.refresh_fails else e.expired_at):
        return None
    text = (
        "The token expired and was not renewed, although the provider usually renews it earlier and still reports it as active."
    )
    return Finding(Status.EXPIRED, VerdictReason.REFRESH_OVERDUE, text)


def grace_has_passed(e: Evidence) -> Finding | None:
    """Report expired long after the date, even if the provider renews tokens automatically and still reports active."""
    if not e.reports_renewals or e.left is None:
        return None
    if -e.left <= expiry.grace_of(e.snapshot, e.lifetime, e.dated_since):
        return None
    text = "The token expired and was not renewed; the provider still reports it as active."
    return Finding(Status.EXPIRED, VerdictReason.REFRESH_OVERDUE, text)


def refresh_is_failing(e: Evidence) -> Finding | None:
    """Warn about a refresh that fails for a temporary reason: near the expiry, or (short-lived tokens) after three attempts."""
    if not e.reports_renewals or not e.refresh_fails or e.snapshot.refresh is None:
        return None
    error = e.snapshot.refresh.error or f"HTTP {e.snapshot.refresh.error_status}"
    text = f"The provider's attempts to renew the token fail ({error})."
    often = e.refresh_failures >= REFRESH_FAILURES_BEFORE_WARNING
    if often if e.short_lived else e.date_is_near:
        return Finding(Status.EXPIRING_SOON, VerdictReason.REFRESH_FAILING, text, _REFRESH_FAILING)
    return expiring_date_has_not_moved(e) or Finding(Status.VALID, VerdictReason.PROVIDER_VALID, text, _REFRESH_FAILING)


def renewals_have_stopped(e: Evidence) -> Finding | None:
    """Warn if the next renewal is overdue according to the learned cadence."""
    last, gap, refresh = renewals.renewed_at(e.snapshot, e.reconnected_at), e.cadence.gap, e.snapshot.refresh
    if not e.reports_renewals or not e.has_come(e.overdue_at) or last is None or gap is None or refresh is None:
        return None
    text = f"The provider usually renews this token within {timefmt.span(gap)}, and has not renewed it since {utc_text(last)}."
    if e.refresh_fails:
        text = f"{text} Its last attempt failed ({refresh.error or f'HTTP {refresh.error_status}'})."
    return Finding(Status.EXPIRING_SOON, VerdictReason.RENEWAL_OVERDUE, text)


def short_lived_token_rotates(e: Evidence) -> Finding | None:
    """Never warn by time alone about a token with a lifetime of hours, which the provider renews automatically."""
    if not e.reports_renewals or not e.short_lived:
        return None
    text = "Valid; the provider renews this short-lived token automatically."
    return Finding(Status.VALID, VerdictReason.RENEWS_ITSELF, text, _LAZY_REFRESH if e.date_has_passed else NO_FLAGS)


def renewal_is_overdue(e: Evidence) -> Finding | None:
    """Warn near the expiry if the provider, which renews long-lived tokens automatically, has not done so."""
    if not e.reports_renewals or not e.date_is_near or e.date_has_passed:
        return None
    text = "The token expires soon; the provider normally renews it automatically and has not done so."
    return Finding(Status.EXPIRING_SOON, VerdictReason.RENEWAL_OVERDUE, text)


def list_reports_expiring_soon(e: Evidence) -> Finding | None:
    """Follow the provider's own warning, unless a smaller window is configured and a trusted date is still outside it."""
    if e.reported is not ReportedStatus.EXPIRING_SOON:
        return None
    overruled = (
        e.context.policy.expiring_within_explicit
        and e.window < e.context.provider.warning_window(e.snapshot.platform)
        and e.trusted
        and e.left is not None
        and e.left > e.window
    )
    if overruled:
        text = "The provider already warns; the token expires later than the configured window."
        return expiring_date_has_not_moved(e) or Finding(Status.VALID, VerdictReason.OUTSIDE_WINDOW, text)
    text = _explained("The provider reports that the token expires soon", e)
    return Finding(Status.EXPIRING_SOON, VerdictReason.PROVIDER_EXPIRING_SOON, text)


def only_date_has_passed(e: Evidence) -> Finding | None:
    """Report expired by a past date if there is no status (older API responses), unless tokens are renewed on use."""
    if not e.states_only_a_date or not e.date_has_passed:
        return None
    if e.snapshot.platform in expiry.RENEWED_BY_PROVIDER:
        text = "The stated expiry date is in the past, but dates of this platform are not reliable."
        return Finding(Status.UNKNOWN, VerdictReason.STALE_DATE, text)
    if e.previous is not None and e.previous.status is Status.VALID and VerdictFlag.STALE_DATE in e.previous.flags:
        return Finding(Status.VALID, e.previous.reason, e.previous.message, _STALE_DATE)  # reported as valid despite such a date
    return Finding(Status.EXPIRED, VerdictReason.DATE_PAST, "The stated expiry date is in the past.")


def time_left_is_expired(e: Evidence) -> Finding | None:
    """Report expired if the only evidence is a time left of "expired", on a platform with trusted dates."""
    unstated = e.reported is ReportedStatus.UNKNOWN and VerdictFlag.SPAN_EXPIRED in e.snapshot.flags
    if not unstated or not expiry.is_trusted(e.snapshot, e.context.provider, e.dated_since):
        return None
    text = 'The provider states the time left as "expired".'
    return Finding(Status.EXPIRED, VerdictReason.DATE_PAST, text)


def date_is_near(e: Evidence) -> Finding | None:
    """Warn if a date that is trusted, or that has not moved for 48 hours, is within the window."""
    if not e.date_is_near or not (e.trusted or e.proven):
        return None
    if not e.date_has_passed:
        return Finding(Status.EXPIRING_SOON, VerdictReason.EXPIRES_WITHIN, "The token expires soon.")
    if e.previous is None or e.previous.status is not Status.EXPIRING_SOON or e.reported is not ReportedStatus.VALID:
        return None
    text = "The stated expiry date has passed, and the provider still reports the token as valid."
    return Finding(Status.EXPIRING_SOON, VerdictReason.EXPIRES_WITHIN, text, _CONFLICT)


def expiring_date_has_not_moved(e: Evidence) -> Finding | None:
    """Keep expiring_soon until the date moves later by more than an hour, or is gone while the provider reports valid."""
    if e.previous is None or e.previous.status is not Status.EXPIRING_SOON or not e.date_has_not_moved:
        return None
    return Finding(Status.EXPIRING_SOON, e.previous.reason, e.previous.message)


def date_is_within_grace(e: Evidence) -> Finding | None:
    """Accept a date that has just passed if the provider renews tokens automatically and still reports active."""
    if e.reports_renewals and e.date_has_passed:
        text = "Valid according to the provider; the expiry date has just passed."
        return Finding(Status.VALID, VerdictReason.PROVIDER_VALID, text, _LAZY_REFRESH)
    return None


def list_reports_valid(e: Evidence) -> Finding | None:
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
    """Report valid with low confidence if there is no status (older API responses), and a date that is ahead or none."""
    if not e.states_only_a_date:
        return None
    if e.expires_at is None:
        return Finding(Status.VALID, VerdictReason.NO_EXPIRY_DATE, "Listed, without an expiry date.", _LOW_CONFIDENCE)
    if e.snapshot.trusted:
        return Finding(Status.VALID, VerdictReason.DATE_AHEAD, "Valid until its expiry date.")
    text = "The provider states an expiry date and no status."
    return Finding(Status.VALID, VerdictReason.DATE_AHEAD, text, _LOW_CONFIDENCE)


def renewed_date_is_ahead(e: Evidence) -> Finding | None:
    """Report valid if a trusted date has moved later since the token was lost, although the provider does not know the status."""
    if e.previous is None or e.previous.status not in (Status.EXPIRING_SOON, Status.EXPIRED) or not e.date_was_renewed:
        return None
    text = "The expiry date has moved later; the provider does not know the status."
    return Finding(Status.VALID, VerdictReason.DATE_AHEAD, text, _PROVIDER_UNKNOWN)


def status_is_unknown(e: Evidence) -> Finding:
    """Report unknown for an explicit unknown, a missing status, or a status that this version does not know."""
    if e.reported is ReportedStatus.UNRECOGNISED:
        text = f"The provider reports the status {e.snapshot.raw_status!r}, which this version does not know."
        if e.context.provider.is_defined:
            text = "No [[sources.status]] rule applies to it; `providers try` shows what the provider reports."
        return Finding(Status.UNKNOWN, VerdictReason.UNRECOGNISED_STATUS, text, _PROVIDER_UNKNOWN)
    text = "The provider does not know the token's status."
    return Finding(Status.UNKNOWN, VerdictReason.PROVIDER_UNKNOWN, text, _PROVIDER_UNKNOWN)
