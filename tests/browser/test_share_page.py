"""The page of a share: what a client without an account sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from monitor.store import shares
from tests.browser.conftest import Visitor, violations
from tests.support import canary
from tests.support.factories import NOW

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def share(visitor: Visitor) -> str:
    """The path of a new shared page."""
    with visitor.store.begin_write() as conn:
        _, secret = shares.add(conn, {"client": "acme"}, until=NOW + timedelta(days=90), now=NOW, author="ann")
    return f"/share/{secret}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_a_client_reads_a_shared_page_without_a_login(
    visiting: Callable[..., Any], picture: Callable[[Page, str], None], theme: str, width: int
) -> None:
    with visiting(token=canary.WEB_TOKEN) as visitor:
        page = visitor.open(share(visitor), theme=theme, width=width, height=800)
        expect(page.get_by_role("heading", name="Social accounts of acme")).to_be_in_viewport()
        expect(page.get_by_text("need reconnecting.")).to_be_in_viewport()
        expect(page.get_by_role("listitem").first).to_contain_text("Needs reconnecting since")
        expect(page.get_by_role("link")).to_have_count(0)
        expect(page.get_by_role("button")).to_have_count(0)
        picture(page, f"share-{theme}-{width}")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_shared_page_that_has_ended(visiting: Callable[..., Any], picture: Callable[[Page, str], None]) -> None:
    with visiting(token=canary.WEB_TOKEN) as visitor:
        path = share(visitor)
        with visitor.store.begin_write() as conn:
            shares.revoke(conn, None, now=NOW, author="ann")
        visitor.seen.expected = ("410",)
        page = visitor.open(path, width=390, height=700)
        expect(page.get_by_text("This link is no longer valid.")).to_be_visible()
        picture(page, "share-ended")
        assert violations(page) == []
