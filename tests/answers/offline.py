"""The real adapters without sockets: each request is answered with the given bytes, which are read as usual."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import httpx

from monitor.config import SourceConfig
from monitor.providers import HttpLimits, HttpSessions, RequestBudget, transport
from monitor.providers.api import Api, ApiResponse
from monitor.providers.base import Provider
from monitor.providers.postbreeze import Postbreeze
from monitor.providers.postpeer import PostPeer
from monitor.providers.postpost.client import PostPost
from monitor.providers.transport import Bounds, HttpResponse, read_response
from tests.contract.loopback import make_source
from tests.support.factories import NOW
from tests.support.fakes import ManualClock

_SESSIONS = HttpSessions(limits=HttpLimits(attempts=1, retry_wait=0.0), env={})
"""Never opened: only its limits are used. One try, because the same bytes would come again."""

_PIECE = 65_536


@dataclass(frozen=True, kw_only=True)
class Raw:
    """One answer as it would come off a socket."""

    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


_GOOD_KEY = Raw(body=b'{"ok":true}')


class OfflineApi(Api):
    """An API that gives one answer to every request except the check of the key."""

    def __init__(self, source: SourceConfig, raw: Raw, *, sessions: HttpSessions = _SESSIONS) -> None:
        super().__init__(source, sessions=sessions, clock=ManualClock(NOW), budget=RequestBudget(10**9))
        self._raw = raw

    async def _exchange(self, request: httpx.Request, bounds: Bounds) -> HttpResponse:
        return await self._exchanged(_GOOD_KEY if request.url.path.endswith("/health/auth") else self._raw, bounds)

    async def _get(self, target: str, lines: str, bounds: Bounds) -> HttpResponse:
        del lines
        return await self._exchanged(_GOOD_KEY if target.endswith("/health/auth") else self._raw, bounds)

    async def post(self, path: str, *, headers: Mapping[str, str] | None = None) -> ApiResponse:
        """Send a POST request as the real one does, without the connection."""
        del path, headers
        async with self.budget.request("POST"):
            return self._check_status(await self._exchanged(self._raw, self._probe_bounds))

    async def _exchanged(self, raw: Raw, bounds: Bounds) -> HttpResponse:
        headers = httpx.Headers(list(raw.headers))
        self._record_clock_skew(headers)
        body = partial(transport.read_capped, _pieces(raw.body), announced=headers.get("content-length"))
        return await read_response(raw.status, headers, body, bounds)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]


def provider(kind: str, raw: Raw, *, rows: int | None = None) -> Provider:
    """Return an adapter whose API gives this answer. `rows` is a smaller limit on rows."""
    source = make_source(kind, "http://127.0.0.1:9/api/v1")
    sessions = _SESSIONS
    if rows is not None:
        sessions = HttpSessions(limits=replace(_SESSIONS.limits, rows=rows), env={})
    api = OfflineApi(source, raw, sessions=sessions)
    if kind == "postbreeze":
        return Postbreeze(source, api=api)
    return PostPeer(source, api=api) if kind == "postpeer" else PostPost(source, api=api)
