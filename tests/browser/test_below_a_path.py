"""The pages in a real browser below a path, behind a real nginx."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from monitor.domain.records import replace
from tests.browser.conftest import Seen
from tests.browser.pages import EXPIRED, PAGES
from tests.support.reverse_proxies import PORT, nginx

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = "a-token-of-more-than-22-characters"
PASSES = "proxy_set_header Host $http_host;"


@pytest.mark.parametrize("slash", ["/", ""], ids=["strips the path", "passes the path on"])
def test_F10_every_page_works_below_a_path(visiting: Callable[..., Any], slash: str) -> None:
    """A request to an address outside of the path, or an error on the console, fails the test."""
    with visiting(token=TOKEN) as visitor:
        site = visitor.site
        site.config = replace(site.config, web=replace(site.config.web, base_path="/tokens"))
        passes = f"location /tokens/ {{ proxy_pass {site.url}{slash}; {PASSES} }}"
        with nginx(f"server {{ listen 127.0.0.1:{PORT}; {passes} }}") as port:
            address = f"http://127.0.0.1:{port}/tokens"
            behind = dataclasses.replace(visitor, site=dataclasses.replace(site, url=address), seen=Seen(origin=address))
            page = behind.context(width=1440).new_page()
            behind.go(page, EXPIRED)
            page.get_by_label("Token").fill(TOKEN)
            page.get_by_role("button", name="Log in").click()
            assert page.url == address + EXPIRED
            for path in PAGES:
                behind.go(page, path)
                expect(page.locator("h1")).to_be_visible()
                assert page.evaluate("getComputedStyle(document.body).margin") == "0px", "the style was loaded"
            behind.go(page, "/")
            page.get_by_role("link", name="Sources", exact=True).click()
            assert page.url == f"{address}/sources"
            page.get_by_role("button", name="Dark colours").click()
            assert page.url == f"{address}/sources"
            assert page.locator("html").get_attribute("data-theme") == "dark"
            page.get_by_role("button", name="Log out").click()
            assert page.url.startswith(f"{address}/login")
            assert behind.seen.problems == []
