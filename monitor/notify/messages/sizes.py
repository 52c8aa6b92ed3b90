"""The units in which services limit a text, and cutting a text to such a limit."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

Size = Callable[[str], int]
"""The size of a text in one unit. The size of two texts together is at most the sum of their sizes."""

characters: Size = len
"""Unicode code points."""

_LONGEST_CLUSTER = 32  # code points; no language puts more marks on one letter
_JOINERS = frozenset("\u200d\ufe0e\ufe0f\u20e3")  # zero width joiner, variation selectors, keycap
_TAGS = range(0xE0020, 0xE0080)
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_REGIONS = range(0x1F1E6, 0x1F200)  # two of them are one flag


def utf8_bytes(text: str) -> int:
    """Return the number of bytes in UTF-8."""
    return len(text.encode("utf-8", "surrogatepass"))


def utf16_units(text: str) -> int:
    """Return the number of UTF-16 code units: 2 for each character outside of the Basic Multilingual Plane."""
    return len(text) + sum(character > "\uffff" for character in text)


def json_bytes(text: str) -> int:
    """Return the number of bytes in JSON as Apprise writes it: 6 or 12 for each character that is not ASCII."""
    return len(json.dumps(text)) - 2


def push_bytes(text: str) -> int:
    """Return the number of bytes in JSON as push gateways write it: UTF-8, with `<`, `>` and `&` as six bytes each."""
    return utf8_bytes(json.dumps(text, ensure_ascii=False)) - 2 + 5 * sum(text.count(character) for character in "<>&")


def ntfy_bytes(text: str) -> int:
    """Return the size that ntfy counts: it limits a message in UTF-8, and the JSON request to twice that limit."""
    return max(utf8_bytes(text), (json_bytes(text) + 1) // 2)


def clip(text: str, room: int, size: Size = characters) -> str:
    """Return the text, cut to `room` and ending in dots where it is larger. Cuts between characters as they are displayed."""
    if size(text) <= room:
        return text
    dots = "..."[: max(room, 0)]
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if size(text[:middle]) <= room - len(dots):
            low = middle
        else:
            high = middle - 1
    return text[: _boundary(text, low)].rstrip() + dots


def _boundary(text: str, end: int) -> int:
    """Return the end of the last whole displayed character at or before `end`."""
    for place in range(end, max(end - _LONGEST_CLUSTER, 0), -1):
        if not _continues(text, place):
            return place
    return end if end > _LONGEST_CLUSTER else 0


def _continues(text: str, place: int) -> bool:
    """Return True if the character at `place` is displayed as one with the character before it."""
    following, before = text[place : place + 1], text[place - 1]
    if not following:
        return False
    if following in _JOINERS or before == "\u200d" or unicodedata.category(following).startswith("M"):
        return True
    point = ord(following)
    if point in _REGIONS:
        return _regions_before(text, place) % 2 == 1
    return point in _SKIN_TONES or point in _TAGS


def _regions_before(text: str, place: int) -> int:
    start = place
    while start > 0 and ord(text[start - 1]) in _REGIONS:
        start -= 1
    return place - start
