"""The demo beyond the four APIs: a service with a custom definition, GitHub, and a date in the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import msgspec
from aiohttp import web

_KEY = "planner-demo-key"
_TOKEN = "github-demo-token"  # noqa: S105 - of the simulated GitHub
_DAYS_LEFT = 5

_SOURCES = """
[[sources]]
name     = "planner"
provider = "custom"
base_url = "{address}/planner"
api_key  = "{key}"

[sources.list]
get   = "/accounts"
items = "accounts"

[sources.row]
id       = "id"
platform = "network"
name     = "title"

[[sources.status]]
when = "state == 'active'"
is   = "valid"

[[sources.status]]
when    = "state == 'reauth'"
is      = "expired"
because = "'the account must sign in again'"

[[sources]]
name       = "code"
provider   = "github"
base_url   = "{address}/github"
tokens     = [{{ id = "ci-bot", secret = "{token}" }}]
poll_every = "1s"

[[sources]]
name     = "paper"
provider = "dates"
dates    = [{{ id = "push-certificate", name = "Push certificate", platform = "apple", expires_at = {date} }}]

[sources.policy]
expiring_within = "7d"
"""


class OtherServices:
    """A server on 127.0.0.1 of the invented service Planner and of GitHub, until the context ends."""

    def __init__(self) -> None:
        self.port = 0
        self.calls = 0
        self._state = "active"
        self._token_exists = True
        self._http: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._http = web.Server(self._serve, access_log=None)
        self._listener = await asyncio.get_running_loop().create_server(self._http, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._listener is not None and self._http is not None:
            self._listener.close()
            await self._http.shutdown(timeout=0.5)
            await self._listener.wait_closed()

    def configuration(self) -> str:
        """Return the sources of these services, and of the date."""
        date = (datetime.now(UTC) + timedelta(days=_DAYS_LEFT)).date()
        return _SOURCES.format(address=f"http://127.0.0.1:{self.port}", key=_KEY, token=_TOKEN, date=date)

    async def play(self, on_caption: Callable[[str], None]) -> None:
        """Change the services at their seconds after the call, and pass the caption of each change on."""
        await asyncio.sleep(10.5)
        self._state = "reauth"
        on_caption("Planner, a service read by a definition, reports that Fjord Kayaks must sign in again.")
        await asyncio.sleep(1)
        self._token_exists = False
        on_caption("The GitHub token of ci-bot is deleted: GitHub no longer accepts it.")

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.calls += 1
        if request.path == "/planner/accounts":
            return _reply({"accounts": self._accounts()})
        if request.path == "/github/user":
            return _reply({"login": "ci-bot"}) if self._token_exists else _reply({"message": "Bad credentials"}, status=401)
        return _reply({"error": "not found"}, status=404)

    def _accounts(self) -> list[dict[str, Any]]:
        return [
            {"id": "p1", "network": "linkedin", "title": "Fjord Kayaks", "state": self._state},
            {"id": "p2", "network": "instagram", "title": "Olive & Thyme", "state": "active"},
        ]


def _reply(body: dict[str, Any], *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
