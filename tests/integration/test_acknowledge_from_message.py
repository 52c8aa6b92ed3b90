"""From a message to silence and back: the link that a service received acknowledges the incident, and ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.config import Config
from monitor.demo.world import World
from monitor.store import Store
from tests.support import canary
from tests.support.delivery import QUICK, make_notifier
from tests.support.fakes import ManualClock
from tests.support.ntfy import NtfyReceiver
from tests.support.poll_cycle import Cycle, running
from tests.support.web_client import Served, serving

DAY = timedelta(days=1)


@dataclass(kw_only=True)
class Monitor:
    """A source with two accounts, a service that receives messages, and the page, which needs a login."""

    cycle: Cycle
    receiver: NtfyReceiver
    site: Served
    delivered: int = 0

    async def later(self, by: timedelta = timedelta(0)) -> list[str]:
        """Poll after this time, deliver, and return the messages that arrived."""
        await self.cycle.pass_time(by)
        await self.cycle.poll()
        settings = replace(QUICK, public_url=self.site.url)
        notifier = make_notifier(self.cycle.store, self.cycle.clock, *self.cycle.config.channels, settings=settings)
        await notifier.drain(timedelta(seconds=5))
        arrived = [f"{each.get('title', '')}\n{each['message']}" for each in self.receiver.accepted[self.delivered :]]
        self.delivered = len(self.receiver.accepted)
        return arrived

    def link(self) -> str:
        """The path of the acknowledge link in the last message."""
        headers = self.receiver.received[-1].headers
        return str(headers["X-Actions"].partition("view, Acknowledge, ")[2].removeprefix(self.site.url))

    async def press(self) -> int:
        """Open the link, press the button, and return the status of the response."""
        path = self.link()
        shown = await self.site.get(path, headers={"accept": "text/html"})
        form: dict[str, Any] = {"link": path.removeprefix("/ack/"), "status": "expired"}
        answer = await self.site.client.post(self.site.url + path, data=form, headers={"accept": "text/html"})
        assert shown.status_code in (200, answer.status_code)
        return answer.status_code


@pytest.fixture
async def monitor(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Monitor]:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    for name in ("acme", "beta"):
        world.connect("agency", "mastodon", account=name, username=f"@{name}", display_name=name.title())
    with NtfyReceiver() as receiver:
        channel = f'[[channels]]\nname = "ops"\nurl = "ntfy://{receiver.address}/topic"\ngroup_wait = "0s"\n'
        async with running(store, clock, world, tmp_path, extra=channel) as cycle:
            config: Config = cycle.config
            async with serving(store, config, clock, token=canary.WEB_TOKEN) as site:
                yield Monitor(cycle=cycle, receiver=receiver, site=site)


async def test_an_acknowledged_incident_is_not_reminded_and_its_link_ends_with_the_recovery(monitor: Monitor) -> None:
    assert await monitor.later() == []
    monitor.cycle.world.expire("agency", "mastodon-acme")
    (first,) = await monitor.later(timedelta(minutes=15))
    assert "Acme" in first
    (reminder,) = await monitor.later(DAY)
    assert f"Acknowledge: {monitor.site.url}{monitor.link()}\n" in reminder
    assert f"{monitor.site.url}/connections/agency/mastodon-acme" in reminder
    assert await monitor.press() == 303
    assert await monitor.later(DAY) == []
    assert [entry.message for entry in monitor.cycle.history("mastodon-acme") if entry.kind == "acknowledged"] == [
        "By channel ops."
    ]

    monitor.cycle.world.renew("agency", "mastodon-acme")
    (recovered,) = await monitor.later(timedelta(minutes=15))
    assert "Acme" in recovered
    assert "X-Actions" not in monitor.receiver.received[-1].headers


async def test_the_link_of_an_earlier_incident_acknowledges_no_later_one(monitor: Monitor) -> None:
    await monitor.later()
    monitor.cycle.world.expire("agency", "mastodon-acme")
    await monitor.later(timedelta(minutes=15))
    former = monitor.link()
    monitor.cycle.world.renew("agency", "mastodon-acme")
    await monitor.later(timedelta(minutes=15))
    ended = await monitor.site.get(former, headers={"accept": "text/html"})
    assert ended.status_code == 410
    assert "has already recovered" in ended.text

    monitor.cycle.world.expire("agency", "mastodon-acme")
    await monitor.later(DAY)
    assert monitor.link() != former
    form = {"link": former.removeprefix("/ack/"), "status": "expired"}
    refused = await monitor.site.client.post(monitor.site.url + former, data=form, headers={"accept": "text/html"})
    assert refused.status_code == 410
    assert "A later message about this connection has its own link." in refused.text
    assert len(await monitor.later(DAY)) == 1
    assert await monitor.press() == 303
