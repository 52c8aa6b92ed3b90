"""Managed users' connection pages: in the message that somebody reads, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import to_builtins
from sqlalchemy import select
from structlog.testing import capture_logs

from monitor.demo.world import World
from monitor.domain import ConnectionLink
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.poller import Poller
from monitor.store import Store
from monitor.store.schema import metadata
from monitor.telemetry.metrics import Metrics
from monitor.views.alerts import alert_views, explain
from tests.support.delivery import make_notifier, states, until
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, running
from tests.support.receivers import Reply, WebhookReceiver

USER, OTHER = "65f0000000000000000000aa", "65f0000000000000000000bb"
CANARY = f"secret-{USER}"
PAGE = f"https://app.example/connections?token={CANARY}"
DASHBOARD = "https://app.postpost.dev"


@dataclass(kw_only=True)
class Agency:
    """A source with a managed user, a webhook that takes its alerts, and what is remembered of connection pages."""

    cycle: Cycle
    webhook: WebhookReceiver
    links: ConnectionLinks

    async def poll(self) -> None:
        """As the daemon does."""
        work = self.cycle.work["agency"]
        channels = self.cycle.config.channels
        poller = Poller(store=self.cycle.store, clock=self.cycle.clock, channels=channels, links=self.links, metrics=Metrics())
        await poller.poll(work.source, work.provider)

    async def deliver(self, links: ConnectionLinks) -> str:
        """Deliver what waits, by what is remembered; the text of the last message."""
        store, channels = self.cycle.store, self.cycle.config.channels
        notifier = make_notifier(store, self.cycle.clock, *channels, links=links)
        await notifier.start()
        try:
            await until(lambda: states(store) == {"sent": 1})
        finally:
            await notifier.stop(timedelta(seconds=5))
        return self.webhook.received[-1].text


def settings(webhook: WebhookReceiver) -> str:
    return f'[[channels]]\nname = "ops"\nurl = "{webhook.apprise_url()}"\ngroup_wait = "0s"\n'


@pytest.fixture
async def agency(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Agency]:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.add_user("agency", user=USER)
    world.connect("agency", "mastodon", account="m", scope=USER, username="@m", display_name="Acme")
    world.connect("agency", "mastodon", account="own", username="@own", display_name="Own")
    with WebhookReceiver() as webhook:
        wanted = {"agency": 'users = "all"\nconnection_links = true\n'}
        async with running(store, clock, world, tmp_path, extra=settings(webhook), per_source=wanted) as cycle:
            yield Agency(cycle=cycle, webhook=webhook, links=ConnectionLinks())


def everything_stored(store: Store) -> str:
    with store.begin_read() as conn:
        return "\n".join(repr(tuple(row)) for table in metadata.sorted_tables for row in conn.execute(select(table)))


async def test_an_alert_carries_the_page_and_nothing_else_does(agency: Agency) -> None:
    with capture_logs() as logs:
        await agency.poll()
        agency.cycle.world.expire("agency", "mastodon-m", scope=USER)
        await agency.poll()
        text = await agency.deliver(agency.links)
    assert f"Connection page: {PAGE}" in text
    assert "The link is valid until Mon 8 Jun 2026 12:00 UTC" in text
    assert DASHBOARD not in text
    with agency.cycle.store.begin_read() as conn:
        (view,) = alert_views(conn, agency.cycle.config)
        explained = explain(conn, agency.cycle.config, view.alert.id, now=agency.cycle.clock.now())
    assert explained is not None
    assert view.alert.link == DASHBOARD
    for kept in (
        everything_stored(agency.cycle.store),
        json.dumps(explained.json(), default=to_builtins),
        repr(explained),
        repr(logs),
    ):
        assert CANARY not in kept
    assert CANARY not in repr(agency.links.find("agency", USER, now=agency.cycle.clock.now()))


async def test_after_a_restart_without_a_poll_the_ordinary_link_is_used(agency: Agency) -> None:
    await agency.poll()
    agency.cycle.world.expire("agency", "mastodon-m", scope=USER)
    await agency.poll()
    text = await agency.deliver(ConnectionLinks())
    assert f"Link: {DASHBOARD}" in text
    assert CANARY not in text


async def test_the_owners_own_connections_and_recoveries_have_the_ordinary_link(agency: Agency) -> None:
    await agency.poll()
    agency.cycle.world.expire("agency", "mastodon-own")
    await agency.poll()
    assert f"Link: {DASHBOARD}" in await agency.deliver(agency.links)


async def test_an_expired_connection_page_is_not_shown(agency: Agency) -> None:
    await agency.poll()
    agency.cycle.world.expire("agency", "mastodon-m", scope=USER)
    await agency.poll()
    agency.cycle.clock.advance(timedelta(days=90))
    text = await agency.deliver(agency.links)
    assert CANARY not in text
    assert f"Link: {DASHBOARD}" in text


async def test_a_service_that_quotes_the_message_in_its_refusal_gives_nothing_away(agency: Agency) -> None:
    agency.webhook.script(Reply(status=404, body=f'{{"error": "cannot post {PAGE}"}}'.encode()))
    await agency.poll()
    agency.cycle.world.expire("agency", "mastodon-m", scope=USER)
    await agency.poll()
    store, channels = agency.cycle.store, agency.cycle.config.channels
    notifier = make_notifier(store, agency.cycle.clock, *channels, links=agency.links)
    with capture_logs() as logs:
        await notifier.start()
        await until(lambda: notifier.health()[0].problem is not None)
        await notifier.stop(timedelta(seconds=5))
    assert PAGE in agency.webhook.received[0].text
    assert "404" in (notifier.health()[0].problem or "")
    assert CANARY not in everything_stored(store) + repr(logs) + repr(notifier.health())


def test_only_the_sources_that_still_want_them_are_remembered(clock: ManualClock) -> None:
    page = ConnectionLink(url=PAGE, good_until=clock.now() + timedelta(seconds=1))
    links = ConnectionLinks()
    links.replace("agency", {USER: page})
    links.replace("studio", {USER: page})
    assert links.find("agency", USER, now=clock.now()) is page
    assert links.find("agency", OTHER, now=clock.now()) is None
    assert links.find("agency", None, now=clock.now()) is None
    assert links.find("agency", USER, now=page.good_until) is None, "its last instant is over"
    links.keep_only({"studio"})
    assert links.find("agency", USER, now=clock.now()) is None
    assert links.find("studio", USER, now=clock.now()) is page
    links.replace("studio", {})
    assert links.find("studio", USER, now=clock.now()) is None
