"""One simulated connection: the true state of its token, and the answers of its platform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

VALIDATED = frozenset(
    {"twitter", "linkedin", "instagram", "threads", "tiktok", "youtube", "facebook", "bluesky", "mastodon", "telegram"}
)
"""Platforms that PostPost and Publora can test; any other answers "Unknown platform" (PostPost: Test Connection)."""

POSTBREEZE_PLATFORMS: Mapping[str, str] = {
    "instagram": "INSTAGRAM",
    "facebook": "FACEBOOK_PAGE",
    "twitter": "X",
    "linkedin": "LINKEDIN_PERSON",
    "tiktok": "TIKTOK_PERSONAL",
    "youtube": "YOUTUBE",
    "pinterest": "PINTEREST",
    "threads": "THREADS",
    "bluesky": "BLUESKY",
}
"""How Postbreeze spells the common slugs, where a slug has more than one spelling the personal one."""

SCOPES: Mapping[str, tuple[str, ...]] = {
    "linkedin": (
        "w_member_social",
        "w_member_social_feed",
        "r_basicprofile",
        "r_member_postAnalytics",
        "r_member_profileAnalytics",
    ),
    "twitter": ("tweet.read", "tweet.write", "users.read", "offline.access"),
    "instagram": ("instagram_business_basic", "instagram_business_content_publish"),
    "threads": ("threads_basic", "threads_content_publish"),
    "facebook": ("pages_manage_posts", "pages_read_engagement"),
    "tiktok": ("user.info.basic", "video.publish", "video.upload"),
    "youtube": ("https://www.googleapis.com/auth/youtube.upload",),
    "pinterest": ("boards:read", "pins:write"),
}
"""Granted scopes by common slug; a platform that is absent grants none by name."""


class Health(StrEnum):
    """The true state of a token, apart from its date."""

    FINE = "fine"
    EXPIRED = "expired"  # the platform reports that the session has ended
    REVOKED = "revoked"  # a user revoked the permission
    REFUSED = "refused"  # the token lives, the platform refuses the call for another reason


@dataclass(frozen=True, slots=True, kw_only=True)
class PostError:
    """The last posting error that a provider reports."""

    message: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeScript:
    """A fixed answer to test-connection in place of the derived one. Any status but 200 answers {"error": message}."""

    message: str
    http_status: int = 200
    status: str = "error"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimConnection:
    """A connection at the simulated provider. Immutable: the World replaces it, so that no cached answer is outdated.

    Compared by identity, which makes it a cheap key to what is kept encoded of it.
    """

    external_id: str
    """PostPost and Publora: the complete platformId; Postbreeze and PostPeer: the provider's id."""
    platform: str
    """In the provider's own spelling (linkedin, LINKEDIN_PERSON)."""
    account: str
    """The account's id on its platform."""
    scope: str | None = None
    """Managed user (PostPost, Publora), workspace (Postbreeze) or profile (PostPeer). None for the owner."""
    username: str | None = None
    display_name: str | None = None
    profile_url: str | None = None
    image_url: str | None = None
    connected_at: datetime
    expires_at: datetime | None = None
    """None if the platform's tokens have no expiry date."""
    health: Health = Health.FINE
    noticed: bool = True
    """True if the provider's list shows a problem. Otherwise only a probe does."""
    detail: str | None = None
    """The text of a refusal by the platform; None for a typical sentence."""
    mtproto: bool = False
    """Telegram only: a user session, which the probe always refuses although it works."""
    permissions: tuple[str, ...] = ()
    refreshed_at: datetime | None = None
    refresh_attempt_at: datetime | None = None
    refresh_error: str | None = None
    refresh_error_status: int | None = None
    last_post_at: datetime | None = None
    last_error: PostError | None = None
    probe: ProbeScript | None = None
    overrides: Mapping[str, object] | None = None
    """Overridden fields of the listed row, regardless of the truth. Values are JSON values or msgspec.Raw."""
    omitted: frozenset[str] = frozenset()
    """Fields omitted from the listed row."""

    def effective_health(self, now: datetime) -> Health:
        """Return the true state at an instant: a valid token whose date has passed is expired."""
        if self.health is Health.FINE and self.expires_at is not None and self.expires_at <= now:
            return Health.EXPIRED
        return self.health
