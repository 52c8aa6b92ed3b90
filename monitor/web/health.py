"""/healthz: the process makes progress. /readyz: it can be relied on. Both say why not, and answer 503 then.

A supervisor may restart what is not healthy; what is not ready only waits: for its database, for a first poll.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.domain.errors import StoreError
from monitor.views.readiness import late_sources
from monitor.web.auth import visit_of
from monitor.web.responses import Resource
from monitor.web.site import Site

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
        with site.store.read():
            pass  # a database that is away says so better than one that seems to have no schema
        site.store.require_current()
        with site.store.read() as conn:
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
