"""The pages of clients: a filter selects what the whole page is about, and no other client appears in it."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.demo.world import World
from monitor.domain import Status
from monitor.domain.rules.globs import escape, matches
from monitor.store import Store
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import running
from tests.support.web_client import Served, serving

DAY = timedelta(days=1)
PAGE = {"accept": "text/html"}
CLIENTS = ("Casa Verde", "Brava [x]*", "Dorada")


@pytest.fixture
async def site(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Served]:
    """Serve three clients with two accounts each, of which one of the first has expired, and one account of the owner."""
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="own", username="Owner", display_name="Owner", lifetime=50 * DAY)
    for number, client in enumerate(CLIENTS):
        user = world.add_user("agency", display_name=client)
        for platform in ("linkedin", "tiktok"):
            world.connect(
                "agency", platform, account=f"{platform}{number}", username=f"n{number}", display_name=f"Account of {client}",
                scope=user.id, lifetime=20 * DAY,
            )  # fmt: skip
    async with running(store, clock, world, tmp_path, per_source={"agency": 'users = "all"'}) as cycle:
        await cycle.poll()
        world.expire("agency", "linkedin-linkedin0")
        await cycle.poll(after=timedelta(minutes=15))
        async with serving(store, cycle.config, clock) as served:
            yield served


async def words(site: Served, path: str) -> str:
    """Return the text of a page without its form of filters, which lists every label."""
    text = (await site.get(path, headers=PAGE)).text
    text = re.sub(r'(?s)<form class="filters\b.*?</form>', "", text)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


async def test_a_filter_selects_what_the_whole_page_is_about(site: Served) -> None:
    everything = await words(site, "/")
    assert "1 of 7 connections needs attention now." in everything
    casa = await words(site, "/?label=client%3DCasa+Verde")
    assert "1 of 2 connections needs attention now." in casa
    assert "Only label client=Casa Verde . Show everything" in casa
    assert "Account of Casa Verde" in casa
    for other in ("Brava", "Dorada", "Owner"):
        assert other in everything
        assert other not in casa
    dorada = await words(site, "/?label=client%3DDorada")
    assert "No connection needs attention." in dorada
    assert "Casa Verde" not in dorada
    assert "1 token expires" in dorada  # the timeline
    assert "3 tokens expire" in everything


async def test_links_of_a_filtered_page_keep_its_filters(site: Served) -> None:
    text = (await site.get("/?label=client%3DCasa+Verde", headers=PAGE)).text
    tiles = re.findall(r'<a class="count[^"]*" href="([^"]*)"', text)
    assert len(tiles) == len(Status)
    bars = re.findall(r'<li>\s*<a href="(\?[^"]*)"', text)
    assert len(bars) == 3  # one source, two platforms
    assert all("label=client%3DCasa+Verde" in link for link in tiles + bars)
    assert all("status=" in link for link in tiles)


async def test_clients_are_listed_with_their_counts_worst_first(site: Served) -> None:
    text = await words(site, "/clients")
    places = [text.index(name) for name in ("Casa Verde", "Brava [x]*", "Dorada", "without a client")]
    assert places == sorted(places)
    assert re.search(r"Casa Verde 2 1 ", text)
    assert re.search(r"Dorada 2 0 ", text)


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_address_of_a_client_leads_to_its_own_connections(site: Served, client: str) -> None:
    answer = await site.get(f"/clients/{client}", headers=PAGE)
    assert answer.status_code == 303
    shown = await words(site, answer.headers["location"])
    assert f"Account of {client}" in shown
    assert not any(f"Account of {other}" in shown for other in CLIENTS if other != client)
    assert (await site.get("/clients/nobody", headers=PAGE)).status_code == 404


def test_an_escaped_text_is_a_pattern_for_itself_alone() -> None:
    for text in ("a*b", "a?b", "[a]", "plain", "]["):
        assert matches(text, escape(text))
        assert not matches(f"{text}x", escape(text))
