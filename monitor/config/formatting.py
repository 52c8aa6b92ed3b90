"""Values of the configuration as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from monitor.config.durations import format_duration

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(key: str) -> str:
    """A key, quoted where it must be."""
    return key if _BARE.fullmatch(key) else toml_value(key)


def toml_value(value: Any) -> str:
    """A text, number, truth value, list or table on one line. Raises TypeError for anything else."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items()) + " }" if value else "{}"
    raise TypeError(f"TOML has no {type(value).__name__}")


def plain(value: Any, *, percentage: bool = False) -> str:
    """A value of the configuration as TOML text; None is "off"."""
    if value is None:
        return '"off"'
    if percentage:
        return toml_value(f"{value * 100:g}%")
    if isinstance(value, timedelta):
        return toml_value(format_duration(value))
    if isinstance(value, tuple | frozenset | list):
        items = sorted(value) if isinstance(value, frozenset) else value
        return f"[{', '.join(plain(item) for item in items)}]"
    return toml_value(str(value) if isinstance(value, StrEnum) else value)
