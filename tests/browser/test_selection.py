"""Check boxes, the confirmation page and the form of silences in a real browser, with and without script."""

from __future__ import annotations

from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from monitor.store import Store, connection_queries, silences
from tests.browser.conftest import Visitor, violations

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def live(store: Store) -> set[str]:
    with store.begin_read() as conn:
        return {row.public_id for row in connection_queries.list_connections(conn)}


def tick(page: Page, count: int) -> list[str]:
    boxes = page.locator('table.connections input[type="checkbox"]')
    for number in range(count):
        boxes.nth(number).check()
    return [boxes.nth(number).get_attribute("value") or "" for number in range(count)]


@pytest.mark.parametrize("script", [True, False])
def test_ticked_connections_are_retired_after_a_confirmation(visitor: Visitor, *, script: bool) -> None:
    page = visitor.context(java_script_enabled=script).new_page()
    visitor.go(page, "/")
    before = live(visitor.store)
    chosen = tick(page, 2)
    page.get_by_role("button", name="Retire…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Retire: 2 connections")
    assert live(visitor.store) == before
    if script:
        assert violations(page) == []
    page.get_by_role("button", name="Retire: 2 connections").click()
    expect(page.get_by_text("Retired. Their history is kept.")).to_be_visible()
    assert live(visitor.store) == before - set(chosen)


def test_ticks_survive_a_refresh_in_place(visitor: Visitor) -> None:
    page = visitor.context().new_page()
    page.clock.install()
    visitor.go(page, "/")
    [chosen] = tick(page, 1)
    page.evaluate("document.querySelector('#list td').textContent = 'old'")
    visitor.clock.advance(timedelta(seconds=30))
    page.clock.fast_forward(31_000)
    expect(page.locator("#list td").first).not_to_have_text("old")
    assert page.locator(f'input[type="checkbox"][value="{chosen}"]').is_checked()
    assert page.locator("table.connections input:checked").count() == 1


def test_all_that_match_are_silenced_on_weekends(visitor: Visitor) -> None:
    page = visitor.context(width=390).new_page()
    visitor.go(page, "/?status=attention")
    page.get_by_label("Connections", exact=True).select_option("all")
    page.get_by_role("button", name="Silence…").click()
    page.get_by_label("Repeat", exact=True).select_option("weekly")
    page.get_by_label("Saturday").check()
    page.get_by_label("Sunday").check()
    page.get_by_label("begins at").fill("00:00")
    page.get_by_label("ends at").fill("00:00")
    page.get_by_label("Reason").fill("weekends")
    assert violations(page) == []
    page.locator("form.wide-form button").click()
    expect(page.get_by_text("Silenced. Changes are recorded")).to_be_visible()
    with visitor.store.begin_read() as conn:
        found = [each for each in silences.list_silences(conn) if each.comment == "weekends"]
    assert [each.rrule for each in found] == ["FREQ=WEEKLY;BYDAY=SA,SU"]
