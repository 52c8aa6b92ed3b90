"""The token axis: what the list says about a token, judged by an ordered tuple of rules.

Read TOKEN_RULES from top to bottom: the first rule that speaks wins. The tuple is the specification
(PROVIDERS 2a and 2b); docs/statuses.md is checked against it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from monitor.domain import Refresh, ReportedStatus, Snapshot, Status, TokenState
from monitor.domain.records import Record
from monitor.domain.rules import expiry
from monitor.domain.rules.expiry import LATER_BY, Context

REFRESH_REJECTED = frozenset({400, 401, 403})
"""Answers to a refresh that no retry mends: a person must reconnect."""

REFRESH_FAILURES_BEFORE_WARNING = 3
"""Polls in a row with a refresh that fails for a passing reason."""


class Finding(Record, frozen=True):
    """What a rule concludes, and the flags that people should see beside it."""

    status: Status
    reason: str
    message: str
    flags: frozenset[str] = frozenset()


class Evidence(Record, frozen=True, kw_only=True):
    """One row of a list, with what was concluded before and what follows from its dates."""

    snapshot: Snapshot
    previous: TokenState | None
    context: Context
    expires_at: datetime | None
    left: timedelta | None
    trusted: bool
    lifetime: timedelta | None
    window: timedelta
    refresh_fails: bool
    refresh_failures: int
    """Polls in a row, this one included, in which the refresh failed for a passing reason; at most 3."""

    @property
    def word(self) -> ReportedStatus:
        """The provider's word."""
        return self.snapshot.word

    @property
    def past(self) -> bool:
        """Whether the date has been reached."""
        return self.left is not None and self.left <= timedelta(0)

    @property
    def clock_may_raise(self) -> bool:
        """Whether the date alone may move the verdict, now."""
        return self.trusted and self.context.clock_trusted

    @property
    def unmoved(self) -> bool:
        """Whether the date is still the one (give or take an hour) whose line was crossed."""
        crossed = self.previous.crossed_at if self.previous else None
        return crossed is not None and self.expires_at is not None and not expiry.moved_later(crossed, self.expires_at, LATER_BY)


Rule = Callable[[Evidence], Finding | None]


def gather(snapshot: Snapshot, previous: TokenState | None, context: Context) -> Evidence:
    """Lay out the evidence that the rules look at."""
    expires_at = _held_date(snapshot, previous)
    issued_at = issued(previous, expires_at, context)
    lifetime = expiry.lifetime_of(snapshot, issued_at)
    fails = refresh_fails(snapshot.refresh)
    passing = fails and snapshot.refresh is not None and snapshot.refresh.error_status not in REFRESH_REJECTED
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
        refresh_failures=_counted(previous, expires_at, context) if passing else 0,
    )


def _held_date(snapshot: Snapshot, previous: TokenState | None) -> datetime | None:
    """The date to go by; a coarse span that still fits the remembered date does not move it later."""
    stated = expiry.effective_expiry(snapshot)
    if snapshot.expires_at is not None or stated is None or previous is None or previous.expires_at is None:
        return stated
    return min(stated, previous.expires_at) if abs(stated - previous.expires_at) <= LATER_BY else stated


def _counted(previous: TokenState | None, expires_at: datetime | None, context: Context) -> int:
    """A date that moved on in between means that a refresh succeeded: counting begins anew."""
    renewed = previous is not None and expiry.moved_later(previous.expires_at, expires_at, timedelta(0))
    before = previous.refresh_failures if previous is not None and not renewed else 0
    return min(before + context.polled, REFRESH_FAILURES_BEFORE_WARNING)


def issued(previous: TokenState | None, expires_at: datetime | None, context: Context) -> datetime | None:
    """Since when the present date is known: now where it just moved later, None where it was there at first sight."""
    if previous is None or expires_at is None:
        return None
    return context.now if expiry.moved_later(previous.expires_at, expires_at, LATER_BY) else previous.issued_at


def refresh_fails(refresh: Refresh | None) -> bool:
    """Whether the provider's last attempt to renew the token failed. An older error that a success followed is ignored."""
    if refresh is None or not refresh.error or refresh.last_attempt_at is None:
        return False
    return refresh.last_refreshed_at is None or refresh.last_attempt_at > refresh.last_refreshed_at


# --- The rules. Each speaks (a Finding) or is silent (None). ---


def provider_revoked(e: Evidence) -> Finding | None:
    """The provider states it."""
    if e.word is ReportedStatus.REVOKED:
        return Finding(Status.REVOKED, "provider_revoked", "The provider says that access was revoked.")
    return None


def provider_disconnected(e: Evidence) -> Finding | None:
    """The provider states it."""
    if e.word is ReportedStatus.DISCONNECTED:
        return Finding(Status.DISCONNECTED, "provider_disconnected", "The provider says that the connection was removed.")
    return None


def provider_expired(e: Evidence) -> Finding | None:
    """The provider states it, whatever the date: a null or future date means that the platform rejected the credential."""
    if e.word is not ReportedStatus.EXPIRED:
        return None
    if e.past:
        return Finding(Status.EXPIRED, "expiry_passed", "The provider says that the token expired.")
    when = "that the token expired and gives no date" if e.left is None else "expired before the date"
    return Finding(Status.EXPIRED, "rejected_by_platform", f"The provider says {when}: the platform rejected the token.")


def no_health_reported(e: Evidence) -> Finding | None:
    """The API lists connections and says nothing about their tokens."""
    if e.word is ReportedStatus.NO_HEALTH:
        return Finding(Status.UNKNOWN, "no_health_reported", "Connected; this provider reports no token health.")
    return None


def trusted_date_passed(e: Evidence) -> Finding | None:
    """A date that can be trusted was reached and has not moved; a provider that still says valid is in conflict with its date."""
    if not (e.past and e.clock_may_raise):
        return None
    told = e.context.polled or (e.previous is not None and "conflict" in e.previous.flags)
    disagrees = told and e.word in (ReportedStatus.VALID, ReportedStatus.EXPIRING_SOON)
    flags = frozenset({"conflict"}) if disagrees else frozenset()
    return Finding(Status.EXPIRED, "date_passed", "The token reached its expiry date.", flags)


def expired_until_date_moves(e: Evidence) -> Finding | None:
    """A line once crossed stays crossed until the date moves later by more than an hour."""
    if e.previous is None or e.previous.status is not Status.EXPIRED or not e.unmoved:
        return None
    disagrees = e.word is ReportedStatus.VALID and e.previous.reason == "date_passed"
    flags = frozenset({"conflict"}) if disagrees else frozenset()
    return Finding(Status.EXPIRED, e.previous.reason, e.previous.message, flags)


def refresh_rejected(e: Evidence) -> Finding | None:
    """The provider tried to renew and was refused for good: a person must reconnect."""
    refresh = e.snapshot.refresh
    if (
        e.word is not ReportedStatus.VALID
        or refresh is None
        or not e.refresh_fails
        or refresh.error_status not in REFRESH_REJECTED
    ):
        return None
    why = f"The provider could not renew the token (HTTP {refresh.error_status}: {refresh.error})"
    if e.past and e.context.clock_trusted:
        return Finding(Status.EXPIRED, "refresh_rejected", f"{why} and it ran out.")
    return Finding(Status.EXPIRING_SOON, "refresh_rejected", f"{why}.")


def overdue_beyond_grace(e: Evidence) -> Finding | None:
    """The date is long past although the provider renews by itself and still says active."""
    if e.snapshot.refresh is None or e.word is not ReportedStatus.VALID or e.left is None or not e.context.clock_trusted:
        return None
    if -e.left <= expiry.grace_of(e.snapshot, e.lifetime):
        return None
    text = "The token ran out and was not renewed; the provider still says active."
    return Finding(Status.EXPIRED, "refresh_overdue", text)


def refresh_keeps_failing(e: Evidence) -> Finding | None:
    """The refresh fails for a passing reason: worth a warning near the expiry or after three polls."""
    if e.word is not ReportedStatus.VALID or not e.refresh_fails or e.snapshot.refresh is None:
        return None
    near = e.context.clock_trusted and e.left is not None and e.left <= e.window and not expiry.is_short_lived(e.snapshot)
    text = f"The provider's attempts to renew the token fail ({e.snapshot.refresh.error})."
    if near or e.refresh_failures >= REFRESH_FAILURES_BEFORE_WARNING:
        return Finding(Status.EXPIRING_SOON, "refresh_failing", text, frozenset({"refresh_failing"}))
    return _expiring_until_date_moves(e) or Finding(Status.VALID, "provider_valid", text, frozenset({"refresh_failing"}))


def rotates_all_day(e: Evidence) -> Finding | None:
    """A token of hours that the provider renews by itself: the clock alone never warns."""
    if e.snapshot.refresh is None or e.word is not ReportedStatus.VALID or not expiry.is_short_lived(e.snapshot):
        return None
    flags = frozenset({"lazy_refresh"}) if e.past else frozenset()
    return Finding(Status.VALID, "renews_itself", "Valid; the provider renews this short-lived token by itself.", flags)


def renewal_overdue(e: Evidence) -> Finding | None:
    """The provider renews long-lived tokens by itself and has not, although the expiry is near."""
    if e.snapshot.refresh is None or e.word is not ReportedStatus.VALID or e.left is None or e.past:
        return None
    if e.left > e.window or not e.context.clock_trusted:
        return None
    text = "The token runs out soon; the service normally renews it by itself and has not."
    return Finding(Status.EXPIRING_SOON, "renewal_overdue", text)


def provider_expiring_soon(e: Evidence) -> Finding | None:
    """The provider's own warning counts, unless the set window is smaller and a trusted date proves it is not there yet."""
    if e.word is not ReportedStatus.EXPIRING_SOON:
        return None
    overruled = (
        e.context.policy.expiring_within_explicit
        and e.window < e.context.provider.warning_window(e.snapshot.platform)
        and e.clock_may_raise
        and e.left is not None
        and e.left > e.window
    )
    if overruled:
        return _expiring_until_date_moves(e) or Finding(
            Status.VALID,
            "outside_window",
            "The provider warns already; the token runs out later than the set window.",
        )
    return Finding(Status.EXPIRING_SOON, "provider_expiring_soon", "The provider says that the token expires soon.")


def trusted_date_near(e: Evidence) -> Finding | None:
    """A date that can be trusted lies within the window."""
    if e.clock_may_raise and e.left is not None and e.left <= e.window:
        return Finding(Status.EXPIRING_SOON, "expires_within", "The token runs out soon.")
    return None


def expiring_until_date_moves(e: Evidence) -> Finding | None:
    """expiring_soon ends only when the date moves later by more than an hour, or is gone while the provider says valid."""
    return _expiring_until_date_moves(e)


def lazy_refresh(e: Evidence) -> Finding | None:
    """The date just passed and the provider, which renews by itself, still says active: within its grace."""
    if e.snapshot.refresh is not None and e.word is ReportedStatus.VALID and e.past:
        return Finding(
            Status.VALID, "provider_valid", "Valid by the provider; its date just passed.", frozenset({"lazy_refresh"})
        )
    return None


def provider_valid(e: Evidence) -> Finding | None:
    """The provider's word is authoritative over its date."""
    if e.word is not ReportedStatus.VALID:
        return None
    if e.expires_at is None:
        return Finding(Status.VALID, "non_expiring", "Valid; no expiry date.")
    flags = frozenset({"stale_date"}) if e.past else frozenset()
    return Finding(Status.VALID, "provider_valid", "Valid.", flags)


def does_not_expire(e: Evidence) -> Finding | None:
    """PostPost's "unknown" without a date: the platform's tokens do not expire."""
    if e.word is ReportedStatus.NON_EXPIRING and e.expires_at is None:
        return Finding(Status.VALID, "non_expiring", "Does not expire.")
    return None


def by_date_alone(e: Evidence) -> Finding | None:
    """No word, only a date (old shape): past means expired, save where access tokens are renewed on use."""
    if e.word not in (ReportedStatus.UNSTATED, ReportedStatus.NON_EXPIRING) or e.snapshot.refresh is not None:
        return None
    if e.expires_at is None:
        return Finding(Status.VALID, "no_expiry_date", "Listed, without an expiry date.", frozenset({"low_confidence"}))
    if not e.past:
        return Finding(Status.VALID, "date_ahead", "The provider states a date and no more.", frozenset({"low_confidence"}))
    if e.snapshot.platform in expiry.RENEWED_BY_PROVIDER or not e.context.clock_trusted:
        return Finding(Status.UNKNOWN, "stale_date", "The stated date is past, which proves nothing on this platform.")
    return Finding(Status.EXPIRED, "date_past", "The stated date is past.")


def provider_cannot_tell(e: Evidence) -> Finding:
    """An explicit unknown, a missing word, or a word that this version does not know."""
    if e.word is ReportedStatus.UNRECOGNISED:
        text = f"The provider says {e.snapshot.raw_word!r}, a word that this version does not know."
        return Finding(Status.UNKNOWN, "unrecognised_status", text, frozenset({"provider_unknown"}))
    return Finding(
        Status.UNKNOWN, "provider_unknown", "The provider cannot tell the token's state.", frozenset({"provider_unknown"})
    )


TOKEN_RULES: tuple[Rule, ...] = (
    provider_revoked,  # REVOKED -> revoked
    provider_disconnected,  # DISCONNECTED -> disconnected
    provider_expired,  # expired / TOKEN_EXPIRED -> expired, whatever the date
    no_health_reported,  # PostPeer: present -> unknown
    trusted_date_passed,  # linkedin, instagram, threads, tiktok at Publora: date reached -> expired
    expired_until_date_moves,  # a crossed expiry stays crossed until the date moves by more than 1 h
    refresh_rejected,  # Postbreeze: refresh refused 400/401/403 -> expiring_soon, past its date expired
    overdue_beyond_grace,  # Postbreeze: date past beyond its grace -> expired
    refresh_keeps_failing,  # Postbreeze: refresh fails 429/5xx -> flag; near the date or 3 polls -> expiring_soon
    rotates_all_day,  # Postbreeze: lifetime under 48 h -> valid, the clock never warns
    renewal_overdue,  # Postbreeze: lifetime 48 h or more, inside the window -> expiring_soon
    provider_expiring_soon,  # expiring_soon -> expiring_soon, unless a smaller explicit window and a trusted date disprove it
    trusted_date_near,  # trusted date inside the window -> expiring_soon
    expiring_until_date_moves,  # expiring_soon stays until the date moves by more than 1 h
    lazy_refresh,  # Postbreeze: date past within its grace -> valid, flagged
    provider_valid,  # valid / ACTIVE -> valid; an untrusted past date is flagged
    does_not_expire,  # PostPost "unknown" without a date -> valid
    by_date_alone,  # no word: the date, as far as it goes
    provider_cannot_tell,  # anything else -> unknown
)


def judge(evidence: Evidence) -> Finding:
    """The first rule that speaks. Knowledge is kept where it can only say unknown."""
    for rule in TOKEN_RULES:
        finding = rule(evidence)
        if finding is not None:
            return _keep_knowledge(evidence, finding)
    return _keep_knowledge(evidence, provider_cannot_tell(evidence))


def _keep_knowledge(e: Evidence, finding: Finding) -> Finding:
    """Unknown never overwrites knowledge: the last known finding stays, flagged. A listed row is not disconnected, though."""
    previous = e.previous
    if finding.status is not Status.UNKNOWN or previous is None:
        return finding
    if previous.status in (Status.UNKNOWN, Status.DISCONNECTED):
        return finding
    return Finding(previous.status, previous.reason, previous.message, finding.flags | {"provider_unknown"})


def _expiring_until_date_moves(e: Evidence) -> Finding | None:
    if e.previous is None or e.previous.status is not Status.EXPIRING_SOON or not e.unmoved:
        return None
    return Finding(Status.EXPIRING_SOON, e.previous.reason, e.previous.message)


def next_token_state(evidence: Evidence, finding: Finding) -> TokenState:
    """What to remember of this judgement. That the provider cannot tell is shown even where a date decided."""
    previous = evidence.previous
    cannot_tell = {"provider_unknown"} if evidence.word in (ReportedStatus.UNKNOWN, ReportedStatus.UNRECOGNISED) else set()
    return TokenState(
        status=finding.status,
        reason=finding.reason,
        message=finding.message,
        expires_at=evidence.expires_at,
        crossed_at=_crossed(evidence, finding),
        issued_at=issued(previous, evidence.expires_at, evidence.context),
        refresh_failures=evidence.refresh_failures,
        flags=finding.flags | cannot_tell,
    )


def _crossed(e: Evidence, finding: Finding) -> datetime | None:
    """The date whose line was crossed, kept while it has not moved; None where no date was involved."""
    if finding.status is Status.EXPIRED and finding.reason not in ("date_passed", "refresh_overdue"):
        return None
    if finding.status not in (Status.EXPIRING_SOON, Status.EXPIRED):
        return None
    kept = e.unmoved or "provider_unknown" in finding.flags
    if e.previous is not None and kept:
        return e.previous.crossed_at
    return e.expires_at
