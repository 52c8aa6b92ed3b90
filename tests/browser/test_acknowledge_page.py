"""The page of an acknowledge link on a phone: opened from a message, without a login."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from monitor.notify.links import ACKNOWLEDGE_WITHIN, AcknowledgeLink
from monitor.store import connection_queries, incidents
from tests.browser.conftest import Visitor, violations
from tests.support import canary
from tests.support.factories import NOW

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EXPIRED = "agency/linkedin-agency000"


def link_to(visitor: Visitor, *, days: int = 0) -> str:
    """The path of the link about an expired connection, sent `days` ago."""
    with visitor.store.begin_read() as conn:
        row = connection_queries.find_by_public_id(conn, EXPIRED)
        assert row is not None
        incident = incidents.find_open(conn, [row.id])[row.id]
    until = NOW + ACKNOWLEDGE_WITHIN * (days == 0)
    return f"/ack/{AcknowledgeLink(incident=incident.id, channel='ops', until=until).text(visitor.site.site.signing_key)}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_acknowledging_takes_one_press(
    visiting: Callable[..., Any], picture: Callable[[Page, str], None], theme: str, width: int
) -> None:
    with visiting(token=canary.WEB_TOKEN) as visitor:
        path = link_to(visitor)
        page = visitor.open(path, theme=theme, width=width, height=700)
        button = page.get_by_role("button", name="Acknowledge")
        expect(button).to_be_in_viewport()
        picture(page, f"acknowledge-{theme}-{width}")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        button.click()
        expect(page.get_by_role("status")).to_contain_text("Acknowledged by channel ops")
        assert page.url == visitor.site.url + path
        picture(page, f"acknowledged-{theme}-{width}")
        assert violations(page) == []
        page.reload()
        expect(button).to_have_count(0)
        page.get_by_role("link", name="Open the page of this connection").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_link_that_has_expired(visiting: Callable[..., Any], picture: Callable[[Page, str], None]) -> None:
    with visiting() as visitor:
        visitor.seen.expected = ("410",)
        page = visitor.open(link_to(visitor, days=14), width=390, height=700)
        expect(page.get_by_role("status")).to_contain_text("This link has expired.")
        picture(page, "acknowledge-expired")
        assert violations(page) == []
