"""What every page needs: store access, flash notices and problem documents."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from monitor.telemetry.logs import redact

if TYPE_CHECKING:
    from starlette.requests import Request


import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from monitor.config import Config
from monitor.domain.clock import Clock
from monitor.store import Store

if TYPE_CHECKING:
    from monitor.telemetry.metrics import Metrics
    from monitor.telemetry.progress import Progress


def problem(request: Request, status: int, text: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """What is wrong, in one sentence, in the form that was asked for (RFC 9457 for programs)."""
    said = redact(text)
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
        from monitor.web.rendering import bare

        return bare("problem.html", {"title": HTTPStatus(status).phrase, "text": said}, status=status, headers=headers)
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": said}
    return JSONResponse(body, status, headers=dict(headers or {}), media_type="application/problem+json")


_NOTICES = {
    "acknowledged": "Acknowledged: quiet until it gets worse or recovers.",
    "unacknowledged": "No longer acknowledged: it is said again when there is something to say.",
    "silenced": "Silenced. What changes meanwhile is recorded, and said at the end.",
    "lifted": "The silence is removed: what changed meanwhile is said now.",
    "logged-out": "You are logged out.",
}


def text_of(word: str | None) -> str | None:
    """The sentence, None for a word that is none of ours."""
    return _NOTICES.get(word or "")


P = ParamSpec("P")
T = TypeVar("T")

READS_AT_ONCE = 2
"""Of the store's four reader threads: however many pages are asked for, the daemon's own reads find one free."""


def _turns() -> asyncio.Semaphore:
    return asyncio.Semaphore(READS_AT_ONCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The daemon as its web pages see it. Every module with pages offers `routes(site) -> list[Route]`."""

    store: Store
    clock: Clock
    config: Callable[[], Config]
    """The configuration of now: a reload swaps it."""
    metrics: Metrics
    progress: Progress
    turns: asyncio.Semaphore = field(default_factory=_turns)

    async def read(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads, and may render, in a thread: the event loop serves more than pages.

        Few run at a time, the others wait their turn.
        """
        async with self.turns:
            return await self.store.run_read(fn, *args, **kwargs)

    async def write(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that writes in the store's writer thread, after what the daemon is writing."""
        return await self.store.run(fn, *args, **kwargs)
