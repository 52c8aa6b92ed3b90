"""Token lifetimes, trusted dates and warning windows."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import Policy, ProviderInfo, ReportedStatus, Snapshot, TokenState
from monitor.domain.records import Record
from monitor.domain.rules import renewals
from monitor.domain.rules.renewals import Cadence

CLOCK_SUSPECT_ABOVE = 120.0
"""Difference in seconds between the server's Date and this machine's clock above which it is flagged."""

CLOCK_UNTRUSTED_ABOVE = 300.0
"""Difference in seconds above which one of the two clocks is wrong, so that a lasting difference is reported."""

_POSSIBLE_SKEW = 100 * 365 * 86400.0
"""Seconds. A server that is further behind has no clock to compare with, and is ignored."""

RECENT_PROBES = 3
"""Number of probe intervals for which a successful probe is evidence."""

LATER_BY = timedelta(hours=1)
"""A date counts as moved later only if it moved by more than this: clocks and coarse spans vary by less."""


class Context(Record, frozen=True, kw_only=True):
    """The circumstances of a judgement. One `now` for the whole cycle."""

    now: datetime
    provider: ProviderInfo
    policy: Policy
    polled: bool = False
    """True if the provider's list was just read; False if only time passed or a probe was answered."""
    clock_skew: float | None = None
    """Server Date minus local clock in seconds, at this poll or the last one with a Date header."""
    poll_every: timedelta = timedelta(minutes=15)
    probe_every: timedelta | None = None
    """The probe interval; None if the connection is not probed."""

    @property
    def clock_suspect(self) -> bool:
        """True if the clocks differ enough to flag it."""
        return self.clock_skew is not None and abs(self.clock_skew) > CLOCK_SUSPECT_ABOVE

    @property
    def date_now(self) -> datetime:
        """The time that dates are compared with now, see by_slower_clock()."""
        return self.by_slower_clock(self.now)

    def by_slower_clock(self, at: datetime) -> datetime:
        """Return this machine's time `at` on the clock that is behind: this machine's or the server's.

        If the clocks differ, one of them is wrong, and it is not known which: a date has passed when it has passed by both.
        """
        if self.clock_skew is None or not -_POSSIBLE_SKEW < self.clock_skew < 0:
            return at
        return before(at, timedelta(seconds=-self.clock_skew)) or at

    def is_recent_probe(self, at: datetime | None) -> bool:
        """Return True if a probe at this time is still evidence: it is at most three probe intervals old."""
        return at is not None and self.probe_every is not None and self.now - at <= RECENT_PROBES * self.probe_every


def clock_was_set(before: float | None, after: float | None) -> bool:
    """Return True if one of two clocks was set since the poll before, so that times planned by their difference are wrong."""
    return abs(min(before or 0.0, 0.0) - min(after or 0.0, 0.0)) > CLOCK_UNTRUSTED_ABOVE


SHORT_LIFETIME = timedelta(hours=48)
"""Tokens with a shorter lifetime are rotated by the provider every few hours: time alone must never warn about them."""

# Only where the platform's documents name one lifetime; the longest where there are two.
_KNOWN_LIFETIMES = {
    "linkedin": timedelta(days=60),
    "instagram": timedelta(days=60),
    "threads": timedelta(days=60),
    "tiktok": timedelta(days=180),
}

ROTATING_PLATFORMS = frozenset({"twitter", "youtube", "googlebusiness", "tiktok", "bluesky"})
"""Platforms with access tokens of 1 to 24 hours that the provider renews automatically (Postbreeze states their dates)."""

RENEWED_BY_PROVIDER = frozenset({"youtube", "tiktok", "twitter", "bluesky", "pinterest"})
"""Platforms whose access tokens are renewed on use: a past date without a status proves nothing (PROVIDERS 2a, old shape)."""


def effective_expiry(snapshot: Snapshot) -> datetime | None:
    """Return the stated date, else the end of a coarse span, else None."""
    return snapshot.expires_at or snapshot.expires_before


def stated_lifetime(snapshot: Snapshot) -> timedelta | None:
    """Return the token's lifetime by the provider's own dates (Postbreeze); None without them."""
    if snapshot.refresh is None or snapshot.expires_at is None:
        return None
    start = snapshot.refresh.last_refreshed_at or snapshot.refresh.connected_at
    if start is None or start >= snapshot.expires_at:
        return None
    return snapshot.expires_at - start


def is_short_lived(snapshot: Snapshot, seen_at: datetime | None) -> bool:
    """Return True if the token is rotated every few hours. `seen_at` is when its date was first stated.

    On ROTATING_PLATFORMS that is so if the date was less than 48 hours ahead then; otherwise the stated lifetime decides. It is
    too long after a reconnect, which is no refresh and does not change `connectedAt` (API document 003).
    """
    if snapshot.refresh is None:
        return False
    expires_at = snapshot.expires_at
    near = expires_at is None or (seen_at is not None and expires_at - seen_at < SHORT_LIFETIME)
    if near and snapshot.platform in ROTATING_PLATFORMS:
        return True
    lifetime = stated_lifetime(snapshot)
    return lifetime is not None and lifetime < SHORT_LIFETIME


def is_trusted(snapshot: Snapshot, provider: ProviderInfo, seen_at: datetime | None) -> bool:
    """Return True if the service defines that its date alone may expire the connection (PROVIDERS 2b, trusted dates).

    A row without a status states the date of the access token, which on some platforms is renewed on use (PROVIDERS 0.3).
    `seen_at` as for is_short_lived.
    """
    if not is_defined_as_trusted(snapshot, provider) or is_short_lived(snapshot, seen_at):
        return False
    if snapshot.trusted is not None:
        return True
    return snapshot.reported is not ReportedStatus.UNSTATED or snapshot.platform not in RENEWED_BY_PROVIDER


def is_defined_as_trusted(snapshot: Snapshot, provider: ProviderInfo) -> bool:
    """Return True if dates of this row count according to the service's definition: the row's own statement, or the platform."""
    return snapshot.platform in provider.trusted_platforms if snapshot.trusted is None else snapshot.trusted


def is_proven(seen_at: datetime | None, expires_at: datetime | None, now: datetime) -> bool:
    """Return True if this date was first stated at least 48 hours ahead and has not moved for 48 hours.

    An access token that rotates has no such date, so it may warn on any platform. It never expires a connection.
    """
    if seen_at is None or expires_at is None:
        return False
    return expires_at - seen_at >= SHORT_LIFETIME and now - seen_at >= SHORT_LIFETIME


def lifetime_of(snapshot: Snapshot, issued_at: datetime | None) -> timedelta | None:
    """Return the token's whole lifetime: stated, else known for the platform, else observed since its date last moved.

    If a date is corrected by hours late in a token's life, the observed time is far less than the lifetime, so the
    platform's own figure is preferred and only ever lengthened.
    """
    stated = stated_lifetime(snapshot)
    if stated is not None:
        return stated
    known = _KNOWN_LIFETIMES.get(snapshot.platform)
    expires_at = effective_expiry(snapshot)
    if expires_at is None or issued_at is None or expires_at <= issued_at:
        return known
    observed = expires_at - issued_at
    return observed if known is None else max(observed, known)


def window_of(policy: Policy, lifetime: timedelta | None) -> timedelta:
    """Return how long before the expiry a token counts as expiring soon.

    A window as wide as the lifetime would warn about every new token, so it shrinks to a third of the lifetime.
    """
    if lifetime is not None and policy.expiring_within >= lifetime:
        return lifetime / 3
    return policy.expiring_within


def near_at(expires_at: datetime | None, lifetime: timedelta | None, policy: Policy, *, short_lived: bool) -> datetime | None:
    """Return from when on a token that lives for 48 hours or longer is near its expiry by the policy; None for other tokens."""
    return None if short_lived or expires_at is None else before(expires_at, window_of(policy, lifetime))


def stages_within(policy: Policy, window: timedelta) -> tuple[timedelta, ...]:
    """Return the stages that are narrower than the window, widest first."""
    return tuple(sorted((stage for stage in policy.stages if stage < window), reverse=True))


def tightest_stage(left: timedelta, stages: tuple[timedelta, ...]) -> timedelta | None:
    """Return the tightest stage that has been reached (time left <= stage); None before the first."""
    return min((stage for stage in stages if left <= stage), default=None)


def thresholds_of(expires_at: datetime, window: timedelta, stages: tuple[timedelta, ...]) -> tuple[datetime, ...]:
    """Return the times at which a threshold is reached, earliest first: the window, each stage, the expiry itself."""
    spans = (window, *stages)
    try:
        times = [expires_at - span for span in spans]
    except OverflowError:
        times = [instant for span in spans if (instant := before(expires_at, span)) is not None]
    return tuple(sorted([*times, expires_at]))


def before(instant: datetime, span: timedelta) -> datetime | None:
    """Return the instant minus the span; None before the beginning of the calendar."""
    try:
        return instant - span
    except OverflowError:
        return None


def after(instant: datetime, span: timedelta) -> datetime | None:
    """Return the instant plus the span; None after the end of the calendar."""
    try:
        return instant + span
    except OverflowError:
        return None


def grace_of(snapshot: Snapshot, lifetime: timedelta | None, seen_at: datetime | None) -> timedelta:
    """Return how long after its date a token is still believed to be renewed by the provider (PROVIDERS 2b, Postbreeze).

    `seen_at` as for is_short_lived.
    """
    if is_short_lived(snapshot, seen_at):
        return max(timedelta(hours=24), 2 * min(lifetime or timedelta(0), SHORT_LIFETIME))
    return timedelta(hours=1)


STATED_TO = timedelta(minutes=1)
"""A date counts as moved if it differs by more than this; the end of a coarse span varies by up to an hour."""


def moved(old: datetime | None, new: datetime | None, *, coarse: bool) -> bool:
    """Return True if a date differs from the one before."""
    if old is None or new is None:
        return old is not new
    return abs(new - old) > (LATER_BY if coarse else STATED_TO)


def moved_later(old: datetime | None, new: datetime | None, by: timedelta) -> bool:
    """Return True if a date moved later by more than `by`."""
    return old is not None and new is not None and new - old > by


def window_for(snapshot: Snapshot, token: TokenState, context: Context) -> timedelta:
    """Return the window that applies to this token: the policy's, or a smaller one that follows from its cadence."""
    window = window_of(context.policy, lifetime_of(snapshot, token.issued_at))
    if snapshot.refresh is None:
        return window
    return learned_window(renewals.cadence_of(token), window, context.policy)


def learned_window(cadence: Cadence, window: timedelta, policy: Policy) -> timedelta:
    """Return the window for a token with this cadence. An explicitly configured window stays."""
    if not policy.learn_renewals or policy.expiring_within_explicit:
        return window
    return renewals.warns_within(cadence, window)
