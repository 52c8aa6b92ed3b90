"""Reading a list that is divided into pages, to its end or to a reason why it is incomplete."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any

from monitor.config.definition import Paging
from monitor.domain.errors import ProviderPayloadInvalid
from monitor.domain.rules.expressions import Evaluator, is_true
from monitor.providers import payload
from monitor.providers.api import ApiRequest, ApiResponse

MOST_PAGES = 2000

_LINK = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?', re.ASCII)

Follow = Callable[[ApiRequest, str], ApiRequest]
Build = Callable[[Mapping[str, str]], Awaitable[ApiRequest]]
Send = Callable[[ApiRequest], Awaitable[ApiResponse]]
Decode = Callable[[ApiResponse, Any], list[Any]]


@dataclass(slots=True, kw_only=True)
class Pages:
    """What was read of a list."""

    rows: list[Any] = field(default_factory=list)
    """What `decode` returned, of all pages."""
    problem: str | None = None
    """Why the list is incomplete; None if it was read to its end."""
    digest: str = ""
    """Digest of all bodies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadPage:
    reply: ApiResponse
    body: Any
    rows: list[Any]


class PageWalk:
    """Reads one list, page by page."""

    def __init__(self, paging: Paging, *, evaluator: Evaluator, max_rows: int, follow: Follow) -> None:
        self._paging, self._evaluator, self._max_rows, self._follow = paging, evaluator, max_rows, follow
        self._total: int | None = None

    async def read(self, *, build: Build, send: Send, decode: Decode) -> Pages:
        """Return all rows. `decode` turns a response and its decoded body into rows. Raises ProviderError."""
        walk, digest = Pages(), blake2b(digest_size=16)
        seen: set[bytes] = set()
        parameters = self._first()
        request = await build(parameters)
        for number in range(MOST_PAGES):
            page = await self._page(request, send, decode)
            mark = blake2b(page.reply.body, digest_size=16).digest()
            digest.update(mark)
            if number and mark in seen and page.rows:
                walk.problem = "The list repeats a page."
                break
            seen.add(mark)
            walk.rows += page.rows
            if len(walk.rows) > self._max_rows:
                del walk.rows[self._max_rows :]
                walk.problem = f"The source has more than {self._max_rows:,} rows; the others were ignored."
                break
            following = await self._next(page, request, len(walk.rows), number, build)
            if following is None:
                walk.problem = self._shortage(len(walk.rows))
                break
            if following.url == request.url and following.content == request.content:
                walk.problem = "The list repeats a cursor."
                break
            request = following
        else:
            walk.problem = "The list has no end."
        walk.digest = digest.hexdigest()
        return walk

    async def _page(self, request: ApiRequest, send: Send, decode: Decode) -> _ReadPage:
        reply = await send(request)

        def read() -> tuple[Any, list[Any]]:
            body = payload.read_any(reply.body, content_type=reply.content_type)
            return body, decode(reply, body)

        body, rows = await payload.off_loop(partial(read), size=len(reply.body))
        return _ReadPage(reply=reply, body=body, rows=rows)

    def _first(self) -> dict[str, str]:
        paging = self._paging
        parameters = {paging.size_param: str(paging.size)} if paging.size is not None else {}
        if paging.kind == "page":
            parameters[paging.param] = str(paging.first)
        elif paging.kind == "offset":
            parameters[paging.param] = "0"
        return parameters

    async def _next(self, page: _ReadPage, request: ApiRequest, rows: int, number: int, build: Build) -> ApiRequest | None:
        """Return the request of the next page, None after the last one. Notes the total that the page announces."""
        paging, size = self._paging, self._first()
        match paging.kind:
            case "offset":
                self._note_total(page)
                done = not page.rows if self._total is None else rows >= self._total or not page.rows
                short = self._total is None and paging.size is not None and len(page.rows) < paging.size
                return None if done or short else await build({**size, paging.param: str(rows)})
            case "page":
                if paging.more is not None:
                    more = self._evaluator.is_true(paging.more, page.body)
                else:
                    more = bool(page.rows) and (paging.size is None or len(page.rows) >= paging.size)
                return await build({**size, paging.param: str(paging.first + number + 1)}) if more else None
            case "cursor":
                cursor = None if paging.next is None else self._evaluator.value(paging.next, page.body)
                if not is_true(cursor) or not isinstance(cursor, str | int) or isinstance(cursor, bool):
                    return None
                return await build({**size, paging.param: str(cursor)})
            case "link":
                address = self._address(page)
                return self._follow(request, address) if address else None
            case _:
                return None

    def _note_total(self, page: _ReadPage) -> None:
        if self._paging.total is None:
            return
        total = self._evaluator.value(self._paging.total, page.body)
        if isinstance(total, bool) or not isinstance(total, int) or total < 0:
            raise ProviderPayloadInvalid("The total of the list is not a number of rows.")
        if self._total not in (None, total):
            raise ProviderPayloadInvalid("The list changed while it was being read.")
        self._total = total

    def _shortage(self, rows: int) -> str | None:
        if self._total is None or rows == self._total:
            return None
        return f"The list announced {self._total} rows but contained {rows}."

    def _address(self, page: _ReadPage) -> str | None:
        if self._paging.next is not None:
            found = self._evaluator.value(self._paging.next, page.body)
            return found if isinstance(found, str) and found else None
        match = _LINK.search(page.reply.headers.get("link", ""))
        return match[1] if match else None
