"""Permissions that publishing needs, by platform, and which of them a connection has lost.

A permission counts as lost only if an earlier good answer contained it: services differ in what they ask for, and an app may
publish with another set than the usual one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PUBLISHING: Mapping[str, tuple[frozenset[str], ...]] = {
    # https://learn.microsoft.com/en-us/linkedin/marketing/community-management/shares/posts-api
    "linkedin": (frozenset({"w_member_social", "w_share"}), frozenset({"w_organization_social"})),
    # https://developers.facebook.com/docs/pages-api/posts
    "facebook": (frozenset({"pages_manage_posts"}), frozenset({"pages_read_engagement"}), frozenset({"pages_show_list"})),
    # https://developers.facebook.com/docs/instagram-platform/content-publishing
    "instagram": (frozenset({"instagram_content_publish", "instagram_business_content_publish"}),),
    # https://developers.facebook.com/docs/threads/posts
    "threads": (frozenset({"threads_basic"}), frozenset({"threads_content_publish"})),
    # https://docs.x.com/fundamentals/authentication/oauth-2-0/authorization-code
    "twitter": tuple(frozenset({each}) for each in ("tweet.read", "tweet.write", "users.read", "offline.access", "media.write")),
    # https://developers.tiktok.com/doc/tiktok-api-scopes
    "tiktok": (frozenset({"video.publish", "video.upload"}),),
    # https://developers.google.com/youtube/v3/guides/auth/server-side-web-apps
    "youtube": (frozenset({"youtube", "youtube.upload", "youtube.force-ssl"}),),
    "googlebusiness": (frozenset({"business.manage", "plus.business.manage"}),),
    # https://developers.pinterest.com/docs/getting-started/scopes/
    "pinterest": tuple(frozenset({each}) for each in ("boards:read", "boards:write", "pins:read", "pins:write")),
    # https://docs.joinmastodon.org/api/oauth-scopes/
    "mastodon": (frozenset({"write", "write:statuses"}), frozenset({"write", "write:media"})),
    "reddit": (frozenset({"submit"}),),
}
"""Permissions that publishing needs on each platform, as its documents name them: one of each set."""

_GOOGLE = "https://www.googleapis.com/auth/"


def lost(platform: str, known: Iterable[str] | None, granted: Iterable[str] | None) -> tuple[str, ...]:
    """Return the known permissions that publishing needs and that the newest good answer lacks, sorted.

    An answer that states none at all proves nothing. Case and blanks around a name are ignored. A permission is not lost while
    another one is granted that allows the same.
    """
    if not known or not granted:
        return ()
    held = {_plain(each) for each in granted}
    gone = [group for group in PUBLISHING.get(platform, ()) if not group & held]
    return tuple(sorted({each for each in known if any(_plain(each) in group for group in gone)}))


def kept(known: Iterable[str] | None, granted: Iterable[str] | None, missing: Iterable[str]) -> tuple[str, ...] | None:
    """Return the permissions to remember: those granted now and those that were lost; the known ones if none are stated."""
    if not granted:
        return None if known is None else tuple(known)
    return tuple(dict.fromkeys([*granted, *missing]))


def _plain(permission: str) -> str:
    return permission.strip().lower().removeprefix(_GOOGLE)
