"""The web server of a running daemon: uvicorn in its event loop, and how it follows the configuration.

The port is bound before anything else starts, so that a busy one is reported before the first alert is sent. Importing this
loads no web framework: the first connection does.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from monitor.config import Config
from monitor.domain import threads
from monitor.domain.clock import Clock
from monitor.domain.errors import MonitorError
from monitor.store import Store, web_sessions
from monitor.telemetry import memory

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn import Server

    from monitor.engine.intake import Intake
    from monitor.telemetry.metrics import Metrics
    from monitor.telemetry.progress import Progress
    from monitor.web.open_streams import Streams
    from monitor.web.site import Site

BACKLOG = 128
KEPT_ALIVE = 5
LARGEST_HEAD = 16 * 1024
"""Bytes that an incomplete head may have; the security middleware bounds complete ones."""
_DRAIN = 3
"""Seconds that responses under way get at shutdown."""
LOOKUP_WITHIN = 4.0
"""Seconds after which DNS counts as silent: a stop that arrives during a reload waits for the look-up, too."""


class PortTaken(MonitorError):
    """The address of a listener cannot be bound."""


async def take_port(listen: str, *, key: str = "web.listen") -> socket.socket:
    """Return a socket that listens at host:port. Raise PortTaken with a sentence for the user, also if DNS does not respond.

    `key` is the configuration key that the sentence names.
    """
    parts = urlsplit(f"//{listen}")
    look_up = partial(socket.getaddrinfo, parts.hostname or "", parts.port or 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        async with asyncio.timeout(LOOKUP_WITHIN):
            found = await threads.run(look_up, name="web-listen")
    except TimeoutError:
        raise PortTaken(f"{key} is {listen}, and DNS does not respond: set it to an address of this machine.") from None
    except OSError as error:
        raise PortTaken(f"{key} is {listen}, which is not an address of this machine: {error.strerror or error}.") from error
    return _bind(listen, found[0], key)


def _bind(listen: str, found: tuple[Any, ...], key: str) -> socket.socket:
    """Return a socket that listens at an address that getaddrinfo returned."""
    family, kind, protocol, _, address = found
    try:
        taken = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortTaken(_why(listen, error, key)) from error
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address[0] == "::" else 1)
        taken.bind(address)
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        raise PortTaken(_why(listen, error, key)) from error
    taken.setblocking(False)
    return taken


def _why(listen: str, error: OSError, key: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Another program already listens at {listen}: set {key} to another port, or to off."
    if error.errno == errno.EACCES:
        return f"This user may not listen at {listen}: set {key} to a port above 1023."
    return f"Cannot listen at {listen} ({key}): {error.strerror or error}."


def address_of(taken: socket.socket) -> str:
    """Return the URL for a browser on this machine."""
    host, port = taken.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - stands for every address; the loopback one works
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


class WebServer:
    """Serves an application at a bound socket. Needs a running event loop."""

    def __init__(self, taken: socket.socket, app: ASGIApp, *, streams: Streams) -> None:
        self._taken, self._streams = taken, streams
        self._server = _build(app)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start serving. Raise the server's own error if it fails to start."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._taken]), name="web")
        while not self._server.started:
            if self._task.done():
                await self._task
                raise MonitorError("The web server stopped during start-up.")
            await asyncio.sleep(0.01)

    async def stop(self, timeout: timedelta = timedelta(seconds=_DRAIN + 1)) -> None:
        """Accept no more requests, wait for responses under way, then cut them off. May be called twice."""
        task, self._task = self._task, None
        if task is None:
            self._taken.close()
            return
        self._streams.close()
        self._server.should_exit = True
        _, late = await asyncio.wait([task], timeout=timeout.total_seconds())
        if late:
            self._server.force_exit = True
            task.cancel()
            await asyncio.wait([task], timeout=1)
        self._taken.close()


def _build(app: ASGIApp) -> Server:
    """Return the server, with limits on everything that a client can make large or slow."""
    from uvicorn import Config, Server

    from monitor.web.connections import OpenConnections
    from monitor.web.protocol import BoundedProtocol

    class Embedded(Server):
        """A server that leaves the signal handlers to the daemon."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Install no handlers."""
            yield

    return Embedded(
        Config(
            app,
            http=partial(BoundedProtocol, OpenConnections()),  # type: ignore[arg-type]  # called like the class
            loop="none",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEPT_ALIVE,
            timeout_graceful_shutdown=_DRAIN,
            h11_max_incomplete_event_size=LARGEST_HEAD,
            backlog=BACKLOG,
        )
    )


log = structlog.get_logger(__name__)


WEB = "web.listen"
"""The configuration key of the status page's address."""


class _Listener:
    """One address of the configuration, and the application that is served there.

    The server is loaded for the first connection, which waits for it: it takes 8 MB and a quarter of a second.
    """

    def __init__(self, key: str, address: Callable[[Config], str | None], build: Callable[[Site], ASGIApp]) -> None:
        self._key, self._address, self._build = key, address, build
        self._listen: str | None = None
        self._taken: socket.socket | None = None
        self._bound: socket.socket | None = None
        self._starting: asyncio.Task[None] | None = None
        self._server: WebServer | None = None
        self._streams: Streams | None = None

    async def prepare(self, config: Config) -> None:
        """Bind the port of this configuration. Raise PortTaken."""
        self.drop()
        address = self._address(config)
        if address is not None and address != self._listen:
            self._taken = await take_port(address, key=self._key)

    async def follow(self, config: Config, site: Callable[[], Awaitable[Callable[[], Site]]]) -> None:
        """Serve at the prepared port, or continue at the current one."""
        if self._streams is not None:
            self._streams.end_all()
        address = self._address(config)
        if address == self._listen:
            return
        await self.end()
        self._listen = address
        taken, self._taken = self._taken, None
        if taken is None:
            return
        self._bound = taken
        asyncio.get_running_loop().add_reader(taken, self._connected, taken, await site())
        if self._key == WEB:
            log.info("web.listening", address=address_of(taken), guarded=config.web.guarded)
        else:
            log.info("hooks.listening", address=address_of(taken))

    def _connected(self, taken: socket.socket, site: Callable[[], Site]) -> None:
        asyncio.get_running_loop().remove_reader(taken)
        self._starting = asyncio.create_task(self._start(taken, site), name="web-start")

    async def _start(self, taken: socket.socket, site: Callable[[], Site]) -> None:
        try:
            self._server = await threads.run(partial(self._load, taken, site), name="web-build")
            await self._server.start()
        except Exception:
            log.exception("work.failed", work=self._key)
            taken.close()

    def _load(self, taken: socket.socket, site: Callable[[], Site]) -> WebServer:
        served = site()
        server = WebServer(taken, self._build(served), streams=served.streams)
        self._streams = served.streams
        memory.freeze_loaded()
        return server

    async def end(self) -> None:
        """Stop the server within a bounded time. May be called twice."""
        self._listen = None
        bound, self._bound = self._bound, None
        starting, self._starting = self._starting, None
        if starting is not None:
            _, late = await asyncio.wait([starting], timeout=_DRAIN)
            for task in late:
                task.cancel()
        elif bound is not None:
            asyncio.get_running_loop().remove_reader(bound)
        server, self._server = self._server, None
        if server is not None:
            await server.stop()
        if bound is not None:
            bound.close()

    def drop(self) -> None:
        """Release a port that was bound for a configuration that was never applied."""
        if self._taken is not None:
            self._taken.close()
            self._taken = None


def _pages(site: Site) -> ASGIApp:
    from monitor.web.app import build_app

    return build_app(site)


def _hooks(site: Site) -> ASGIApp:
    from monitor.web.hooks import build_app

    return build_app(site)


class Hosting:
    """Serves the pages and the hooks at the configured addresses. Everything but `prepare` needs a running event loop."""

    def __init__(self, *, clock: Clock, metrics: Metrics, progress: Progress) -> None:
        self._clock, self._metrics, self._progress = clock, metrics, progress
        self._config: Config | None = None
        self._key: bytes | None = None
        self._listeners = (
            _Listener(WEB, lambda config: config.web.served_at, _pages),
            _Listener("hooks.listen", lambda config: config.hooks.listen, _hooks),
        )

    async def prepare(self, config: Config) -> None:
        """Bind the ports of this configuration, so that a busy one is found before anything changes.

        Raise PortTaken if that fails; then nothing has changed.
        """
        try:
            for listener in self._listeners:
                await listener.prepare(config)
        except PortTaken:
            self._drop()
            raise

    async def follow(self, config: Config, store: Store, intake: Intake) -> None:
        """Apply a prepared configuration: start servers at other ports, or only use the new settings."""
        self._config = config
        for listener in self._listeners:
            await listener.follow(config, partial(self._site, store, intake))

    async def _site(self, store: Store, intake: Intake) -> Callable[[], Site]:
        """Return what builds the site. The key is read before: a first request is answered while the database is unavailable."""
        if self._key is None:
            self._key = await store.write(web_sessions.signing_key)
        return partial(self._build, store, intake, self._key)

    def _build(self, store: Store, intake: Intake, key: bytes) -> Site:
        from monitor.web.site import Site

        def config() -> Config:
            assert self._config is not None  # noqa: S101 - follow() sets it before the first request
            return self._config

        return Site(
            store=store,
            clock=self._clock,
            config=config,
            metrics=self._metrics,
            progress=self._progress,
            signing_key=key,
            intake=intake,
        )

    async def stop(self) -> None:
        """Stop the servers within a bounded time. May be called twice."""
        self._drop()
        await asyncio.gather(*(listener.end() for listener in self._listeners))

    def _drop(self) -> None:
        for listener in self._listeners:
            listener.drop()
