"""Answers of the simulated world. Synchronous and free of sockets: the server only transports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from monitor.demo.source import EncodedBody, Outage, SimSource, Trouble

JSON = "application/json; charset=utf-8"

PREFIXES: Mapping[str, str] = {
    "postpost": "/postpost/api/v1",
    "publora": "/publora/api/v1",
    "postbreeze": "/postbreeze/api/v1",
    "postpeer": "/postpeer/v1",
}
"""The path prefix of each API on the one port."""

_SIGN_IN_PAGE = b"<!doctype html><html><head><title>Sign in to the guest network</title></head><body>Welcome!</body></html>"


@dataclass(frozen=True, slots=True)
class Call:
    """A request as received: the path still percent-encoded, header names in any case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class SimResponse:
    """An HTTP answer, and how to disturb the connection while sending it."""

    body: EncodedBody
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON
    cut: bool = False
    """Reset the connection instead of answering."""
    truncated: bool = False
    """Announce the whole body and send half of it."""


def encoded(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> SimResponse:
    """Return an answer with a JSON body."""
    return SimResponse(EncodedBody(msgspec.json.encode(value)), status, headers or {})


_CODES = {400: "BAD_REQUEST", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 429: "RATE_LIMITED"}


def refusal(
    kind: str,
    status: int,
    message: str,
    *,
    serial: int,
    field_name: str = "error",
    extra: dict[str, object] | None = None,
) -> SimResponse:
    """Return an error in a provider's shape.

    PostPost and Publora {error} (or {message}); Postbreeze {statusCode, code, message, requestId}; PostPeer {success, message}.
    """
    if kind == "postbreeze":
        code = _CODES.get(status, "INTERNAL_ERROR")
        body: dict[str, object] = {"statusCode": status, "code": code, "message": message, "requestId": f"req_{serial:08x}"}
    elif kind == "postpeer":
        body = {"success": False, "message": message}
    else:
        body = {field_name: message}
    return encoded(body | (extra or {}), status=status)


def rate_limited(kind: str, *, retry_after: str, wait: timedelta, serial: int) -> SimResponse:
    """Return 429 with Retry-After, and the wait in the body if the provider repeats it there."""
    extra: dict[str, object] = {}
    if kind == "postbreeze":
        extra = {"retryAfterMs": round(wait.total_seconds() * 1000)}
    elif kind == "publora":
        extra = {"success": False, "retryAfter": max(1, round(wait.total_seconds()))}
    answer = refusal(kind, 429, "Too many requests", serial=serial, extra=extra)
    answer.headers["Retry-After"] = retry_after
    return answer


def in_trouble(source: SimSource, outage: Outage, *, serial: int) -> SimResponse:
    """Return the answer of a broken source to any request."""
    kind = source.kind
    if outage.trouble is Trouble.CUT:
        return SimResponse(EncodedBody(b""), cut=True)
    if outage.trouble is Trouble.UNAUTHORIZED:
        return refusal(kind, 401, "Invalid API key", serial=serial, field_name=source.error_field)
    if outage.trouble is Trouble.FORBIDDEN:
        message = "API access is not enabled for this account"
        return refusal(kind, 403, message, serial=serial, field_name=source.error_field)
    if outage.trouble is Trouble.RATE_LIMITED:
        header = outage.retry_after or "30"
        wait = timedelta(seconds=int(header) if header.isdecimal() and header.isascii() else 30)
        return rate_limited(kind, retry_after=header, wait=wait, serial=serial)
    if outage.trouble is Trouble.HTML:
        return SimResponse(EncodedBody(_SIGN_IN_PAGE), content_type="text/html; charset=utf-8")
    if outage.trouble is Trouble.TRUNCATED:
        return SimResponse(EncodedBody(b'{"success":true,"connections":[{"platformId":"linkedin-'), truncated=True)
    if outage.trouble is Trouble.ENVELOPE:
        return encoded({"success": False, source.error_field: "Failed to fetch platform connections"})
    if outage.trouble is Trouble.REDIRECT:
        return SimResponse(EncodedBody(b""), 302, {"Location": outage.location}, "text/plain")
    answer = refusal(kind, outage.status, "Internal server error", serial=serial, field_name=source.error_field)
    if outage.retry_after is not None:
        answer.headers["Retry-After"] = outage.retry_after
    return answer
