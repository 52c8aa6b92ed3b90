"""Status lines: what an answer is called decides before what it holds. Each body is a flawless list that says the opposite."""

from __future__ import annotations

import json

from tests.answers.case import INVALID, LIMITED, POSTBREEZE, REFUSED, TWINS, UNREACHABLE, Answerer, Book, SampleSource, body

HTML = b"<!doctype html><html><title>Sign in</title><body><form action=/login></form></body></html>"


def _as(status: int, **headers: str) -> Answerer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return body(SampleSource.opposite, status=status, headers=named)


def _says(status: int, what: object) -> Answerer:
    text = what if isinstance(what, bytes) else json.dumps(what).encode()
    return body(lambda _: text, status=status)


redirects = Book(row="N07", part="status")
for status in (301, 302, 303, 307, 308):
    redirects.add(f"{status}_to_another_host", _as(status, location="http://other.invalid/api/v1/x"), outcome=INVALID)
for name, location in {
    "no_location": "",
    "to_itself": "/api/v1/platform-connections",
    "to_a_login_page": "/login?next=%2Fapi%2Fv1",
    "scheme_relative": "//other.invalid/api/v1",
    "user_in_host": "http://127.0.0.1@other.invalid/",
    "javascript": "javascript:alert(1)",
    "file": "file:///etc/passwd",
    "data": "data:application/json,[]",
    "two_places": "http://a.invalid/, http://b.invalid/",
    "no_port": "http://127.0.0.1:99999999/",
    "bad_bracket": "http://[::1/",
    "backslashes": "\\\\other.invalid\\share",
    "very_long": "/" + "a" * 6000,
    "blanks": "   ",
    "fragment": "#connections",
    "idna": "http://xn--\u00e9.invalid/",
}.items():
    redirects.add(f"302_{name}", _as(302, location=location), outcome=INVALID)
redirects.add("300_choices", _as(300), outcome=INVALID)
redirects.add("304_nothing_new", body(lambda _: b"", status=304), outcome=INVALID)
redirects.add("305_use_proxy", _as(305, location="http://other.invalid:3128/"), outcome=INVALID)
redirects.add("399_unheard_of", _as(399, location="http://other.invalid/"), outcome=INVALID)
redirects.add("302_refresh_header", _as(302, refresh="0; url=http://other.invalid/"), outcome=INVALID)

broken = Book(row="N09", part="status")
for status in (500, 501, 502, 503, 504, 507, 508, 511, 520, 521, 522, 523, 524, 525, 526, 529, 530, 598, 599):
    broken.add(f"{status}_with_a_list", _as(status), outcome=UNREACHABLE)
broken.add(
    "500_in_their_words",
    _says(500, {"error": "Failed to fetch platform connections"}),
    problem="Failed to fetch",
    outcome=UNREACHABLE,
)
broken.add("500_in_html", _says(500, HTML), problem="web page", outcome=UNREACHABLE)
broken.add(
    "502_of_nginx",
    _says(502, b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<hr><center>nginx</center>\r\n"),
    outcome=UNREACHABLE,
)
broken.add("500_empty", _says(500, b""), problem="empty", outcome=UNREACHABLE)
broken.add(
    "500_success_true", _says(500, {"success": True, "connections": [], "integrations": [], "total": 0}), outcome=UNREACHABLE
)
broken.add("500_error_is_an_object", _says(500, {"error": {"message": "deep", "code": 7}}), problem="deep", outcome=UNREACHABLE)
broken.add("500_error_is_a_list", _says(500, {"error": ["a", "b"]}), outcome=UNREACHABLE)
broken.add("500_error_is_a_megabyte", _says(500, {"error": "x" * 1_000_000}), outcome=UNREACHABLE)
broken.add("500_error_beyond_a_megabyte", _says(500, {"error": "x" * 1_100_000}), outcome=UNREACHABLE)
broken.add("500_error_has_escapes", _says(500, {"error": "a\x00b\x1b[31mc\r\nd\u202e\ud800"}), outcome=UNREACHABLE)
broken.add("500_error_nested", _says(500, b'{"error":' + b"[" * 50_000 + b"]" * 50_000 + b"}"), outcome=UNREACHABLE)
broken.add("500_code_is_a_number", _says(500, {"error": "no", "code": 10**40, "requestId": {"a": 1}}), outcome=UNREACHABLE)
broken.add("503_retry_after_seconds", _as(503, retry_after="120"), outcome=UNREACHABLE, waits=120.0)
broken.add("503_retry_after_an_hour_and_more", _as(503, retry_after="86400"), outcome=UNREACHABLE, waits=3600.0)


key = Book(row="N10", part="status")
for status in (401, 403):
    key.add(f"{status}_with_a_list", _as(status), outcome=REFUSED)
    key.add(f"{status}_empty", _says(status, b""), outcome=REFUSED)
    key.add(f"{status}_in_html", _says(status, HTML), outcome=REFUSED)
    key.add(f"{status}_says_expired", _says(status, {"error": "Your token has expired and was revoked"}), outcome=REFUSED)
    key.add(f"{status}_success_true", _says(status, {"success": True, "connections": [], "total": 0}), outcome=REFUSED)
    key.add(f"{status}_basic_auth_wanted", _as(status, www_authenticate='Basic realm="router"'), outcome=REFUSED)
key.add("403_plan", _says(403, {"error": "API access is not enabled for your plan"}), outcome=REFUSED, problem="plan")
key.add("403_user_not_managed", _says(403, {"error": "User is not managed by key"}), outcome=REFUSED)
key.add("401_null", _says(401, None), outcome=REFUSED)
key.add("401_number", _says(401, 401), outcome=REFUSED)
key.add("401_cut", body(lambda s: s.opposite()[:-9], status=401), outcome=REFUSED)
key.add("407_proxy_wants_a_password", _as(407, proxy_authenticate="Basic"), outcome=INVALID)

others = Book(row="", part="status")
for status in (202, 203, 205, 207, 208, 226, 299):
    others.add(f"status.{status}_is_no_200", _as(status), outcome=INVALID)
for status in (
    400,
    402,
    404,
    405,
    406,
    409,
    410,
    411,
    412,
    413,
    414,
    415,
    416,
    417,
    418,
    421,
    422,
    423,
    424,
    426,
    428,
    431,
    451,
    499,
):
    others.add(f"status.{status}_with_a_list", _as(status), outcome=INVALID)
for status in (408, 425):
    others.add(f"status.{status}_may_pass", _as(status), outcome=UNREACHABLE)
others.add("status.404_is_not_an_empty_list", _says(404, {"error": "No connections found"}), outcome=INVALID)
others.add("status.404_empty_array", _says(404, []), outcome=INVALID)
others.add("status.410_gone", _says(410, {"message": "All connections were removed"}), outcome=INVALID)
others.add("status.429_with_a_list", _as(429), outcome=LIMITED, waits="default")
others.add("status.400_bad_id", _says(400, {"error": "Invalid x-postpost-user-id"}), kinds=TWINS, outcome=INVALID)
others.add(
    "status.404_in_their_words",
    _says(404, {"statusCode": 404, "code": "WORKSPACE_NOT_FOUND", "message": "Workspace not found", "requestId": "r"}),
    kinds=(POSTBREEZE,),
    outcome=INVALID,
    problem="WORKSPACE_NOT_FOUND",
)

CASES = [*redirects.cases, *broken.cases, *key.cases, *others.cases]
