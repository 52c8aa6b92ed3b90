"""Deliveries of services: a signed one means that its source is polled now, and nothing else. Its body is not kept or logged.

The listener for them faces the internet, so it serves nothing but them and pushed reports.
"""

from __future__ import annotations

import secrets

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor.config import SourceConfig
from monitor.config.definition import Hook
from monitor.domain.rules.expressions import Evaluator
from monitor.web import push
from monitor.web.forwarded import as_sent_by_client
from monitor.web.hook_signatures import Delivery, is_signed
from monitor.web.responses import Handler, Resource
from monitor.web.security import SecuredResponse, errors_answered, read_body, require_sound_head
from monitor.web.site import Site, problem

log = structlog.get_logger(__name__)

LARGEST_DELIVERY = 256 * 1024
"""Bytes of the body of a delivery."""

_UNKNOWN_HOOK = Hook(scheme="hmac-sha256-hex", header="x-signature")
_UNKNOWN_SECRET = secrets.token_urlsafe(32)
"""The secret with which a delivery for an unknown source is compared, so that the response takes as long as for a known one."""


def build_app(site: Site) -> ASGIApp:
    """Return the application of the listener for deliveries and pushed reports."""
    routes = [Route("/hooks/{source}", Resource(post=_receive(site))), *push.routes(site)]
    return _Guarded(Router(routes, redirect_slashes=False, default=_missing), site)


def _receive(site: Site) -> Handler:
    async def respond(request: Request) -> Response:
        body = await read_body(request, largest=LARGEST_DELIVERY)
        name = request.path_params["source"]
        source = next((each for each in site.config().sources if each.name == name and each.hook is not None), None)
        delivery = Delivery(headers=request.headers, body=body, at=site.clock.now())
        if not _is_signed(delivery, source) or source is None:
            site.metrics.hook_done("" if source is None else source.name, "refused")
            raise HTTPException(401, "The source is unknown, or the signature is wrong.")
        if not _counts(delivery, source):
            site.metrics.hook_done(source.name, "ignored")
        elif site.intake is not None and site.intake.announce(source.name):
            site.metrics.hook_done(source.name, "accepted")
        else:
            raise HTTPException(503, "This daemon cannot accept deliveries at the moment. Try again.", {"retry-after": "5"})
        return Response(status_code=204)

    return respond


def _is_signed(delivery: Delivery, source: SourceConfig | None) -> bool:
    if source is None or source.hook is None or not source.hook_secrets:
        return is_signed(delivery, _UNKNOWN_HOOK, [_UNKNOWN_SECRET])
    return is_signed(delivery, source.hook, [each.reveal() for each in source.hook_secrets])


def _counts(delivery: Delivery, source: SourceConfig) -> bool:
    """Return True if the delivery is about connections, by the conditions of the source."""
    on = source.hook.on if source.hook is not None else ()
    if not on:
        return True
    try:
        content = msgspec.json.decode(delivery.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    evaluator = Evaluator(delivery.at)
    return any(evaluator.is_true(each, content) for each in on)


class _Guarded:
    """Bounds requests in size and time, and answers errors without detail."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        scope = as_sent_by_client(scope, self._site.config().web)
        request, out = Request(scope, receive), SecuredResponse(send, scope)
        async with errors_answered(request, out, failed="The request failed. See the monitor's log."):
            require_sound_head(request)
            await self._app(scope, request.receive, out.send)


async def _missing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for an unknown address."""
    response = problem(Request(scope, receive), 404, "There is nothing at this address.")
    await response(scope, receive, send)
