"""Login, logout, the theme, and static files."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from monitor.store import web_sessions
from monitor.web.auth import SESSION_LASTS, STATIC, new_visitor, session_id, visit_of
from monitor.web.rendering import standalone_page, static_files
from monitor.web.security import client_address, cookie_header, cookie_name
from monitor.web.site import Site

_THEME_LASTS = 400 * 86400  # seconds; browsers keep no cookie for longer
_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def routes(site: Site) -> list[Route]:
    """Return the routes of login, logout, theme and static files."""

    async def form(request: Request) -> Response:
        if visit_of(request).authenticated:
            return RedirectResponse(local(request.query_params.get("next")), 303)
        return _login_form(request, local(request.query_params.get("next")))

    async def login(request: Request) -> Response:
        visit, now = visit_of(request), site.clock.now()
        target = local(visit.field("next"))
        user = visit.access.user_with(visit.field("token"))
        if user is None:
            return _refuse(request, site, target)
        visitor = new_visitor()  # not the one from before, which another user may know
        session = visit.access.new_session(user, visitor, now)
        await site.store.write(lambda conn: web_sessions.add(conn, session))
        lasts = int(SESSION_LASTS.total_seconds())
        return _redirect(target, cookie_header(request, cookie_name(site.config()), visitor, lasts=lasts))

    async def logout(request: Request) -> Response:
        ended = session_id(visit_of(request).visitor)
        await site.store.write(lambda conn: web_sessions.end(conn, ended))
        expired = cookie_header(request, cookie_name(site.config()), "", lasts=0)
        return _redirect("/?said=logged-out", expired)  # codespell:ignore said

    async def theme(request: Request) -> Response:
        visit = visit_of(request)
        chosen = visit.field("theme")
        value = chosen if chosen in ("light", "dark") else "auto"
        return _redirect(local(visit.field("next")), cookie_header(request, "theme", value, lasts=_THEME_LASTS))

    return [
        Route("/login", form, methods=["GET"]),
        Route("/login", login, methods=["POST"]),
        Route("/logout", logout, methods=["POST"]),
        Route("/theme", theme, methods=["POST"]),
        Route(f"{STATIC}{{name}}", static, methods=["GET"]),
    ]


async def static(request: Request) -> Response:
    """Return a static file. It is cached without a limit if the address holds the digest of its content."""
    name = str(request.path_params["name"])
    found = static_files().get(name)
    if found is None:
        return Response("Not found.", 404, media_type="text/plain")
    body, digest = found
    lasting = request.query_params.get("v") == digest
    headers = {"cache-control": "public, max-age=31536000, immutable" if lasting else "no-cache", "etag": f'"{digest}"'}
    return Response(body, headers=headers, media_type=_KINDS.get(name.rpartition(".")[2], "application/octet-stream"))


def local(target: str | None) -> str:
    """Return a redirect target on this site: the given one if it is local, else the status page."""
    text = target or "/"
    plain = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and "\\" not in text
    if not plain or urlsplit(text).netloc or text.startswith(("/login", "/logout", "/theme")):
        return "/"
    return text


def _refuse(request: Request, site: Site, target: str) -> Response:
    """Count a wrong token and return the form again."""
    now, address = site.clock.now(), client_address(request)
    site.wrong_tokens.count(address, now)
    wait = site.wrong_tokens.retry_after(address, now)
    if wait is None:
        return _login_form(request, target, problem="The token is wrong.", status=403)
    response = _login_form(
        request, target, problem=f"Too many wrong tokens from this address. Wait {wait} seconds and try again.", status=429
    )
    response.headers["retry-after"] = str(wait)
    return response


def _login_form(request: Request, target: str, *, problem: str | None = None, status: int = 200) -> Response:
    context = {"visit": visit_of(request), "next": target, "problem": problem}
    return standalone_page(request, "login.html", context, status=status)


def _redirect(target: str, cookie: str) -> Response:
    response = RedirectResponse(target, 303)
    response.headers["set-cookie"] = cookie
    return response
