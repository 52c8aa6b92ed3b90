"""/metrics for Prometheus. However many ask, it is collected once a second, and never in the daemon's event loop."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.domain.errors import StoreError
from monitor.telemetry.metrics import TEXT_FORMAT, render
from monitor.views.metrics import families
from monitor.web.responses import Resource
from monitor.web.site import Site

log = structlog.get_logger(__name__)

FRESH_FOR = 1.0
"""Seconds for which what was collected is given again."""


def routes(site: Site) -> list[Route]:
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
            with site.store.read() as conn:
                found = families(conn, config, site.metrics, now=now, stuck=stuck)
        except StoreError as error:
            log.warning("metrics.store_unavailable", problem=str(error))
            found = families(None, config, site.metrics, now=now, stuck=stuck)
        return render(site.metrics, found)
