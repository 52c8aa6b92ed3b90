"""Token lifetimes, trusted dates and warning windows."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import Policy, ProviderInfo, Snapshot
from monitor.domain.records import Record

CLOCK_SUSPECT_ABOVE = 120.0
"""Difference in seconds between the server's Date and this machine's clock above which it is flagged."""

CLOCK_UNTRUSTED_ABOVE = 300.0
"""Difference in seconds above which time alone changes nothing for that source."""

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

    @property
    def clock_suspect(self) -> bool:
        """True if the clocks differ enough to flag it."""
        return self.clock_skew is not None and abs(self.clock_skew) > CLOCK_SUSPECT_ABOVE

    @property
    def clock_trusted(self) -> bool:
        """True if time alone may change a verdict."""
        return self.clock_skew is None or abs(self.clock_skew) <= CLOCK_UNTRUSTED_ABOVE


SHORT_LIFETIME = timedelta(hours=48)
"""Tokens with a shorter lifetime are rotated by the provider all day: time alone must never warn about them."""

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


def is_short_lived(snapshot: Snapshot) -> bool:
    """Return True if the token rotates all day, by its stated lifetime or else by its platform."""
    lifetime = stated_lifetime(snapshot)
    if lifetime is not None:
        return lifetime < SHORT_LIFETIME
    return snapshot.refresh is not None and snapshot.platform in ROTATING_PLATFORMS


def is_trusted(snapshot: Snapshot, provider: ProviderInfo) -> bool:
    """Return True if the stated date alone may move a verdict (PROVIDERS 2b, trusted dates). A coarse span never may."""
    if snapshot.expires_at is None or is_short_lived(snapshot):
        return False
    return snapshot.platform in provider.trusted_platforms


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


def grace_of(snapshot: Snapshot, lifetime: timedelta | None) -> timedelta:
    """Return how long after its date a token is still believed to be renewed by the provider (PROVIDERS 2b, Postbreeze)."""
    if is_short_lived(snapshot):
        return max(timedelta(hours=24), 2 * min(lifetime or timedelta(0), SHORT_LIFETIME))
    return timedelta(hours=1)


def moved_later(old: datetime | None, new: datetime | None, by: timedelta) -> bool:
    """Return True if a date moved later by more than `by`."""
    return old is not None and new is not None and new - old > by


def window_for(snapshot: Snapshot, issued_at: datetime | None, context: Context) -> timedelta:
    """Return the window that applies to this token under the policy."""
    return window_of(context.policy, lifetime_of(snapshot, issued_at))
