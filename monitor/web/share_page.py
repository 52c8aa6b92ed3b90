"""The pages that are shared with people outside the team: read-only, and without a way to any other page."""

from __future__ import annotations

from datetime import timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.domain.addresses import SHARE
from monitor.store import Connection, shares
from monitor.views.shares import shared_page
from monitor.web.rendering import page
from monitor.web.security import client_address
from monitor.web.site import Site

_NOTED_EVERY = timedelta(hours=1)
"""Accuracy of the time of the last read, so that reading a page seldom writes."""


def routes(site: Site) -> list[Route]:
    """Return the route of shared pages."""

    async def show(request: Request) -> Response:
        secret, now = str(request.path_params["secret"]), site.clock.now()
        share = await site.read(lambda conn: shares.find(conn, secret))
        if share is None:
            raise _wrong_link(site, request)
        if not share.is_open(now):
            raise HTTPException(410, "This link is no longer valid. Ask the sender for a new one.")

        def read(conn: Connection) -> Response:
            config = site.config()
            found = shared_page(conn, config, share.labels, now=now)
            values = {"found": found, "names": list(share.labels.values()), "until": share.until}
            return page(request, "share.html", config, now, values)

        response = await site.read(read)
        if share.last_read_at is None or now - share.last_read_at >= _NOTED_EVERY:
            await site.store.write(lambda conn: shares.mark_read(conn, share.id, now))
        return response

    return [Route(f"{SHARE}{{secret}}", show, methods=["GET"])]


def _wrong_link(site: Site, request: Request) -> HTTPException:
    """Count a wrong link, and return the answer to it."""
    now, client = site.clock.now(), client_address(request)
    site.wrong_tokens.count(client, now)
    wait = site.wrong_tokens.retry_after(client, now)
    if wait is not None:
        return HTTPException(429, f"Too many wrong links. Try again in {wait} seconds.", {"retry-after": str(wait)})
    return HTTPException(404, "This link is not valid. Copy the whole link that you were sent.")
