"""The pages in a real browser: every page, filter and button, in both themes and at every width."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from monitor.domain import Status
from monitor.domain.records import replace
from monitor.store import Store, alerts, connection_queries, rechecks, silences
from tests.browser.conftest import Visitor, violations
from tests.browser.pages import AXE, EMPTY, EXPIRED, MISSING, PAGES, THEMES, WIDTHS
from tests.support import canary
from tests.support.command_line import add_source
from tests.support.factories import NOW, make_state
from tests.support.hostile_names import HOSTILE
from tests.support.incidents import all_open
from tests.support.web_world import fill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def is_wider_than_the_window(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def rows(page: Page) -> int:
    return page.locator("table.connections tbody tr th").count()


# --- appearance


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_every_page_is_sound(visitor: Visitor, theme: str, width: int) -> None:
    """No violation that axe-core knows, nothing wider than the window, no error, no request elsewhere."""
    visitor.seen.expected = ("404",)
    page = visitor.context(theme=theme, width=width).new_page()
    for path in (*PAGES, *MISSING):
        visitor.go(page, path)
        for details in page.locator("details").all():
            details.evaluate("each => each.open = true")
        assert not is_wider_than_the_window(page), path
        if (theme, width) in AXE:
            assert violations(page) == [], path


@pytest.mark.parametrize("timezone", ["UTC", "America/Argentina/Buenos_Aires"])
def test_no_alert_is_wider_than_a_small_phone(visitor: Visitor, timezone: str) -> None:
    visitor.site.config = replace(visitor.site.config, timezone=timezone)
    with visitor.store.begin_read() as conn:
        ids = [row.alert.id for row in alerts.list_alerts(conn, limit=500)]
    assert len(ids) > 1
    page = visitor.context(width=320).new_page()
    for each in ids:
        visitor.go(page, f"/alerts/{each}")
        assert not is_wider_than_the_window(page), each


HEIGHTS = ((390, 5_000), (1440, 3_000), (1920, 3_000))


@pytest.mark.parametrize(("width", "most"), HEIGHTS)
def test_sixty_accounts_fit_a_few_screens(visiting: Callable[..., Any], width: int, most: int) -> None:
    """Each is one line on a desktop and two on a phone, also with a source and a channel that fail."""
    with visiting(full=False) as visitor:
        fill(visitor.store, NOW, each=15)
        page = visitor.open("/?per=100", width=width)
        assert rows(page) == 60
        assert page.evaluate("document.documentElement.scrollHeight") <= most
        heights = page.evaluate("[...document.querySelectorAll('table.connections tbody tr')].map((row) => row.offsetHeight)")
        assert max(heights) <= (52 if width < 560 else 32)
        form = page.get_by_role("search", name="Filter connections")
        assert form.bounding_box()["y"] < 900
        if width >= 1000:
            page.get_by_role("navigation", name="Pages of the list").scroll_into_view_if_needed()
            expect(form).to_be_in_viewport()


@pytest.mark.parametrize("width", [390, 1440])
def test_five_thousand_accounts_are_usable(visiting: Callable[..., Any], width: int) -> None:
    with visiting(full=False) as visitor:
        states = [make_state(external_id=f"c{number:04}", display_name=f"Account {number}") for number in range(5_000)]
        add_source(visitor.store, "agency", states, now=NOW)
        page = visitor.open(width=width)
        assert rows(page) == 50
        form = page.get_by_role("search", name="Filter connections")
        form.get_by_label("Name or ID").fill("Account 4999")
        form.get_by_role("button", name="Apply").click()
        page.wait_for_url(re.compile("q=Account"))
        assert rows(page) == 1
        visitor.go(page, "/?page=100&sort=name")
        expect(page.get_by_text("4,951 to 5,000 of 5,000")).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_a_page_is_sound_in_the_theme_that_was_chosen_against_the_system(visitor: Visitor, theme: str) -> None:
    page = visitor.open(theme={"light": "dark", "dark": "light"}[theme])
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name=f"{theme.title()} colours").click()
    page.wait_for_load_state()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    expect(page.get_by_role("button", name=f"{theme.title()} colours")).to_have_attribute("aria-pressed", "true")
    for path in ("/", "/sources", "/alerts", "/silences", EXPIRED):  # one of each kind; the colours are those of the other test
        visitor.go(page, path)
        assert violations(page) == [], path
    page.get_by_role("button", name="Automatic colours").click()
    page.wait_for_load_state()
    visitor.go(page, "/")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == before


BROKEN_WORDS = """() => {
  const broken = [], walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    for (const word of node.data.matchAll(/[A-Za-z]{2,14}(?![\\w-])/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].filter((box) => box.width > 1).map((box) => Math.round(box.top)));
      if (lines.size > 1) broken.push(word[0]);
    }
  }
  return broken;
}"""


@pytest.mark.parametrize("path", ["/", "/sources", "/alerts", "/silences"])
def test_no_word_is_broken_where_there_is_room(visitor: Visitor, path: str) -> None:
    page = visitor.open(path, width=1280)
    assert page.evaluate(BROKEN_WORDS) == []


def test_marks_stand_apart(visitor: Visitor) -> None:
    page = visitor.open("/", width=1280)
    gaps = """() => [...document.querySelectorAll(".mark + .mark")]
        .map((mark) => [mark.previousElementSibling.getBoundingClientRect(), mark.getBoundingClientRect()])
        .filter(([one, next]) => one.top === next.top).map(([one, next]) => next.left - one.right)"""
    found = page.evaluate(gaps)
    assert found
    assert min(found) >= 2


@pytest.mark.parametrize("width", [360, 1280])
def test_an_empty_site_is_sound(visiting: Callable[..., Any], width: int) -> None:
    with visiting(full=False) as visitor:
        page = visitor.context(width=width).new_page()
        for path in EMPTY:
            visitor.go(page, path)
            assert violations(page) == [], path
            assert not is_wider_than_the_window(page), path


def test_pictures_for_the_documents(visitor: Visitor, picture: Callable[[Page, str], None]) -> None:
    page = visitor.open(width=1440, height=1080)
    picture(page, "status-page-light")
    visitor.go(page, EXPIRED)
    page.locator("#band").scroll_into_view_if_needed()
    picture(page, "connection-page-light")
    page = visitor.open(theme="dark", width=1440, height=1080)
    picture(page, "status-page-dark")
    page = visitor.open(theme="dark", width=390, height=844)
    picture(page, "status-page-phone")
    assert page.title().startswith("(7) 7 of 24 connections need attention now.")


# --- the keyboard


def test_the_first_tab_leads_past_the_navigation(visitor: Visitor) -> None:
    page = visitor.open()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_everything_can_be_reached_and_the_focus_is_seen(visitor: Visitor) -> None:
    page = visitor.open("/silences")
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        name = page.evaluate(
            "document.activeElement.tagName + ' ' + (document.activeElement.name || document.activeElement.textContent.trim())"
        )
        if name.startswith("BODY"):
            break
        assert outline != "none", name
        seen.add(name)
    assert {"SELECT source", "INPUT comment", "BUTTON step"} <= seen


# --- filters


def test_filters_work_together_and_stay_in_the_address(visitor: Visitor) -> None:
    page = visitor.open()
    everything = rows(page)
    form = page.get_by_role("search", name="Filter connections")
    form.get_by_label("Source", exact=True).select_option("agency")
    form.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile("source=agency"))
    assert 0 < rows(page) < everything
    form.get_by_label("Status").select_option("attention")
    form.get_by_label("Sort by").select_option("name")
    form.get_by_label("Name or ID").fill("ACME")
    form.get_by_label("Name or ID").press("Enter")
    page.wait_for_url(re.compile("q=ACME"))
    assert page.locator("table.connections tbody th .name").all_inner_texts() == ["Acme Ltd", "Acme on Facebook", "Acme Stories"]
    page.reload()
    expect(form.get_by_label("Name or ID")).to_have_value("ACME")
    expect(form.get_by_label("Status")).to_have_value("attention")
    form.get_by_role("link", name="Clear").click()
    page.wait_for_url(re.compile("/#connections"))
    assert rows(page) == everything


@pytest.mark.parametrize("label", ["Platform", "Label", "Sort by", "Rows"])
def test_every_choice_of_every_filter_works(visitor: Visitor, label: str) -> None:
    page = visitor.open()
    values = [
        value if (value := option.get_attribute("value")) is not None else option.inner_text()
        for option in page.get_by_label(label, exact=True).locator("option").all()
    ]
    for value in values:
        page.get_by_label(label, exact=True).select_option(value)
        page.get_by_role("button", name="Apply").click()
        page.wait_for_load_state()
        expect(page.get_by_label(label, exact=True)).to_have_value(value)
        assert rows(page) > 0, value


def test_headings_sort_and_counts_and_bars_filter(visitor: Visitor) -> None:
    page = visitor.open(width=1440)
    for name, key in (
        ("Name", "name"),
        ("Time left", "expiry"),
        ("Since", "since"),
        ("Platform", "platform"),
        ("Source", "source"),
    ):
        page.get_by_role("columnheader", name=name).get_by_role("link").click()
        page.wait_for_url(re.compile(f"sort={key}"))
        assert page.locator("th[aria-sort]").inner_text().startswith(name)
    page.locator(".count", has_text="expired").click()
    page.wait_for_url(re.compile("status=expired"))
    assert rows(page) == 2
    page.locator("#bars > summary").click()
    page.locator("#by-platform").get_by_role("link", name="Threads").click()
    page.wait_for_url(re.compile("platform=threads"))
    assert "status=" not in page.url, "the bars count every status"
    assert rows(page) == 3
    page.locator("#bars > summary").click()
    page.locator("#by-source").get_by_role("link", name="south").click()
    page.wait_for_url(re.compile("source=south"))
    assert "platform=threads" in page.url, "the filters of before stay"
    assert rows(page) == 1
    page.get_by_role("link", name="Show everything").click()
    page.wait_for_url(lambda url: "?" not in url)


def test_the_pager_turns_pages(visiting: Callable[..., Any]) -> None:
    with visiting(full=False) as visitor:
        add_source(visitor.store, "agency", [make_state(external_id=f"c{number:03}") for number in range(60)], now=NOW)
        page = visitor.open("/?per=25")
        for name, expected in (
            ("Next", "26 to 50 of 60"),
            ("Last", "51 to 60 of 60"),
            ("Previous", "26 to 50 of 60"),
            ("First", "1 to 25 of 60"),
        ):
            page.get_by_role("navigation", name="Pages of the list").get_by_role("link", name=name).click()
            expect(page.get_by_text(expected)).to_be_visible()


def test_alerts_are_filtered(visitor: Visitor) -> None:
    page = visitor.open("/alerts")
    page.get_by_label("Delivery").select_option("dead")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile("state=dead"))
    assert page.locator("tbody tr").count() == 2
    page.locator("tbody tr").first.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Details")).to_be_visible()


# --- buttons


def acked(store: Store) -> list[str]:
    with store.begin_read() as conn:
        open_ = [each for each in all_open(conn) if each.ack is not None and each.connection_id is not None]
        found = [connection_queries.get_connection(conn, each.connection_id) for each in open_ if each.connection_id is not None]
    return sorted(row.public_id for row in found if row is not None)


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_the_buttons_of_a_connection(visitor: Visitor, javascript: bool) -> None:
    before = acked(visitor.store)
    page = visitor.open(EXPIRED, java_script_enabled=javascript)
    page.get_by_label("At most for").select_option("8h")
    page.get_by_label("Comment").fill("Ann <b>calls</b> them")
    page.get_by_role("button", name="Acknowledge").click()
    expect(
        page.get_by_role("status").get_by_text(
            "Acknowledged. No more alerts until the status worsens or the connection recovers."
        )
    ).to_be_visible()
    expect(page.locator("#headline").get_by_text("acknowledged")).to_be_visible()
    assert acked(visitor.store) == sorted([*before, "agency/linkedin-agency000"])
    page.get_by_role("button", name="Remove acknowledgement").click()
    expect(page.get_by_text("The acknowledgement was removed")).to_be_visible()
    assert acked(visitor.store) == before
    page.get_by_label("For", exact=True).select_option("removed")
    page.get_by_label("Reason", exact=True).fill("Moving")
    page.get_by_role("button", name="Silence").click()
    expect(page.locator("#headline").get_by_text("silenced")).to_be_visible()
    page.locator(".suppress").get_by_role("link", name="Silence").first.click()
    expect(page.get_by_role("heading", name="Silences", exact=True)).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_the_result_of_check_now_appears_on_the_page(visitor: Visitor, javascript: bool) -> None:
    page = visitor.open(EXPIRED, java_script_enabled=javascript)
    page.get_by_role("button", name="Check now").click()
    expect(page.locator("#recheck")).to_contain_text("Checking…")
    with visitor.store.begin_write() as conn:
        row = connection_queries.find_connections(conn, "agency/linkedin-agency000")[0]
        [pending] = rechecks.pending_of_connections(conn, [row.id])
        rechecks.start(conn, [(pending.id, Status.EXPIRED)], NOW)
        outcome, message = rechecks.RecheckOutcome.HEALTHY, "The token is valid."
        result = rechecks.RecheckResult(id=pending.id, outcome=outcome, message=message, status_after=Status.VALID)
        rechecks.finish(conn, [result], NOW)
    expect(page.locator("#recheck")).to_contain_text("Healthy: The token is valid.", timeout=10_000)


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_a_silence_is_added_and_removed(visitor: Visitor, javascript: bool) -> None:
    page = visitor.open("/silences", java_script_enabled=javascript)
    page.get_by_label("Sources").select_option(["agency", "studio"])
    page.get_by_label("Connections").fill("agency/*")
    page.get_by_label("or for").select_option("7d")
    page.get_by_label("Reason", exact=True).fill("Summer break")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("heading", name="Preview: ")).to_be_visible()
    page.get_by_role("button", name="Add silence").click()
    row = page.locator("tbody tr", has_text="Summer break")
    expect(row).to_be_visible()
    row.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("The silence is removed")).to_be_visible()
    expect(row).to_have_count(0)
    with visitor.store.begin_read() as conn:
        assert [each.removed_at is None for each in silences.list_silences(conn, include_removed=True)] == [True, True, False]


def test_a_refused_form_shows_the_reason(visitor: Visitor) -> None:
    visitor.seen.expected = ("422",)
    page = visitor.open("/silences")
    page.get_by_label("or for").select_option("7d")
    page.get_by_label("Reason", exact=True).fill("Everything?")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose a source, a platform, a label or connections to silence.")
    expect(page.get_by_label("Reason", exact=True)).to_have_value("Everything?")
    assert violations(page) == []


def test_the_login(visiting: Callable[..., Any]) -> None:
    with visiting(token=canary.WEB_TOKEN) as visitor:
        visitor.seen.expected = ("403",)
        page = visitor.open("/alerts?event=expired")
        assert violations(page) == []
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("The token is wrong.")
        assert violations(page) == []
        page.get_by_label("Token").fill(canary.WEB_TOKEN)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(re.compile(r"/alerts\?event=expired"))
        assert canary.WEB_TOKEN not in page.content()
        visitor.go(page, "/")
        assert violations(page) == []
        assert not page.evaluate("document.cookie")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()


# --- keeping it open


def test_the_page_refreshes_itself_and_loses_neither_focus_nor_what_was_typed(visitor: Visitor) -> None:
    page = visitor.context().new_page()
    page.clock.install()
    visitor.go(page, "/?source=agency")
    page.locator("#coming > summary").click()
    page.locator("#batches summary").click()
    page.locator("#bars > summary").click()
    page.get_by_label("Name or ID").fill("half a na")
    link = page.locator("#by-source a", has_text="agency")
    link.focus()
    add_source(visitor.store, "agency", [make_state(external_id="new", status=Status.EXPIRED)], now=NOW)
    visitor.clock.advance(timedelta(seconds=30))
    page.clock.fast_forward(31_000)
    expect(page.get_by_role("heading", level=1)).to_have_text("4 of 7 connections need attention now.")
    assert page.title().startswith("(4) 4 of 7 connections need attention now.")
    expect(page.locator("#by-source a", has_text="agency")).to_be_focused()
    expect(page.get_by_label("Name or ID")).to_have_value("half a na")
    assert page.locator("#batches").get_attribute("open") is not None
    assert "source=agency" in page.url
    assert rows(page) == 7


def test_a_page_that_cannot_refresh_shows_a_warning(visitor: Visitor) -> None:
    visitor.seen.expected = ("503", "Failed to load")
    page = visitor.context().new_page()
    page.clock.install()
    visitor.go(page, "/")
    expect(page.locator("#lost")).to_be_hidden()
    page.route("**/*", lambda route: route.fulfill(status=503, body="no"))
    page.clock.fast_forward(31_000)
    expect(page.locator("#lost")).to_contain_text("This page has not been refreshed since")
    assert violations(page) == []
    page.unroute("**/*")
    page.clock.fast_forward(31_000)
    expect(page.locator("#lost")).to_be_hidden()


def test_without_script_the_page_reloads_unless_refresh_is_off(visitor: Visitor) -> None:
    page = visitor.open("/?source=agency", java_script_enabled=False)
    assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "60"
    page.get_by_role("link", name="Stop reloading").click()
    page.wait_for_url(re.compile("source=agency&refresh=off"))
    assert page.locator("meta[http-equiv=refresh]").count() == 0


def test_everything_works_without_script(visitor: Visitor) -> None:
    page = visitor.open(java_script_enabled=False)
    for path in (*PAGES, "/login"):
        visitor.go(page, path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.get_by_role("button", name="Dark colours").click()
    visitor.go(page, "/")
    page.get_by_label("Source", exact=True).select_option("agency")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile("source=agency"))
    assert rows(page) == 6


# --- untrusted names


@pytest.mark.parametrize("width", [360, 1280])
def test_S07_three_hundred_hostile_names_neither_run_nor_break_the_page(visiting: Callable[..., Any], width: int) -> None:
    with visiting(full=False) as visitor:
        states = [
            make_state(
                external_id=f"n{number:03}",
                display_name=name,
                username=name,
                status=Status.EXPIRED,
                profile_url=name,
                scopes=(name[:300],),
            )
            for number, name in enumerate(HOSTILE)
        ]
        add_source(visitor.store, "agency", states, now=NOW)
        page = visitor.context(width=width).new_page()
        page.add_init_script(
            "window.addEventListener('securitypolicyviolation', (event) => console.error('policy ' + event.violatedDirective));"
        )
        visited = ["/?per=200", "/?per=200&page=2", *(f"/connections/agency/n{number:03}" for number in range(0, 300, 10))]
        for path in visited:
            visitor.go(page, path)
            assert not is_wider_than_the_window(page), path
            assert page.locator("script").count() == 1
            assert page.locator("img, iframe, object, embed").count() == 0
        visitor.go(page, "/?per=25")
        assert violations(page) == []
