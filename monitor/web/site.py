"""Site: the part of the daemon that the web pages use; problem responses and flash notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response

from monitor.config import Config
from monitor.domain.clock import Clock
from monitor.domain.errors import MonitorError, StoreError
from monitor.store import Connection, Store
from monitor.telemetry.logs import redact
from monitor.web.auth import FEEDS
from monitor.web.clients import RequestRates, WrongTokens
from monitor.web.open_streams import Streams

if TYPE_CHECKING:
    from starlette.requests import Request

    from monitor.engine.intake import Intake
    from monitor.telemetry.metrics import Metrics
    from monitor.telemetry.progress import Progress

T = TypeVar("T")

CONCURRENT_READS = 2
"""Pages may use this many of the store's four reader threads, so that the daemon's own reads always find a free one."""


def _read_slots() -> asyncio.Semaphore:
    return asyncio.Semaphore(CONCURRENT_READS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The store, configuration and health of the daemon, for its web pages."""

    store: Store
    clock: Clock
    config: Callable[[], Config]
    """Returns the current configuration; a reload replaces it."""
    metrics: Metrics
    progress: Progress
    signing_key: bytes
    """The store's key for links and forms."""
    intake: Intake | None = None
    """Records pushed reports; None: this process records none."""
    push_rates: RequestRates = field(default_factory=RequestRates)
    wrong_tokens: WrongTokens = field(default_factory=WrongTokens)
    streams: Streams = field(default_factory=Streams)
    read_slots: asyncio.Semaphore = field(default_factory=_read_slots)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which may also render, over one consistent state in a reader thread. Raises StoreError.

        At most CONCURRENT_READS run simultaneously; the others wait.
        """
        async with self.read_slots:
            return await self.store.read(work)


_PAGE_TITLES = {410: "No longer valid"}
"""Titles of pages where the phrase of the status would be unclear."""


def error_response(request: Request, error: HTTPException | MonitorError) -> Response:
    """Return the problem page or document for an expected error."""
    if isinstance(error, HTTPException):
        return problem(request, error.status_code, error.detail, headers=error.headers)
    if isinstance(error, StoreError):
        return problem(request, 503, str(error), headers={"retry-after": "5"})
    return problem(request, 409 if request.scope["path"].startswith("/api/") else 422, str(error))


def problem(request: Request, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error response: a page for browsers, a text for feeds, a problem document (RFC 9457) for other programs."""
    title, detail = HTTPStatus(status).phrase, redact(detail)
    if "text/html" in request.headers.get("accept", "") and not request.scope["path"].startswith(("/api/", "/hooks/")):
        from monitor.web.rendering import standalone_page

        title = _PAGE_TITLES.get(status, title)
        return standalone_page(request, "problem.html", {"title": title, "text": detail}, status=status, headers=headers)
    if request.scope["path"] in FEEDS:
        return PlainTextResponse(f"{detail}\n", status, headers=dict(headers or {}))
    body = {"title": title, "status": status, "detail": detail}
    return JSONResponse(body, status, headers=dict(headers or {}), media_type="application/problem+json")


_NOTICES = {
    "acknowledged": "Acknowledged. No more alerts until the status worsens or the connection recovers.",
    "unacknowledged": "The acknowledgement was removed. Alerts are sent again.",
    "silenced": "Silenced. Changes are recorded, and the net change is sent when the silence ends.",
    "lifted": "The silence is removed. Changes that happened during it are sent now.",
    "checking": "The connections are checked now. Their status shows the result as it arrives.",
    "retired": "Retired. Their history is kept.",
    "logged-out": "You are logged out.",
}


def notice_text(code: str | None) -> str | None:
    """Return the sentence for a notice's code in the URL, None for an unknown code."""
    return _NOTICES.get(code or "")
