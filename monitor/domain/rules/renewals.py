"""Learned renewals: how often a service renews a token automatically, and how much time it leaves (docs/renewals.md).

Only services that state when they last renewed a token (`lastRefreshedAt`) teach anything: a date that moves later proves no
renewal, because a person who reconnects the account moves it too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import Snapshot, TokenState
from monitor.domain.records import Record

RENEWALS_NEEDED = 2
"""Number of observed renewals that a cadence needs."""

OVERDUE_AFTER = 1.5
"""A renewal is overdue after this many times the longest recent gap."""

POLLS_LATE = 2
"""A renewal is overdue at the earliest this many poll intervals after it is expected."""

_FORGET = 4
"""A renewal moves a learned value by a quarter of the difference, unless its own value is the more cautious one."""

_FORGET_LATENESS = 32
"""The same for the time left, while that is negative: a service that has renewed late will do so again."""

_NO_TIME = timedelta(0)


class Cadence(Record, frozen=True, gc=False):
    """Interval at which a token is renewed, and the time that is left then, as learned from its renewals."""

    gap: timedelta | None = None
    """The longest time between recent renewals."""
    left: timedelta | None = None
    """The shortest time that recent renewals left until the expiry; negative where they came after it."""
    renewals: int = 0
    """Observed renewals, counted up to RENEWALS_NEEDED."""

    @property
    def is_known(self) -> bool:
        """True if enough renewals were observed, and they left time: services that renew on use have no cadence."""
        return self.renewals >= RENEWALS_NEEDED and self.gap is not None and self.left is not None and self.left > _NO_TIME


NO_CADENCE = Cadence()


def cadence_of(token: TokenState | None) -> Cadence:
    """Return the cadence that is stored with the token."""
    return NO_CADENCE if token is None else Cadence(token.renewal_gap, token.renewal_left, token.renewals)


def renewed_at(snapshot: Snapshot, reconnected_at: datetime | None) -> datetime | None:
    """Return when the token was last issued: by the last renewal, or by a later reconnect. None without a stated renewal."""
    last = snapshot.refresh.last_refreshed_at if snapshot.refresh is not None else None
    if last is None or reconnected_at is None:
        return last
    return max(last, reconnected_at)


def was_renewed(before: Snapshot | None, after: Snapshot) -> bool:
    """Return True if the service reports a newer renewal than at the poll before."""
    if before is None or before.refresh is None or after.refresh is None:
        return False
    old, new = before.refresh.last_refreshed_at, after.refresh.last_refreshed_at
    return new is not None and (old is None or new > old)


def learn(
    known: Cadence, before: Snapshot | None, after: Snapshot, *, reconnected_at: datetime | None, poll_every: timedelta
) -> Cadence:
    """Return the cadence after one more poll.

    A gap shorter than two polls teaches nothing: other renewals may have happened in between. A gap so long that its
    renewal was overdue is a stop rather than a cadence: it counts as at most twice the known gap, and its time left is ignored.
    A stated time of renewal teaches nothing unless the expiry date moves with it, to after that time.
    """
    if before is None or before.refresh is None or after.refresh is None or not was_renewed(before, after):
        return known
    start, at = renewed_at(before, reconnected_at), after.refresh.last_refreshed_at
    if start is None or at is None or before.expires_at is None or at - start < POLLS_LATE * poll_every:
        return known
    if after.expires_at in (None, before.expires_at) or at >= after.expires_at:
        return known
    gap, left = at - start, before.expires_at - at
    stopped = known.gap is not None and gap > known.gap * OVERDUE_AFTER
    if stopped and known.gap is not None:
        gap, left = min(gap, 2 * known.gap), known.left or left
    return Cadence(
        _whole_seconds(_longest(known.gap, gap)),
        _whole_seconds(_shortest(known.left, left)),
        min(known.renewals + 1, RENEWALS_NEEDED),
    )


def _longest(known: timedelta | None, new: timedelta) -> timedelta:
    """Return the new gap if it is longer, else the known one moved towards it."""
    return new if known is None or new >= known else known + (new - known) / _FORGET


def _shortest(known: timedelta | None, new: timedelta) -> timedelta:
    """Return the new time left if it is shorter, else the known one moved towards it."""
    if known is None or new <= known:
        return new
    return known + (new - known) / (_FORGET if known > _NO_TIME else _FORGET_LATENESS)


def _whole_seconds(span: timedelta) -> timedelta:
    """Return the span as it is stored."""
    return timedelta(seconds=int(span.total_seconds()))


def overdue_at(
    cadence: Cadence, last: datetime | None, poll_every: timedelta, *, not_before: datetime | None = None
) -> datetime | None:
    """Return from when on the next renewal is overdue; None without a known cadence or a last renewal.

    Never before `not_before`: a token that lives for weeks may be renewed twice within days, and then not for weeks.
    """
    if not cadence.is_known or cadence.gap is None or last is None:
        return None
    try:
        due = last + max(cadence.gap * OVERDUE_AFTER, cadence.gap + POLLS_LATE * poll_every)
    except OverflowError:
        return None
    return due if not_before is None else max(due, not_before)


def expired_at(cadence: Cadence, expires_at: datetime | None, poll_every: timedelta) -> datetime | None:
    """Return from when on a token that lives for weeks counts as expired if it was not renewed; None without a known cadence.

    That is its date, unless renewals usually leave less time than one poll takes to show them.
    """
    if not cadence.is_known or cadence.left is None or expires_at is None:
        return None
    try:
        return expires_at + max(_NO_TIME, poll_every - cadence.left)
    except OverflowError:
        return None


def warns_within(cadence: Cadence, window: timedelta) -> timedelta:
    """Return how long before the expiry a token should have been renewed: less than recent renewals left, at most `window`.

    A quarter less, so that a renewal that is a little later than usual causes no warning.
    """
    if not cadence.is_known or cadence.left is None:
        return window
    return min(window, cadence.left * 3 / 4)
