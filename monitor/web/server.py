"""uvicorn inside the daemon's own event loop: a port that is taken first, and an end that is bounded.

The port is taken before anything else starts, so that a busy one is known before the first alert is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from monitor.domain.errors import MonitorError

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn import Server

BACKLOG = 128
MOST_CONNECTIONS = 200
"""Open connections at once; further ones are closed at once, so that the daemon keeps its file descriptors."""
ANSWERS_AT_ONCE = 100
HEAD_WITHIN = 10.0
"""Seconds in which the head of a request must have arrived."""
KEPT_ALIVE = 5
LARGEST_HEAD = 16 * 1024
_DRAIN = 3
"""Seconds in which answers under way may end at a stop."""


class PortTaken(MonitorError):
    """The address of the status page cannot be listened at."""


def take_port(listen: str) -> socket.socket:
    """A socket that holds host:port. Raises PortTaken with one sentence."""
    parts = urlsplit(f"//{listen}")
    host, port = parts.hostname or "", parts.port or 0
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        taken = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortTaken(f"web.listen is {listen}, which is no address of this machine: {error.strerror or error}.") from error
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        taken.bind(address)
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        raise PortTaken(_why(listen, error)) from error
    taken.setblocking(False)
    return taken


def _why(listen: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Another program listens at {listen} already: set web.listen to another port, or to off."
    if error.errno == errno.EACCES:
        return f"This user may not listen at {listen}: choose a port above 1023 for web.listen."
    return f"Nothing can listen at {listen} (web.listen): {error.strerror or error}."


def address_of(taken: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = taken.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - every address: this machine's own will do
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


class WebServer:
    """Answers at a socket until it is stopped. Must be used inside a running event loop."""

    def __init__(self, taken: socket.socket, app: ASGIApp) -> None:
        self._taken = taken
        self._server = _build(app)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer from now on. Raises what the server itself fails with."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._taken]), name="web")
        while not self._server.started:
            if self._task.done():
                await self._task
                raise MonitorError("The web server ended while it was starting.")
            await asyncio.sleep(0.01)

    async def stop(self, timeout: timedelta = timedelta(seconds=_DRAIN + 1)) -> None:
        """Take no more requests, let answers under way end for a moment, then cut them off. May be called twice."""
        task, self._task = self._task, None
        if task is None:
            self._taken.close()
            return
        self._server.should_exit = True
        _, late = await asyncio.wait([task], timeout=timeout.total_seconds())
        if late:
            self._server.force_exit = True
            task.cancel()
            await asyncio.wait([task], timeout=1)
        self._taken.close()


def _build(app: ASGIApp) -> Server:
    """The server, with limits on everything that a stranger can make large or slow."""
    from uvicorn import Config, Server

    class Embedded(Server):
        """Signals are the daemon's."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Takes none."""
            yield

    return Embedded(
        Config(
            app,
            http=_protocol(),
            loop="none",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=ANSWERS_AT_ONCE,
            timeout_keep_alive=KEPT_ALIVE,
            timeout_graceful_shutdown=_DRAIN,
            h11_max_incomplete_event_size=LARGEST_HEAD,
            backlog=BACKLOG,
        )
    )


def _protocol() -> Any:
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Bounded(H11Protocol):
        """A connection that must say what it wants soon."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > MOST_CONNECTIONS:
                transport.abort()
            else:
                self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """While no request is being answered, the next one's head has so long to arrive."""
            if not self._is_waiting():
                self._forget()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(HEAD_WITHIN, self._give_up)

        def _give_up(self) -> None:
            self._deadline = None
            if self._is_waiting():
                self.transport.abort()

        def _is_waiting(self) -> bool:
            cycle: Any = self.cycle  # None before the first request, which the library's annotation leaves out
            return cycle is None or bool(cycle.response_complete)

        def _forget(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Bounded
