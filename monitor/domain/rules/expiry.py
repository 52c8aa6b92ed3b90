"""Token lifetimes, trusted dates and warning windows."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.domain import Policy, ProviderInfo, Snapshot
from monitor.domain.records import Record

CLOCK_SUSPECT_ABOVE = 120.0
"""Seconds between the server's Date and our clock from which on people are told."""

CLOCK_UNTRUSTED_ABOVE = 300.0
"""Seconds from which on time alone raises nothing for that source."""

LATER_BY = timedelta(hours=1)
"""A date moved later only when it moved by more than this: clocks and coarse spans wobble by less."""


class Context(Record, frozen=True, kw_only=True):
    """One judgement's circumstances. One `now` for the whole cycle."""

    now: datetime
    provider: ProviderInfo
    policy: Policy
    polled: bool = False
    """Whether the provider's list was answered just now; False where only time passed or a probe answered."""
    clock_skew: float | None = None
    """Server Date minus our clock in seconds, at this poll or the last one that told."""

    @property
    def clock_suspect(self) -> bool:
        """Whether the clocks differ enough to say so."""
        return self.clock_skew is not None and abs(self.clock_skew) > CLOCK_SUSPECT_ABOVE

    @property
    def clock_trusted(self) -> bool:
        """Whether time alone may raise something."""
        return self.clock_skew is None or abs(self.clock_skew) <= CLOCK_UNTRUSTED_ABOVE


SHORT_LIFETIME = timedelta(hours=48)
"""Tokens that live shorter are rotated by the provider all day: the clock alone must never warn about them."""

# Only where the platform's documents name one lifetime; the longest where there are two.
_KNOWN_LIFETIMES = {
    "linkedin": timedelta(days=60),
    "instagram": timedelta(days=60),
    "threads": timedelta(days=60),
    "tiktok": timedelta(days=180),
}

ROTATING_PLATFORMS = frozenset({"twitter", "youtube", "googlebusiness", "tiktok", "bluesky"})
"""Access tokens of one to twenty-four hours that the provider renews by itself (Postbreeze states their dates)."""

RENEWED_BY_PROVIDER = frozenset({"youtube", "tiktok", "twitter", "bluesky", "pinterest"})
"""A past date without a word proves nothing here: access tokens are renewed on use (PROVIDERS 2a, old shape)."""


def effective_expiry(snapshot: Snapshot) -> datetime | None:
    """The stated date, else the end of a coarse span, else None."""
    return snapshot.expires_at or snapshot.expires_before


def stated_lifetime(snapshot: Snapshot) -> timedelta | None:
    """The token's lifetime by the provider's own dates (Postbreeze), None where they are not told."""
    if snapshot.refresh is None or snapshot.expires_at is None:
        return None
    start = snapshot.refresh.last_refreshed_at or snapshot.refresh.connected_at
    if start is None or start >= snapshot.expires_at:
        return None
    return snapshot.expires_at - start


def is_short_lived(snapshot: Snapshot) -> bool:
    """Whether the token is one of those that rotate all day, by its stated lifetime or else by its platform."""
    lifetime = stated_lifetime(snapshot)
    if lifetime is not None:
        return lifetime < SHORT_LIFETIME
    return snapshot.refresh is not None and snapshot.platform in ROTATING_PLATFORMS


def is_trusted(snapshot: Snapshot, provider: ProviderInfo) -> bool:
    """Whether the stated date alone may move a verdict (PROVIDERS 2b, trusted dates). A coarse span never may."""
    if snapshot.expires_at is None or is_short_lived(snapshot):
        return False
    return snapshot.platform in provider.trusted_platforms


def lifetime_of(snapshot: Snapshot, issued_at: datetime | None) -> timedelta | None:
    """The token's whole lifetime: stated, else known for the platform, else observed since its date moved last.

    Where a date is corrected by hours late in a token's life, what is observed is far less than the lifetime, so the
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
    """How long before the expiry a token counts as expiring soon.

    A window as wide as the lifetime would warn from birth, so it shrinks to a third of the lifetime.
    """
    if lifetime is not None and policy.expiring_within >= lifetime:
        return lifetime / 3
    return policy.expiring_within


def stages_within(policy: Policy, window: timedelta) -> tuple[timedelta, ...]:
    """The stages that count, widest first: those narrower than the window."""
    return tuple(sorted((stage for stage in policy.stages if stage < window), reverse=True))


def tightest_stage(left: timedelta, stages: tuple[timedelta, ...]) -> timedelta | None:
    """The tightest stage whose line has been crossed (time left <= stage), None before the first."""
    return min((stage for stage in stages if left <= stage), default=None)


def lines_of(expires_at: datetime, window: timedelta, stages: tuple[timedelta, ...]) -> tuple[datetime, ...]:
    """The instants at which the clock crosses a line, earliest first: the window, each stage, the expiry itself."""
    spans = (window, *stages)
    try:
        lines = [expires_at - span for span in spans]
    except OverflowError:
        lines = [instant for span in spans if (instant := before(expires_at, span)) is not None]
    return tuple(sorted([*lines, expires_at]))


def before(instant: datetime, span: timedelta) -> datetime | None:
    """The instant less the span, None where the calendar ends."""
    try:
        return instant - span
    except OverflowError:
        return None


def after(instant: datetime, span: timedelta) -> datetime | None:
    """The instant plus the span, None where the calendar ends."""
    try:
        return instant + span
    except OverflowError:
        return None


def grace_of(snapshot: Snapshot, lifetime: timedelta | None) -> timedelta:
    """How long a date may be past before a provider that renews lazily is disbelieved (PROVIDERS 2b, Postbreeze)."""
    if is_short_lived(snapshot):
        return max(timedelta(hours=24), 2 * min(lifetime or timedelta(0), SHORT_LIFETIME))
    return timedelta(hours=1)


def moved_later(old: datetime | None, new: datetime | None, by: timedelta) -> bool:
    """Whether a date moved later by more than `by`."""
    return old is not None and new is not None and new - old > by


def window_for(snapshot: Snapshot, issued_at: datetime | None, context: Context) -> timedelta:
    """The window in force for this token under this policy."""
    return window_of(context.policy, lifetime_of(snapshot, issued_at))
