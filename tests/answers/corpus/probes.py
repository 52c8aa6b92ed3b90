"""Answers to a probe. An answer that is no plain object with ok or error states nothing about the token."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

from monitor.domain import ProbeFinding
from tests.answers.case import PUBLORA, TWINS, Answerer, ProbeCase, body, chunked, framed, head, octets

MIB = 1024 * 1024
CASES: list[ProbeCase] = []


def _add(row: str, name: str, answer: Answerer, **more: Any) -> None:
    CASES.append(ProbeCase(row=row, name=f"{row or 'probe'}.probe_{name}", answer=answer, **more))


def _says(value: Any, *, status: int = 200, content_type: str = "application/json") -> Answerer:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return body(lambda _: data, status=status, headers={"content-type": content_type})


def _raw(data: bytes) -> Answerer:
    return octets(lambda _: data)


_OK = b'{"status":"ok","message":"Connection is valid"}'
_REFUSED = b'{"status":"error","message":"Session has expired"}'

for name, text in {
    "html": b"<html>Log in</html>",
    "words": b"OK",
    "array": b'[{"status":"ok"}]',
    "null": b"null",
    "text": b'"ok"',
    "true": b"true",
    "empty_object": b"{}",
    "success_alone": b'{"success":true}',
    "success_false": b'{"success":false,"status":"ok"}',
    "error_beside_ok": b'{"error":"boom","status":"ok"}',
    "status_in_data": b'{"data":{"status":"ok"}}',
}.items():
    _add("N11", name, _says(text))
for name, data in {
    "content_length": head("HTTP/1.1 200 OK", "content-length: 500") + _OK,
    "chunked": chunked(_REFUSED, end=b""),
    "closed": head("HTTP/1.0 200 OK") + _REFUSED[:-2],
    "closed_in_a_word": head("HTTP/1.0 200 OK") + b'{"status":"o',
}.items():
    _add("N12", name, _raw(data))
_add("N13", "of_two_mebibytes", _raw(head("HTTP/1.0 200 OK") + _OK[:-1] + b" " * (2 * MIB) + b"}"))
_add("N13", "announced_huge", _raw(head("HTTP/1.1 200 OK", "content-length: 999999999999") + _OK))
_add("N13", "just_too_long", _raw(framed(_OK.ljust(MIB + 1))))
_add(
    "N13",
    "message_of_half_a_mebibyte",
    _says({"status": "error", "message": "token expired " + "x" * (MIB // 2)}),
    finding=ProbeFinding.EXPIRED,
    well="expired",
)
_add("N14", "bomb", _raw(framed(gzip.compress(b" " * (8 * MIB)), "content-encoding: gzip")))
_add(
    "N14",
    "bomb_in_a_field",
    _raw(framed(gzip.compress(b'{"status":"ok","x":"' + b"a" * (4 * MIB) + b'"}'), "content-encoding: gzip")),
)
for name, data in {
    "status_line": b"OK 200\r\n\r\n" + _OK,
    "nothing": b"",
    "two_lengths": head("HTTP/1.1 200 OK", "content-length: 5", f"content-length: {len(_OK)}") + _OK,
    "giant_header": framed(_OK, "x-big: " + "a" * 200_000),
    "bad_gzip": framed(_OK, "content-encoding: gzip"),
    "brotli": framed(_OK, "content-encoding: br"),
    "bad_chunk": head("HTTP/1.1 200 OK", "transfer-encoding: chunked") + b"zz\r\n" + _OK,
}.items():
    _add("N15", name, _raw(data))
_add(
    "N15",
    "drips",
    octets(lambda _: head("HTTP/1.1 200 OK", "content-length: 9000") + b" " * 900, pause=0.02, at_once=10),
    quick=True,
)
_add("N16", "deep", _says(b'{"status":"ok","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))
_add("N16", "deep_open", _says(b"[" * 100_000))
for name, number in {"nan": "NaN", "overflowing": "1e999", "five_thousand_digits": "9" * 5000}.items():
    _add("N17", f"status_{name}", _says(f'{{"status":{number}}}'.encode()))
    _add(
        "N17",
        f"beside_{name}",
        _says(f'{{"status":"error","message":"Session has expired","x":{number}}}'.encode()),
        finding=ProbeFinding.EXPIRED,
        well="expired",
    )
for name, text in {
    "error_then_ok": b'{"status":"error","message":"Session has expired","status":"ok"}',
    "ok_then_error": b'{"status":"ok","message":"Session has expired","status":"error"}',
    "error_then_ok_escaped": b'{"status":"error","message":"Session has expired","st\\u0061tus":"ok"}',
}.items():
    _add("N18", f"status_{name}", _says(text))
_add("N18", "status_twice_the_same", _says(b'{"status":"ok","status":"ok"}'), finding=ProbeFinding.OK)
for name, escaped in {
    "lone_surrogate": '"\\ud800"',
    "nul": '"ok\\u0000"',
    "blanks": '" ok "',
    "zero_width": '"o\\u200bk"',
    "capitals": '"OK"',
    "fullwidth": '"\\uff4f\\uff4b"',
}.items():
    says = ProbeFinding.OK if name in ("blanks", "capitals") else ProbeFinding.TRANSIENT
    _add("N19", f"status_{name}", _says(f'{{"status":{escaped}}}'.encode()), finding=says)
_add(
    "N19",
    "message_of_strange_characters",
    _says(b'{"status":"ok","message":"\\ud800\\u0000\\u202e\\u001b"}'),
    finding=ProbeFinding.OK,
)
_add("N20", "empty", _says(b""))
_add("N20", "204", _raw(b"HTTP/1.1 204 No Content\r\n\r\n"))
_add("N20", "201_is_an_answer", _says(_OK, status=201), finding=ProbeFinding.OK)
_add("N20", "202_is_none", _says(_OK, status=202))
_add("N20", "mark", _says(b"\xef\xbb\xbf" + _OK), finding=ProbeFinding.OK)
_add("N20", "utf16", _says(_OK.decode().encode("utf-16")))
_WRONG: Mapping[str, Any] = {"null": None, "true": True, "number": 200, "array": ["ok"], "object": {"code": "ok"}}
for name, value in _WRONG.items():
    _add("N21", f"status_is_{name}", _says({"status": value}))
    for field in ("message", "tokenExpiresIn", "username", "permissions"):
        _add("N21", f"{field}_is_{name}", _says({"status": "ok", field: value}), finding=ProbeFinding.OK)
for name, value in {
    "object": {"message": "Session has expired"},
    "nested_object": {"error": {"message": "Session has expired", "code": 190}},
    "array": ["Session has expired"],
}.items():
    _add(
        "N21",
        f"refusal_as_{name}",
        _says({"status": "Error", "message": value}),
        finding=ProbeFinding.EXPIRED,
        well="expired",
    )
_add(
    "N21",
    "ten_thousand_permissions",
    _says({"status": "ok", "permissions": [f"p{n}" for n in range(10_000)]}),
    finding=ProbeFinding.OK,
)
for name, word in {
    "brand_new": "degraded",
    "empty": "",
    "success": "success",
    "valid": "valid",
    "failed": "failed",
    "pending": "pending",
}.items():
    _add("N22", f"status_{name}", _says({"status": word}), finding=ProbeFinding.TRANSIENT)
_add(
    "N22",
    "unknown_platform",
    _says({"status": "error", "message": "Unknown platform: friendster", "username": "unknown"}),
    finding=ProbeFinding.UNSUPPORTED,
)

# Words that name a passing trouble, or none of the token's.
for name, message in {
    "rate_limit": "Rate limit exceeded",
    "timeout": "timeout of 10000ms exceeded",
    "reset": "read ECONNRESET",
    "bad_gateway": "Request failed with status code 502",
    "temporary": "Temporarily unavailable",
}.items():
    _add("N09", name, _says({"status": "error", "message": message}), finding=ProbeFinding.TRANSIENT)
for status in (500, 502, 503, 504):
    _add("N09", f"http_{status}_with_ok", _says(_OK, status=status))
    _add("N09", f"http_{status}_with_refusal", _says(_REFUSED, status=status))
for status in (401, 403):
    _add("N10", f"http_{status}_with_refusal", _says(_REFUSED, status=status))
    _add("N10", f"http_{status}_says_revoked", _says({"error": "access revoked, token expired"}, status=status))
for status in (301, 302, 307):
    _add("N07", f"http_{status}", body(lambda _: _OK, status=status, headers={"location": "http://other.invalid/"}))
_add("N08", "http_429", _says({"error": "slow down"}, status=429))
_add("", "http_404_of_a_proxy", _says(b"<html>404</html>", status=404))
_add("", "http_404_in_their_words", _says({"error": "Connection not found"}, status=404), finding=ProbeFinding.MISSING)
_add("", "http_400_of_a_proxy", _says(b"Bad request", status=400))
_add("", "http_400_in_their_words", _says({"error": "Invalid platformId"}, status=400), finding=ProbeFinding.BAD_ID)
_add("", "http_400_of_the_user", _says({"error": "Invalid x-publora-user-id"}, status=400), kinds=(PUBLORA,))
# What a probe may rightly change, after two in a row. A text that names no cause must last longer than that.
_add("", "expired", _says(_REFUSED), finding=ProbeFinding.EXPIRED, well="expired")
_add(
    "",
    "revoked",
    _says({"status": "error", "message": "The user has not authorized the app"}),
    finding=ProbeFinding.REVOKED,
    well="revoked",
    ill="revoked",
)
_add("", "other_reason", _says({"status": "error", "message": "Page not linked"}), finding=ProbeFinding.FAILING)
_add(
    "",
    "permission",
    _says({"status": "error", "message": "(#200) Requires pages_manage_posts permission"}),
    finding=ProbeFinding.PERMISSION,
    well="failing",
)
_add(
    "",
    "span_expired",
    _says({"status": "error", "message": "no", "tokenExpiresIn": " Expired "}),
    finding=ProbeFinding.EXPIRED,
    trusted="expired",
)
_add("", "ok", _says(_OK), finding=ProbeFinding.OK)
_add(
    "",
    "ok_says_expired",
    _says({"status": "ok", "message": "Session has expired", "tokenExpiresIn": "expired"}),
    finding=ProbeFinding.OK,
)

assert {kind for case in CASES for kind in case.kinds} == set(TWINS)
