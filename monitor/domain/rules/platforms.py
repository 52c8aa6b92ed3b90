"""Platform names and platform ids. Pure; nothing here raises, whatever the input. Facts: PROVIDERS 2c."""

from __future__ import annotations

import re
from functools import lru_cache

_ALIASES = {
    "x": "twitter",
    "facebook_page": "facebook",
    "linkedin_person": "linkedin",
    "linkedin_company": "linkedin",
    "tiktok_business": "tiktok",
    "tiktok_personal": "tiktok",
    "google_business": "googlebusiness",
    "gmb": "googlebusiness",
    "instagram-standalone": "instagram",
}

# Only the first dash separates: the id may begin with one (Telegram's negative chat ids) or contain more.
_PLATFORM_ID = re.compile(r"([A-Za-z][A-Za-z0-9_]*)-(.+)", re.ASCII)

MAX_ID_LENGTH = 256
"""Maximum length of an id. Longer ones are rejected: truncated, they would name another connection."""


@lru_cache(maxsize=1024)
def canonical(platform: str) -> str:
    """Return the common slug: lower case, one name for each platform. Unknown platforms keep their name."""
    slug = platform.strip().lower()
    return _ALIASES.get(slug, slug)


_PLAIN_ID = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,31})-([!-~]{1,200})", re.ASCII)
"""Ids that are certainly usable: a fast check that nearly every id passes."""


def split_platform_id(text: object) -> tuple[str, str] | None:
    """Split an id such as "telegram--1001234567890" into (common slug, raw id byte for byte); None if it is malformed."""
    if not isinstance(text, str):
        return None
    match = _PLAIN_ID.fullmatch(text) or (_PLATFORM_ID.fullmatch(text) if is_usable_id(text) else None)
    if match is None:
        return None
    return canonical(match[1]), match[2]


def is_plain_platform_id(text: str) -> bool:
    """Return True if split_platform_id certainly accepts the id: a fast check that nearly every id passes."""
    return _PLAIN_ID.fullmatch(text) is not None


def is_usable_id(text: object) -> bool:
    """Return True if an id can be stored, shown and used in a path: not empty or only dots, printable, not too long."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= MAX_ID_LENGTH
        and text.isprintable()
        and "\ufffd" not in text  # the replacement for undecodable bytes
        and text.strip(" .") != ""
    )
