"""Texts of strangers, made fit to store, to log and to show."""

from __future__ import annotations

import re

MAX_TEXT = 256
"""Longest text that is kept, in characters."""

_BREAKS = re.compile(r"[\t-\r\x1c-\x1e\x85\u2028\u2029]+")
# Control characters (NUL too), lone surrogates, and marks that reorder the text around them. Joiners stay: emoji need them.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# No "@" before the path: a user name there can pose as the host.
_ADDRESS = re.compile(r"https?://[^\s/?#@\\]+(?:[/?#]\S*)?")


def clean(text: str) -> str:
    """One line without control characters, lone surrogates or bidi overrides, at most 256 characters, "…" where it was cut."""
    if len(text) > MAX_TEXT * 4:
        text = text[: MAX_TEXT * 4]
    if not text.isprintable():
        text = _UNFIT.sub("\ufffd", _BREAKS.sub(" ", text))
    text = text.strip()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def clean_or_none(text: str | None) -> str | None:
    """Like clean, with None for null and for what is empty."""
    return (clean(text) or None) if text else None


def web_address(text: str | None) -> str | None:
    """The text where it is an http or https address that a person may follow, else None (FAILURES S8)."""
    if not text or len(text) > MAX_TEXT or not text.isprintable():
        return None
    return text if _ADDRESS.fullmatch(text) else None
