"""The pages in a real browser below a path, behind a real nginx."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from monitor.config import Secret, WebUser
from monitor.domain.records import replace
from tests.browser.conftest import Seen, Visitor, violations
from tests.browser.pages import AXE, EXPIRED, PAGES
from tests.support.reverse_proxies import PORT, nginx

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = "a-token-of-more-than-22-characters"
PASSES = "proxy_set_header Host $http_host;"


@contextmanager
def below_a_path(visitor: Visitor, *, slash: str = "/", users: tuple[WebUser, ...] = ()) -> Iterator[Visitor]:
    """The visitor of the same site at /tokens, behind nginx; `slash` is what follows the address that it passes requests to."""
    site = visitor.site
    site.config = replace(site.config, web=replace(site.config.web, base_path="/tokens", users=users))
    passes = f"location /tokens/ {{ proxy_pass {site.url}{slash}; {PASSES} }}"
    with nginx(f"server {{ listen 127.0.0.1:{PORT}; {passes} }}") as port:
        address = f"http://127.0.0.1:{port}/tokens"
        behind = dataclasses.replace(visitor, site=dataclasses.replace(site, url=address), seen=Seen(origin=address))
        try:
            yield behind
        finally:
            behind.close()


def log_in(visitor: Visitor, page: Page, token: str) -> None:
    visitor.go(page, EXPIRED)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    assert page.url == visitor.site.url + EXPIRED


@pytest.mark.parametrize("slash", ["/", ""], ids=["strips the path", "passes the path on"])
def test_F10_every_page_works_below_a_path(visiting: Callable[..., Any], slash: str) -> None:
    """A request to an address outside of the path, or an error on the console, fails the test."""
    with visiting(token=TOKEN) as visitor, below_a_path(visitor, slash=slash) as behind:
        address = behind.site.url
        page = behind.context(width=1440).new_page()
        log_in(behind, page, TOKEN)
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


@pytest.mark.parametrize(("theme", "width"), sorted(AXE | {("light", 320), ("dark", 1920)}))
@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_every_page_is_sound_for_each_role_below_a_path(
    visiting: Callable[..., Any], role: Literal["viewer", "operator"], theme: str, width: int
) -> None:
    """Pages fit the screen and are accessible. A viewer finds nothing to press but the colours and the way out."""
    user = WebUser(name="vera", token=Secret("the-token-of-vera-is-long-enough"), role=role)
    pressed = set()
    with visiting(token=TOKEN) as visitor, below_a_path(visitor, users=(user,)) as behind:
        page = behind.context(theme=theme, width=width).new_page()
        log_in(behind, page, user.token.reveal())
        for path in PAGES:
            behind.go(page, path)
            for details in page.locator("details").all():
                details.evaluate("each => each.open = true")
            assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"), path
            actions = {form.get_attribute("action") for form in page.locator("form[method=post]").all()}
            assert all(each is not None and each.startswith("/tokens/") for each in actions), path
            pressed |= actions
            if (theme, width) in AXE:
                assert violations(page) == [], path
        assert (pressed <= {"/tokens/theme", "/tokens/logout"}) is (role == "viewer")
        assert behind.seen.problems == []
