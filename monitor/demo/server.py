"""The simulated API server."""

from __future__ import annotations

import argparse
import asyncio
import gc
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from email.utils import format_datetime
from types import TracebackType
from typing import Self, TypeVar

import msgspec
from aiohttp import web

from monitor.demo.apis import PREFIXES, Call, SimResponse, answer, encoded
from monitor.demo.scenario import Action, perform
from monitor.demo.source import SimSource
from monitor.demo.world import World, many_sources

T = TypeVar("T")


@contextmanager
def in_thread(opened: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter an asynchronous context in the event loop of a separate thread, and leave it there at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="demo-server", daemon=True)
    thread.start()
    try:
        entered = asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result(timeout=30)
        try:
            yield entered
        finally:
            asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result(timeout=30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=30)
        loop.close()


_WORTH_COMPRESSING = 1_024


class WorldServer:
    """A server of one world's four APIs on 127.0.0.1, until the context ends.

    `port=0` takes a free one. With `tls` it serves HTTPS. With `control`, POST /world/do performs a Deed
    (JSON) and GET /world/requests returns the counts of requests: for benchmarks in another process.
    """

    def __init__(self, world: World, *, port: int = 0, tls: ssl.SSLContext | None = None, control: bool = False) -> None:
        self.world = world
        self.port = port
        self._tls = tls
        self._control = control
        self._http: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._dates: dict[int, str] = {}

    @property
    def address(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def base_url(self, kind: str) -> str:
        """Return the base_url to configure for a provider: everything up to the resource's path."""
        return self.address + PREFIXES[kind]

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.refuse()

    async def listen(self) -> None:
        """Accept connections, on the same port as before if there was one."""
        loop = asyncio.get_running_loop()
        self._http = web.Server(self._serve, access_log=None)
        self._listener = await loop.create_server(self._http, "127.0.0.1", self.port, ssl=self._tls, backlog=4096)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Close all connections and refuse new ones, until `listen`."""
        if self._listener is None or self._http is None:
            return
        self._listener.close()
        await self._http.shutdown(timeout=0.5)
        await self._listener.wait_closed()
        self._listener = self._http = None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if not path.startswith("/"):
            return web.Response(status=400)
        if self._control and path.startswith("/world/"):
            reply, source = await self._obey(request, path), None
        else:
            reply, source = answer(self.world, Call(request.method, path, query, request.headers))
        if source is not None and source.latency:
            await asyncio.sleep(source.latency.total_seconds())
        while reply.until is not None and not reply.until.is_set():
            await asyncio.sleep(0.01)
        return await self._give(request, reply, source)

    async def _obey(self, request: web.BaseRequest, path: str) -> SimResponse:
        if path == "/world/requests":
            return encoded({name: source.calls for name, source in self.world.sources.items()})
        try:
            action = msgspec.json.decode(await request.read(), type=Action)
            perform(self.world, action)
        except (KeyError, ValueError) as exc:
            return encoded({"error": str(exc)}, status=400)
        return encoded({"done": action.verb, "at": self.world.clock.now()})

    async def _give(self, request: web.BaseRequest, reply: SimResponse, source: SimSource | None) -> web.StreamResponse:
        headers = {"Date": self._date(source), "Server": "demo", "Content-Type": reply.content_type}
        if source is not None:
            headers.update(source.extra_headers)
        headers.update(reply.headers)
        if reply.cut or reply.truncated:
            return await _spoilt(request, reply, headers)
        body = reply.body.plain
        if len(body) >= _WORTH_COMPRESSING and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = reply.body.zipped()
            headers["Content-Encoding"] = "gzip"
        return web.Response(status=reply.status, body=body, headers=headers)

    def _date(self, source: SimSource | None) -> str:
        """Return the Date header by the world's clock and the source's skew, formatted once per second."""
        now = self.world.clock.now()
        if source is not None:
            now += source.clock_skew
        second = int(now.timestamp())
        written = self._dates.get(second)
        if written is None:
            if len(self._dates) > 100:
                self._dates.clear()
            written = self._dates[second] = format_datetime(now, usegmt=True)
        return written


async def _spoilt(request: web.BaseRequest, reply: SimResponse, headers: dict[str, str]) -> web.StreamResponse:
    """Send half an answer, or none, and reset the connection."""
    response = web.StreamResponse(status=reply.status, headers=headers)
    if reply.truncated:
        response.content_length = 2 * len(reply.body.plain)
        await response.prepare(request)
        await response.write(reply.body.plain)
    if request.transport is not None:
        request.transport.abort() if reply.cut else request.transport.close()
    return response


class ThreadedWorld:
    """A WorldServer with its own event loop in a thread, for synchronous code."""

    def __init__(self, world: World, *, port: int = 0) -> None:
        self.world = world
        self._server = WorldServer(world, port=port)
        self._stack = ExitStack()

    def __enter__(self) -> WorldServer:
        return self._stack.enter_context(in_thread(self._server))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m monitor.demo.server", description="The simulated APIs, for benchmarks.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--connections", type=int, default=1_000, help="per source")
    parser.add_argument("--sources", type=int, default=1)
    parser.add_argument("--kind", choices=list(PREFIXES), default="postpost")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="every answer comes this much later")
    parser.add_argument("--certificate", help="PEM file with certificate and key: serve HTTPS")
    return parser.parse_args(argv)


async def _run(arguments: argparse.Namespace) -> None:
    world = World(remember=0)
    many_sources(world, arguments.sources, arguments.connections, kind=arguments.kind, latency_ms=arguments.latency_ms)
    gc.freeze()  # otherwise every full collection would traverse all connections
    tls = None
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate)
    async with WorldServer(world, port=arguments.port, tls=tls, control=True) as server:
        names = list(world.sources)
        addresses = {
            "address": server.address,
            "urls": {kind: server.base_url(kind) for kind in PREFIXES},
            "kind": arguments.kind,
            "sources": len(names),
            "keys": {name: world.sources[name].key for name in names[:1]},
            "control": f"{server.address}/world/do",
        }
        sys.stdout.write(msgspec.json.encode(addresses).decode() + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # there is none on Windows or PyPy
        return None
    return uvloop.new_event_loop


def main(argv: list[str] | None = None) -> None:
    """Serve until interrupted, after printing one line of JSON with the addresses."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_run(_arguments(argv)))
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
