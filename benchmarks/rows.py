"""The connections that the simulator lists: PostPost's documented fields, the same for the same numbers and the same instant."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

PLATFORMS = ("linkedin", "instagram", "threads", "tiktok", "twitter", "facebook", "youtube", "bluesky")
"""In turn; the first four state a date."""
DATED = 4
FIRST_ACCOUNT = 1_000_000
PROBE_PATH = b"/api/v1/test-connection/"
LIST_PATH = b"/api/v1/platform-connections"


def external_id(number: int) -> str:
    """Return the platformId of the connection with this number."""
    return f"{PLATFORMS[number % len(PLATFORMS)]}-{FIRST_ACCOUNT + number}"


def key_of(source: str) -> str:
    """Return the API key of a simulated source."""
    return f"bench-key-{source}"


def row(number: int, *, at: datetime, word: str = "valid", expires_at: datetime | None = None) -> bytes:
    """One element of `connections`. Its date lies 30 to 89 days ahead of `at`, on the half hour, unless one is given."""
    platform = PLATFORMS[number % len(PLATFORMS)]
    noon = at.replace(minute=30, second=0, microsecond=0)
    if expires_at is None and number % len(PLATFORMS) < DATED:
        expires_at = noon + timedelta(days=30 + number % 60)
    left = None if expires_at is None else expires_at - at
    fields = {
        "platformId": external_id(number),
        "username": f"@person{number}",
        "displayName": f"Person {number}",
        "profileImageUrl": f"https://images.example/{number}.jpg",
        "profileUrl": f"https://{platform}.example/person{number}",
        "accessTokenExpiresAt": None if expires_at is None else instant(expires_at),
        "tokenStatus": word if expires_at is not None or word != "valid" else "unknown",
        "tokenExpiresIn": None if left is None else f"{left.days}d {left.seconds // 3600}h",
        "lastSuccessfulPost": instant(noon - timedelta(hours=5)),
        "lastError": None,
    }
    return msgspec.json.encode(fields)


def instant(at: datetime) -> str:
    """RFC 3339 with milliseconds and Z."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def probe_answer(platform_id: bytes) -> bytes:
    """Return the body of a successful test-connection call."""
    platform = platform_id.partition(b"-")[0]
    return (
        b'{"platform":"%b","platformId":"%b","username":"@person","status":"ok","message":"Connected as @person",'
        b'"permissions":["w_member_social","r_basicprofile"],"tokenExpiresIn":"45d 3h",'
        b'"lastSuccessfulPost":"2026-01-01T00:30:00.000Z","lastError":null}' % (platform, platform_id)
    )
