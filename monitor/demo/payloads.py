"""A simulated connection, and the JSON of the four APIs as their documents show it. Pure: values in, plain dicts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
"""Postbreeze's spellings of the common slugs; where a slug has more than one spelling the personal one."""

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
    fields: Mapping[str, object] | None = None
    """Overridden fields of the answer."""
    is_page: bool = False
    """True for an HTML page in place of JSON."""


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


JsonObject = dict[str, object]

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)

DATE_FIELD = {
    "postpost": "accessTokenExpiresAt",
    "publora": "accessTokenExpiresAt",
    "postbreeze": "tokenExpiresAt",
}
"""The field with the expiry date, by provider; PostPeer reports none."""
WORD_FIELD = {
    "postpost": "tokenStatus",
    "publora": "tokenStatus",
    "postbreeze": "status",
}
"""The field with the reported status, by provider; PostPeer reports none."""


class Shape(StrEnum):
    """The generation of the API documents that a source follows."""

    CURRENT = "current"
    LEGACY = "legacy"  # Publora: five fields and a bare array of users; PostPeer: seven fields


def iso(instant: datetime | None) -> str | None:
    """Return an instant in RFC 3339 with milliseconds and Z, as all four APIs write dates; None for None."""
    if instant is None:
        return None
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant.microsecond // 1000:03d}Z"


def remaining(expires_at: datetime | None, now: datetime) -> str | None:
    """Return tokenExpiresIn: "82d 4h", "5h", "< 1h", "expired", or None without a date."""
    if expires_at is None:
        return None
    left = expires_at - now
    if left <= timedelta(0):
        return "expired"
    hours = left // HOUR
    if hours < 1:
        return "< 1h"
    return f"{hours}h" if hours < 24 else f"{hours // 24}d {hours % 24}h"


def changes_at(connection: SimConnection, now: datetime, window: timedelta) -> datetime | None:
    """Return the next instant at which time alone changes a connection's row, or None."""
    expires_at = connection.expires_at
    if expires_at is None or expires_at <= now:
        return None
    left = expires_at - now
    moments = [expires_at]
    if left >= window:
        moments.append(expires_at - window + TICK)
    if left >= HOUR:
        moments.append(expires_at - (left // HOUR) * HOUR + TICK)
    return min(moments)


def token_word(connection: SimConnection, now: datetime, *, window: timedelta, undated: str) -> str:
    """Return tokenStatus as PostPost documents it: strictly less than the window is expiring_soon."""
    if connection.noticed and connection.health in (Health.EXPIRED, Health.REVOKED):
        return "expired"
    if connection.expires_at is None:
        return undated
    left = connection.expires_at - now
    if left <= timedelta(0):
        return "expired"
    return "expiring_soon" if left < window else "valid"


def _last_error(connection: SimConnection) -> JsonObject | None:
    error = connection.last_error
    return None if error is None else {"message": error.message, "occurredAt": iso(error.occurred_at)}


def postpost_row(connection: SimConnection, now: datetime, *, window: timedelta, undated: str = "unknown") -> JsonObject:
    """Return one element of PostPost's `connections`."""
    return {
        "platformId": connection.external_id,
        "username": connection.username,
        "displayName": connection.display_name,
        "profileImageUrl": connection.image_url,
        "profileUrl": connection.profile_url,
        "accessTokenExpiresAt": iso(connection.expires_at),
        "tokenStatus": token_word(connection, now, window=window, undated=undated),
        "tokenExpiresIn": remaining(connection.expires_at, now),
        "lastSuccessfulPost": iso(connection.last_post_at),
        "lastError": _last_error(connection),
    }


def publora_row(connection: SimConnection, now: datetime, *, window: timedelta, shape: Shape) -> JsonObject:
    """Return one element of Publora's `connections`: five fields in the older document, PostPost's and one more today.

    Today's tokenStatus calls what has no date `valid`, and `unknown` only a Bluesky row without a user name.
    """
    if shape is Shape.LEGACY:
        return {
            "platformId": connection.external_id,
            "username": connection.username,
            "displayName": connection.display_name,
            "profileImageUrl": connection.image_url,
            "accessTokenExpiresAt": iso(connection.expires_at),
        }
    nameless = connection.platform == "bluesky" and not connection.username
    row = postpost_row(connection, now, window=window, undated="unknown" if nameless else "valid")
    row["subscriptionType"] = None
    return row


def postbreeze_status(connection: SimConnection, now: datetime) -> str:
    """Return ACTIVE, TOKEN_EXPIRED or REVOKED."""
    health = connection.effective_health(now)
    if not connection.noticed or health in (Health.FINE, Health.REFUSED):
        return "ACTIVE"
    return "REVOKED" if health is Health.REVOKED else "TOKEN_EXPIRED"


def postbreeze_row(connection: SimConnection, now: datetime) -> JsonObject:
    """Return one element of Postbreeze's bare array."""
    return {
        "id": connection.external_id,
        "workspaceId": connection.scope,
        "platform": connection.platform,
        "externalId": connection.account,
        "handle": connection.username or "",
        "displayName": connection.display_name,
        "avatarUrl": connection.image_url,
        "status": postbreeze_status(connection, now),
        "scopes": list(connection.permissions),
        "connectedAt": iso(connection.connected_at),
        "lastRefreshedAt": iso(connection.refreshed_at),
        "tokenExpiresAt": iso(connection.expires_at),
        "lastRefreshAttemptAt": iso(connection.refresh_attempt_at),
        "lastRefreshError": connection.refresh_error,
        "lastRefreshErrorStatus": connection.refresh_error_status,
        "meta": {},
        "defaultBoardId": None,
    }


def postpeer_row(connection: SimConnection, *, shape: Shape) -> JsonObject:
    """Return one element of PostPeer's `integrations`, which reports no health."""
    row: JsonObject = {
        "id": connection.external_id,
        "platform": connection.platform,
        "platformUserId": connection.account,
        "displayName": connection.display_name,
        "imageUrl": connection.image_url,
        "profileId": connection.scope,
        "createdAt": iso(connection.connected_at),
    }
    if shape is Shape.CURRENT:
        row |= {"username": connection.username, "profileUrl": connection.profile_url, "platformMetadata": {}, "byok": False}
    return row


def listed_row(kind: str, connection: SimConnection, now: datetime, *, window: timedelta, shape: Shape) -> JsonObject:
    """Return the row of a connection in a provider's list, with its overridden and omitted fields."""
    if kind == "postpost":
        row = postpost_row(connection, now, window=window)
    elif kind == "publora":
        row = publora_row(connection, now, window=window, shape=shape)
    elif kind == "postbreeze":
        row = postbreeze_row(connection, now)
    else:
        row = postpeer_row(connection, shape=shape)
    if connection.overrides:
        row |= connection.overrides
    for name in connection.omitted:
        row.pop(name, None)
    return row


def probe_answer(kind: str, connection: SimConnection, now: datetime) -> JsonObject:
    """Return the body of test-connection for an existing connection: ok or error, always with HTTP 200."""
    verdict = connection.probe
    if verdict is not None:
        status, message = verdict.status, verdict.message
    else:
        status, message = _probe_verdict(kind, connection, now)
    answer: JsonObject = {
        "platform": connection.platform,
        "platformId": connection.external_id,
        "username": connection.username or connection.display_name,
        "status": status,
        "message": message,
        "permissions": list(connection.permissions) if status == "ok" else [],
        "tokenExpiresIn": remaining(connection.expires_at, now),
        "lastSuccessfulPost": iso(connection.last_post_at),
        "lastError": _last_error(connection),
    }
    return answer if verdict is None or verdict.fields is None else answer | dict(verdict.fields)


def unknown_platform(platform: str, platform_id: str) -> JsonObject:
    """Return the answer of test-connection for a platform that it cannot test, whether or not the connection exists."""
    return {
        "platform": platform,
        "platformId": platform_id,
        "username": "unknown",
        "status": "error",
        "message": f"Unknown platform: {platform}",
        "permissions": [],
        "tokenExpiresIn": None,
        "lastSuccessfulPost": None,
        "lastError": None,
    }


def _probe_verdict(kind: str, connection: SimConnection, now: datetime) -> tuple[str, str]:
    health = connection.effective_health(now)
    if connection.platform == "telegram":
        return _telegram_verdict(kind, connection, health)
    if health is Health.EXPIRED:
        return "error", connection.detail or "Error validating access token: Session has expired"
    if health is Health.REVOKED:
        return "error", connection.detail or "The user has revoked access for this application"
    if health is Health.REFUSED:
        return "error", connection.detail or "Insufficient permissions to publish on behalf of this account"
    return "ok", f"Connected as {connection.username or connection.display_name}"


def _telegram_verdict(kind: str, connection: SimConnection, health: Health) -> tuple[str, str]:
    """Return Telegram's misleading answer: a user session always fails the bot test, at PostPost like a revoked bot."""
    publora = kind == "publora"
    if connection.mtproto:
        return "error", "Invalid bot connection" if publora else "Invalid bot token"
    if health in (Health.EXPIRED, Health.REVOKED):
        return "error", connection.detail or ("Request failed with status code 401" if publora else "Invalid bot token")
    if health is Health.REFUSED:
        return "error", connection.detail or "Bot needs channel administrator posting rights"
    title = connection.display_name or connection.username
    return "ok", f"Bot can post to {title}" if publora else f"Connected as {title}"


def can_be_tested(platform: str) -> bool:
    """Return True if test-connection has a validator for a platform."""
    return platform.lower() in VALIDATED
