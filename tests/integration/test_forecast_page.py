"""The forecast page: groups, periods, filters, and the order of urgency."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.config import Config
from monitor.domain import Status
from monitor.store import Store
from tests.support.clients_world import BRAVA, CASA_VIEWER, DORADA, OWNER, clients_world
from tests.support.command_line import add_source, make_world
from tests.support.factories import NOW, make_state
from tests.support.fakes import ManualClock
from tests.support.web_client import Served, serving
from tests.support.web_world import web_config

DAY = timedelta(days=1)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return web_config(tmp_path)


@pytest.fixture
async def site(store: Store, config: Config, clock: ManualClock) -> AsyncIterator[Served]:
    make_world(store, NOW)
    later = [
        make_state(external_id=f"linkedin-{days}", display_name=f"In {days}", expires_at=NOW + days * DAY) for days in (20, 80)
    ]
    add_source(store, "north", [*later, make_state(external_id="linkedin-x", status=Status.FAILING, display_name="<b>")], now=NOW)
    async with serving(store, config, clock) as served:
        yield served


async def text_of(site: Served, path: str, **headers: str) -> str:
    answer = await site.get(path, headers={"accept": "text/html", **headers})
    assert answer.status_code == 200
    return answer.text


def headings(page: str) -> list[str]:
    return [re.sub(r"<[^>]+>", "", each).strip() for each in re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.DOTALL)]


async def test_accounts_are_grouped_by_client_with_the_most_urgent_first(site: Served) -> None:
    page = await text_of(site, "/forecast")
    assert "5 accounts to reconnect within 30 days, 3 of them now." in page
    assert headings(page) == ["acme 3 accounts", "Without a client 2 accounts"]
    assert page.index("linkedin-revoked") < page.index("linkedin-expiring_soon")
    assert 'href="/?label=client%3Dacme"' in page
    assert "&lt;b&gt;" in page
    assert "In 80" not in page


@pytest.mark.parametrize(("days", "number"), [("7", 4), ("30", 5), ("90", 7), ("8", 5), ("x", 5)])
async def test_the_period_is_chosen(site: Served, days: str, number: int) -> None:
    page = await text_of(site, f"/forecast?days={days}")
    assert page.count('<th scope="row">') == number


@pytest.mark.parametrize(
    ("query", "number"),
    [("source=north", 2), ("label=client%3Dacme", 3), ("platform=youtube", 0), ("q=in+20", 1), ("source=nowhere", 0)],
)
async def test_filters_limit_the_page(site: Served, query: str, number: int) -> None:
    page = await text_of(site, f"/forecast?{query}")
    assert page.count('<th scope="row">') == number


async def test_a_bound_user_sees_only_the_users_own_accounts(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with clients_world(store, clock, tmp_path) as config, serving(store, config, clock) as site:
        page = await text_of(site, "/forecast?days=90", authorization=f"Bearer {CASA_VIEWER}")
        assert "casacanary on tiktok" in page
        for word in (*BRAVA, *DORADA, *OWNER):
            assert word not in page
