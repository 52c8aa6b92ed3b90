"""Alerts as JSON text and back, without loss: a message can be written long after the change that caused it.

Durations are ISO 8601; earlier versions wrote them as whole microseconds, which is still read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec

from monitor.domain import Alert

DAMAGED = "The stored data of this alert is damaged. Check the connection or source itself."

_MICROSECOND = timedelta(microseconds=1)
_BEYOND_ASCII = re.compile("[^\x00-\x7f]+")


_encode = msgspec.json.Encoder().encode


def _duration(value: int | str) -> timedelta:
    return value * _MICROSECOND if isinstance(value, int) else msgspec.convert(value, timedelta)


_FIELDS = frozenset(Alert.__struct_fields__)


@cache
def _readers() -> dict[str, Callable[[Any], Any]]:
    """Return, by field, how to read values that JSON has no type for."""
    found: dict[str, Callable[[Any], Any]] = {}
    for name, hint in get_type_hints(Alert).items():
        for kind in (hint, *get_args(hint)):
            if kind is datetime:
                found[name] = datetime.fromisoformat
            elif kind is timedelta:
                found[name] = _duration
            elif isinstance(kind, type) and issubclass(kind, Enum):
                found[name] = kind
    return found


def _plain(value: object) -> object:
    """Return a JSON value: instants as ISO 8601 in UTC, durations as whole microseconds, enums as their value."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value // _MICROSECOND
    if isinstance(value, Enum):
        return value.value
    return value


def encode_alert(alert: Alert) -> str:
    """Return the whole alert as JSON in ASCII."""
    try:
        text = _encode(alert).decode()
    except UnicodeEncodeError:  # a lone surrogate
        return _encode_slowly(alert)
    return text if text.isascii() else _BEYOND_ASCII.sub(lambda match: json.dumps(match.group())[1:-1], text)


def _encode_slowly(alert: Alert) -> str:
    return json.dumps({each: _plain(getattr(alert, each)) for each in sorted(_FIELDS)}, separators=(",", ":"))


def decode_alert(text: str) -> Alert:
    """Return the alert that `encode_alert` wrote, also one of another version: fields unknown here are left out."""
    known = {name: value for name, value in json.loads(text).items() if name in _FIELDS}
    readers = _readers()
    return Alert(
        **{name: readers[name](value) if name in readers and value is not None else value for name, value in known.items()}
    )


def recover_alert(text: str, **known: Any) -> Alert:
    """Return the alert that `encode_alert` wrote. If the text is damaged, return what is `known`, so that it is sent anyway."""
    try:
        return decode_alert(text)
    except (ValueError, TypeError, KeyError, AttributeError, msgspec.MsgspecError):
        return Alert(**known, message=DAMAGED)
