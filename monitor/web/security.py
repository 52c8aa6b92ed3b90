"""Middleware in front of every page: Host check, authentication, CSRF checks, time limits and security headers.

Plain ASGI, so that nothing of a request is read before it is let in, and every response gets the headers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.config import Config
from monitor.domain.errors import MonitorError
from monitor.web.auth import FEEDS, OPEN, STATIC, Access, Session, Visit, record_visit
from monitor.web.site import Site, error_response, problem

log = structlog.get_logger(__name__)

LARGEST_BODY = 64 * 1024
"""Bytes."""
MOST_FIELDS = 100
BODY_WITHIN = 10.0
"""Seconds within which a request's body must have arrived."""
ANSWER_WITHIN = 30.0
"""Seconds after which a response is abandoned, also if the client does not read it."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # With no-referrer browsers would send forms with `Origin: null`.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
API = "/api/"
"""Writes below this path need no CSRF token: they take only JSON, which pages of other sites cannot send without CORS."""
_THEMES = ("light", "dark", "auto")


class SecurityMiddleware:
    """Passes allowed requests on to the application and answers the others with a problem."""

    def __init__(self, app: ASGIApp, site: Site, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._app, self._site = app, site
        self._random_key = random_bytes(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        config = self._site.config()
        access = Access.of(config, self._random_key)
        request = Request(scope, receive)
        out = _SecuredResponse(send, scope)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self._admit(request, config, access, out)
        except (HTTPException, MonitorError) as error:
            await out.replace(error_response(request, error))
        except TimeoutError:
            log.warning("web.too_slow", path=scope["path"])
            await out.replace(problem(request, 503, "The response took too long. Try again."))
        except Exception:
            # An unexpected error must reach neither the server's own traceback page nor the daemon.
            log.exception("web.failed", path=scope["path"])
            await out.replace(problem(request, 500, "This page failed. See the monitor's log. Monitoring continues."))

    async def _admit(self, request: Request, config: Config, access: Access, out: _SecuredResponse) -> None:
        """Check the request, record its Visit and pass it on. Raise HTTPException if it is not allowed."""
        _require_host(request, config)
        cookie = cookie_name(config)
        session = access.session(request.cookies.get(cookie, ""), self._site.clock.now())
        bearer = _has_bearer_token(request, access)
        authenticated = access.token is None or bearer or (session is not None and session.authenticated)
        if session is None:
            value = access.new_cookie(self._site.clock.now(), authenticated=False)
            session = Session(id=value.rpartition(".")[0], authenticated=False)
            if _accepts_page(request) and not bearer:
                out.cookie = cookie_header(request, cookie, value)
        theme = request.cookies.get("theme", "")
        visit = Visit(
            authenticated=authenticated,
            csrf=access.csrf(session),
            theme=theme if theme in _THEMES else _THEMES[-1],
            access=access,
        )
        record_visit(request.scope, visit)
        if not authenticated:
            _require_open(request, access)
        if request.method not in _SAFE_METHODS:
            _require_same_site(request)
            if not request.url.path.startswith(API):
                form = await _form(request)
                if not bearer:
                    _require_csrf(form, access, session)
                record_visit(request.scope, replace(visit, form=form))
        await self._app(request.scope, request.receive, out.send)


def cookie_name(config: Config) -> str:
    """Return the session cookie's name. It holds the port: cookies ignore ports, and one host may run several monitors."""
    port = (config.web.listen or "").rpartition(":")[2]
    return f"token_monitor_{port}"


def cookie_header(request: Request, name: str, value: str, *, lasts: int | None = None) -> str:
    """Return a Set-Cookie line, HttpOnly and SameSite=Lax. `lasts` is in seconds; None ends with the browser session."""
    # Behind a proxy that terminates TLS the browser's scheme is https. A forged header only harms the client that sends it.
    tls = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    age = "" if lasts is None else f"; Max-Age={lasts}"
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}" + ("; Secure" if tls else "")


def host_names(config: Config) -> set[str]:
    """Return the host names, other than IP addresses, under which the pages are served."""
    listen = urlsplit(f"//{config.web.listen}").hostname or ""
    own = socket.gethostname().lower()
    names = {"localhost", listen, own, own.partition(".")[0], *(name.lower() for name in config.web.hosts)}
    return names - {"", "0.0.0.0", "::"}  # noqa: S104 - only compared


def _require_host(request: Request, config: Config) -> None:
    """Refuse unknown host names (DNS rebinding). An IP address cannot be rebound."""
    given = request.headers.getlist("host")
    try:
        host = (urlsplit(f"//{given[0]}").hostname or "").rstrip(".") if len(given) == 1 else ""
    except ValueError:
        host = ""
    if not host or not (host in host_names(config) or _is_served_address(host, config)):
        raise HTTPException(
            421, "This monitor is not served under this host name. Add the name to web.hosts in the configuration."
        )


def _is_served_address(host: str, config: Config) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    listen = urlsplit(f"//{config.web.listen}").hostname or ""
    loopback_only = listen == "localhost" or _is_loopback(listen)
    return address.is_loopback or not loopback_only


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _has_bearer_token(request: Request, access: Access) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and access.is_token(given.strip())


def _accepts_page(request: Request) -> bool:
    """Return True if a browser asks for a page."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def _require_open(request: Request, access: Access) -> None:
    """Refuse an unauthenticated request unless its address is open or its link is signed."""
    path = request.url.path
    if path in OPEN or path.startswith(STATIC):
        return
    if path in FEEDS and access.is_signed(request.query_params.get("sig", ""), path):
        return
    if _accepts_page(request):
        target = path + (f"?{request.url.query}" if request.url.query else "")
        raise HTTPException(303, "Log in first.", {"location": f"/login?next={quote(target, safe='/')}"})
    detail = "Authentication is required: send `Authorization: Bearer TOKEN`, or log in."
    raise HTTPException(401, detail, {"www-authenticate": "Bearer"})


async def _form(request: Request) -> dict[str, list[str]]:
    """Return the fields of an HTML form. Raise HTTPException for any other content type, and as read_body()."""
    body = await read_body(request)
    if body and content_type(request) != "application/x-www-form-urlencoded":
        raise HTTPException(415, "The form must be sent as application/x-www-form-urlencoded.")
    try:
        text = body.decode("utf-8")
        return parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None


def content_type(request: Request) -> str:
    """Return the media type of the request's body in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request) -> bytes:
    """Return the body. Raise HTTPException if it is larger than LARGEST_BODY or takes longer than BODY_WITHIN."""
    too_large = HTTPException(413, f"The request body is larger than {LARGEST_BODY // 1024} KiB.", {"connection": "close"})
    stated = request.headers.get("content-length", "0")
    if not stated.isdigit() or int(stated) > LARGEST_BODY:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > LARGEST_BODY:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, "The request body did not arrive in time.", {"connection": "close"}) from None
    return b"".join(parts)


def _require_same_site(request: Request) -> None:
    """Refuse changes from pages of other sites. Clients that are not browsers send neither header."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        same = site in ("same-origin", "none")
    else:
        same = origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
    if not same:
        raise HTTPException(403, "The request comes from a page of another site. Nothing was changed.")


def _require_csrf(form: dict[str, list[str]], access: Access, session: Session) -> None:
    """Refuse forms that were not served to this browser."""
    if not access.is_csrf(next(iter(form.get("csrf", ())), ""), session):
        raise HTTPException(403, "This form has expired. Reload the page and send it again. Nothing was changed.")


class _SecuredResponse:
    """Adds the security headers to every response, and sends at most one."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send, self._scope = send, scope
        self._started = False
        self.cookie: str | None = None
        """A Set-Cookie line for the response."""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            message = {**message, "headers": _secured(message["headers"], self.cookie)}
        await self._send(message)

    async def replace(self, response: Response) -> None:
        """Send this response instead, unless another one has started."""
        if not self._started:
            await response(self._scope, _disconnected, self.send)


async def _disconnected() -> Message:
    return {"type": "http.disconnect"}


def _secured(headers: Iterable[tuple[bytes, bytes]], cookie: str | None) -> Sequence[tuple[bytes, bytes]]:
    given = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in given}
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in names]
    if cookie is not None and b"set-cookie" not in names:
        added.append((b"set-cookie", cookie.encode("latin-1")))
    return [*given, *added]
