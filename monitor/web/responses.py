"""Responses for programs: ETags, conditional requests, and one address with a handler per method."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

JSON = "application/json"
_CLOCK = re.compile(rb'"(?:generated_at":"[^"]*"|seconds_left":(?:-?[0-9]+|null))')
"""The members that the clock alone changes: the ETag leaves them out. Quotes inside of texts are escaped, so no text matches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A response before its ETag is compared with the client's."""

    body: bytes
    media_type: str
    etag: str
    """Weak: bodies with the same tag differ at most in what the clock alone changes."""
    headers: Mapping[str, str]


def json_content(value: Mapping[str, Any], **headers: str) -> Content:
    """Encode one JSON object. Call it in a thread: the time grows with the size."""
    body = encode(value)
    return Content(body=body, media_type=JSON, etag=etag_of(_CLOCK.sub(b"", body)), headers=headers)


def encode(value: Mapping[str, Any]) -> bytes:
    """Return compact ASCII JSON of an object that may hold structs."""
    return json.dumps(value, separators=(",", ":"), default=msgspec.to_builtins).encode()


def text_content(body: bytes, media_type: str, **headers: str) -> Content:
    """Return content that is not JSON."""
    return Content(body=body, media_type=media_type, etag=etag_of(body), headers=headers)


def etag_of(data: bytes) -> str:
    """Return a weak ETag of a response's data."""
    return f'W/"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'


def answer(request: Request, content: Content, *, status: int = 200) -> Response:
    """Return the content, or 304 if the client already has it."""
    headers = {"etag": content.etag, "cache-control": "no-cache", "vary": "authorization, cookie", **content.headers}
    if has_current(request, content.etag):
        return Response(status_code=304, headers=headers)
    return Response(content.body, status, media_type=content.media_type, headers=headers)


def has_current(request: Request, etag: str) -> bool:
    """Return True if If-None-Match holds this tag or an asterisk; tags are compared weakly (RFC 9110)."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


Handler = Callable[[Request], Awaitable[Response]]


class Resource:
    """One address with a handler per method, as an ASGI application. Any other method is answered with 405."""

    def __init__(self, *, get: Handler | None = None, post: Handler | None = None, delete: Handler | None = None) -> None:
        self._methods: dict[str, Handler] = {}
        if get is not None:
            self._methods |= {"GET": get, "HEAD": get}
        if post is not None:
            self._methods["POST"] = post
        if delete is not None:
            self._methods["DELETE"] = delete

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        handler = self._methods.get(request.method)
        if handler is None:
            allowed = ", ".join(self._methods)
            raise HTTPException(405, f"This address supports {allowed}.", {"allow": allowed})
        response = await handler(request)
        await response(scope, receive, send)


async def not_found(_: Request) -> Response:
    """Answer for an unknown address of the API."""
    raise HTTPException(404, "There is nothing at this address. /api/v1/openapi.json lists every address.")
