"""The ASGI application: every page behind the security middleware."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.web import (
    ack_links,
    alert_pages,
    api,
    clients_page,
    connection_page,
    feeds,
    forecast_page,
    forms,
    health,
    login,
    pages,
    selection_page,
    share_page,
    stream,
)
from monitor.web.security import SecurityMiddleware
from monitor.web.site import Site, problem


def build_app(site: Site) -> ASGIApp:
    """Return the whole site. Nothing is read before the first request."""
    router = Router(routes(site), redirect_slashes=False, default=_missing)
    return SecurityMiddleware(router, site)


def routes(site: Site) -> list[Route]:
    """Return the routes of every page, feed and document."""
    return [
        *pages.routes(site),
        *alert_pages.routes(site),
        *ack_links.routes(site),
        *share_page.routes(site),
        *connection_page.routes(site),
        *clients_page.routes(site),
        *forecast_page.routes(site),
        *forms.routes(site),
        *selection_page.routes(site),
        *login.routes(site),
        *stream.routes(site),
        *api.routes(site),
        *feeds.routes(site),
        *health.metrics_routes(site),
        *health.routes(site),
    ]


async def _missing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for an unknown address."""
    request = Request(scope, receive)
    response: Response = problem(request, 404, "There is no such page.")
    await response(scope, receive, send)
