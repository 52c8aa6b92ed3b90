"""Platform names and platform ids. Pure; nothing here raises, whatever it is given. Facts: PROVIDERS 2c."""

from __future__ import annotations

import re

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

# The first dash only: what follows may begin with one (Telegram's negative chat ids) or hold more of them.
_PLATFORM_ID = re.compile(r"([A-Za-z][A-Za-z0-9_]*)-(.+)", re.ASCII)

MAX_ID_LENGTH = 256
"""Longer ids are refused: cut off they would name another connection."""


def canonical(platform: str) -> str:
    """The common slug: lower case, with the services' different names for one platform made one. Unknown ones stay."""
    slug = platform.strip().lower()
    return _ALIASES.get(slug, slug)


def split_platform_id(text: object) -> tuple[str, str] | None:
    """(common slug, raw id byte for byte) of an id such as "telegram--1001234567890"; None where it is malformed."""
    if not isinstance(text, str) or not is_usable_id(text):
        return None
    match = _PLATFORM_ID.fullmatch(text)
    if match is None:
        return None
    return canonical(match.group(1)), match.group(2)


_PLAIN_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}-[!-~]{1,200}", re.ASCII)


def is_plain_platform_id(text: str) -> bool:
    """Whether split_platform_id surely takes it: the quick look at what nearly every id is."""
    return _PLAIN_ID.fullmatch(text) is not None


def is_usable_id(text: object) -> bool:
    """Whether an id can be stored, shown and put into a path: not empty, not only dots, nothing unprintable, not too long."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= MAX_ID_LENGTH
        and text.isprintable()
        and "\ufffd" not in text  # what undecodable bytes were replaced by
        and text.strip(" .") != ""
    )
