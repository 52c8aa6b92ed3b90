"""The site as a browser or program meets it: the real application behind the real server, on a loopback port."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from monitor.config import Config, Secret
from monitor.domain.clock import Clock
from monitor.domain.records import replace
from monitor.engine.intake import Intake
from monitor.store import Store, web_sessions
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from monitor.web.app import build_app
from monitor.web.server import WebServer, address_of, take_port
from monitor.web.site import Site
from tests.support import canary

_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""One for all clients, which speak plain HTTP: reading the trusted certificates takes 20 ms each time."""


@dataclass(kw_only=True)
class Served:
    """A site that answers."""

    url: str
    """Without a slash at its end."""
    site: Site
    client: httpx.AsyncClient
    config: Config
    """What a reload would swap: the site reads it anew each time."""

    async def get(self, path: str, **over: Any) -> httpx.Response:
        """What is at an address."""
        return await self.client.get(self.url + path, **over)

    async def json(self, path: str, **query: Any) -> dict[str, Any]:
        """The object at an address, which must be there."""
        answer = await self.client.get(self.url + path, params=query)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert isinstance(found, dict)
        return found

    async def post(self, path: str, body: object) -> httpx.Response:
        """Send JSON."""
        return await self.client.post(self.url + path, json=body)


async def _check_secrets(answer: httpx.Response) -> None:
    """No page holds a secret, nor do its headers."""
    await answer.aread()
    canary.WATCH.look(answer.content + repr(answer.headers.raw).encode(), f"what {answer.request.url.path} answered")


@asynccontextmanager
async def serving(
    store: Store,
    config: Config,
    clock: Clock,
    *,
    metrics: Metrics | None = None,
    progress: Progress | None = None,
    token: str | None = None,
    connection_metrics: Literal["on", "off", "auto"] = "auto",
    intake: Intake | None = None,
) -> AsyncIterator[Served]:
    """The whole site for this store."""
    taken = await take_port("127.0.0.1:0")
    url = address_of(taken).rstrip("/")
    web = replace(
        config.web,
        listen=url.removeprefix("http://"),
        token=Secret(token) if token else None,
        connection_metrics=connection_metrics,
    )
    served: Served
    with store.begin_write() as conn:
        key = web_sessions.signing_key(conn)
    site = Site(
        store=store,
        signing_key=key,
        clock=clock,
        config=lambda: served.config,
        metrics=metrics or Metrics(),
        progress=progress or Progress(),
        intake=intake,
    )
    server = WebServer(taken, build_app(site), streams=site.streams)
    client = httpx.AsyncClient(verify=_NO_CERTIFICATES, trust_env=False, timeout=30, event_hooks={"response": [_check_secrets]})
    try:
        async with client:  # it closes first: the server waits for open connections
            served = Served(url=url, site=site, client=client, config=replace(config, web=web))
            await server.start()
            yield served
    finally:
        await server.stop()
