"""Live pages: a change appears without a reload, and what a person has typed, ticked, opened and focused stays."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from monitor.domain import Event, EventKind, Status
from monitor.domain.records import replace
from monitor.store import Store, connection_queries, connections, history
from tests.browser.conftest import Visitor
from tests.support.factories import NOW

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def is_live(page: Page) -> None:
    page.wait_for_selector("#live[data-state=live]", state="attached")


def rename(store: Store, name: str) -> str:
    """Another name for a connection that needs attention, and an entry in its history; its id."""
    with store.begin_write() as conn:
        row = next(connection_queries.list_connections(conn, limit=1))
        state = replace(row.state, snapshot=replace(row.state.snapshot, display_name=name, username=name))
        connections.update(conn, [connections.ChangedConnection(id=row.id, state=state, fingerprint="x")])
        entry = Event(kind=EventKind.STATUS_CHANGED, at=NOW, old=Status.VALID, new=row.state.verdict.status)
        history.append(conn, row.source, row.id, [entry])
    return row.public_id


def test_a_change_appears_within_seconds_and_input_stays(visitor: Visitor) -> None:
    page = visitor.open("/")
    is_live(page)
    page.evaluate("window.stayed = true")
    page.fill("input[name=q]", "half a wor")
    page.evaluate("window.scrollTo(0, 300)")
    before = page.evaluate("window.scrollY")
    rename(visitor.store, "Changed By The Stream")
    began = time.monotonic()
    expect(page.locator("main")).to_contain_text("Changed By The Stream", timeout=10_000)
    took = time.monotonic() - began
    assert took < 3, f"{took:.1f} s"
    assert page.evaluate("window.stayed"), "without a reload"
    assert page.input_value("input[name=q]") == "half a wor"
    assert page.evaluate("document.activeElement.name") == "q"
    assert abs(page.evaluate("window.scrollY") - before) < 5


def test_a_filtered_page_follows_its_own_stream(visitor: Visitor) -> None:
    page = visitor.open("/?source=studio")
    is_live(page)
    assert page.get_attribute("body", "data-stream") == "/api/v1/stream?source=studio"


def test_the_dot_tells_live_from_offline(visitor: Visitor) -> None:
    visitor.seen.expected = ("Failed to load", "ERR_")
    page = visitor.open("/")
    is_live(page)
    page.context.set_offline(True)
    visitor.site.site.streams.end_all()
    page.wait_for_selector("#live:not([data-state=live])", state="attached")
    page.context.set_offline(False)
    is_live(page)


def test_a_hidden_page_has_no_stream(visitor: Visitor) -> None:
    page = visitor.open("/")
    is_live(page)
    page.goto("about:blank")
    deadline = time.monotonic() + 5
    while visitor.site.site.streams.number and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert visitor.site.site.streams.number == 0
