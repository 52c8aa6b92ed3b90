"""The gate before every page: who asks, under which name, with which form; and what every answer must carry.

Plain ASGI, so that nothing of a request is read before it was let in, and no answer leaves without its headers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.config import Config
from monitor.domain.errors import MonitorError, StoreError
from monitor.web.auth import FEEDS, OPEN, STATIC, Access, Session, Visit, remember_visit
from monitor.web.site import Site, problem

log = structlog.get_logger(__name__)

LARGEST_BODY = 64 * 1024
MOST_FIELDS = 100
BODY_WITHIN = 10.0
"""Seconds in which a form must have arrived."""
ANSWER_WITHIN = 30.0
"""Seconds after which an answer is given up, also where its reader takes none of it."""

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
_READING = ("GET", "HEAD", "OPTIONS")
CALLS = "/api/"
"""Below this programs call. What changes anything there takes JSON alone, a kind that no foreign page can send unasked."""
_THEMES = ("light", "dark", "auto")


class Refused(Exception):
    """The request is not let in: an answer, not an error of ours."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, dict(headers or {})


class SecurityMiddleware:
    """Lets requests in, or says why not."""

    def __init__(self, app: ASGIApp, site: Site, *, chance: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._app, self._site = app, site
        self._chance = chance(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        config = self._site.config()
        access = Access.of(config, self._chance)
        request = Request(scope, receive)
        out = _SecuredResponse(send, scope)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await self._let_in(request, config, access, out)
        except Refused as refused:
            await out.instead(problem(request, refused.status, refused.text, headers=refused.headers))
        except StoreError as error:
            await out.instead(problem(request, 503, str(error)))
        except MonitorError as error:
            await out.instead(problem(request, 422, str(error)))
        except TimeoutError:
            log.warning("web.too_slow", path=scope["path"])
            await out.instead(problem(request, 503, "The answer took too long: try again."))
        except Exception:
            # Whatever a page trips over must not reach the server's own traceback page, or the daemon.
            log.exception("web.failed", path=scope["path"])
            await out.instead(problem(request, 500, "This page failed. The monitor's log says why; the monitor goes on."))

    async def _let_in(self, request: Request, config: Config, access: Access, out: _SecuredResponse) -> None:
        _require_host(request, config)
        cookie = cookie_name(config)
        session = access.session(request.cookies.get(cookie, ""), self._site.clock.now())
        bearer = _is_bearer(request, access)
        known = access.token is None or bearer or (session is not None and session.known)
        if session is None:
            value = access.new_cookie(self._site.clock.now(), known=False)
            session = Session(id=value.rpartition(".")[0], known=False)
            if _is_page(request) and not bearer:
                out.cookie = cookie_header(request, cookie, value)
        theme = request.cookies.get("theme", "")
        visit = Visit(known=known, csrf=access.csrf(session), theme=theme if theme in _THEMES else _THEMES[-1], access=access)
        remember_visit(request.scope, visit)
        if not known:
            _require_open(request, access)
        if request.method not in _READING:
            _require_own_site(request)
            if not request.url.path.startswith(CALLS):
                form = await _form(request)
                if not bearer:
                    _require_own_form(form, access, session)
                remember_visit(request.scope, replace(visit, form=form))
        await self._app(request.scope, request.receive, out.send)


def cookie_name(config: Config) -> str:
    """Cookies do not tell ports apart, and one machine may run several monitors."""
    port = (config.web.listen or "").rpartition(":")[2]
    return f"token_monitor_{port}"


def cookie_header(request: Request, name: str, value: str, *, lasts: int | None = None) -> str:
    """A Set-Cookie line: no script sees it, and a foreign site's forms do not send it."""
    # Behind a proxy that ends TLS the scheme is still https for the browser. Claiming it falsely only costs the liar.
    tls = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
    age = "" if lasts is None else f"; Max-Age={lasts}"
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{age}" + ("; Secure" if tls else "")


def host_names(config: Config) -> set[str]:
    """The names under which the pages may be asked for, besides plain addresses."""
    listen = urlsplit(f"//{config.web.listen}").hostname or ""
    own = socket.gethostname().lower()
    names = {"localhost", listen, own, own.partition(".")[0], *(name.lower() for name in config.web.hosts)}
    return names - {"", "0.0.0.0", "::"}  # noqa: S104 - compared with, never listened at


def _require_host(request: Request, config: Config) -> None:
    """A foreign name that somebody pointed at this address (DNS rebinding) is turned away; an address cannot be pointed."""
    given = request.headers.getlist("host")
    try:
        host = (urlsplit(f"//{given[0]}").hostname or "").rstrip(".") if len(given) == 1 else ""
    except ValueError:
        host = ""
    if not host or not (host in host_names(config) or _is_own_address(host, config)):
        raise Refused(421, "This monitor is not known under that name. To use it, add it to web.hosts in the configuration.")


def _is_own_address(host: str, config: Config) -> bool:
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


def _is_bearer(request: Request, access: Access) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and access.is_token(given.strip())


def _is_page(request: Request) -> bool:
    """Whether a person in front of a browser asks."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def _require_open(request: Request, access: Access) -> None:
    """What somebody who has not shown the token may ask for."""
    path = request.url.path
    if path in OPEN or path.startswith(STATIC):
        return
    if path in FEEDS and access.is_signed(request.query_params.get("sig", ""), path):
        return
    if _is_page(request):
        asked = path + (f"?{request.url.query}" if request.url.query else "")
        raise Refused(303, "Log in first.", {"location": f"/login?next={quote(asked, safe='/')}"})
    raise Refused(401, "Show the token: `Authorization: Bearer …`, or log in.", {"www-authenticate": "Bearer"})


async def _form(request: Request) -> dict[str, list[str]]:
    """The fields of a form. Nothing larger, slower or of another kind is read."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _body(request)
    if body and kind != "application/x-www-form-urlencoded":
        raise Refused(415, "Only plain forms are taken.")
    try:
        text = body.decode("utf-8")
        return parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise Refused(400, "The form cannot be read.") from None


async def _body(request: Request) -> bytes:
    too_large = Refused(413, f"A form has at most {LARGEST_BODY // 1024} KiB.", {"connection": "close"})
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
        raise Refused(408, "The form did not arrive in time.", {"connection": "close"}) from None
    return b"".join(parts)


def _require_own_site(request: Request) -> None:
    """No foreign page makes a browser send anything but questions here. Programs tell of no page."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        own = origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
    if not own:
        raise Refused(403, "This comes from a page of another site. Nothing was changed.")


def _require_own_form(form: dict[str, list[str]], access: Access, session: Session) -> None:
    """Only forms that were given to this browser are taken."""
    if not access.is_csrf(next(iter(form.get("csrf", ())), ""), session):
        raise Refused(403, "This form is too old, or not from here: load its page again and repeat it. Nothing was changed.")


class _SecuredResponse:
    """What goes out: headers on everything, and at most one answer."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send, self._scope = send, scope
        self._started = False
        self.cookie: str | None = None
        """A Set-Cookie line for the answer."""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            message = {**message, "headers": _with_ours(message["headers"], self.cookie)}
        await self._send(message)

    async def instead(self, response: Response) -> None:
        """Answer with this, unless an answer is on its way already."""
        if not self._started:
            await response(self._scope, _nothing, self.send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _with_ours(headers: Iterable[tuple[bytes, bytes]], cookie: str | None) -> Sequence[tuple[bytes, bytes]]:
    given = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in given}
    ours = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in names]
    if cookie is not None and b"set-cookie" not in names:
        ours.append((b"set-cookie", cookie.encode("latin-1")))
    return [*given, *ours]
