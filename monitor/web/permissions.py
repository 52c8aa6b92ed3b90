"""Permissions: the addresses that viewers, and users who are bound to labels, may use.

Every route of the site is in one of three lists. A route in none of them does not exist for bound users.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import compile_path

from monitor.web.auth import User, is_secret

SELECTED = (
    "/",
    "/alerts",
    "/alerts/{id}",
    "/api/v1/acks",
    "/api/v1/alerts",
    "/api/v1/connections",
    "/api/v1/events",
    "/api/v1/forecast",
    "/api/v1/forget",
    "/api/v1/recheck",
    "/api/v1/recheck/{number}",
    "/api/v1/silences",
    "/api/v1/silences/{number}/remove",
    "/api/v1/stream",
    "/badge.svg",
    "/calendar.ics",
    "/clients",
    "/clients/{name:path}",
    "/connections/{id:path}",
    "/feed.atom",
    "/forecast",
    "/selection",
    "/silences",
    "/silences/{number:int}/remove",
)
"""Routes that limit everything to the selection of the visit: see Visit.selection."""

WITHOUT_DATA = (
    "/ack/{link}",
    "/share/{secret}",
    "/api/v1/openapi.json",
    "/api/v1/push/{source}",
    "/healthz",
    "/login",
    "/logout",
    "/readyz",
    "/static/{name}",
    "/theme",
)
"""Routes that show nothing, or only what the link in their path is about. Pushes have tokens that no user needs."""

WITHHELD = ("/api/v1/sources", "/api/{rest:path}", "/metrics", "/sources")
"""Routes about sources and the monitor itself. For bound users they do not exist."""

FOR_VIEWERS = ("/login", "/logout", "/theme")
"""Addresses of the forms that a viewer may send."""

_PERMITTED = [compile_path(path)[0] for path in (*SELECTED, *WITHOUT_DATA)]
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def require_permitted(request: Request, user: User) -> None:
    """Raise HTTPException if the user may not use the address (404), or not change anything there (403)."""
    path = request.scope["path"]
    if is_secret(path):  # the link is the permission
        return
    if user.labels and not any(regex.match(path) for regex in _PERMITTED):
        raise HTTPException(404, "There is no such page.")
    if request.method not in _SAFE_METHODS and not user.may_write and path not in FOR_VIEWERS:
        raise HTTPException(403, "Your role is viewer: you may read, but not change anything. Nothing was changed.")
