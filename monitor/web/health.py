"""Health endpoints and the Prometheus exposition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.domain.errors import StoreError
from monitor.store import Connection, revisions
from monitor.telemetry.metrics import TEXT_FORMAT, render
from monitor.views.metrics import families
from monitor.views.status import late_sources
from monitor.web.auth import visit_of
from monitor.web.responses import Resource
from monitor.web.site import Site

log = structlog.get_logger(__name__)

FRESH_FOR = 1.0
"""Seconds for which a collected exposition is reused."""


def metrics_routes(site: Site) -> list[Route]:
    """Return the route that Prometheus scrapes."""
    exposition = Exposition(site)

    async def respond(_: Request) -> Response:
        return Response(await exposition.text(), media_type=TEXT_FORMAT, headers={"cache-control": "no-cache"})

    return [Route("/metrics", Resource(get=respond))]


@dataclass(slots=True)
class Exposition:
    """The text for Prometheus, cached for FRESH_FOR."""

    site: Site
    _text: bytes = b""
    _until: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def text(self) -> bytes:
        """Return every metric, at most FRESH_FOR old."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._text = await self._collect()
                self._until = time.monotonic() + FRESH_FOR
            return self._text

    async def _collect(self) -> bytes:
        try:
            return await self.site.read(self._render)
        except StoreError as error:
            # An unreadable store is a metric too: the counters must not vanish with it.
            log.warning("metrics.store_unavailable", problem=str(error))
            return self._render(None)

    def _render(self, conn: Connection | None) -> bytes:
        site = self.site
        stuck = site.progress.stuck() is not None
        return render(site.metrics, families(conn, site.config(), site.metrics, now=site.clock.now(), stuck=stuck))


ANSWER_WITHIN = 5.0
"""Seconds within which the store must respond."""
_MOST = 20
"""Reasons that are listed."""


def routes(site: Site) -> list[Route]:
    """Return the routes of the health endpoints."""

    async def healthy(request: Request) -> Response:
        return _answer(request, "stuck", site.progress.problems())

    async def ready(request: Request) -> Response:
        waiting = site.progress.waits_because()
        problems = [*site.progress.problems(), *([waiting] if waiting else ())]
        return _answer(request, "not_ready", [*problems, *await _store_problems(site)])

    return [Route("/healthz", Resource(get=healthy)), Route("/readyz", Resource(get=ready))]


async def _store_problems(site: Site) -> list[str]:
    def check(conn: Connection) -> list[str]:
        site.store.check_revision(revisions.stored(conn))
        return late_sources(conn, site.config(), now=site.clock.now())

    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            return await site.store.read(check)
    except StoreError as error:
        return [str(error)]
    except TimeoutError:
        return [f"The database has not responded for {ANSWER_WITHIN:.0f} seconds."]


def _answer(request: Request, status: str, reasons: Sequence[str]) -> Response:
    """Return the status; the reasons only for an authenticated request."""
    body: dict[str, object] = {"status": status if reasons else "ok"}
    visit = visit_of(request)
    if visit.authenticated and not visit.selection.bound_to:
        body["reasons"] = list(reasons[:_MOST])
        body["more"] = max(0, len(reasons) - _MOST)
    return JSONResponse(body, 503 if reasons else 200, headers={"cache-control": "no-store"})
