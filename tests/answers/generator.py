"""Answers by the hundred thousand: documented shapes, in which anything may be replaced, repeated, left out, cut or flipped.

The same seed and number give the same answer, whatever was made before it.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.domain.providers import coded_names
from tests.answers.case import POSTBREEZE, POSTPEER, TWINS, SampleSource, date
from tests.answers.offline import Raw

CONNECTIONS = 8
"""Connections that are known before an answer comes: the first half well, the other ill."""


@dataclass(frozen=True, slots=True)
class Text:
    """JSON, or what is none, to be written as it is."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Payload:
    """One answer, to a poll or to a probe."""

    number: int
    kind: str
    probe: bool
    raw: Raw


_WORDS = ("valid", "expired", "expiring_soon", "unknown", "ACTIVE", "TOKEN_EXPIRED", "REVOKED", "DISCONNECTED", "brand_new", "")
_DATES: Sequence[Any] = (
    *(date(days) for days in (-400, -3, -0.01, 0.01, 2, 6.9, 7.1, 40, 400, 1800, 1900)),
    "2026-06-01",
    "2026-06-01T00:00:00",
    "2026-06-01 00:00:00+05:30",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    "1970-01-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-06-30T23:59:60Z",
    "soon",
    "",
    None,
    1_780_000_000,
    1_780_000_000_000,
    "1780000000",
    -1,
    0,
    1e300,
)
_SPANS: Sequence[Any] = ("82d 4h", "< 1h", "expired", "29 days", "0h", "999999d", "soon", "", None, 7, "-1d", " EXPIRED ")
_TEXTS = (
    "",
    " ",
    "a",
    "x" * 300,
    "\x00",
    "\u202e",
    "\ud800",
    "\udc00\ud800",
    "\U0001f600",
    "e\u0301",
    "\ufeff",
    "@everyone",
    "<script>",
    "a\nb",
    "tokenStatus",
    '"tokenStatus":"expired"',
    "},{",
    '"},{"',
    "\\",
    "null",
)
_NUMBERS = (0, -1, 7, 1.5, 10**18, 2**63, 2**64, -(2**63) - 1, True, False)
_ODD = (
    Text("NaN"),
    Text("-Infinity"),
    Text("1e999"),
    Text("9" * 5000),
    Text("-0"),
    Text("[" * 60 + "]" * 60),
    Text('{"a":' * 60 + "1" + "}" * 60),
    Text('"\\ud800"'),
    Text('"\\u0000"'),
    Text('"\\u0065xpired"'),
    Text("tru"),
    Text('"unclosed'),
    Text(""),
    Text("01"),
    Text("'single'"),
)
_CONTAINERS: Sequence[Any] = ([], {}, [None], [{}], {"a": 1}, ["valid"], {"message": "x"}, {"tokenStatus": "expired"})
_ERRORS: Sequence[Any] = (None, "Upload failed", {"message": "no", "occurredAt": date(-1)}, {"message": 7}, {"occurredAt": 7}, {})
_STATUSES = (200,) * 40 + (201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 408, 418, 425, 429, 429, 500, 502, 503, 599)
_PAUSES = ("0", "45", "-1", "NaN", "1e20", "99999999999999999999", "\u0663", "Tue, 10 Mar 2026 12:05:00 GMT", "soon", "", "4 5")
_SERVER_TIMES = ("Tue, 10 Mar 2026 12:00:00 GMT", "Tue, 10 Mar 2026 11:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "now", "0")
_TYPES = ("application/json", "application/json; charset=utf-16", "text/html", "text/plain", "", "image/png")
_MESSAGES = (
    "Session has expired",
    "The user has not authorized the app",
    "Unknown platform: pinterest",
    "Invalid bot token",
    "Rate limit",
    "Request failed with status code 401",
    "Page not linked",
    "",
)

Members = list[tuple[str, Any]]
"""An object's members in their order: a key may come more than once."""


def payload(seed: int, number: int) -> Payload:
    """The answer of that number."""
    dice = random.Random(f"{seed}/{number}")
    kind = dice.choice(coded_names())
    probe = kind in TWINS and dice.random() < 0.15
    text = _probe_body(dice) if probe else _list_body(dice, kind)
    body = text.encode("utf-8", "surrogatepass")
    if dice.random() < 0.4:
        body = damage(dice, body)
    if dice.random() < 0.04:
        body = b"\xef\xbb\xbf" + body
    return Payload(number=number, kind=kind, probe=probe, raw=_raw(dice, body))


def known(kind: str) -> list[dict[str, Any]]:
    """Return the rows as they were listed before."""
    return [SampleSource(kind=kind, well=number < CONNECTIONS // 2).row(number) for number in range(CONNECTIONS)]


def damage(dice: random.Random, body: bytes) -> bytes:
    """Some bytes flipped, cut out, put in, doubled or cut off."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        at, length = dice.randrange(len(body) + 1), dice.choice((1, 1, 2, 5, 20, 100))
        body = dice.choice(_DAMAGES)(dice, body, at, length)
    return body


def _flip(dice: random.Random, body: bytes, at: int, _: int) -> bytes:
    return body[:at] + bytes([dice.randrange(256)]) + body[at + 1 :]


def _take_out(_: random.Random, body: bytes, at: int, length: int) -> bytes:
    return body[:at] + body[at + length :]


def _put_in(dice: random.Random, body: bytes, at: int, _: int) -> bytes:
    return (
        body[:at]
        + dice.choice((b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\x00", b"\xff", b" ", b"null", b'"a":1,'))
        + body[at:]
    )


def _double(_: random.Random, body: bytes, at: int, length: int) -> bytes:
    return body[: at + length] + body[at : at + length] + body[at + length :]


def _move(dice: random.Random, body: bytes, at: int, length: int) -> bytes:
    other = dice.randrange(len(body) + 1)
    return body[:other] + body[at : at + length] + body[other:]


def _cut_off(_: random.Random, body: bytes, at: int, __: int) -> bytes:
    return body[:at]


_DAMAGES: tuple[Callable[[random.Random, bytes, int, int], bytes], ...] = (_flip, _take_out, _put_in, _double, _move, _cut_off)


def _raw(dice: random.Random, body: bytes) -> Raw:
    headers = [(b"content-type", dice.choice(_TYPES).encode())] if dice.random() < 0.9 else []
    if dice.random() < 0.08:
        headers.append((b"content-encoding", dice.choice((b"gzip", b"gzip", b"gzip", b"deflate", b"br", b"gzip, gzip", b""))))
        if dice.random() < 0.8:
            body = gzip.compress(body, compresslevel=1)
        if dice.random() < 0.2:
            body = damage(dice, body)
    if dice.random() < 0.1:
        headers.append((b"retry-after", dice.choice(_PAUSES).encode()))
    if dice.random() < 0.1:
        headers.append((b"date", dice.choice(_SERVER_TIMES).encode()))
    if dice.random() < 0.02:
        headers.append((b"content-length", dice.choice((b"0", b"99999999999", b"-1", b"many", b"9" * 40))))
    return Raw(status=dice.choice(_STATUSES), headers=tuple(headers), body=body)


def _list_body(dice: random.Random, kind: str) -> str:
    rows = (
        [dice.randrange(CONNECTIONS + 2) for _ in range(dice.randrange(CONNECTIONS))]
        if dice.random() < 0.5
        else list(range(CONNECTIONS))
    )
    if dice.random() < 0.2:
        dice.shuffle(rows)
    texts = [_row_text(dice, kind, number) for number in rows]
    gap = dice.choice(("", "", " ", "\n"))
    array = "[" + f",{gap}".join(texts) + "]"
    if kind == POSTBREEZE or (kind in TWINS and dice.random() < 0.1):
        return array if dice.random() < 0.98 else json.dumps({"data": array})
    name = "integrations" if kind == POSTPEER else "connections"
    around: Members = [("success", True), (name, Text(array))]
    if kind == POSTPEER:
        around.insert(1, ("total", len(rows)))
    if dice.random() < 0.1:
        around.insert(dice.randrange(len(around)), dice.choice(_AROUND))
    return write(dice, around)


_AROUND: Sequence[tuple[str, Any]] = (
    ("success", False),
    ("success", None),
    ("error", "no"),
    ("error", ""),
    ("connections", []),
    ("integrations", None),
    ("total", -1),
    ("total", 7),
    ("meta", {"a": [1]}),
)


def _row_text(dice: random.Random, kind: str, number: int) -> str:
    """One row: as documented in half of all cases, in the other half with something wrong."""
    well = number < CONNECTIONS // 2 if dice.random() < 0.7 else dice.random() < 0.5
    members: Members = list(SampleSource(kind=kind, well=well).row(number).items())
    if dice.random() < 0.02:
        return _text(dice, dice.choice((*_CONTAINERS, *_NUMBERS, *_TEXTS, None)))
    if dice.random() < 0.5:
        for _ in range(dice.choice((1, 1, 2, 3))):
            _mutate(dice, members)
    return write(dice, members)


def _mutate(dice: random.Random, members: Members) -> None:
    at = dice.randrange(len(members)) if members else 0
    what = dice.random()
    if not members:
        members.append(("platformId", dice.choice(_TEXTS)))
    elif what < 0.45:
        members[at] = (members[at][0], _another(dice, members[at][0]))
    elif what < 0.6:
        members[at] = (members[at][0], dice.choice((*_CONTAINERS, *_NUMBERS, *_TEXTS, *_ODD, None)))
    elif what < 0.72:
        del members[at]
    elif what < 0.92:  # stated twice, somewhere
        members.insert(dice.randrange(len(members) + 1), (members[at][0], _another(dice, members[at][0])))
    else:
        members[at] = (dice.choice((str.upper, str.title, lambda name: name + " "))(members[at][0]), members[at][1])


def _another(dice: random.Random, name: str) -> Any:
    """Another value of the kind that the field holds."""
    if name in ("tokenStatus", "status"):
        return dice.choice((*_WORDS, None))
    if name == "tokenExpiresIn":
        return dice.choice(_SPANS)
    if name.endswith(("At", "Post")):
        return dice.choice(_DATES)
    if name in ("platformId", "id"):
        return dice.choice(
            (*(f"linkedin-{number:03}a" for number in range(4)), "soc_000a", "int_001a", "nodash", "telegram--1", *_TEXTS)
        )
    if name in ("lastError", "lastRefreshError"):
        return dice.choice(_ERRORS)
    if name == "lastRefreshErrorStatus":
        return dice.choice((None, 0, 400, 401, 403, 429, 500, "401"))
    return dice.choice((*_TEXTS, None, "ws_1", "ws_2", "linkedin", "LINKEDIN"))


def _probe_body(dice: random.Random) -> str:
    members: Members = [
        ("status", dice.choice(("ok", "ok", "error", "error", "OK", "", None, 7))),
        ("message", dice.choice((*_MESSAGES, *_TEXTS, None, 7))),
    ]
    if dice.random() < 0.5:
        members.append(("tokenExpiresIn", dice.choice(_SPANS)))
    if dice.random() < 0.3:
        members.append(("permissions", dice.choice((["a", "b"], [1], None, "a", [None]))))
    if dice.random() < 0.15:
        members.insert(dice.randrange(3), ("status", dice.choice(("ok", "error", None))))
    if dice.random() < 0.1:
        members.append(dice.choice((("success", False), ("error", "boom"), ("username", "unknown"))))
    return write(dice, members)


def write(dice: random.Random, members: Members) -> str:
    """The object as text; now and then a key is written with an escape."""
    space = dice.choice(("", "", "", " "))
    return "{" + f",{space}".join(f"{_key(dice, name)}:{space}{_text(dice, value)}" for name, value in members) + "}"


def _key(dice: random.Random, name: str) -> str:
    if name and dice.random() < 0.004:
        at = dice.randrange(len(name))
        return f'"{name[:at]}\\u{ord(name[at]):04x}{name[at + 1 :]}"'
    return json.dumps(name)


def _text(dice: random.Random, value: Any) -> str:
    if isinstance(value, Text):
        return value.text
    return json.dumps(value, ensure_ascii=dice.random() < 0.8, separators=(",", ":"))
