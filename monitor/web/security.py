"""Middleware in front of every page: Host check, authentication, CSRF checks, limits and security headers.

Plain ASGI, so that nothing of a request is read before it is let in, and every response gets the headers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qs, quote

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.config import Config
from monitor.config.users import TOKEN_USER
from monitor.domain.addresses import ACKNOWLEDGE
from monitor.domain.errors import MonitorError, StoreError
from monitor.store import web_sessions
from monitor.web import auth
from monitor.web.auth import ANYONE, FEEDS, HEALTH, OPEN, SIGNATURE, STATIC, Access, User, Visit, record_visit
from monitor.web.base_path import base_of, below
from monitor.web.forwarded import as_sent_by_client, proxy_user
from monitor.web.origins import is_known_host, is_tls, require_host, require_same_site
from monitor.web.permissions import require_permitted
from monitor.web.site import Site, error_response, problem

log = structlog.get_logger(__name__)

LARGEST_HEAD = 16 * 1024
"""Bytes of a request's line and headers."""
MOST_HEADERS = 100
LARGEST_BODY = 64 * 1024
"""Bytes."""
MOST_FIELDS = 300
BODY_WITHIN = 10.0
"""Seconds within which a request's body must have arrived."""
ANSWER_WITHIN = 30.0
"""Seconds after which a response is abandoned, also if the client does not read it."""
SESSION_WITHIN = 2.0
"""Seconds within which the store must return a session for the details of a health check."""

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
SECRET_HEADERS = {"referrer-policy": "no-referrer", "x-robots-tag": "noindex, nofollow"}
"""Headers instead, for addresses that are secrets."""
_TIME_LIMIT = "monitor.time_limit"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_CLOSE = {"connection": "close"}
API = "/api/"
"""Writes below this path need no CSRF token: they take only JSON, which pages of other sites cannot send without CORS."""
PUSH = "/api/v1/push/"
"""Addresses of pushed reports, which have tokens that are compared there."""
_THEMES = ("light", "dark", "auto")


# Paths are read from the scope: `request.url` is built with the Host header, which may hold anything.


class SecurityMiddleware:
    """Passes allowed requests on to the application and answers the others with a problem."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        config = self._site.config()
        scope = as_sent_by_client(scope, config.web)
        access = Access.of(config, self._site.signing_key)
        request = Request(scope, receive)
        out = SecuredResponse(send, scope)
        async with errors_answered(
            request, out, failed="This page failed. See the monitor's log. Monitoring continues."
        ) as limit:
            scope[_TIME_LIMIT] = limit
            await self._admit(request, config, access, out)

    async def _admit(self, request: Request, config: Config, access: Access, out: SecuredResponse) -> None:
        """Check the request, record its Visit and pass it on. Raise HTTPException if it is not allowed."""
        require_sound_head(request)
        if request.scope["path"] not in HEALTH:
            require_host(request, config)
        if request.scope["path"].startswith(PUSH):
            await self._app(request.scope, request.receive, out.send)
            return
        cookie = cookie_of(request, cookie_name(config))
        visitor = auth.visitor_in(cookie)
        bearer = self._bearer(request, access)
        user = await self._user(request, config, access, visitor=visitor, bearer=bearer)
        signer = None if user is not None else _signer(request, access)
        if visitor is None:
            visitor = auth.new_visitor()
            if _accepts_page(request) and bearer is None and not auth.is_secret(request.scope["path"]):
                out.cookie = cookie_header(request, cookie_name(config), visitor)
        theme = cookie_of(request, "theme")
        visit = Visit(
            user=user or signer,
            by_link=signer is not None,
            visitor=visitor,
            csrf=access.csrf(visitor),
            theme=theme if theme in _THEMES else _THEMES[-1],
            access=access,
        )
        record_visit(request.scope, visit)
        if visit.user is None:
            self._require_open(request, cookie)
        else:
            require_permitted(request, visit.user)
        if request.method not in _SAFE_METHODS:
            require_same_site(request, config)
            if not request.scope["path"].startswith(API):
                form = await _form(request)
                # The form of an acknowledge link repeats the secret link instead.
                if bearer is None and not request.scope["path"].startswith(ACKNOWLEDGE):
                    _require_csrf(form, access, visitor)
                record_visit(request.scope, replace(visit, form=form))
        await self._app(request.scope, request.receive, out.send)

    def _bearer(self, request: Request, access: Access) -> User | None:
        """Return the user whose token the request carries, None if it carries none. A wrong one is counted."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or access.is_open:
            return None
        user = access.user_with(given.strip())
        if user is None:
            self._site.wrong_tokens.count(client_address(request), self._site.clock.now())
        return user

    async def _user(
        self, request: Request, config: Config, access: Access, *, visitor: str | None, bearer: User | None
    ) -> User | None:
        """Return the user of the request, None without one. Raise HTTPException (503) if the store cannot return the session."""
        path = request.scope["path"]
        if path in HEALTH and not is_known_host(request, config):
            return None
        if bearer is not None:
            return bearer
        name = proxy_user(request)
        if name is not None:
            return _signed_on(access, name)
        if access.is_open and config.web.auth_header is None:
            return ANYONE
        if visitor is None or path.startswith(STATIC):
            return None
        try:
            async with asyncio.timeout(SESSION_WITHIN if path in HEALTH else None):
                return await self._session_user(access, visitor)
        except (StoreError, TimeoutError):
            if path in HEALTH:
                return None
            # The store's message contains its address, which only authenticated clients may see.
            raise HTTPException(
                503, "The monitor's database is not available at the moment. Try again in a few seconds.", {"retry-after": "5"}
            ) from None

    async def _session_user(self, access: Access, visitor: str) -> User | None:
        session_id, now = auth.session_id(visitor), self._site.clock.now()
        session = await self._site.read(lambda conn: web_sessions.find(conn, session_id, now))
        return None if session is None else access.user_of(session)

    def _require_open(self, request: Request, cookie: str) -> None:
        """Refuse an unauthenticated request unless its address is open."""
        path = request.scope["path"]
        if path in OPEN or path.startswith(STATIC) or auth.is_secret(path):
            return
        signature = request.query_params.get(SIGNATURE)
        if path in FEEDS and signature is not None:
            _require_current_link(signature)
        elif auth.is_former_session(cookie):
            raise HTTPException(410, "This login is from version 0.1 and has ended. Log in again with the token.")
        wait = self._site.wrong_tokens.retry_after(client_address(request), self._site.clock.now())
        if wait is not None and "authorization" in request.headers:
            raise HTTPException(429, f"Too many wrong tokens. Try again in {wait} seconds.", {"retry-after": str(wait)})
        if _accepts_page(request):
            query = request.scope["query_string"].decode("latin-1")
            target = f"{path}?{query}" if query else path
            raise HTTPException(303, "Log in first.", {"location": f"/login?next={quote(target, safe='/')}"})
        detail = "Authentication is required: send `Authorization: Bearer TOKEN`, or log in."
        if path in FEEDS and signature is not None:
            detail = "The signature does not match the link's address and filters. Copy the whole link from the status page."
        raise HTTPException(401, detail, {"www-authenticate": "Bearer"})


def require_sound_head(request: Request) -> None:
    """Refuse a head that is too large, and one that leaves the length of the body in doubt.

    The server's own limit holds only for heads that arrive in several pieces.
    """
    scope = request.scope
    size = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"]) + 12
    size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if size > LARGEST_HEAD or len(scope["headers"]) > MOST_HEADERS:
        detail = f"The head of the request is larger than {LARGEST_HEAD // 1024} KiB or has more than {MOST_HEADERS} headers."
        raise HTTPException(431, detail, _CLOSE)
    # Proxies that prefer the length would see the end of this request elsewhere (RFC 9112, 6.1).
    names = {name for name, _ in scope["headers"]}
    if b"transfer-encoding" in names and (b"content-length" in names or scope["http_version"] == "1.0"):
        raise HTTPException(400, "Content-Length and Transfer-Encoding contradict each other.", _CLOSE)


def _signed_on(access: Access, name: str) -> User:
    """Return the user that a trusted proxy has authenticated. Without any `[[web.users]]`, every user is an operator.

    Raise HTTPException (403) for a name that is not among them.
    """
    user = None if name == TOKEN_USER else access.user(name)
    if user is None and access.has_users:
        raise HTTPException(403, f"The user {name} is not in [[web.users]] of the monitor's configuration.")
    return user or User(name=name)


def _signer(request: Request, access: Access) -> User | None:
    """Return the user whose signed link to a feed the request follows, None if it follows none."""
    signature, path = request.query_params.get(SIGNATURE), request.scope["path"]
    if path not in FEEDS or signature is None:
        return None
    return access.signer(signature, path, [pair for pair in request.query_params.multi_items() if pair[0] != SIGNATURE])


def _require_current_link(signature: str) -> None:
    """Refuse a link of version 0.1 with the way to a new one."""
    if auth.is_former_signature(signature):
        raise HTTPException(
            410, "This link is from version 0.1 and no longer works. Copy a new one from the foot of the status page."
        )


def lift_time_limit(scope: Scope) -> None:
    """Let a response take longer than ANSWER_WITHIN. It must limit the time for which it waits for its client itself."""
    scope[_TIME_LIMIT].reschedule(None)


def client_address(request: Request) -> str | None:
    """Return the address that the request came from."""
    return request.client.host if request.client else None


def cookie_name(config: Config) -> str:
    """Return the session cookie's name. It holds the port: cookies ignore ports, and one host may run several monitors."""
    port = (config.web.listen or "").rpartition(":")[2]
    return f"token_monitor_{port}"


def cookie_of(request: Request, name: str) -> str:
    """Return the value of a cookie; empty without one.

    Browsers send cookies of the longest path first (RFC 6265, 5.4), so the first of several with this name is the one of this
    base path: the others are of a site above it, or from before web.base_path was set.
    """
    parts = (part.partition("=") for line in request.headers.getlist("cookie") for part in line.split(";"))
    return next((value.strip() for key, _, value in parts if key.strip() == name), "")


def cookie_header(request: Request, name: str, value: str, *, lasts: int | None = None) -> str:
    """Return a Set-Cookie line, HttpOnly and SameSite=Lax. `lasts` is in seconds; None ends with the browser session."""
    age = "" if lasts is None else f"; Max-Age={lasts}"
    path = base_of(request.scope) or "/"
    return f"{name}={value}; Path={path}; HttpOnly; SameSite=Lax{age}" + ("; Secure" if is_tls(request) else "")


def _accepts_page(request: Request) -> bool:
    """Return True if a browser asks for a page."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


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


async def read_body(request: Request, *, largest: int = LARGEST_BODY) -> bytes:
    """Return the body. Raise HTTPException if it has more than `largest` bytes or takes longer than BODY_WITHIN."""
    too_large = HTTPException(413, f"The request body is larger than {largest // 1024} KiB.", _CLOSE)
    stated = request.headers.get("content-length", "0")
    if not stated.isdigit() or int(stated) > largest:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > largest:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, "The request body did not arrive in time.", _CLOSE) from None
    return b"".join(parts)


def _require_csrf(form: dict[str, list[str]], access: Access, visitor: str) -> None:
    """Refuse forms that were not served to this browser."""
    if not access.is_csrf(next(iter(form.get("csrf", ())), ""), visitor):
        raise HTTPException(403, "This form has expired. Reload the page and send it again. Nothing was changed.")


class SecuredResponse:
    """Adds the security headers to every response, and sends at most one."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send, self._scope = send, scope
        self._started = False
        self.cookie: str | None = None
        """A Set-Cookie line for the response."""

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            self._started = True
            security = {**HEADERS, **SECRET_HEADERS} if auth.is_secret(self._scope["path"]) else HEADERS
            headers = _below_base_path(message["headers"], base_of(self._scope))
            message = {**message, "headers": _secured(headers, security, self.cookie)}
        await self._send(message)

    async def replace(self, response: Response) -> None:
        """Send this response instead, unless another one has started."""
        if not self._started:
            await response(self._scope, _disconnected, self.send)


@contextlib.asynccontextmanager
async def errors_answered(request: Request, out: SecuredResponse, *, failed: str) -> AsyncIterator[asyncio.Timeout]:
    """Answer errors with a problem that has no detail of the program, and end after ANSWER_WITHIN.

    `failed` is the text for an unexpected error, which must reach neither the server's own traceback page nor the daemon.
    """
    path = auth.loggable(request.scope["path"])
    try:
        async with asyncio.timeout(ANSWER_WITHIN) as limit:
            yield limit
    except ClientDisconnect:
        log.debug("web.client_left", path=path)
    except (HTTPException, MonitorError) as error:
        await out.replace(error_response(request, error))
    except TimeoutError:
        log.warning("web.too_slow", path=path)
        await out.replace(problem(request, 503, "The response took too long. Try again."))
    except Exception:
        log.exception("web.failed", path=path)
        await out.replace(problem(request, 500, failed))


async def _disconnected() -> Message:
    return {"type": "http.disconnect"}


def _below_base_path(headers: Iterable[tuple[bytes, bytes]], base: str) -> Iterable[tuple[bytes, bytes]]:
    """Return the headers with the target of a redirect below the base path."""
    for name, value in headers:
        yield name, below(base, value.decode("latin-1")).encode("latin-1") if name.lower() == b"location" else value


def _secured(
    headers: Iterable[tuple[bytes, bytes]], security: Mapping[str, str], cookie: str | None
) -> Sequence[tuple[bytes, bytes]]:
    given = [(name.lower(), value) for name, value in headers]
    names = {name for name, _ in given}
    added = [(name.encode(), value.encode()) for name, value in security.items() if name.encode() not in names]
    if cookie is not None and b"set-cookie" not in names:
        added.append((b"set-cookie", cookie.encode("latin-1")))
    return [*given, *added]
