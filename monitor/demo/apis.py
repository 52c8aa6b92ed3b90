"""The four simulated APIs: authentication, routing, and the documented answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

import msgspec

from monitor.demo import payloads
from monitor.demo.payloads import SimConnection
from monitor.demo.source import EVERYWHERE, EncodedBody, Outage, SimSource, Trouble
from monitor.demo.world import Seen, World

JSON = "application/json; charset=utf-8"

PREFIXES: Mapping[str, str] = {
    "postpost": "/postpost/api/v1",
    "publora": "/publora/api/v1",
    "postbreeze": "/postbreeze/api/v1",
    "postpeer": "/postpeer/v1",
}
"""The path prefix of each API on the one port."""

_SIGN_IN_PAGE = b"<!doctype html><html><head><title>Sign in to the guest network</title></head><body>Welcome!</body></html>"


@dataclass(frozen=True, slots=True)
class Call:
    """A request as received: the path still percent-encoded, header names in any case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class SimResponse:
    """An HTTP answer, and how to disturb the connection while sending it."""

    body: EncodedBody
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON
    cut: bool = False
    """Reset the connection instead of answering."""
    truncated: bool = False
    """Announce the whole body and send half of it."""
    until: threading.Event | None = None
    """Send it once this is set; None to send it immediately."""


def encoded(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> SimResponse:
    """Return an answer with a JSON body."""
    return SimResponse(EncodedBody(msgspec.json.encode(value)), status, headers or {})


_CODES = {400: "BAD_REQUEST", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 429: "RATE_LIMITED"}


def refusal(
    kind: str,
    status: int,
    message: str,
    *,
    serial: int,
    field_name: str = "error",
    extra: dict[str, object] | None = None,
) -> SimResponse:
    """Return an error in a provider's shape.

    PostPost and Publora {error} (or {message}); Postbreeze {statusCode, code, message, requestId}; PostPeer {success, message}.
    """
    if kind == "postbreeze":
        code = _CODES.get(status, "INTERNAL_ERROR")
        body: dict[str, object] = {"statusCode": status, "code": code, "message": message, "requestId": f"req_{serial:08x}"}
    elif kind == "postpeer":
        body = {"success": False, "message": message}
    else:
        body = {field_name: message}
    return encoded(body | (extra or {}), status=status)


def rate_limited(kind: str, *, retry_after: str, wait: timedelta, serial: int) -> SimResponse:
    """Return 429 with Retry-After, and the wait in the body if the provider repeats it there."""
    extra: dict[str, object] = {}
    if kind == "postbreeze":
        extra = {"retryAfterMs": round(wait.total_seconds() * 1000)}
    elif kind == "publora":
        extra = {"success": False, "retryAfter": max(1, round(wait.total_seconds()))}
    answer = refusal(kind, 429, "Too many requests", serial=serial, extra=extra)
    answer.headers["Retry-After"] = retry_after
    return answer


def in_trouble(source: SimSource, outage: Outage, *, serial: int) -> SimResponse:
    """Return the answer of a broken source to any request."""
    kind = source.kind
    if outage.trouble is Trouble.CUT:
        return SimResponse(EncodedBody(b""), cut=True)
    if outage.trouble is Trouble.UNAUTHORIZED:
        return refusal(kind, 401, "Invalid API key", serial=serial, field_name=source.error_field)
    if outage.trouble is Trouble.FORBIDDEN:
        message = "API access is not enabled for this account"
        return refusal(kind, 403, message, serial=serial, field_name=source.error_field)
    if outage.trouble is Trouble.RATE_LIMITED:
        header = outage.retry_after or "30"
        wait = timedelta(seconds=int(header) if header.isdecimal() and header.isascii() else 30)
        return rate_limited(kind, retry_after=header, wait=wait, serial=serial)
    if outage.trouble is Trouble.HTML:
        return SimResponse(EncodedBody(_SIGN_IN_PAGE), content_type="text/html; charset=utf-8")
    if outage.trouble is Trouble.TRUNCATED:
        return SimResponse(EncodedBody(b'{"success":true,"connections":[{"platformId":"linkedin-'), truncated=True)
    if outage.trouble is Trouble.ENVELOPE:
        return encoded({"success": False, source.error_field: "Failed to fetch platform connections"})
    if outage.trouble is Trouble.REDIRECT:
        return SimResponse(EncodedBody(b""), 302, {"Location": outage.location}, "text/plain")
    answer = refusal(kind, outage.status, "Internal server error", serial=serial, field_name=source.error_field)
    if outage.retry_after is not None:
        answer.headers["Retry-After"] = outage.retry_after
    return answer


_KINDS = {prefix.split("/")[1]: kind for kind, prefix in PREFIXES.items()}
_KEY_HEADER = {
    "postpost": "x-api-key",
    "publora": "x-publora-key",
    "postbreeze": "Authorization",
    "postpeer": "x-access-key",
}
_BRAND = {"postpost": "x-postpost", "publora": "x-publora"}
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")
_PLATFORM_ID = {
    # PostPost only splits at a dash; Publora wants a lower-case prefix and an id without whitespace / ? #.
    "postpost": re.compile(r"[^-]+-.+", re.DOTALL),
    "publora": re.compile(r"[a-z0-9_]+-[^\s/?#]+"),
}


class _AuthorizedCall(NamedTuple):
    """One authenticated request."""

    world: World
    source: SimSource
    call: Call
    rest: str
    """The path below the API's prefix."""
    now: datetime


def answer(world: World, call: Call) -> tuple[SimResponse, SimSource | None]:
    """Return the answer to one request, and the source of its key (None without a valid key)."""
    with world.lock:
        now = world.clock.now()
        world.requests[f"{call.method} {call.path}"] += 1
        world.seen.append(Seen(now, call.method, call.path, call.headers))
        kind = _KINDS.get(call.path.split("/", 2)[1])
        if kind is None or not call.path.startswith(PREFIXES[kind]):
            return encoded({"error": "Not found"}, status=404), None
        rest = call.path[len(PREFIXES[kind]) :]
        source = world.by_key(kind, _key(kind, call))
        if source is None:
            return refusal(kind, 401, _no_key(kind, call, rest), serial=world.serial()), None
        source.pass_time(now)
        return _past_the_key(_AuthorizedCall(world, source, call, rest, now)), source


def _key(kind: str, call: Call) -> str:
    key = call.headers.get(_KEY_HEADER[kind], "")
    return key.removeprefix("Bearer ") if kind == "postbreeze" else key


def _no_key(kind: str, call: Call, rest: str) -> str:
    """Return the documented refusal: one text for lists; test-connection distinguishes a missing key from a wrong one."""
    if not call.headers.get(_KEY_HEADER[kind]) and rest.startswith("/test-connection"):
        return "API key is required"
    return "Invalid API key"


def _past_the_key(visit: _AuthorizedCall) -> SimResponse:
    source, rest = visit.source, visit.rest
    named, serve = _route(source.kind, visit.call.method, rest)
    source.calls[named] += 1
    if source.outage is not None:
        return in_trouble(source, source.outage, serial=visit.world.serial())
    for budget in source.budgets:
        wait = budget.spend(visit.now)
        if wait is not None:
            seconds = str(max(1, -(-wait // timedelta(seconds=1))))
            return rate_limited(source.kind, retry_after=seconds, wait=wait, serial=visit.world.serial())
    reply = serve(visit)
    return replace(reply, until=source.lists_held_until) if named == "list" and source.lists_held_until is not None else reply


def _route(kind: str, method: str, rest: str) -> tuple[str, Callable[[_AuthorizedCall], SimResponse]]:
    """Return the kind of a request and its handler."""
    if kind in _BRAND and method == "POST" and rest.startswith("/test-connection/"):
        return "probe", _test_connection
    for prefix, named, serve in _GETS[kind] if method == "GET" else ():
        if rest == prefix or (prefix.endswith("/") and rest.startswith(prefix)):
            return named, serve
    return "other", _nothing_here


def _refuse(visit: _AuthorizedCall, status: int, message: str) -> SimResponse:
    return refusal(visit.source.kind, status, message, serial=visit.world.serial(), field_name=visit.source.error_field)


def _nothing_here(visit: _AuthorizedCall) -> SimResponse:
    return _refuse(visit, 404, "Not found")


# --- PostPost and Publora ------------------------------------------------------------------------------------


def _scope(visit: _AuthorizedCall) -> str | SimResponse | None:
    """Return the managed user of the request (None for the owner), or the refusal."""
    headers, brand = visit.call.headers, _BRAND[visit.source.kind]
    if headers.get(f"{brand}-client") == "mcp":
        return _refuse(visit, 403, "MCP access is not enabled for this account")
    user = headers.get(f"{brand}-user-id")
    if user is None:
        return None
    if not _OBJECT_ID.fullmatch(user):
        return _refuse(visit, 400, f"Invalid {brand}-user-id")
    if not visit.source.workspace_access:
        return _refuse(visit, 403, "Workspace access is not enabled for this key")
    return user if user in visit.source.users else _refuse(visit, 403, "User is not managed by key")


def _platform_connections(visit: _AuthorizedCall) -> SimResponse:
    scope = _scope(visit)
    if isinstance(scope, SimResponse):
        return scope
    return SimResponse(visit.source.view(scope, "list", partial(_envelope, visit.source, scope, visit.now)))


def _envelope(source: SimSource, scope: str | None, now: datetime) -> bytes:
    rows = source.rows(source.scopes.get(scope, {}).values(), now)
    return b'{"success":true,"connections":[' + rows + b"]}"


def _test_connection(visit: _AuthorizedCall) -> SimResponse:
    scope = _scope(visit)
    if isinstance(scope, SimResponse):
        return scope
    source = visit.source
    platform_id = unquote(visit.rest.removeprefix("/test-connection/"))
    if not _PLATFORM_ID[source.kind].fullmatch(platform_id):
        return _refuse(visit, 400, "Invalid platformId format")
    platform = platform_id.partition("-")[0]
    if not payloads.can_be_tested(platform):
        return encoded(payloads.unknown_platform(platform, platform_id))
    connection = source.scopes.get(scope, {}).get(platform_id)
    if connection is None:
        return _refuse(visit, 404, "Connection not found")
    if connection.probe is not None and connection.probe.is_page:
        return SimResponse(EncodedBody(_SIGN_IN_PAGE), connection.probe.http_status, content_type="text/html; charset=utf-8")
    if connection.probe is not None and connection.probe.http_status != 200:
        return _refuse(visit, connection.probe.http_status, connection.probe.message)
    return SimResponse(source.probe(connection, visit.now))


def _workspace_users(visit: _AuthorizedCall) -> SimResponse:
    source = visit.source
    if not source.workspace_access:
        return _refuse(visit, 403, "Workspace access is not enabled for this key")
    if source.shape is payloads.Shape.LEGACY:
        return encoded(
            [{"id": each.id, "email": each.username, "displayName": each.display_name} for each in source.users.values()]
        )
    page_until = payloads.iso(visit.now + timedelta(days=90))
    users = [
        {
            "_id": each.id,
            "username": each.username,
            "displayName": each.display_name,
            "role": "managed",
            "dailyPostsLeft": 100,
            "connectionsPageUrl": f"https://app.example/connections?token=secret-{each.id}",
            "connectionsPageTokenExpiresAt": page_until,
        }
        for each in source.users.values()
    ]
    return encoded({"users": users})


# --- Postbreeze ----------------------------------------------------------------------------------------------


def _social_accounts(visit: _AuthorizedCall) -> SimResponse:
    source = visit.source
    workspace = parse_qs(visit.call.query).get("workspaceId", [EVERYWHERE])[0]
    if workspace not in (EVERYWHERE, *source.workspaces):
        return _refuse(visit, 404, "Workspace not found")
    return SimResponse(source.view(workspace, "list", partial(_bare_array, source, workspace, visit.now)))


def _bare_array(source: SimSource, workspace: str, now: datetime) -> bytes:
    """Return the list, most recently connected first, without DISCONNECTED rows."""
    listed = [each for each in source.newest_first(workspace) if (each.overrides or {}).get("status") != "DISCONNECTED"]
    return b"[" + source.rows(listed, now) + b"]"


def _one_social_account(visit: _AuthorizedCall) -> SimResponse:
    try:
        connection = visit.source.find(unquote(visit.rest.removeprefix("/social-accounts/")))
    except KeyError:
        return _refuse(visit, 404, "Social account not found")
    return SimResponse(
        visit.source.view(connection.scope, connection.external_id, partial(visit.source.row, connection, visit.now))
    )


def _workspaces(visit: _AuthorizedCall) -> SimResponse:
    return encoded([{"id": workspace, "name": name} for workspace, name in visit.source.workspaces.items()])


# --- PostPeer ------------------------------------------------------------------------------------------------


class _ListParams(NamedTuple):
    platform: str | None
    profile: str | None
    search: str | None
    limit: int
    offset: int
    oldest_first: bool

    def selects(self, connection: SimConnection) -> bool:
        if self.platform is not None and connection.platform != self.platform:
            return False
        if self.profile is not None and connection.scope != (None if self.profile == "null" else self.profile):
            return False
        return self.search is None or self.search in f"{connection.display_name or ''}\n{connection.account}".casefold()

    def cut(self, newest_first: Sequence[SimConnection]) -> Sequence[SimConnection]:
        """Return the rows of a page, taken from the other end in ascending order, which is cheaper than reversing all rows."""
        last = self.offset + self.limit
        if self.oldest_first:
            count = len(newest_first)
            return newest_first[max(0, count - last) : max(0, count - self.offset)][::-1]
        return newest_first[self.offset : last]


def _page(query: str) -> _ListParams:
    """Return the page's parameters. Raises ValueError for a value that the API document does not allow."""
    asked = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    limit, offset, sort = int(asked.get("limit", "20")), int(asked.get("offset", "0")), asked.get("sort", "desc")
    if not 1 <= limit <= 100 or offset < 0 or sort not in ("asc", "desc"):
        raise ValueError(query)
    search = asked["q"].casefold() if "q" in asked else None
    return _ListParams(asked.get("platform"), asked.get("profileId"), search, limit, offset, sort == "asc")


def _integrations(visit: _AuthorizedCall) -> SimResponse:
    try:
        page = _page(visit.call.query)
    except ValueError:
        return _refuse(visit, 400, "Invalid query parameters")
    return SimResponse(visit.source.view(EVERYWHERE, page, partial(_integrations_page, visit.source, page, visit.now)))


def _integrations_page(source: SimSource, page: _ListParams, now: datetime) -> bytes:
    order = source.newest_first()
    if (page.platform, page.profile, page.search) != (None, None, None):
        order = [each for each in order if page.selects(each)]
    rows = source.rows(page.cut(order), now)
    return b'{"success":true,"total":%d,"integrations":[' % len(order) + rows + b"]}"


def _health_auth(_visit: _AuthorizedCall) -> SimResponse:
    return encoded({"ok": True})


_Gets = tuple[tuple[str, str, Callable[[_AuthorizedCall], SimResponse]], ...]
_ONE_BACKEND: _Gets = (
    ("/platform-connections", "list", _platform_connections),
    ("/workspace/users", "users", _workspace_users),
)
_GETS: dict[str, _Gets] = {
    "postpost": _ONE_BACKEND,
    "publora": _ONE_BACKEND,
    "postbreeze": (
        ("/social-accounts", "list", _social_accounts),
        ("/social-accounts/", "one", _one_social_account),
        ("/workspaces", "workspaces", _workspaces),
    ),
    "postpeer": (
        ("/connect/integrations", "list", _integrations),
        ("/health/auth", "health", _health_auth),
    ),
}
