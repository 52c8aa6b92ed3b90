"""What the tests of the simulated world share: a client that knows the four APIs, and the documents' own examples."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
from httpx_aiohttp import AiohttpTransport

from monitor.demo.payloads import SimConnection
from monitor.demo.server import WorldServer
from monitor.demo.world import World
from monitor.domain.clock import Clock
from monitor.domain.providers import coded_names

NOW = datetime(2026, 2, 22, 6, 0, tzinfo=UTC)
"""The instant at which the guide's "82d 4h" is true."""
POSTPOST, PUBLORA, POSTBREEZE, POSTPEER = "postpost", "publora", "postbreeze", "postpeer"

AUTH: dict[str, Callable[[str], dict[str, str]]] = {
    POSTPOST: lambda key: {"x-api-key": key},
    PUBLORA: lambda key: {"x-publora-key": key},
    POSTBREEZE: lambda key: {"Authorization": f"Bearer {key}"},
    POSTPEER: lambda key: {"x-access-key": key},
}


class Caller:
    """A client of the world's server."""

    def __init__(self, server: WorldServer, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client

    async def get(self, kind: str, path: str, *, key: str = "k", method: str = "GET", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, self.server.base_url(kind) + path, headers=AUTH[kind](key) | named)

    async def probe(self, kind: str, platform_id: str, **headers: str) -> httpx.Response:
        return await self.get(kind, f"/test-connection/{platform_id}", method="POST", **headers)


def four_sources(clock: Clock) -> World:
    """A world with one source per provider, named after it, whose key is "k"."""
    world = World(clock=clock)
    for kind in coded_names():
        world.add_source(kind, kind, key="k")
    return world


@asynccontextmanager
async def calling(world: World) -> AsyncIterator[Caller]:
    """Serve the world and call it."""
    async with WorldServer(world) as server, httpx.AsyncClient(transport=AiohttpTransport()) as client:
        yield Caller(server, client)


def john(expires_at: datetime | None = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)) -> SimConnection:
    """The LinkedIn row of the PostPost guide."""
    return SimConnection(
        external_id="linkedin-Tz9W5i6ZYG",
        platform="linkedin",
        account="Tz9W5i6ZYG",
        username="John Doe",
        display_name="John Doe",
        profile_url="https://linkedin.com/in/johndoe",
        image_url="https://media.licdn.com/...",
        connected_at=NOW,
        expires_at=expires_at,
        permissions=(
            "w_member_social",
            "w_member_social_feed",
            "r_basicprofile",
            "r_member_postAnalytics",
            "r_member_profileAnalytics",
        ),
        last_post_at=datetime(2026, 2, 22, 9, 15, tzinfo=UTC),
    )


def handle() -> SimConnection:
    """The X row of the same guide."""
    return SimConnection(
        external_id="twitter-123456789",
        platform="twitter",
        account="123456789",
        username="@yourhandle",
        display_name="Your Name",
        profile_url="https://twitter.com/yourhandle",
        image_url="https://pbs.twimg.com/profile_images/...",
        connected_at=NOW,
        last_post_at=datetime(2026, 2, 20, 14, 30, tzinfo=UTC),
    )
