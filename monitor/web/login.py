"""Logging in and out, the theme, and the files that pages load."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from monitor.web.auth import SESSION_LASTS, STATIC, visit_of
from monitor.web.rendering import bare, static_files
from monitor.web.security import cookie_header, cookie_name
from monitor.web.site import Site

log = structlog.get_logger(__name__)

WRONG_AT_MOST = 20
"""Wrong tokens within a minute, from everybody together; more are not even looked at."""

_MINUTE = timedelta(minutes=1)
_FOR_EVER = 400 * 86400  # as long as browsers keep a cookie
_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class LoginThrottle:
    """Guessing is slow: so many wrong tokens in a minute, then none is taken for a while."""

    def __init__(self) -> None:
        self._wrong: deque[datetime] = deque(maxlen=WRONG_AT_MOST)

    def is_over(self, now: datetime) -> bool:
        """Whether too many were wrong lately."""
        return len(self._wrong) == WRONG_AT_MOST and now - self._wrong[0] < _MINUTE

    def note(self, now: datetime) -> None:
        """One more was wrong."""
        self._wrong.append(now)


def routes(site: Site) -> list[Route]:
    """Login, logout, theme, static files."""
    patience = LoginThrottle()

    async def ask(request: Request) -> Response:
        if visit_of(request).known:
            return RedirectResponse(local(request.query_params.get("next")), 303)
        return _form(request, local(request.query_params.get("next")))

    async def login(request: Request) -> Response:
        visit, now = visit_of(request), site.clock.now()
        target = local(visit.field("next"))
        if patience.is_over(now):
            return _form(request, target, problem="Too many wrong tokens: wait a minute.", status=429)
        if not visit.access.is_token(visit.field("token")):
            patience.note(now)
            log.warning("web.wrong_token", client=request.client.host if request.client else None)
            return _form(request, target, problem="That is not the token.", status=403)
        cookie = visit.access.new_cookie(now, known=True)
        lasts = int(SESSION_LASTS.total_seconds())
        return _sent(target, cookie_header(request, cookie_name(site.config()), cookie, lasts=lasts))

    async def logout(request: Request) -> Response:
        return _sent("/?said=logged-out", cookie_header(request, cookie_name(site.config()), "", lasts=0))

    async def theme(request: Request) -> Response:
        visit = visit_of(request)
        chosen = visit.field("theme")
        word = chosen if chosen in ("light", "dark") else "auto"
        return _sent(local(visit.field("next")), cookie_header(request, "theme", word, lasts=_FOR_EVER))

    return [
        Route("/login", ask, methods=["GET"]),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/theme", theme, methods=["POST"]),
        Route(f"{STATIC}{{name}}", static, methods=["GET"]),
    ]


async def static(request: Request) -> Response:
    """One of the files that pages load; kept for ever where its address names its content."""
    name = str(request.path_params["name"])
    found = static_files().get(name)
    if found is None:
        return Response("There is no such file.", 404, media_type="text/plain")
    body, mark = found
    lasting = request.query_params.get("v") == mark
    headers = {"cache-control": "public, max-age=31536000, immutable" if lasting else "no-cache", "etag": f'"{mark}"'}
    return Response(body, headers=headers, media_type=_KINDS.get(name.rpartition(".")[2], "application/octet-stream"))


def local(target: str | None) -> str:
    """Where to go next: a page of ours, whatever somebody put into the address."""
    text = target or "/"
    plain = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and "\\" not in text
    if not plain or urlsplit(text).netloc or text.startswith(("/login", "/logout", "/theme")):
        return "/"
    return text


def _form(request: Request, target: str, *, problem: str | None = None, status: int = 200) -> Response:
    visit = visit_of(request)
    context = {"visit": visit, "next": target, "problem": problem}
    return bare("login.html", context, status=status)


def _sent(target: str, cookie: str) -> Response:
    response = RedirectResponse(target, 303)
    response.headers["set-cookie"] = cookie
    return response
