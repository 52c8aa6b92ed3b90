"""Durations and values as TOML literals."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from monitor.domain import utc_text

LONGEST = timedelta(days=36525)
"""The longest accepted duration, 100 years: safe to add to any date of this century."""

_PATTERN = re.compile(r"(?:(\d{1,6})w)? ?(?:(\d{1,6})d)? ?(?:(\d{1,8})h)? ?(?:(\d{1,9})m)? ?(?:(\d{1,10})s)?", re.ASCII)
_UNITS = ("weeks", "days", "hours", "minutes", "seconds")


def parse_duration(text: str) -> timedelta | None:
    """Return the duration written in the text, or None if it is not one.

    Whole numbers with the units w, d, h, m, s, widest first, each at most once. May be longer than `LONGEST`.
    """
    trimmed = text.strip()
    match = _PATTERN.fullmatch(trimmed)
    if match is None or not trimmed:
        return None
    return timedelta(**{unit: int(digits) for unit, digits in zip(_UNITS, match.groups(), strict=True) if digits is not None})


def format_duration(duration: timedelta) -> str:
    """Return a duration in the configuration's notation, in whole seconds; parse_duration reads it back."""
    left = int(duration.total_seconds())
    parts = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(key: str) -> str:
    """Return a TOML key, quoted if necessary."""
    return key if _BARE.fullmatch(key) else toml_value(key)


def toml_value(value: Any) -> str:
    """Return a text, number, boolean, instant, list or table as TOML on one line. Raises TypeError for other types."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items()) + " }" if value else "{}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def plain(value: Any, *, percentage: bool = False) -> str:
    """Return a configuration value as TOML; None is "off"."""
    if value is None:
        return '"off"'
    if percentage:
        return toml_value(f"{value * 100:g}%")
    if isinstance(value, timedelta):
        return toml_value(format_duration(value))
    if isinstance(value, tuple | frozenset | list):
        items = sorted(value) if isinstance(value, frozenset) else value
        return f"[{', '.join(plain(item) for item in items)}]"
    return toml_value(str(value) if isinstance(value, StrEnum | IPv4Network | IPv6Network) else value)
