"""Permissions that publishing needs, by platform, and which of them a connection has lost.

A permission counts as lost only if an earlier good answer contained it: services differ in what they ask for, and an app may
publish with another set than the usual one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

PUBLISHING: Mapping[str, frozenset[str]] = {
    # https://learn.microsoft.com/en-us/linkedin/marketing/community-management/shares/posts-api
    "linkedin": frozenset({"w_member_social", "w_organization_social", "w_share"}),
    # https://developers.facebook.com/docs/pages-api/posts
    "facebook": frozenset({"pages_manage_posts", "pages_read_engagement", "pages_show_list"}),
    # https://developers.facebook.com/docs/instagram-platform/content-publishing
    "instagram": frozenset({"instagram_content_publish", "instagram_business_content_publish"}),
    # https://developers.facebook.com/docs/threads/posts
    "threads": frozenset({"threads_basic", "threads_content_publish"}),
    # https://docs.x.com/fundamentals/authentication/oauth-2-0/authorization-code
    "twitter": frozenset({"tweet.read", "tweet.write", "users.read", "offline.access", "media.write"}),
    # https://developers.tiktok.com/doc/tiktok-api-scopes
    "tiktok": frozenset({"video.publish", "video.upload"}),
    # https://developers.google.com/youtube/v3/guides/auth/server-side-web-apps
    "youtube": frozenset({"youtube", "youtube.upload", "youtube.force-ssl"}),
    "googlebusiness": frozenset({"business.manage", "plus.business.manage"}),
    # https://developers.pinterest.com/docs/getting-started/scopes/
    "pinterest": frozenset({"boards:read", "boards:write", "pins:read", "pins:write"}),
    # https://docs.joinmastodon.org/api/oauth-scopes/
    "mastodon": frozenset({"write", "write:statuses", "write:media"}),
    "reddit": frozenset({"submit"}),
}
"""The permissions that publishing needs, as the platform's documents name them."""

_ALTERNATIVES = (
    ("instagram_content_publish", "instagram_business_content_publish"),  # of Facebook Login and of Instagram Login
    ("youtube", "youtube.upload", "youtube.force-ssl"),
    ("business.manage", "plus.business.manage"),
    ("w_member_social", "w_share"),
)
"""Permissions of which one is enough."""

_INCLUDES = {"write": frozenset({"write:statuses", "write:media"})}
"""Permissions that are granted as a whole or as all of these parts (Mastodon, "OAuth scopes")."""

_GOOGLE = "https://www.googleapis.com/auth/"


def needed(platform: str, permission: str) -> bool:
    """Return True if publishing on the platform needs the permission."""
    return _plain(permission) in PUBLISHING.get(platform, ())


def lost(platform: str, known: Iterable[str] | None, granted: Iterable[str] | None) -> tuple[str, ...]:
    """Return the known permissions that publishing needs and that the newest good answer lacks, sorted.

    An answer that states none at all proves nothing. Case and blanks around a name are ignored. A permission is not lost while
    another one is granted that allows the same.
    """
    if not known or not granted:
        return ()
    held = {_plain(each) for each in granted}
    return tuple(sorted({each for each in known if needed(platform, each) and not _is_held(_plain(each), held)}))


def kept(known: Iterable[str] | None, granted: Iterable[str] | None, missing: Iterable[str]) -> tuple[str, ...] | None:
    """Return the permissions to remember: those granted now and those that were lost; the known ones if none are stated."""
    if not granted:
        return None if known is None else tuple(known)
    return tuple(dict.fromkeys([*granted, *missing]))


def _is_held(permission: str, held: AbstractSet[str]) -> bool:
    """Return True if the permission is granted, or another one that allows the same."""
    if permission in held or any(permission in parts and whole in held for whole, parts in _INCLUDES.items()):
        return True
    if permission in _INCLUDES and _INCLUDES[permission] <= held:
        return True
    return any(permission in group and not held.isdisjoint(group) for group in _ALTERNATIVES)


def _plain(permission: str) -> str:
    return permission.strip().lower().removeprefix(_GOOGLE)
