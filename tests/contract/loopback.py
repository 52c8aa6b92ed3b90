"""A scripted HTTP server on loopback, and a source that points at it. Bytes are written as they are, faults included."""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any
from urllib.parse import parse_qs, urlsplit

from monitor.config import Secret, SourceConfig
from monitor.domain import Policy, provider_info
from monitor.providers import HttpLimits, HttpSessions, RequestBudget, build_provider
from monitor.providers.base import Provider
from tests.support import canary
from tests.support.fakes import ManualClock

DATA = Path(__file__).parents[1] / "data" / "providers"
KEY = canary.POSTPOST_KEY
BASE = "/api/v1"
QUICK = HttpLimits(list_timeout=2.0, probe_timeout=2.0, overall_timeout=5.0, retry_wait=0.01)
"""Bounds that let a test of a fault end soon; sizes as in production."""


def fixture(name: str) -> Any:
    """A payload fixture, decoded."""
    return json.loads((DATA / name).read_text())


def make_source(provider: str, base_url: str, **over: Any) -> SourceConfig:
    """A source as the configuration gives one."""
    settings: dict[str, Any] = {
        "name": "agency",
        "api_key": Secret(KEY),
        "users": "none",
        "workspaces": None,
        "probe": provider_info(provider).has_probes,
        "labels": {},
        "poll_every": timedelta(minutes=15),
        "probe_every": timedelta(hours=6),
        "jitter": 0.1,
        "requests_per_minute": 60_000,
        "proxy": None,
        "ca_file": None,
        "policy": Policy(),
    }
    return SourceConfig(provider=provider, base_url=base_url, **settings | over)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target's path, below the base, still encoded."""
        return urlsplit(self.target).path.removeprefix(BASE)

    @property
    def query(self) -> dict[str, str]:
        """The target's query, last value of each name."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}


Writer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer with a body in full; `raw` writes bytes of its own instead and ends the connection."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    raw: Writer | None = None


def as_json(value: Any, *, status: int = 200, **headers: str) -> Response:
    """An answer that holds `value` as JSON; header names are written with _ for -."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status=status, body=json.dumps(value).encode(), headers={"content-type": "application/json", **named})


def wire(data: bytes, *, then_reset: bool = False, pause: float = 0.0) -> Response:
    """An answer of exactly these bytes, written one by one with a pause where there is one."""

    async def write(writer: asyncio.StreamWriter) -> None:
        if pause:
            for index in range(len(data)):
                writer.write(data[index : index + 1])
                await writer.drain()
                await asyncio.sleep(pause)
        writer.write(data if not pause else b"")
        await writer.drain()
        if then_reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

    return Response(raw=write)


class Server:
    """Answers each request with what `answer` returns for it, and remembers them all."""

    def __init__(self, answer: Callable[[Request], Response]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.port = 0
        self.at_once = 0
        self.most_at_once = 0
        self.delay = 0.0
        self.asked = asyncio.Event()

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [request.path for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it closes."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                self.asked.set()
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    await asyncio.sleep(self.delay)
                    if not await _write(writer, self.answer(request)):
                        break
                finally:
                    self.at_once -= 1
        writer.transport.abort() if writer.transport.is_closing() else writer.close()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method=method, target=target, headers=headers, body=body)


async def _write(writer: asyncio.StreamWriter, response: Response) -> bool:
    if response.raw is not None:
        await response.raw(writer)
        return False
    head = [f"HTTP/1.1 {response.status} Said", f"content-length: {len(response.body)}"]
    head += [f"{name}: {text}" for name, text in response.headers.items()]
    writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + response.body)
    await writer.drain()
    return True


@asynccontextmanager
async def running(
    answer: Callable[[Request], Response], *, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    """The server, listening on a port of its own until the block ends."""
    server = Server(answer)
    tasks: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await server.serve(reader, writer)
        writer.close()

    listener = await asyncio.start_server(on_connection, host, 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


def source(kind: str, server: Server, *, scheme: str = "http", host: str = "127.0.0.1", **over: Any) -> SourceConfig:
    """A source of that kind whose API is the server."""
    return make_source(kind, f"{scheme}://{host}:{server.port}{BASE}", **over)


@asynccontextmanager
async def connected(
    settings: SourceConfig, clock: ManualClock, *, limits: HttpLimits = QUICK, env: dict[str, str] | None = None
) -> AsyncIterator[Provider]:
    """The provider for a source, with sessions of its own that are closed when the block ends."""
    async with HttpSessions(limits=limits, env=env or {}) as sessions:
        # A budget of its own: Postbreeze would make every test wait a second per request.
        yield build_provider(settings, sessions=sessions, clock=clock, budget=RequestBudget(settings.requests_per_minute))
