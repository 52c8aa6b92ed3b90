"""The page of all clients; the page of one client is the status page, limited to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.globs import escape
from monitor.domain.rules.labels import CLIENT
from monitor.store import Connection
from monitor.views.clients import client_views
from monitor.web.auth import visit_of
from monitor.web.pages import show
from monitor.web.site import Site
from monitor.web.status_page import parts_of

MOST = 1_000


def routes(site: Site) -> list[Route]:
    """Return the routes of the clients."""

    async def clients(request: Request) -> Response:
        selection = visit_of(request).selection
        return await show(site, request, "clients.html", lambda conn, config: _context(conn, config, site.clock.now(), selection))

    async def client(request: Request) -> Response:
        name, selection = str(request.path_params["name"]), visit_of(request).selection
        views = await site.read(lambda conn: client_views(conn, site.config(), now=site.clock.now(), selection=selection))
        known = {view.name for view in views}
        if name not in known:
            raise HTTPException(404, "There is no client with this name.")
        return RedirectResponse(f"/?{urlencode({'label': label_of(name)})}", 303)

    return [Route("/clients", clients, methods=["GET"]), Route("/clients/{name:path}", client, methods=["GET"])]


def label_of(name: str) -> str:
    """Return the filter by label that selects exactly this client."""
    return f"{CLIENT}={escape(name)}"


def _context(conn: Connection, config: Config, now: datetime, selection: ConnectionFilter) -> dict[str, Any]:
    views = client_views(conn, config, now=now, selection=selection)
    return {
        "views": views[:MOST],
        "more": max(0, len(views) - MOST),
        "parts_of": parts_of,
        "label_of": label_of,
        "any_client": any(view.name is not None for view in views),
    }
