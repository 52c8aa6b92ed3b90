"""Glob patterns: `*`, `?` and `[…]`, without regard to letter case. Pure; an unusable pattern matches only itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

_SPECIAL = frozenset("*?[")


def is_glob(pattern: str) -> bool:
    """Return True if a pattern can match another text than itself."""
    return not _SPECIAL.isdisjoint(pattern)


def escape(text: str) -> str:
    """Return the pattern that matches exactly this text."""
    return "".join(f"[{character}]" if character in _SPECIAL else character for character in text)


def matches(text: str, pattern: str) -> bool:
    """Return True if the whole text matches the pattern, or is the pattern: names such as "Acme [EU]" need no escapes."""
    if text.casefold() == pattern.casefold():
        return True
    compiled = _compile(pattern) if is_glob(pattern) else None
    return compiled is not None and compiled.match(text.casefold()) is not None


def matches_any(text: str, patterns: Iterable[str]) -> bool:
    """Return True if the whole text matches at least one of the patterns."""
    return any(matches(text, pattern) for pattern in patterns)


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(translate(pattern.casefold()))
    except re.error:
        return None
