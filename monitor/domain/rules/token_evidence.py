"""The evidence that the token rules judge by, and the form of their findings."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import Refresh, ReportedStatus, Snapshot, Status, TokenState, VerdictFlag
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
