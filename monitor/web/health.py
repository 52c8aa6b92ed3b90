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
from monitor.telemetry.metrics import TEXT_FORMAT, render
from monitor.views.daemon import late_sources
from monitor.views.metrics import families
from monitor.web.auth import visit_of
from monitor.web.responses import Resource
from monitor.web.site import Site

log = structlog.get_logger(__name__)

FRESH_FOR = 1.0
"""Seconds for which what was collected is given again."""


def metrics_routes(site: Site) -> list[Route]:
    """The address that Prometheus scrapes."""
    exposition = Exposition(site)

    async def respond(_: Request) -> Response:
        return Response(await exposition.text(), media_type=TEXT_FORMAT, headers={"cache-control": "no-cache"})

    return [Route("/metrics", Resource(get=respond))]


@dataclass(slots=True)
class Exposition:
    """The text, and until when it is fresh."""

    site: Site
    _text: bytes = b""
    _until: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def text(self) -> bytes:
        """Everything, at most a second old."""
        async with self._turn:
            if time.monotonic() >= self._until:
                self._text = await self.site.read(self._collect)
                self._until = time.monotonic() + FRESH_FOR
            return self._text

    def _collect(self) -> bytes:
        """A store that cannot be read is a metric too: the counters must not vanish with it."""
        site = self.site
        config, now = site.config(), site.clock.now()
        stuck = site.progress.stuck() is not None
        try:
            with site.store.begin_read() as conn:
                found = families(conn, config, site.metrics, now=now, stuck=stuck)
        except StoreError as error:
            log.warning("metrics.store_unavailable", problem=str(error))
            found = families(None, config, site.metrics, now=now, stuck=stuck)
        return render(site.metrics, found)


ANSWER_WITHIN = 5.0
"""Seconds that the store has to answer."""
_MOST = 20
"""Reasons that are named."""


def routes(site: Site) -> list[Route]:
    """The health addresses."""

    async def healthy(request: Request) -> Response:
        return _answer(request, "stuck", site.progress.problems())

    async def ready(request: Request) -> Response:
        return _answer(request, "not_ready", [*site.progress.problems(), *await _unready(site)])

    return [Route("/healthz", Resource(get=healthy)), Route("/readyz", Resource(get=ready))]


async def _unready(site: Site) -> list[str]:
    def look() -> list[str]:
        with site.store.begin_read():
            pass  # a database that is away says so better than one that seems to have no schema
        site.store.require_current()
        with site.store.begin_read() as conn:
            return late_sources(conn, site.config(), now=site.clock.now())

    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            return await site.store.run_read(look)
    except StoreError as error:
        return [str(error)]
    except TimeoutError:
        return [f"The store has not answered for {ANSWER_WITHIN:.0f} seconds."]


def _answer(request: Request, word: str, reasons: Sequence[str]) -> Response:
    """Whoever has not shown the token learns whether, not why."""
    body: dict[str, object] = {"status": word if reasons else "ok"}
    if visit_of(request).known:
        body["reasons"] = list(reasons[:_MOST])
        body["more"] = max(0, len(reasons) - _MOST)
    return JSONResponse(body, 503 if reasons else 200, headers={"cache-control": "no-store"})
