"""The evidence that the rules of the token axis judge: one row of a list, what was known, and what follows from its dates."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import Refresh, ReportedStatus, Snapshot, Status, TokenState, VerdictFlag
from monitor.domain.records import Record
from monitor.domain.rules import expiry, renewals
from monitor.domain.rules.expiry import LATER_BY, Context
from monitor.domain.rules.renewals import Cadence

REFRESH_REJECTED = frozenset({400, 401, 403})
"""HTTP statuses of a refresh that no retry repairs: the user must reconnect."""

REFRESH_FAILURES_BEFORE_WARNING = 3
"""Consecutive attempts to renew a short-lived token that fail for a temporary reason before this causes a warning."""

_NO_STATUS = (ReportedStatus.UNSTATED, ReportedStatus.NON_EXPIRING)

LOST = frozenset({ReportedStatus.EXPIRED, ReportedStatus.REVOKED, ReportedStatus.DISCONNECTED})
"""Reported statuses of a token that cannot be used."""


WORKING = frozenset({ReportedStatus.VALID, ReportedStatus.EXPIRING_SOON, ReportedStatus.NON_EXPIRING})
"""Reported statuses of a token that can be used."""


class Evidence(Record, frozen=True, gc=False, kw_only=True):
    """One row of a list, the previous conclusion, and what follows from its dates."""

    snapshot: Snapshot
    reported: ReportedStatus
    """The status that the provider reports."""
    reports_renewals: bool
    """True if the provider reports the token as valid, and how it renews it."""
    states_only_a_date: bool
    """True if the row states no status that can be read, and at most a date."""
    before: Snapshot | None
    """The row at the poll before."""
    previous: TokenState | None
    context: Context
    expires_at: datetime | None
    dated_since: datetime | None
    """When this date was first stated. A date that moves is a new one."""
    left: timedelta | None
    """Time until expires_at by the more lenient clock, negative after it."""
    date_has_passed: bool
    """True if the expiry date has been reached."""
    date_is_near: bool
    """True if the expiry date is within the window, or has passed."""
    trusted: bool
    """True if the expiry date alone may expire the token (PROVIDERS 2b)."""
    proven: bool
    """True if the expiry date may warn, because it has not moved for 48 hours (expiry.is_proven)."""
    short_lived: bool
    lifetime: timedelta | None
    window: timedelta
    cadence: Cadence
    reconnected_at: datetime | None
    """When the list last showed a reconnect."""
    refresh_fails: bool
    failing_polls: int
    """Consecutive polls, the last one included, that reported `failing`, as far as they count."""
    refresh_failures: int
    """Consecutive attempts, the last one included, that failed for a temporary reason; at most 3."""

    @property
    def date_has_not_moved(self) -> bool:
        """True if the expiry date is still the one (within an hour) whose threshold was crossed, and nothing renewed it."""
        crossed = self.previous.crossed_at if self.previous else None
        if crossed is None or self.expires_at is None or self.was_renewed:
            return False
        return not expiry.moved_later(crossed, self.expires_at, LATER_BY)

    @property
    def was_renewed(self) -> bool:
        """True if the provider reports a newer renewal than at the poll before."""
        return self.context.polled and renewals.was_renewed(self.before, self.snapshot)

    @property
    def date_was_renewed(self) -> bool:
        """True if a trusted date has moved later since the previous conclusion, and is ahead."""
        previous = self.previous
        if previous is None or not self.trusted or self.date_has_passed:
            return False
        return expiry.moved_later(previous.crossed_at or previous.expires_at, self.expires_at, LATER_BY)

    @property
    def overdue_at(self) -> datetime | None:
        """The time from which the next renewal is overdue according to the learned cadence; None without one."""
        if not self.context.policy.learn_renewals:
            return None
        last = renewals.renewed_at(self.snapshot, self.reconnected_at)
        near = expiry.near_at(self.expires_at, self.lifetime, self.context.policy, short_lived=self.short_lived)
        return renewals.overdue_at(self.cadence, last, self.context.poll_every, not_before=near)

    @property
    def expired_at(self) -> datetime | None:
        """From when on a token with a learned cadence counts as expired if it was not renewed; None without a cadence.

        A short-lived token must be overdue too: its service may renew it a little after the date now and then.
        """
        if self.short_lived or not self.context.policy.learn_renewals:
            return self.overdue_at
        return renewals.expired_at(self.cadence, self.expires_at, self.context.poll_every)

    def has_come(self, instant: datetime | None) -> bool:
        """Return True if this time has passed. Without a new list, only if the previous conclusion was already not valid."""
        reported_now = self.context.polled or (self.previous is not None and self.previous.status is not Status.VALID)
        return instant is not None and reported_now and self.context.date_now >= instant


def gather(snapshot: Snapshot, previous: TokenState | None, context: Context, *, before: Snapshot | None = None) -> Evidence:
    """Collect the evidence for the rules. `before` is the row that the previous conclusion was drawn from."""
    expires_at = _held_date(snapshot, before, previous)
    reconnected_at = _reconnected_at(snapshot, before, previous, expires_at, context)
    issued_at = issued(previous, expires_at, context)
    lifetime = expiry.lifetime_of(snapshot, issued_at)
    now, seen_at = context.date_now, _dated_since(snapshot, previous, expires_at, context)
    short_lived = expiry.is_short_lived(snapshot, seen_at)
    left = None if expires_at is None else expires_at - now
    window, cadence, fails, temporary = expiry.window_of(context.policy, lifetime), renewals.NO_CADENCE, False, False
    if snapshot.refresh is not None:
        passed = left is not None and left <= timedelta(0)
        fails = refresh_fails(snapshot.refresh, reconnected_at, date_has_passed=passed)
        temporary = fails and snapshot.refresh.error_status not in REFRESH_REJECTED
        cadence = renewals.cadence_of(previous)
        if context.polled:
            known = previous.reconnected_at if previous is not None else None
            cadence = renewals.learn(cadence, before, snapshot, reconnected_at=known, poll_every=context.poll_every)
        window = expiry.learned_window(cadence, window, context.policy)
    reported = snapshot.reported
    return Evidence(
        snapshot=snapshot,
        reported=reported,
        reports_renewals=snapshot.refresh is not None and reported is ReportedStatus.VALID,
        states_only_a_date=snapshot.refresh is None and reported in _NO_STATUS,
        before=before,
        previous=previous,
        context=context,
        expires_at=expires_at,
        left=left,
        date_has_passed=left is not None and left <= timedelta(0),
        date_is_near=left is not None and left <= window,
        dated_since=seen_at,
        trusted=expires_at is not None and expiry.is_trusted(snapshot, context.provider, seen_at),
        proven=not short_lived and expiry.is_proven(seen_at, expires_at, now),
        short_lived=short_lived,
        lifetime=lifetime,
        window=window,
        cadence=cadence,
        reconnected_at=reconnected_at,
        refresh_fails=fails,
        failing_polls=_count_failing_polls(snapshot, previous, context),
        refresh_failures=_count_refresh_failures(snapshot, before, previous, expires_at) if temporary else 0,
    )


def _held_date(snapshot: Snapshot, before: Snapshot | None, previous: TokenState | None) -> datetime | None:
    """Return the expiry date to use. A coarse span that still fits the remembered date does not move it later.

    A span that becomes "expired" keeps the date that it counted down to.
    """
    stated = expiry.effective_expiry(snapshot)
    if previous is None or previous.expires_at is None or snapshot.expires_at is not None:
        return stated
    if stated is None:
        counted_down = before is not None and before.expires_at is None
        ended = VerdictFlag.SPAN_EXPIRED in snapshot.flags and (counted_down or snapshot.reported not in WORKING)
        return previous.expires_at if ended else None
    return min(stated, previous.expires_at) if abs(stated - previous.expires_at) <= LATER_BY else stated


def _dated_since(
    snapshot: Snapshot, previous: TokenState | None, expires_at: datetime | None, context: Context
) -> datetime | None:
    """Return when the current date was first stated; None without a date. A date that moves is a new one."""
    if expires_at is None:
        return None
    if previous is None or previous.dated_since is None:
        return context.now
    moved = expiry.moved(previous.expires_at, expires_at, coarse=snapshot.expires_at is None)
    return context.now if moved else previous.dated_since


def _reconnected_at(
    snapshot: Snapshot, before: Snapshot | None, previous: TokenState | None, expires_at: datetime | None, context: Context
) -> datetime | None:
    """Return when the list last showed a reconnect: now, if this poll shows one.

    That is a date that moved later without a renewal, of a token that lives 48 hours or longer and whose date is trusted or
    whose renewals are reported; or a status that was lost and no longer is.
    """
    known = previous.reconnected_at if previous is not None else None
    if not context.polled or before is None or previous is None or renewals.was_renewed(before, snapshot):
        return known
    if before.reported in LOST and snapshot.reported in WORKING:
        return context.now
    if not expiry.moved_later(previous.expires_at, expires_at, LATER_BY):
        return known
    dated = snapshot.refresh is not None or expiry.is_trusted(snapshot, context.provider, context.now)
    return context.now if dated else known


def _count_failing_polls(snapshot: Snapshot, previous: TokenState | None, context: Context) -> int:
    """Count a poll that reported `failing`, up to the number that confirms it."""
    if snapshot.reported is not ReportedStatus.FAILING:
        return 0
    counted = 0 if previous is None else previous.failing_polls
    return min(counted + context.polled, max(context.policy.confirm_failures, 1))


def _count_refresh_failures(
    snapshot: Snapshot, before: Snapshot | None, previous: TokenState | None, expires_at: datetime | None
) -> int:
    """Count a failed attempt once, at the first poll that shows it.

    A date that moved later in between proves a successful refresh: counting restarts.
    """
    if previous is None or before is None or before.refresh is None or snapshot.refresh is None:
        return 1
    renewed = expiry.moved_later(previous.expires_at, expires_at, timedelta(0))
    counted = 0 if renewed else previous.refresh_failures
    is_new = snapshot.refresh.last_attempt_at != before.refresh.last_attempt_at
    return min(max(counted + is_new, 1), REFRESH_FAILURES_BEFORE_WARNING)


def issued(previous: TokenState | None, expires_at: datetime | None, context: Context) -> datetime | None:
    """Return when the current date was first seen: now if it just moved later, None if it was stated at the first poll."""
    if previous is None or expires_at is None:
        return None
    return context.now if expiry.moved_later(previous.expires_at, expires_at, LATER_BY) else previous.issued_at


def refresh_fails(refresh: Refresh | None, reconnected_at: datetime | None, *, date_has_passed: bool) -> bool:
    """Return True if the provider's last attempt to renew the token failed.

    An error before a later success or a later reconnect is ignored: the API document (003) does not state that it is cleared.
    An error without the time of its attempt counts if nothing was renewed, or if the date has passed.
    """
    if refresh is None or not (refresh.error or refresh.error_status):
        return False
    ended = max((at for at in (refresh.last_refreshed_at, reconnected_at) if at is not None), default=None)
    if ended is None:
        return True
    return date_has_passed if refresh.last_attempt_at is None else refresh.last_attempt_at > ended
