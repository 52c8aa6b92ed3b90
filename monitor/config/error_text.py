"""Text of configuration errors: how values and key paths are shown, and the nearest valid word."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from typing import Any, NoReturn

from pydantic_core import PydanticCustomError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KNOWN_PREFIXES = ("sk_", "sk-", "pb_live_", "pb_test_", "xoxb-", "xoxp-", "ghp_", "Bearer ")
_LONG_RUN = re.compile(r"[A-Za-z0-9_+/=-]{20,}")
_SHOWN = 60
_LARGE = 10**18
"""Numbers from here on are not shown: Python refuses to write those of more than 4,300 digits."""


def looks_like_secret(text: str) -> bool:
    """Return True if a text outside the secret keys may be a secret, pasted into the wrong key."""
    if text.startswith(_KNOWN_PREFIXES) or ("://" in text and "@" in text):
        return True
    return any(sum(map(str.isdigit, run)) >= 4 for run in _LONG_RUN.findall(text))


def describe(value: object) -> str:
    """Return a value as shown in an error: short, printable, and hidden if it may be a secret."""
    if isinstance(value, str):
        return _describe_text(value)
    if isinstance(value, int) and abs(value) >= _LARGE:
        return "a number with too many digits"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Sequence):
        return "a list"
    return "a date" if isinstance(value, date | time) else "an unknown value"


def _describe_text(text: str) -> str:
    if looks_like_secret(text):
        return "text that looks like a secret"
    short = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return json.dumps(short, ensure_ascii=not short.isprintable())


def describe_type(value: object) -> str:
    """Return only the type of a value, for keys whose values are never shown."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | int | float):
        return "a boolean" if isinstance(value, bool) else "a number"
    return describe(value)


MOST_SUGGESTIONS = 20
"""The number of unknown keys for which the nearest valid key is suggested: each search takes a millisecond."""


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the valid word that was probably meant, or None if none is similar."""
    by_folded = {known.lower().replace("-", "_"): known for known in words}
    close = difflib.get_close_matches(word.lower().replace("-", "_"), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def suggestion(word: str, words: Sequence[str], *, otherwise: str) -> str:
    """Return the end of a sentence about an unknown word: the nearest valid one, or all of them after `otherwise`."""
    near = None if looks_like_secret(word) else nearest(word, words)
    return f"; did you mean {near}?" if near else f"; {otherwise} {', '.join(words)}."


def path_text(loc: Sequence[str | int], document: Mapping[str, Any]) -> str:
    """Return a key path as text, such as sources[1] (studio).policy.expiring_within."""
    text = ""
    here: Any = document
    for step in loc:
        here = value_at(here, (step,))
        if isinstance(step, int):
            text += f"[{step}]{_name_of(here)}"
        else:
            text += ("." if text else "") + _key_text(step)
    return text


def value_at(content: Any, loc: Sequence[str | int]) -> Any:
    """Return the value at a key path, or None if there is none."""
    for step in loc:
        if isinstance(step, int):
            content = content[step] if isinstance(content, list) and step < len(content) else None
        else:
            content = content.get(step) if isinstance(content, Mapping) else None
    return content


def _name_of(entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, Mapping) else None
    if isinstance(name, str) and _BARE_KEY.fullmatch(name) and not looks_like_secret(name):
        return f" ({name})"
    return ""


def _key_text(key: str) -> str:
    if looks_like_secret(key):
        return '"…"'
    return key if _BARE_KEY.fullmatch(key) else _describe_text(key)


MOST_LEVELS = 32
"""The number of tables and lists inside each other that a configuration may have; its keys need fewer than ten."""


def is_too_deep(content: Any) -> bool:
    """Return True if tables and lists are nested more than MOST_LEVELS deep. Every walk over the content recurses."""
    level = [content]
    for _ in range(MOST_LEVELS):
        level = [
            item
            for table in level
            if isinstance(table, dict | list)
            for item in (table.values() if isinstance(table, dict) else table)
        ]
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)


CUSTOM_ERROR = "ours"
"""Pydantic error type whose message is already the end of a sentence."""


def refuse(sentence: str) -> NoReturn:
    """Reject a value; `sentence` continues after the key path ("is …, but must be …")."""
    raise PydanticCustomError(CUSTOM_ERROR, "{sentence}", {"sentence": sentence})
