"""The site below a base path: every link on every page, behind proxies that pass the prefix on and proxies that strip it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from monitor.config.web import OWN_PATHS
from monitor.domain.records import replace
from monitor.store import Store
from monitor.web.app import routes
from tests.support.fakes import ManualClock
from tests.support.web_client import Served, serving
from tests.support.web_world import web_config

BASE = "/tokens"
TOKEN = "a-token-of-more-than-22-characters"
PAGE = {"accept": "text/html"}
_FOLLOWED = ("href", "src", "action", "formaction")


@pytest.fixture
def store(filled_store: Store) -> Store:
    """One kind of database is enough here."""
    return filled_store


@pytest.fixture
async def site(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Served]:
    config = web_config(tmp_path)
    config = replace(config, web=replace(config.web, base_path=BASE))
    async with serving(store, config, clock, token=TOKEN) as served:
        yield served


class _Links(HTMLParser):
    """Collects every address in a page as (attribute, method, value)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        for name in _FOLLOWED:
            if name in given:
                self.found.append((given.get("method", "get"), given[name]))


def wrong_addresses(text: str) -> list[str]:
    """Return every attribute that begins with a path of the site without the base path. The values of fields are data."""
    found = re.findall(r' ([a-z-]+)="(/[^"]*)"', text)
    return [f"{name}={path}" for name, path in found if name != "value" and not f"{path}/".startswith((f"{BASE}/", f"{BASE}?"))]


async def _ask(site: Served, address: str, *, strips: bool) -> httpx.Response:
    """Return the response to a browser's request through a proxy."""
    path = address.removeprefix(BASE) or "/" if strips else address
    return await site.get(path, headers={**PAGE, "authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("strips", [False, True], ids=["passes the prefix on", "strips the prefix"])
async def test_F10_every_link_of_every_page_works_below_the_base_path(site: Served, *, strips: bool) -> None:
    waiting, seen, pages = [f"{BASE}/"], set[tuple[str, str]](), 0
    while waiting:
        address = waiting.pop()
        parts = urlsplit(address)
        kind = (re.sub(r"(/connections/|/alerts/).+", r"\1*", parts.path), parts.query.partition("=")[0])
        if kind in seen:
            continue
        seen.add(kind)
        answer = await _ask(site, address, strips=strips)
        where = answer.headers.get("location")
        if where is not None:
            assert where.startswith(f"{BASE}/"), (address, where)
            waiting.append(where)
            continue
        assert answer.status_code == 200, (address, answer.text[:300])
        if "text/html" not in answer.headers["content-type"]:
            continue
        pages += 1
        assert wrong_addresses(answer.text) == [], address
        for method, link in _Links(answer.text).found:
            target = urljoin(address, link).partition("#")[0]
            if urlsplit(target).scheme:
                continue
            assert target.startswith(f"{BASE}/"), (address, link)
            if method != "post":
                waiting.append(target)
    assert pages > 15
    assert {f"{BASE}/sources", f"{BASE}/silences", f"{BASE}/clients", f"{BASE}/alerts/*", f"{BASE}/static/page.css"} <= {
        path for path, _ in seen
    }


@pytest.mark.parametrize("prefix", [BASE, ""])
async def test_the_login_its_cookie_and_forms_stay_below_the_base_path(site: Served, prefix: str) -> None:
    refused = await site.get(f"{prefix}/alerts?event=expired", headers=PAGE)
    assert refused.headers["location"] == f"{BASE}/login?next=/alerts%3Fevent%3Dexpired"
    form = await site.get(f"{prefix}/login?next=/alerts%3Fevent%3Dexpired", headers=PAGE)
    assert f'action="{BASE}/login"' in form.text
    assert f"Path={BASE};" in refused.headers["set-cookie"]
    csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', form.text)
    assert csrf is not None
    fields = {"csrf": csrf[1], "token": TOKEN, "next": "/alerts?event=expired"}
    opened = await site.client.post(f"{site.url}{BASE}/login", data=fields, headers=PAGE)
    assert (opened.status_code, opened.headers["location"]) == (303, f"{BASE}/alerts?event=expired")
    assert f"Path={BASE};" in opened.headers["set-cookie"]
    page = await site.get(f"{BASE}/connections/agency/linkedin-agency000", headers=PAGE)
    csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
    assert csrf is not None
    fields = {"csrf": csrf[1], "action": "ack", "comment": "on it", "for": ""}
    changed = await site.client.post(f"{site.url}{BASE}/connections/agency/linkedin-agency000", data=fields, headers=PAGE)
    assert changed.status_code == 303
    assert changed.headers["location"] == f"{BASE}/connections/agency/linkedin-agency000?said=acknowledged"


@pytest.mark.parametrize("older", ["k.1.a.b", "A" * 43])
async def test_a_cookie_from_before_the_base_path_does_not_hide_the_login(site: Served, older: str) -> None:
    """Browsers send both cookies, that of the longer path first."""
    form = await site.get(f"{BASE}/login", headers=PAGE)
    csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', form.text)
    assert csrf is not None
    await site.client.post(f"{site.url}{BASE}/login", data={"csrf": csrf[1], "token": TOKEN}, headers=PAGE)
    [(name, value)] = site.client.cookies.items()
    site.client.cookies.clear()
    both = await site.get(f"{BASE}/", headers={**PAGE, "cookie": f"{name}={value}; theme=dark; {name}={older}; theme=light"})
    assert both.status_code == 200
    assert 'data-theme="dark"' in both.text


async def test_signed_links_work_with_and_without_the_prefix(site: Served) -> None:
    page = await _ask(site, f"{BASE}/?source=agency", strips=False)
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]*sig=[^"]*)"', page.text)]
    assert [urlsplit(link).path for link in links] == [f"{BASE}/calendar.ics", f"{BASE}/feed.atom", f"{BASE}/badge.svg"]
    for link in links:
        for path in (link, link.removeprefix(BASE)):
            assert (await site.get(path)).status_code == 200, path
        assert (await site.get(link.replace("source=agency", "source=studio"))).status_code == 401


async def test_documents_for_programs_hold_the_base_path(site: Served) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    listed = await site.get(f"{BASE}/api/v1/connections?limit=1", headers=bearer)
    assert listed.headers["link"].startswith(f"<{BASE}/api/v1/connections?limit=1&cursor=")
    described = await site.get(f"{BASE}/api/v1/openapi.json", headers=bearer)
    assert described.json()["servers"] == [{"url": BASE}]
    feed = await site.get(f"{BASE}/feed.atom", headers=bearer)
    links = re.findall(r'href="([^"]*)"', feed.text)
    assert all(link.startswith(f"{site.url}{BASE}/") for link in links)
    web = replace(site.config.web, public_url="https://monitor.example.com/tokens")
    site.config = replace(site.config, web=web)
    feed = await site.get(f"{BASE}/feed.atom", headers=bearer)
    links = re.findall(r'href="([^"]*)"', feed.text)
    assert links[0] == "https://monitor.example.com/tokens/feed.atom"
    assert all(link.startswith("https://monitor.example.com/tokens/") for link in links)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/", ""])
async def test_both_addresses_answer(site: Served, path: str) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    for address in (f"{BASE}{path}", path or "/"):
        assert (await site.get(address, headers=bearer)).status_code in (200, 503), address


@pytest.mark.parametrize("path", ["/tokensx", "/tokens/tokens", "/x/tokens", "/TOKENS/"])
async def test_only_the_whole_prefix_is_removed_and_only_once(site: Served, path: str) -> None:
    assert (await site.get(path, headers={"authorization": f"Bearer {TOKEN}"})).status_code == 404


def test_no_page_begins_with_a_path_that_may_be_a_base_path(site: Served) -> None:
    """A new page belongs into OWN_PATHS: otherwise it could not be reached with a base path of the same name."""
    assert {route.path.split("/")[1] for route in routes(site.site)} - {""} <= OWN_PATHS
