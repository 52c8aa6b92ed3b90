"""A further provider is one module and one registration: it is polled, judged, reported and shown like the four."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.config import load
from monitor.domain.clock import SystemClock
from monitor.domain.providers import register, unregister
from monitor.store import Store
from tests.support import canary
from tests.support.command_line import ROOT, Done, environment, real_now
from tests.support.fifth_provider import INFO
from tests.support.receivers import Reply, WebhookReceiver
from tests.support.web_client import serving

PROGRAM = """
from monitor.domain.providers import register
from tests.support.fifth_provider import INFO
register(INFO)
from monitor.cli import main
raise SystemExit(main())
"""
CONFIG = """\
[database]
url = "sqlite:///monitor.db"
[[sources]]
name = "extra"
provider = "fifth"
api_key = "{key}"
base_url = "http://{api}"
labels = {{ team = "red" }}
[[channels]]
name = "ops"
url = "{channel}"
[web]
listen = "off"
"""
PUBLIC_ID = "extra/red/t-1"


@dataclass(frozen=True)
class World:
    """The fifth service, a channel, and a monitor configured for both."""

    config: Path
    api: WebhookReceiver
    channel: WebhookReceiver

    def run(self, *arguments: str) -> Done:
        """Run the program, extended by the fifth provider, to its end."""
        command = [sys.executable, "-c", PROGRAM, "--config", str(self.config), *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=60)
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    expired = (real_now() - timedelta(hours=3)).isoformat()
    with WebhookReceiver() as api, WebhookReceiver() as channel:
        api.reply = Reply(body=json.dumps([{"id": "t-1", "name": "Harbour", "until": expired}]).encode())
        path = tmp_path / "config.toml"
        path.touch(mode=0o600)
        path.write_text(CONFIG.format(key=canary.POSTPOST_KEY, api=api.address, channel=channel.apprise_url()))
        yield World(config=path, api=api, channel=channel)


def test_it_is_polled_judged_and_reported(world: World) -> None:
    checked = world.run("check")
    assert checked.status == 2, checked.err
    assert {request.headers["x-fifth-key"] for request in world.api.received} == {canary.POSTPOST_KEY}
    [message] = world.channel.received
    assert "Reconnect fediverse in The Fifth." in message.text
    assert "https://app.fifth.example/tokens" in message.text
    assert "client=red" in message.text

    [connection] = world.run("status", "--json").json["connections"]
    assert (connection["id"], connection["provider"], connection["scope"]) == (PUBLIC_ID, "fifth", "red")
    assert (connection["status"], connection["reason"]) == ("expired", "date_passed")
    assert PUBLIC_ID in world.run("history", PUBLIC_ID).out
    assert 'provider = "fifth"' in world.run("config", "show").out


async def test_it_is_shown_on_the_pages(world: World) -> None:
    world.run("check")
    register(INFO)
    try:
        config = load(world.config, {}).config
        with Store(f"sqlite:///{world.config.parent / 'monitor.db'}") as store:
            async with serving(store, config, SystemClock()) as site:
                page = await site.get(f"/connections/{PUBLIC_ID}", headers={"accept": "text/html"})
                listed = await site.json("/api/v1/connections")
    finally:
        unregister(INFO.name)
    assert page.status_code == 200
    assert "Open The Fifth" in page.text
    assert [row["id"] for row in listed["connections"]] == [PUBLIC_ID]
