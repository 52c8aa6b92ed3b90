"""One simulated connection: the truth about its token, and what its platform would say."""

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
    """The truth about a token, apart from its date."""

    FINE = "fine"
    EXPIRED = "expired"  # the platform says that the session is over
    REVOKED = "revoked"  # a person took the permission back
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
    """A connection as the simulated provider knows it. Immutable: the World replaces it, so that no answer goes stale.

    Compared by identity, which makes it a cheap key to what is kept encoded of it.
    """

    external_id: str
    """PostPost and Publora: the whole platformId; Postbreeze and PostPeer: their own id."""
    platform: str
    """In the provider's own spelling (linkedin, LINKEDIN_PERSON)."""
    account: str
    """The account's id on its platform."""
    scope: str | None = None
    """Managed user (PostPost, Publora) or workspace (Postbreeze); PostPeer's profile. None is the owner's own."""
    username: str | None = None
    display_name: str | None = None
    profile_url: str | None = None
    image_url: str | None = None
    connected_at: datetime
    expires_at: datetime | None = None
    """None: the platform's tokens do not run out by date."""
    health: Health = Health.FINE
    noticed: bool = True
    """Whether the provider's list knows of bad health. Only a probe tells while it does not."""
    detail: str | None = None
    """What the platform says when it refuses; None takes a usual sentence."""
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
    """Fields of the listed row that are stated as they are here, whatever is true. Values are JSON values or msgspec.Raw."""
    omitted: frozenset[str] = frozenset()
    """Fields that the listed row lacks."""

    def effective_health(self, now: datetime) -> Health:
        """The truth at an instant: a fine token whose date has passed is expired."""
        if self.health is Health.FINE and self.expires_at is not None and self.expires_at <= now:
            return Health.EXPIRED
        return self.health
