"""Durations as people write them: "90s", "15m", "6h", "7d", "1d 12h"."""

from __future__ import annotations

import re
from datetime import timedelta

LONGEST = timedelta(days=36525)
"""A hundred years: far beyond any use, and safe to add to any date of this century."""

_PATTERN = re.compile(r"(?:(\d{1,6})w)? ?(?:(\d{1,6})d)? ?(?:(\d{1,8})h)? ?(?:(\d{1,9})m)? ?(?:(\d{1,10})s)?", re.ASCII)
_UNITS = ("weeks", "days", "hours", "minutes", "seconds")


def parse_duration(text: str) -> timedelta | None:
    """The duration that the text states, None where it states none.

    Whole numbers with the units w, d, h, m, s, widest first, each at most once. May be longer than `LONGEST`.
    """
    trimmed = text.strip()
    match = _PATTERN.fullmatch(trimmed)
    if match is None or not trimmed:
        return None
    return timedelta(**{unit: int(digits) for unit, digits in zip(_UNITS, match.groups(), strict=True) if digits is not None})


def format_duration(duration: timedelta) -> str:
    """The same in the words of the configuration, whole seconds: parse_duration gives it back."""
    left = int(duration.total_seconds())
    parts = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
