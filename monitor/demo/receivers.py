"""A webhook on loopback that records the alerts it receives."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import web

_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Post:
    """One webhook call, with its time of arrival by the wall and the monotonic clock."""

    at: datetime
    monotonic: float
    path: str
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes

    @property
    def document(self) -> dict[str, object]:
        """The body as a JSON object. Raises msgspec.DecodeError if it is none."""
        return msgspec.json.decode(self.body, type=dict[str, object])


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookReply:
    """The webhook's answer to one call."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0
    """Seconds to wait before answering."""
    cut: bool = False
    """Accept the call, then reset the connection: the sender cannot know that it arrived."""


class WebhookReceiver:
    """A receiver of POSTs on 127.0.0.1, until its context ends. Its Apprise address is `json://127.0.0.1:PORT/…`.

    It answers by `reply`, or by the replies queued in `script` first. `on_post` is called with each request immediately.
    """

    def __init__(self, *, port: int = 0, on_post: Callable[[Post], None] | None = None) -> None:
        self.port = port
        self.on_post = on_post
        self.posts: list[Post] = []
        self.reply = WebhookReply()
        self.script: deque[WebhookReply] = deque()
        self._http: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        """The plain HTTP address."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def apprise_url(self) -> str:
        """The Apprise URL for a channel's configuration."""
        return f"json://127.0.0.1:{self.port}/"

    async def __aenter__(self) -> Self:
        self._http = web.Server(self._take, access_log=None)
        self._listener = await asyncio.get_running_loop().create_server(self._http, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._listener is not None and self._http is not None:
            self._listener.close()
            await self._http.shutdown(timeout=0.5)
            await self._listener.wait_closed()

    async def wait_for(self, count: int, *, timeout: float = _PATIENCE) -> list[Post]:
        """Wait for at least `count` posts and return all. Raises TimeoutError. Call it only in the receiver's event loop."""
        async with asyncio.timeout(timeout), self._arrived:
            await self._arrived.wait_for(lambda: len(self.posts) >= count)
        return list(self.posts)

    async def _take(self, request: web.BaseRequest) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        arrived, instant = loop.time(), datetime.now(UTC)
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        post = Post(instant, arrived, request.raw_path, headers, body)
        self.posts.append(post)
        if self.on_post is not None:
            self.on_post(post)
        async with self._arrived:
            self._arrived.notify_all()
        reply = self.script.popleft() if self.script else self.reply
        if reply.after:
            await asyncio.sleep(reply.after)
        if reply.cut and request.transport is not None:
            request.transport.abort()
        return web.Response(status=reply.status, headers=reply.headers)
