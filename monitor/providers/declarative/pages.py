"""Reading a list that is divided into pages, to its end or to a reason why it is incomplete."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedPage:
    """A page's content."""

    body: Any
    items: int
    """Number of elements of the list, before they are expanded and filtered: the unit of offsets and totals."""
    rows: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFacts:
    """The part of a page that a walk needs, so that an unchanged page need not be decoded again."""

    mark: bytes
    """Digest of the body."""
    items: int
    rows: int
    following: Mapping[str, str] | str | None
    """Parameters or address of the next page, as far as the body decides; None after the last one."""
    total: int | None
    """The announced number of items, if the paging has one."""


Follow = Callable[[ApiRequest, str], ApiRequest]
Build = Callable[[Mapping[str, str]], Awaitable[ApiRequest]]
Send = Callable[[ApiRequest], Awaitable[ApiResponse]]
Decode = Callable[[ApiResponse], DecodedPage]


@dataclass(slots=True, kw_only=True)
class Pages:
    """The pages that were read of a list."""

    decode: Decode
    most_rows: int
    problem: str | None = None
    """The reason why the list is incomplete; None if it was read to its end."""
    digest: str = ""
    """Digest of all bodies."""
    facts: list[PageFacts] = field(default_factory=list)
    """Of each page, for the next walk."""
    replies: list[tuple[ApiResponse, DecodedPage | None]] = field(default_factory=list)
    """Each response, with its content if it was decoded."""

    @property
    def size(self) -> int:
        """The bytes that rows() has to decode."""
        return sum(len(reply.body) for reply, page in self.replies if page is None)

    def rows(self) -> list[Any]:
        """Return the rows of all pages. Decodes the pages that were recognised by their digest."""
        found: list[Any] = []
        for reply, page in self.replies:
            found += (page or self.decode(reply)).rows
        return found[: self.most_rows]


class PageWalk:
    """Reads one list, page by page."""

    def __init__(self, paging: Paging, *, evaluator: Evaluator, max_rows: int, follow: Follow) -> None:
        self._paging, self._evaluator, self._max_rows, self._follow = paging, evaluator, max_rows, follow
        self._total: int | None = None

    async def read(self, *, build: Build, send: Send, decode: Decode, known: Sequence[PageFacts] = ()) -> Pages:
        """Return all pages. Those at the beginning that are as `known` are not decoded. Raises ProviderError."""
        walk, digest = Pages(decode=decode, most_rows=self._max_rows), blake2b(digest_size=16)
        requested: set[tuple[str, bytes | None]] = set()
        seen: set[bytes] = set()
        items = rows = 0
        request = await build(self._first())
        for number in range(MOST_PAGES):
            requested.add((request.url, request.content))
            reply = await send(request)
            mark = blake2b(reply.body, digest_size=16).digest()
            digest.update(mark)
            known = known if number < len(known) and known[number].mark == mark else ()
            page = None if known else await payload.off_loop(partial(decode, reply), size=len(reply.body))
            facts = known[number] if page is None else self._facts(page, mark, items, number)
            if mark in seen and facts.items:
                walk.problem = "The list repeats a page."
                break
            seen.add(mark)
            self._note_total(facts)
            walk.facts.append(facts)
            walk.replies.append((reply, page))
            items, rows = items + facts.items, rows + facts.rows
            if rows > self._max_rows:
                walk.problem = f"The source has more than {self._max_rows:,} rows; the others were ignored."
                break
            following = self._header_link(reply) if self._follows_header else facts.following
            if following is None:
                walk.problem = self._shortage(items)
                break
            request = self._follow(request, following) if isinstance(following, str) else await build(following)
            if (request.url, request.content) in requested:
                walk.problem = "The list repeats a cursor."
                break
        else:
            walk.problem = "The list has no end."
        walk.digest = digest.hexdigest()
        return walk

    @property
    def _follows_header(self) -> bool:
        return self._paging.kind == "link" and self._paging.next is None

    def _facts(self, page: DecodedPage, mark: bytes, before: int, number: int) -> PageFacts:
        """Return the facts of a page that follows this number of items and of pages."""
        total = self._announced(page)
        following = self._following(page, before + page.items, number, total)
        return PageFacts(mark=mark, items=page.items, rows=len(page.rows), following=following, total=total)

    def _first(self) -> dict[str, str]:
        paging = self._paging
        parameters = {paging.size_param: str(paging.size)} if paging.size is not None else {}
        if paging.kind == "page":
            parameters[paging.param] = str(paging.first)
        elif paging.kind == "offset":
            parameters[paging.param] = "0"
        return parameters

    def _following(self, page: DecodedPage, items: int, number: int, total: int | None) -> Mapping[str, str] | str | None:
        """Return the parameters or the address of the next page, None after the last one."""
        paging, first = self._paging, self._first()
        match paging.kind:
            case "offset":
                more = self._may_continue(page) if total is None else bool(page.items) and items < total
                return {**first, paging.param: str(items)} if more else None
            case "page":
                more = self._may_continue(page) if paging.more is None else self._evaluator.is_true(paging.more, page.body)
                return {**first, paging.param: str(paging.first + number + 1)} if more else None
            case "cursor":
                cursor = None if paging.next is None else self._evaluator.value(paging.next, page.body)
                if not is_true(cursor) or not isinstance(cursor, str | int) or isinstance(cursor, bool):
                    return None
                return {**first, paging.param: str(cursor)}
            case "link":
                address = None if paging.next is None else self._evaluator.value(paging.next, page.body)
                return address if isinstance(address, str) and address else None
            case _:
                return None

    def _may_continue(self, page: DecodedPage) -> bool:
        """Return True if another page may follow, of a list that does not announce its total.

        A page that is shorter than was requested is the last one, unless it is a multiple of ten long: that may be the
        maximum of the service, and taking it for the end would lose connections.
        """
        size = self._paging.size
        return bool(page.items) and (size is None or page.items >= size or page.items % 10 == 0)

    def _announced(self, page: DecodedPage) -> int | None:
        if self._paging.total is None:
            return None
        total = self._evaluator.value(self._paging.total, page.body)
        if isinstance(total, bool) or not isinstance(total, int) or total < 0:
            raise ProviderPayloadInvalid("The total of the list is not a number of rows.")
        return total

    def _note_total(self, facts: PageFacts) -> None:
        if self._total not in (None, facts.total):
            raise ProviderPayloadInvalid("The list changed while it was being read.")
        self._total = facts.total

    def _shortage(self, items: int) -> str | None:
        if self._total is None or items == self._total:
            return None
        return f"The list announced {self._total} rows but contained {items}."

    def _header_link(self, reply: ApiResponse) -> str | None:
        match = _LINK.search(reply.headers.get("link", ""))
        return match[1] if match else None
