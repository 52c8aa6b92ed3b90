"""The web server of a running daemon: its port, and how it follows the configuration.

Importing this loads no web framework: a monitor with `web.listen = "off"` never does.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import structlog

from monitor.config import Config
from monitor.domain.clock import Clock
from monitor.store import Store
from monitor.web.server import WebServer, address_of, take_port

if TYPE_CHECKING:
    from monitor.telemetry.metrics import Metrics
    from monitor.telemetry.progress import Progress

log = structlog.get_logger(__name__)


class Hosting:
    """Serves the pages at the configured address. Everything but `prepare` needs a running event loop."""

    def __init__(self, *, clock: Clock, metrics: Metrics, progress: Progress) -> None:
        self._clock, self._metrics, self._progress = clock, metrics, progress
        self._config: Config | None = None
        self._listen: str | None = None
        self._taken: socket.socket | None = None
        self._server: WebServer | None = None

    def prepare(self, config: Config) -> None:
        """Bind the port of this configuration, so that a busy one is found before anything changes.

        Raise PortTaken if that fails; then nothing has changed.
        """
        self._drop()
        if config.web.listen is not None and config.web.listen != self._listen:
            self._taken = take_port(config.web.listen)

    async def follow(self, config: Config, store: Store) -> None:
        """Apply a prepared configuration: start a server at another port, or only use the new settings."""
        self._config = config
        if config.web.listen == self._listen:
            return
        await self._end()
        self._listen = config.web.listen
        taken, self._taken = self._taken, None
        if taken is None:
            return
        # Loading the web framework takes a few hundred milliseconds, while the first polls are under way.
        self._server = await asyncio.to_thread(self._build, taken, store)
        await self._server.start()
        log.info("web.listening", address=address_of(taken), guarded=config.web.token is not None)

    def _build(self, taken: socket.socket, store: Store) -> WebServer:
        from monitor.web.server import build_app
        from monitor.web.site import Site

        def config() -> Config:
            assert self._config is not None  # noqa: S101 - follow() sets it before the first request
            return self._config

        site = Site(store=store, clock=self._clock, config=config, metrics=self._metrics, progress=self._progress)
        return WebServer(taken, build_app(site))

    async def stop(self) -> None:
        """Stop the server within a bounded time. May be called twice."""
        self._drop()
        await self._end()

    async def _end(self) -> None:
        server, self._server = self._server, None
        self._listen = None
        if server is not None:
            await server.stop()

    def _drop(self) -> None:
        """Release a port that was bound for a configuration that was never applied."""
        if self._taken is not None:
            self._taken.close()
            self._taken = None
