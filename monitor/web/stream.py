"""`/api/v1/stream`: server-sent events, which announce that something has changed that the user may see, but not what."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from monitor.domain import utc_text
from monitor.domain.errors import StoreError
from monitor.store import Connection
from monitor.store.change_marks import ChangeMark, has_changed, read_mark
from monitor.web import query_params
from monitor.web.open_streams import TooManyStreams
from monitor.web.openapi import ROOT
from monitor.web.protocol import RELEASE
from monitor.web.query_params import ApiParams
from monitor.web.responses import Resource
from monitor.web.security import lift_time_limit
from monitor.web.site import Site

PATH = f"{ROOT}/stream"
EVENT_STREAM = "text/event-stream"
BEAT_EVERY = 20.0
"""Seconds after which a comment is sent if nothing changed, so that proxies keep the connection open."""
LASTS = 600.0
"""Seconds after which a stream ends, so that no client keeps one indefinitely; clients then open another one."""
SEND_WITHIN = 10.0
"""Seconds within which a client must take what is sent."""
LEAST_PAUSE = 1.0
"""Seconds between two events."""
RETRY_MS = 3000
"""Milliseconds after which browsers open another stream."""
_HEADERS = {
    "cache-control": "no-store, no-transform",
    "connection": "close",  # the stream's connection is not counted with the others any more
    "x-accel-buffering": "no",  # nginx would collect events
}


def routes(site: Site) -> list[Route]:
    """Return the route of the stream."""

    async def respond(request: Request) -> Response:
        params = ApiParams.read(request, query_params.STREAM)
        config = site.config()
        await site.read(lambda conn: params.filters(conn, config))  # refuse what does not exist
        if request.method == "HEAD":
            return Response(media_type=EVENT_STREAM, headers=_HEADERS)
        return _EventStream(site, params)

    return [Route(PATH, Resource(get=respond))]


class _EventStream(Response):
    """The response: it ends with the client, after LASTS, and when the server stops or the configuration changes."""

    def __init__(self, site: Site, params: ApiParams) -> None:
        super().__init__(media_type=EVENT_STREAM, headers=_HEADERS)
        del self.headers["content-length"]
        self._site, self._params = site, params

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the stream ends. Raise TimeoutError if the client does not read."""
        try:
            async with self._site.streams.opened(lambda: self._site.read(read_mark)):
                texts = self._texts(self._site.streams.generation, self._site.streams.mark)
                lift_time_limit(scope)
                scope[RELEASE]()
                await _send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._run(texts, receive, send)
        except TooManyStreams:
            raise HTTPException(503, "Too many streams are open. Fetch the lists instead.", {"retry-after": "30"}) from None

    async def _run(self, texts: AsyncIterator[str], receive: Receive, send: Send) -> None:
        left = asyncio.create_task(_until_left(receive), name="web-stream-reader")
        try:
            while not left.done():
                following = asyncio.create_task(anext(texts, None), name="web-stream")
                await asyncio.wait({left, following}, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    following.cancel()
                    break
                text = following.result()
                if text is None:
                    break
                await _send(send, {"type": "http.response.body", "body": text.encode(), "more_body": True})
            await _send(send, {"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            left.cancel()

    async def _texts(self, generation: int, mark: ChangeMark | None) -> AsyncIterator[str]:
        """Yield what is sent. The generation and the mark are those at the begin of the stream."""
        streams, loop = self._site.streams, asyncio.get_running_loop()
        # Random, so that readers do not all return at the same time.
        until = loop.time() + LASTS * random.uniform(0.8, 1)  # noqa: S311  # nosec B311
        yield f"retry: {RETRY_MS}\n\n{self._event('ready')}"
        while loop.time() < until:
            if streams.mark == mark and streams.generation == generation:
                await streams.wait(BEAT_EVERY)
            if streams.generation != generation:
                return
            if streams.mark == mark or mark is None or streams.mark is None:
                yield ": still here\n\n"
                continue
            current = streams.mark
            with suppress(StoreError):
                if await self._concerns(mark, current):
                    yield self._event("change")
                mark = current
            await asyncio.sleep(LEAST_PAUSE)

    async def _concerns(self, since: ChangeMark, current: ChangeMark) -> bool:
        config, now = self._site.config(), self._site.clock.now()

        def read(conn: Connection) -> bool:
            try:
                filters = self._params.filters(conn, config)
            except HTTPException:  # the last connection with these labels has gone
                return True
            return has_changed(conn, filters, since, current, now)

        return await self._site.read(read)

    def _event(self, name: str) -> str:
        return f'event: {name}\ndata: {{"at":"{utc_text(self._site.clock.now())}"}}\n\n'


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, message: Message) -> None:
    async with asyncio.timeout(SEND_WITHIN):
        await send(message)
