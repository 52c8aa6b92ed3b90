"""Answers for programs: JSON with an ETag, and what is asked of each address by which method."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from monitor.domain.errors import ConfigError, MonitorError, StoreError
from monitor.web.api_params import Refusal
from monitor.web.site import problem

JSON = "application/json"
_CLOCK = re.compile(rb'"(?:generated_at":"[^"]*"|seconds_left":(?:-?[0-9]+|null))')
"""What differs in every answer although nothing has changed: the ETag leaves it out. In strangers' texts quotes are escaped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An answer before it is known whether its reader has it already."""

    body: bytes
    media_type: str
    etag: str
    """Weak: bodies of the same tag say the same, but for the clock."""
    headers: Mapping[str, str]


def json_content(found: Mapping[str, Any], **headers: str) -> Content:
    """One JSON object. Costs time with its size: call it in a thread."""
    body = json.dumps(found, separators=(",", ":")).encode()
    return Content(body=body, media_type=JSON, etag=tag_of(_CLOCK.sub(b"", body)), headers=headers)


def text_content(body: bytes, media_type: str, **headers: str) -> Content:
    """Any other text."""
    return Content(body=body, media_type=media_type, etag=tag_of(body), headers=headers)


def tag_of(what: bytes) -> str:
    """A weak ETag for what an answer says."""
    return f'W/"{hashlib.blake2b(what, digest_size=12).hexdigest()}"'


def answer(request: Request, content: Content) -> Response:
    """The content, or 304 where the reader says that it has it already."""
    headers = {"etag": content.etag, "cache-control": "no-cache", "vary": "authorization, cookie", **content.headers}
    if has_it(request, content.etag):
        return Response(status_code=304, headers=headers)
    return Response(content.body, media_type=content.media_type, headers=headers)


def has_it(request: Request, etag: str) -> bool:
    """Whether the reader says so (RFC 9110): by a list of tags, compared weakly, or an asterisk."""
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


Handling = Callable[[Request], Awaitable[Response]]


class Resource:
    """One address, and what answers each method there. Any other method is 405, and every refusal a problem (RFC 9457)."""

    def __init__(self, *, get: Handling | None = None, post: Handling | None = None) -> None:
        self._methods: dict[str, Handling] = {}
        if get is not None:
            self._methods |= {"GET": get, "HEAD": get}
        if post is not None:
            self._methods["POST"] = post

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request = Request(scope, receive)
        response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        method = self._methods.get(request.method)
        if method is None:
            allowed = ", ".join(self._methods)
            return problem(request, 405, f"This address knows {allowed}.", headers={"allow": allowed})
        try:
            return await method(request)
        except Refusal as refusal:
            return problem(request, refusal.status, refusal.text, headers=refusal.headers)
        except StoreError as error:
            return problem(request, 503, str(error), headers={"retry-after": "5"})
        except (ConfigError, MonitorError) as error:
            return problem(request, 409, str(error))


async def nothing_here(request: Request) -> Response:
    """For every address of the API that there is not."""
    return problem(request, 404, "There is nothing at this address: /api/v1/openapi.json lists what there is.")
