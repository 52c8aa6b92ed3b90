"""What the pages show and what their forms do, over a real socket."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import httpx
import pytest
from sqlalchemy import update

from monitor.domain import ConnectionState, EventKind, SourceStatus, Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules.labels import ConnectionLabels
from monitor.domain.rules.silences import Silence, literal
from monitor.notify import handover
from monitor.store import (
    Store,
    channel_states,
    connection_queries,
    connections,
    due_work,
    former_ids,
    history,
    incidents,
    label_sets,
    maintenance,
    outbox,
    rechecks,
    schema,
    silences,
    sources,
)
from monitor.store.former_ids import ReplacedId
from monitor.web.rendering import connection_link
from tests.support.command_line import add_source
from tests.support.factories import NOW, make_snapshot, make_state
from tests.support.fakes import ManualClock
from tests.support.hostile_names import HOSTILE
from tests.support.poll_cycle import count_rows
from tests.support.web_client import Served, serving
from tests.support.web_world import web_config

PAGE = {"accept": "text/html"}
EXPIRED = "agency/linkedin-agency000"
REVOKED = "agency/facebook-agency002"
VALID = "agency/tiktok-agency003"


@pytest.fixture
def store(request: pytest.FixtureRequest, _sqlite_template: Path, tmp_path: Path) -> Iterator[Store]:
    """Full where the test asks for a full site. What only one kind of database could break is tested at the store."""
    path = tmp_path / "monitor.db"
    full = "full" in request.fixturenames
    path.write_bytes(request.getfixturevalue("filled") if full else _sqlite_template.read_bytes())
    with Store(f"sqlite:///{path}") as opened:
        yield opened


@pytest.fixture
async def site(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Served]:
    """A site over an empty store."""
    async with serving(store, web_config(tmp_path), clock) as served:
        yield served


@pytest.fixture
def full(site: Served) -> Served:
    """The same with a store full of everything."""
    return site


class Read(HTMLParser):
    """A page as a browser takes it: its words without tags, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        self.words = re.sub(r"\s+", " ", self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def ids(self) -> list[str]:
        """The connections in the table, by their ids."""
        return [
            attributes["href"].removeprefix("/connections/").partition("?")[0]
            for name, attributes in self.tags
            if name == "a" and attributes.get("class") == "name"
        ]


async def read(site: Served, path: str, *, status: int = 200) -> Read:
    answer = await site.get(path, headers=PAGE)
    assert answer.status_code == status, answer.text[:2000]
    return Read(answer.text)


async def table(site: Served, query: str = "") -> list[str]:
    """The ids in the table of connections, in order."""
    answer = await site.get(f"/?{query}", headers=PAGE)
    assert answer.status_code == 200
    return Read(answer.text[answer.text.index('<table class="connections') :]).ids()


async def send(site: Served, path: str, **fields: str | list[str]) -> httpx.Response:
    """Fill in a form of the page and send it as a browser does."""
    page = await site.get("/silences", headers=PAGE)
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None
    headers = {**PAGE, "sec-fetch-site": "same-origin", "origin": site.url}
    return await site.client.post(site.url + path, data={"csrf": csrf[1], **fields}, headers=headers)


# --- the status page


async def test_an_empty_store_has_empty_states_on_every_page(site: Served) -> None:
    page = await read(site, "/")
    assert "No connections are known yet. 4 of 4 sources have not been read yet." in page.words
    assert page.words.count("the first poll is in progress or starts in a moment") == 4
    assert "No channel is configured" not in page.words
    assert (await read(site, "/alerts")).words.count("No alerts yet.") == 1
    assert "No silences." in (await read(site, "/silences")).words
    assert (
        "It has not been polled yet" in (await read(site, "/sources")).words
        or "has not been polled yet" in (await read(site, "/sources")).words
    )


async def test_the_headline_answers_whether_there_is_something_to_do(site: Served, store: Store) -> None:
    add_source(store, "agency", [make_state(external_id="a"), make_state(external_id="b")], now=NOW)
    for name in ("north", "south", "studio"):
        add_source(store, name, [], now=NOW)
    page = await read(site, "/")
    assert "No action needed. 2 connections are valid." in page.words
    add_source(store, "studio", [make_state(external_id="c", status=Status.EXPIRING_SOON)], now=NOW)
    assert "1 of 3 connections expires soon." in (await read(site, "/")).words
    add_source(store, "north", [make_state(external_id="d", status=Status.EXPIRED)], now=NOW)
    page = await read(site, "/")
    assert "1 of 4 connections needs attention now. 1 expired. 1 more expires soon." in page.words
    assert "1 of 4 connections needs attention now." in page.words.split("·")[0]  # the title says it too


async def test_the_headline_counts_unknown_and_suppressed_connections(site: Served, store: Store) -> None:
    for name in ("agency", "north", "south", "studio"):
        add_source(store, name, [make_state(external_id=name, status=Status.UNKNOWN)], now=NOW)
    page = await read(site, "/")
    assert "No known problems. The status of 4 connections is unknown." in page.words
    add_source(store, "north", [make_state(external_id="d", status=Status.EXPIRED)], now=NOW)
    with store.begin_write() as conn:
        silences.add(conn, Silence(starts_at=NOW, sources=("north",), comment="moving"), NOW)
    assert "1 of 5 connections needs attention now. 1 expired. 1 is silenced." in (await read(site, "/")).words


async def test_A04_a_channel_that_refuses_permanently_is_in_the_headline(site: Served, store: Store) -> None:
    for name in ("agency", "north", "south", "studio"):
        add_source(store, name, [make_state(external_id=name)], now=NOW)
    with store.begin_write() as conn:
        channel_states.record_failure(conn, "night", NOW, problem="It did not answer.", broken=False)
    page = await read(site, "/")
    assert "No action needed." in page.words  # it is retried automatically
    assert "1 failing channel night It did not answer." in page.words
    with store.begin_write() as conn:
        channel_states.record_failure(conn, "night", NOW, problem="404 from the webhook.", broken=True)
    page = await read(site, "/")
    assert "1 channel refuses every alert." in page.words
    assert "No action needed." not in page.words
    assert "night 404 from the webhook." in page.words
    assert "The channel refuses permanently. Correct its URL and reload the configuration." in page.words


async def test_stale_data_is_a_prominent_warning(full: Served, clock: ManualClock) -> None:
    page = await read(full, "/")
    assert "1 source with problems north The API could not be reached: connection refused." in page.words
    clock.advance(timedelta(hours=2))
    page = await read(full, "/")
    assert "4 sources with problems" in page.words
    assert "stale" in page.words


async def test_nothing_is_called_fine_if_a_source_cannot_be_read(site: Served, store: Store, clock: ManualClock) -> None:
    add_source(store, "agency", [make_state(external_id="a")], now=NOW)
    assert "3 of 4 sources have not been read yet. 1 connection is valid." in (await read(site, "/")).words
    for name in ("north", "south", "studio"):
        add_source(store, name, [make_state(external_id=name)], now=NOW + timedelta(hours=2))
    clock.advance(timedelta(hours=2))
    page = await read(site, "/")
    assert "The data of 1 of 4 connections is stale." in page.words
    assert "3 of 4 connections are valid; 1 was not read since Tue 10 Mar 2026 13:00 CET." in page.words
    assert "No known problems" not in page.words
    with store.begin_write() as conn:
        row = sources.find_source(conn, "agency")
        assert row is not None
        refused = replace(row, status=SourceStatus.UNAUTHORIZED, reason="unauthorized", message="The API refuses the key.")
        sources.save_source(conn, refused)
    page = await read(site, "/")
    assert "1 of 4 sources cannot be read: agency." in page.words.split("·")[0]
    assert "No known problems" not in page.words
    assert next(each["href"] for each in page.all("link") if each["rel"] == "icon").startswith("/static/favicon-bad.svg")


async def test_without_a_channel_the_page_shows_that_no_alert_will_be_sent(site: Served, store: Store) -> None:
    site.config = replace(site.config, channels=())
    page = await read(site, "/")
    assert "Getting started" in page.words
    assert "No channel is configured: no alert will be sent." in page.words
    for name in ("agency", "north", "south", "studio"):
        add_source(store, name, [make_state(external_id=name)], now=NOW)
    page = await read(site, "/")
    assert "No channel is configured: no alert will be sent." in page.words
    assert "the first poll" not in page.words


async def test_stale_connections_count_apart_and_can_be_selected(full: Served, store: Store) -> None:
    page = await read(full, "/")
    stale = await table(full, "status=stale&per=200")
    assert stale
    assert all(each.startswith("north/") for each in stale)
    assert "The data of 6 connections is stale: not read since Tue 10 Mar 2026 10:00 CET." in page.words
    assert "9 valid + 3 stale" in page.words
    assert "6 stale" in page.words
    with store.begin_read() as conn:
        valid = [row.public_id for row in connection_queries.list_connections(conn, ConnectionFilter(statuses=["valid"]))]
    assert sorted(await table(full, "status=stale&status=valid&per=200")) == sorted(set(valid) & set(stale))
    assert await table(full, "status=stale&source=agency") == []
    for path in ("/?source=north", "/clients"):
        assert "stale" in (await read(full, path)).words


@pytest.mark.parametrize(
    ("status", "tone", "title"),
    [
        (Status.VALID, "good", "No action needed."),
        (Status.UNKNOWN, "unsure", "No known problems."),
        (Status.EXPIRING_SOON, "soon", "4 of 4 connections expire soon."),
        (Status.FAILING, "bad", "(4) 4 of 4 connections need attention now."),
    ],
)
async def test_the_icon_and_the_title_of_the_tab_show_the_state(
    site: Served, store: Store, status: Status, tone: str, title: str
) -> None:
    for name in ("agency", "north", "south", "studio"):
        add_source(store, name, [make_state(external_id=name, status=status)], now=NOW)
    for path in ("/", "/connections/agency/agency"):
        page = await read(site, path)
        [icon] = [each["href"] for each in page.all("link") if each["rel"] == "icon"]
        assert icon.startswith(f"/static/favicon-{tone}.svg?")
        assert (await site.get(icon)).headers["content-type"] == "image/svg+xml"
    assert (await read(site, "/")).words.strip().startswith(title)


async def test_a_connection_page_leads_to_its_neighbours_in_the_list_it_was_opened_from(full: Served) -> None:
    for query in ("status=attention&sort=name", "source=south", "sort=platform", "status=stale&sort=expiry", "q=harbour"):
        listed = await table(full, f"{query}&per=200")
        for place, name in enumerate(listed):
            page = await read(full, f"/connections/{name}?{query}")
            links = {each.get("rel"): each["href"] for each in page.all("a") if each.get("rel") in ("prev", "next")}
            expected = {
                "prev": listed[place - 1] if place else None,
                "next": listed[place + 1] if place + 1 < len(listed) else None,
            }
            shown = {rel: link.removeprefix("/connections/").partition("?")[0] for rel, link in links.items()}
            assert shown == {rel: each for rel, each in expected.items() if each is not None}
            assert all(set(parse_qs(link.partition("?")[2])) == {*parse_qs(query), "sort"} for link in links.values())
    outside = await read(full, f"/connections/{VALID}?status=attention")
    assert "Back to the list" in outside.words
    assert "Back to the list" not in (await read(full, f"/connections/{VALID}")).words
    assert not [each for each in outside.all("a") if each.get("rel") in ("prev", "next")]


async def test_connections_that_need_action_come_with_advice_and_a_link(full: Served) -> None:
    page = await read(full, "/")
    assert "Reconnect LinkedIn in PostPost; for a page, sign in as one of its admins." in page.words
    assert {"https://app.postpost.dev", "https://app.publora.com"} & {a["href"].rstrip("/") for a in page.all("a")}
    away = [a for a in page.all("a") if a["href"].startswith("http")]
    assert away
    assert all({"noopener", "noreferrer"} <= set(a["rel"].split()) for a in away)


async def test_within_a_status_the_earliest_expiry_comes_first(site: Served, store: Store) -> None:
    site.config = replace(site.config, group_by="source")
    add_source(store, "agency", four_platforms(), now=NOW)
    answer = await site.get("/", headers=PAGE)
    cards = re.findall(r"1 account on (\w+)", answer.text)
    assert cards == ["TikTok", "LinkedIn", "Instagram", "Facebook"]


def four_platforms() -> list[ConnectionState]:
    soon = {"facebook": 6, "instagram": 5, "tiktok": 1, "linkedin": 3}
    return [
        make_state(external_id=name, platform=name, status=Status.EXPIRING_SOON, expires_at=NOW + timedelta(days=days))
        for name, days in soon.items()
    ]


async def test_the_accounts_of_a_client_are_on_one_card(site: Served, store: Store) -> None:
    add_source(store, "agency", four_platforms(), now=NOW)
    page = await read(site, "/")
    assert page.words.count("acme: 4 accounts on TikTok, LinkedIn, Instagram and 1 more platform") == 1
    [more] = [a["href"] for a in page.all("a") if "label=client%3Dacme" in a["href"] and "status=expiring_soon" in a["href"]]
    assert "source=agency" in more
    assert len(await table(site, more.partition("#")[0].lstrip("?"))) == 4


async def test_every_client_has_its_card_and_the_filters_hold(site: Served, store: Store) -> None:
    """Clients of one source, told apart by the labels of their connections; connections without one are on a card by platform."""
    states = [make_state(external_id=f"linkedin-{name}", display_name=name, status=Status.EXPIRED) for name in "abcd"]
    add_source(store, "agency", states, now=NOW)
    wanted = {"a": {"client": "Casa [1]"}, "b": {"client": "Casa [1]"}, "c": {"client": "Brava"}, "d": {}}
    with store.begin_write() as conn:
        for row in list(connection_queries.list_connections(conn)):
            key = label_sets.key_of(ConnectionLabels(wanted[row.state.snapshot.external_id[-1]]))
            ids = label_sets.ids_of(conn, [key])
            conn.execute(update(schema.connections).where(schema.connections.c.id == row.id).values(label_set=ids[key]))
    page = await read(site, "/")
    cards = re.findall(r"((?:\w+(?: \[1\])?: )?\d accounts? on LinkedIn) at agency (\w)\b", page.words)
    assert cards == [
        ("Casa [1]: 2 accounts on LinkedIn", "a"),
        ("1 account on LinkedIn", "d"),
        ("Brava: 1 account on LinkedIn", "c"),
    ]
    page = await read(site, "/?label=client%3DBrava")
    assert re.findall(r"\d accounts? on LinkedIn", page.words) == ["1 account on LinkedIn"]


async def test_the_counts_lead_to_what_they_count(full: Served, store: Store) -> None:
    page = await read(full, "/")
    with store.begin_read() as conn:
        counted = connection_queries.count_by_status(conn)
    for status, number in counted.items():
        stale = len(await table(full, f"status={status}&status=stale")) if not status.needs_attention else 0
        apart = f" + {stale} stale" if stale else ""
        assert f"{number - stale} {status.replace('_', ' ')}{apart}" in page.words
        assert len(await table(full, f"status={status}&per=200")) == number


async def test_the_worst_come_first(full: Served, store: Store) -> None:
    with store.begin_read() as conn:
        expected = [row.public_id for row in connection_queries.list_connections(conn)]
        rank = {row.public_id: row.state.verdict.status.rank for row in connection_queries.list_connections(conn)}
    shown = await table(full, "per=200")
    assert sorted(shown) == sorted(expected)
    assert [rank[each] for each in shown] == sorted((rank[each] for each in shown), reverse=True)


@pytest.mark.parametrize("order", ["worst", "expiry", "since", "name", "client", "platform", "source"])
async def test_paging_shows_everything_once(site: Served, store: Store, order: str) -> None:
    states = [make_state(external_id=f"c{number:03}", expires_at=NOW + timedelta(days=number % 7 + 10)) for number in range(130)]
    states += [make_state(external_id=f"e{number:03}", status=Status.EXPIRED) for number in range(30)]
    add_source(store, "agency", states, now=NOW)
    shown: list[str] = []
    for number in range(1, 8):
        shown += await table(site, f"sort={order}&per=25&page={number}")
    assert len(shown) == 160
    assert len(set(shown)) == 160
    assert await table(site, f"sort={order}&per=25&page=99999") == shown[-10:]


async def test_each_order_sorts_as_named(full: Served, store: Store) -> None:
    with store.begin_read() as conn:
        rows = {row.public_id: row.state for row in connection_queries.list_connections(conn)}
    far = NOW + timedelta(days=10_000)
    by_expiry = await table(full, "sort=expiry&per=200")
    assert [rows[each].token.expires_at or far for each in by_expiry] == sorted(
        rows[each].token.expires_at or far for each in rows
    )
    by_since = await table(full, "sort=since&per=200")
    assert [rows[each].verdict.since for each in by_since] == sorted(
        (state.verdict.since for state in rows.values()), reverse=True
    )
    by_name = await table(full, "sort=name&per=200")
    names = [rows[each].snapshot.label.lower() for each in by_name]
    assert names == sorted(names, key=lambda name: name.encode()) or names == sorted(names) or len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("source=agency", lambda row: row.source == "agency"),
        ("platform=linkedin", lambda row: row.state.snapshot.platform == "linkedin"),
        ("platform=x", lambda row: row.state.snapshot.platform == "twitter"),
        ("status=revoked&status=failing", lambda row: row.state.verdict.status in ("revoked", "failing")),
        ("status=attention", lambda row: row.state.verdict.status.needs_attention),
        ("label=client%3Dacme", lambda row: row.source == "agency"),
        ("q=NORDLICHT", lambda row: "nordlicht" in row.state.snapshot.label.lower()),
        ("q=agency%2Flinkedin", lambda row: row.public_id.startswith("agency/linkedin")),
        ("q=%25", lambda _: False),
        ("q=_", lambda row: "_" in row.public_id),
        ("source=agency&platform=linkedin&status=expired&q=acme", lambda row: row.public_id == EXPIRED),
        ("status=&source=&platform=&q=", lambda _: True),
        ("sort=nonsense&per=x&page=-1", lambda _: True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_filter_selects_as_named(full: Served, store: Store, query: str, expected: Any) -> None:
    with store.begin_read() as conn:
        wanted = {row.public_id for row in connection_queries.list_connections(conn) if expected(row)}
    assert set(await table(full, f"{query}&per=200")) == wanted


@pytest.mark.parametrize("query", ["source=agncy", "platform=fax", "status=exprd", "label=client%3Dnobody"])
async def test_a_filter_for_an_unknown_value_is_a_visible_problem(full: Served, query: str) -> None:
    page = await read(full, f"/?{query}")
    assert "Unknown" in page.words or "No connection has" in page.words
    assert await table(full, query) == []
    assert "No connection matches the filters." in page.words
    assert "Not every source has been read yet." not in page.words


async def test_a_pattern_of_labels_stays_in_the_filter_form(full: Served) -> None:
    page = await read(full, "/?label=client%3Dac*")
    assert {"value": "client=ac*", "selected": ""} in page.all("option")


async def test_filters_stay_in_every_link_of_the_list(full: Served) -> None:
    page = await read(full, "/?source=agency&q=acme&per=25")
    sorting = [a["href"] for a in page.all("a") if "sort=" in a["href"] and a["href"].startswith("?")]
    assert len(sorting) == 7  # six columns besides the order of now, and the reconnect batch
    assert all("source=agency" in link and "q=acme" in link and "per=25" in link for link in sorting)
    values = {field["name"]: field.get("value") for field in page.all("input")}
    assert values["q"] == "acme"


async def test_the_timeline_groups_expiries_into_reconnect_batches(site: Served, store: Store) -> None:
    days = (10, 11, 12.5, 14, 80, 95)
    states = [make_state(external_id=f"l{day}", expires_at=NOW + timedelta(days=day)) for day in days]
    states.append(make_state(external_id="broken", status=Status.EXPIRED, expires_at=NOW - timedelta(days=1)))
    states.append(make_state(external_id="untrusted", platform="facebook", expires_at=NOW + timedelta(days=5)))
    add_source(store, "agency", states, now=NOW)
    page = await read(site, "/")
    assert "5 tokens expire, in 3 reconnect batches (at most three days each). The largest contains 3 tokens" in page.words


# --- a connection


async def test_a_connection_page_shows_its_history(full: Served) -> None:
    page = await read(full, f"/connections/{EXPIRED}")
    for words in (
        "Acme Ltd",
        "The token has expired.",
        "Reconnect LinkedIn in PostPost",
        "Expired 2 days ago",
        "1 renewal in the period shown",
        "renewed: 2026-02-28T12:00:00Z → 2026-04-25T12:00:00Z",
        "renamed: old.name → acme.ltd",
        "Image too large",
        "w_member_social",
        "client=acme",
    ):
        assert words in page.words, words
    pictures = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(pictures) == 2
    assert all(svg.get("aria-labelledby") or svg.get("aria-label") for svg in pictures)


async def test_a_connection_page_shows_learned_renewals_as_a_picture_with_words(full: Served, store: Store) -> None:
    page = (await full.get("/connections/south/instagram-south008", headers=PAGE)).text
    assert "Renewed every 5 days, with about 3 days left." in page
    picture = re.search(r'<title id="renewals-words">(.*?)</title>', page, re.DOTALL)
    assert picture is not None
    for name in ("Last renewal:", "Next renewal expected:", "Overdue:", "Expiry:", "Now:"):
        assert name in picture[1]
    assert "<dd>unsupported" in page, "Postbreeze has no probes"
    assert 'id="renewals"' not in (await full.get(f"/connections/{VALID}", headers=PAGE)).text


async def test_a_connection_page_lists_lost_permissions(full: Served) -> None:
    page = (await full.get("/connections/agency/twitter-agency005", headers=PAGE)).text
    assert "<dt>Lost permissions</dt><dd><code><bdi>tweet.write</bdi></code>" in page
    assert "keep every permission selected, especially the missing ones: tweet.write." in page


async def test_a_former_id_leads_to_the_page_of_its_connection(full: Served, store: Store) -> None:
    with store.begin_write() as conn:
        (row,) = connection_queries.find_connections(conn, VALID)
        former_ids.add(conn, "agency", [ReplacedId(row.id, None, "tiktok-BEFORE")], NOW)
    page = (await full.get("/connections/agency/tiktok-BEFORE", headers=PAGE)).text
    assert f"<title>{row.state.snapshot.label}" in page
    assert "agency/tiktok-BEFORE" in page
    found = (await full.get("/api/v1/connections?connection=agency/tiktok-BEFORE")).json()["connections"]
    assert [each["id"] for each in found] == [VALID]


async def test_times_are_near_and_exact_in_the_configured_zone(full: Served) -> None:
    page = await read(full, f"/connections/{EXPIRED}")
    expiry = next(each for each in page.all("time") if each["datetime"] == "2026-03-08T12:00:00Z")
    assert {expiry["title"], "Sun 8 Mar 2026 13:00 CET"} & {"2 days ago", "Sun 8 Mar 2026 13:00 CET"}
    assert "2 days ago" in page.words


async def test_an_unknown_connection_is_a_404_page(full: Served) -> None:
    page = await read(full, "/connections/agency/nobody", status=404)
    assert "There is no connection with the ID agency/nobody" in page.words
    await read(full, "/connections/", status=404)
    await read(full, "/connections/agency", status=404)
    answer = await send(full, "/connections/agency/nobody", action="ack")
    assert answer.status_code in (404, 422)


async def test_a_retired_connection_keeps_its_page(full: Served, store: Store) -> None:
    with store.begin_write() as conn:
        row = connection_queries.find_connections(conn, VALID)[0]
        connections.retire(conn, row.id, NOW)
    page = await read(full, f"/connections/{VALID}")
    assert "This connection was retired" in page.words
    answer = await send(full, f"/connections/{VALID}", action="silence", comment="x", **{"for": "1h"})
    assert answer.status_code == 422


ODD = (
    "a b",
    "a?b=c",
    "a#b",
    "a%2Fb",
    "a/b",
    "../x",
    "x/..",
    "./x",
    "a//b",
    "é\u202e",
    "<b>",
    '"',
    "&amp;",
    "+",
    "a;b",
    "*",
    "[x]",
    "\\",
)


async def test_links_to_connections_work_for_any_id(site: Served, store: Store) -> None:
    states = [
        make_state(external_id=name, display_name=f"Odd {number}", status=Status.EXPIRED) for number, name in enumerate(ODD)
    ]
    add_source(store, "agency", states, now=NOW)
    for number, name in enumerate(ODD):
        page = await read(site, connection_link(f"agency/{name}"))
        assert f"Odd {number}" in page.words, name


async def test_scoped_ids_lead_to_their_connection(site: Served, store: Store) -> None:
    states = [
        make_state(
            external_id="same",
            scope=scope,
            display_name=f"Of {scope}",
            snapshot=make_snapshot(external_id="same", scope=scope, display_name=f"Of {scope}"),
        )
        for scope in (None, "user1", "user2")
    ]
    add_source(store, "agency", states, now=NOW)
    for path, name in (("same", "Of None"), ("user1/same", "Of user1"), ("user2/same", "Of user2")):
        assert name in (await read(site, f"/connections/agency/{path}")).words


# --- acknowledging and silencing


async def test_acknowledging_is_what_the_command_line_does(full: Served, store: Store) -> None:
    answer = await send(full, f"/connections/{EXPIRED}", action="ack", comment="Ann is at it", **{"for": "8h"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/connections/{EXPIRED}?said=acknowledged")
    page = await read(full, answer.headers["location"])
    assert "Acknowledged. No more alerts until the status worsens or the connection recovers." in page.words
    assert "Ann is at it" in page.words
    with store.begin_read() as conn:
        row = connection_queries.find_connections(conn, EXPIRED)[0]
        ack = incidents.find_open(conn, [row.id])[row.id].ack
        last = history.history_of(conn, row.id)
    assert ack is not None
    assert (ack.status, ack.comment, ack.until) == (Status.EXPIRED, "Ann is at it", NOW + timedelta(hours=8))
    noted = [entry for entry in last if entry.kind is EventKind.ACKNOWLEDGED]
    assert len(noted) == 1
    assert "the status page" in (noted[0].message or "")
    assert (await full.json("/api/v1/connections", status="expired", source="agency"))["connections"][0]["acked"] is True


async def test_an_acknowledgement_is_withdrawn_and_the_daemon_reviews_immediately(full: Served, store: Store) -> None:
    await send(full, f"/connections/{EXPIRED}", action="ack")
    answer = await send(full, f"/connections/{EXPIRED}", action="unack")
    assert answer.headers["location"].endswith("?said=unacknowledged")
    with store.begin_read() as conn:
        assert due_work.read(conn, NOW).next_review == NOW
    assert (await send(full, f"/connections/{EXPIRED}", action="unack")).status_code == 422


async def test_a_healthy_connection_cannot_be_acknowledged(full: Served, store: Store) -> None:
    before = count_rows(store)
    answer = await send(full, f"/connections/{VALID}", action="ack")
    assert answer.status_code == 422
    assert "has no open incident (it is valid): there is nothing to acknowledge." in Read(answer.text).words
    assert count_rows(store) == before


async def test_check_now_shows_that_it_is_pending_and_then_its_result(full: Served, store: Store, clock: ManualClock) -> None:
    page = await read(full, f"/connections/{EXPIRED}")
    assert "ahead of the schedule" in page.words
    answer = await send(full, f"/connections/{EXPIRED}", action="recheck")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/connections/{EXPIRED}")
    page = await read(full, f"/connections/{EXPIRED}")
    assert "Checking… The result appears here." in page.words
    html = (await full.get(f"/connections/{EXPIRED}")).text
    assert 'data-refresh="2"' in html
    assert '<noscript><meta http-equiv="refresh" content="4"></noscript>' in html
    await send(full, f"/connections/{EXPIRED}", action="recheck")
    with store.begin_write() as conn:
        row = connection_queries.find_connections(conn, EXPIRED)[0]
        [pending] = rechecks.pending_of_connections(conn, [row.id])
        assert pending.requested_by == "the status page"
        rechecks.start(conn, [(pending.id, Status.EXPIRED)], NOW)
        result = rechecks.RecheckResult(
            id=pending.id,
            outcome=rechecks.RecheckOutcome.NEEDS_ATTENTION,
            message="The <b>token</b> has expired.",
            status_after=Status.EXPIRED,
        )
        rechecks.finish(conn, [result], NOW)
    page = await read(full, f"/connections/{EXPIRED}")
    assert "Needs attention: The <b>token</b> has expired." in page.words
    assert 'data-refresh="30"' in (await full.get(f"/connections/{EXPIRED}")).text


async def test_check_now_is_limited_and_refused_for_a_retired_connection(
    full: Served, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.engine.rechecks.MOST_PER_MINUTE", 1)
    assert (await send(full, f"/connections/{EXPIRED}", action="recheck")).status_code == 303
    answer = await send(full, f"/connections/{VALID}", action="recheck")
    assert answer.status_code == 422
    assert "Try again in a minute." in Read(answer.text).words
    with store.begin_write() as conn:
        conn.exec_driver_sql("UPDATE connections SET retired_at = added_at")
    assert (await send(full, f"/connections/{EXPIRED}", action="recheck")).status_code == 422
    assert "Check now" not in (await read(full, f"/connections/{EXPIRED}")).words


async def test_silencing_one_connection_silences_no_other(full: Served, store: Store) -> None:
    answer = await send(full, f"/connections/{EXPIRED}", action="silence", comment="They know", **{"for": "7d"})
    assert answer.headers["location"].endswith("?said=silenced")
    assert "silenced: silence 3" in (await read(full, f"/connections/{EXPIRED}")).words
    with store.begin_read() as conn:
        made = silences.list_silences(conn)[-1]
        assert due_work.read(conn, NOW).next_review == NOW
    assert (made.connections, made.ends_at, made.comment) == ((EXPIRED,), NOW + timedelta(days=7), "They know")
    silenced = [row for row in (await full.json("/api/v1/connections"))["connections"] if row["silenced_until"]]
    assert EXPIRED in {row["id"] for row in silenced}
    assert "silenced" in (await read(full, f"/connections/{EXPIRED}")).words


@pytest.mark.parametrize("name", ["a*", "[x]", "?", "a[b]*c?"])
async def test_a_silence_of_one_connection_escapes_glob_characters(site: Served, store: Store, name: str) -> None:
    """An untrusted ID must not work as a pattern."""
    states = [make_state(external_id=each, status=Status.EXPIRED) for each in (name, "abc", "x", "a", "axbc")]
    add_source(store, "agency", states, now=NOW)
    await send(site, connection_link(f"agency/{name}"), action="silence", comment="x", **{"for": "1h"})
    rows = (await site.json("/api/v1/connections"))["connections"]
    assert [row["external_id"] for row in rows if row["silenced_until"]] == [name]
    assert literal(name) != name or not set("*?[") & set(name)


async def test_a_silence_is_added_and_removed(full: Served, store: Store) -> None:
    answer = await send(
        full, "/silences", source=["agency", "studio"], platform="x", label="client=acme", comment="Weekend", **{"for": "removed"}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/silences?said=silenced")
    with store.begin_read() as conn:
        made = silences.list_silences(conn)[-1]
    assert (made.sources, made.platforms, made.labels, made.ends_at) == (
        ("agency", "studio"),
        ("twitter",),
        {"client": "acme"},
        None,
    )
    assert "Weekend" in (await read(full, "/silences")).words
    answer = await send(full, f"/silences/{made.id}/remove")
    assert answer.headers["location"] == "/silences?said=lifted"
    assert "Weekend" not in (await read(full, "/silences")).words
    assert "Weekend" in (await read(full, "/silences?all=yes")).words
    again = await send(full, f"/silences/{made.id}/remove")
    assert again.status_code == 422
    assert "was removed already" in Read(again.text).words


async def test_dates_of_a_silence_are_in_the_configured_zone(full: Served, store: Store) -> None:
    await send(
        full,
        "/silences",
        connection="agency/* studio/*",
        comment="Fair",
        **{"from": "2026-07-01T08:00", "until": "2026-07-02T08:00"},
    )
    with store.begin_read() as conn:
        made = silences.list_silences(conn)[-1]
    assert made.connections == ("agency/*", "studio/*")
    assert (made.starts_at.isoformat(), made.ends_at and made.ends_at.isoformat()) == (
        "2026-07-01T06:00:00+00:00",
        "2026-07-02T06:00:00+00:00",
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"for": "1h", "comment": "x"}, "Choose a source, a platform, a label or connections to silence."),
        ({"source": "agency", "for": "1h"}, "Give a reason."),
        ({"source": "agency", "comment": "x"}, "Give an end or a length."),
        ({"source": "agency", "comment": "x", "for": "900y"}, "This length is not offered."),
        ({"source": "agncy", "comment": "x", "for": "1h"}, "There is no such source."),
        ({"label": "a=b", "comment": "x", "for": "1h"}, "There is no such label."),
        ({"source": "agency", "comment": "x", "until": "2020-01-01T00:00"}, "The end must be in the future and after the start."),
        ({"source": "agency", "comment": "x", "until": "soon"}, "The date and time are not valid."),
        ({"source": "agency", "comment": "x", "until": "2030-01-01T00:00", "for": "1h"}, "not both"),
        ({"source": "agency", "comment": "x" * 401, "for": "1h"}, "at most 400 characters"),
    ],
    ids=str,
)
async def test_an_invalid_silence_is_refused_and_the_form_keeps_its_values(
    full: Served, store: Store, fields: dict[str, str], problem: str
) -> None:
    before = count_rows(store)
    answer = await send(full, "/silences", **fields)
    page = Read(answer.text)
    assert answer.status_code == 422
    assert problem in page.words
    typed = {field["name"]: field.get("value", "") for field in page.all("input") if field.get("type") != "hidden"}
    assert typed["comment"] == fields.get("comment", "")
    assert count_rows(store) == before


async def test_only_known_notices_are_shown(full: Served) -> None:
    page = await read(full, "/?said=" + urlencode({"": "You have won"})[1:])
    assert "You have won" not in page.words


# --- alerts and sources


async def test_alerts_are_listed_with_their_deliveries_and_explained(full: Served) -> None:
    page = await read(full, "/alerts")
    assert "night dead" in page.words
    assert "ops sent" in page.words
    links = [a["href"] for a in page.all("a") if a["href"].startswith("/alerts/alert-")]
    assert len(links) == 11
    story = await read(full, links[0])
    assert "The first alert of an incident." in story.words
    assert "ops receives it after a group wait of 10 seconds." in story.words
    assert "token-monitor alerts retry" in (await read(full, next(iter(await dead(full))))).words


async def test_an_alert_with_many_attempts_shows_the_number_of_pruned_ones(full: Served) -> None:
    now = full.site.clock.now()
    with full.site.store.begin_write() as conn:
        outbox.add_deliveries(conn, [("alert-1", "third", now)], now)
        for _ in range(60):
            [one] = outbox.claim(conn, channel="third", owner="me", now=now, lease=timedelta(minutes=1), limit=1)
            again = now - timedelta(minutes=1)
            outbox.mark_failed(conn, [one.delivery_id], "me", now, next_attempt_at=again, detail="It answered 503.")
        thinned = maintenance.prune(conn, now, history=timedelta(days=400), polls_kept=timedelta(days=30)).attempts
    words = (await read(full, "/alerts/alert-1")).words
    assert words.count("It answered 503.") == 60 - thinned
    assert f"{thinned} more failed attempts." in words
    assert "Due with the channel's next attempt." in words


async def test_a_skipped_delivery_shows_the_reason(full: Served) -> None:
    now = full.site.clock.now()
    with full.site.store.begin_write() as conn:
        outbox.add_deliveries(conn, [("alert-1", "old", now)], now)
        handover.hand_over_removed(conn, full.site.config().channels, now)
    words = (await read(full, "/alerts/alert-1")).words
    assert "old skipped Not sent: the channel old is no longer configured." in words


async def dead(site: Served) -> list[str]:
    page = await read(site, "/alerts?state=dead")
    return [a["href"] for a in page.all("a") if a["href"].startswith("/alerts/alert-")]


async def test_alerts_are_filtered(full: Served) -> None:
    assert len(await dead(full)) == 2
    for query, words in (("event=expired", "2 of 2"), ("source=studio", "of 2"), ("platform=linkedin&event=expired", "of 2")):
        assert words in (await read(full, f"/alerts?{query}")).words, query
    assert "Unknown event nonsense: no alert matches." in (await read(full, "/alerts?event=nonsense")).words
    assert "No alert matches the filters." in (await read(full, "/alerts?event=nonsense")).words


async def test_an_unknown_alert_is_a_404_page(full: Served) -> None:
    assert "There is no alert with the ID nothing" in (await read(full, "/alerts/nothing", status=404)).words
    assert "There is no alert with the ID alert" in (await read(full, "/alerts/alert", status=404)).words


async def test_the_sources_page_shows_the_health_of_sources_and_channels(full: Served) -> None:
    page = await read(full, "/sources")
    for words in (
        "north failing",
        "The API could not be reached: connection refused.",
        "600 requests per minute",
        "night broken",
        "404 from the webhook.",
        "ops ok",
    ):
        assert words in page.words, words


# --- untrusted names


async def test_S07_S08_three_hundred_hostile_names_break_out_of_nothing(site: Served, store: Store) -> None:
    states = [
        make_state(
            external_id=f"n{number:03}",
            display_name=name[:256],
            username=name[:256],
            status=Status.EXPIRED,
            profile_url=name[:256],
        )
        for number, name in enumerate(HOSTILE)
    ]
    keys = add_source(store, "agency", states, now=NOW)
    pages = [f"/?per=200&page={number}" for number in (1, 2)] + [f"/?{urlencode({'q': name[:500]})}" for name in HOSTILE[::10]]
    pages += [f"/connections/agency/n{number:03}" for number in range(0, len(keys), 12)]
    plain = await read(site, "/?q=nothing-like-it")
    for path in pages:
        page = await read(site, path)
        assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags} | KNOWN, path
        assert len(page.all("script")) == 1, path
        for tag, attributes in page.tags:
            assert not any(name.startswith("on") or name == "style" for name in attributes), (path, tag)
            assert not re.match(r"\s*(javascript|data|vbscript):", attributes.get("href", ""), re.IGNORECASE), path
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", page.words.replace("\n", " ")
        ), path


KNOWN = {
    "article",
    "text",
    "bdi",
    "small",
    "header",
    "h3",
    "circle",
    "time",
    "code",
    "dl",
    "dt",
    "dd",
    "div",
    "details",
    "summary",
    "i",
    "q",
    "ol",
    "br",
    "rect",
    "line",
    "g",
}


@pytest.mark.parametrize("name", HOSTILE[::25])
async def test_hostile_addresses_are_answered(site: Served, name: str) -> None:
    for path in ("/", "/alerts", "/silences", "/sources", "/login"):
        answer = await site.client.get(
            site.url + path, params={"q": name[:2000], "source": name[:500], "said": name[:500], "page": name[:50]}
        )
        assert answer.status_code in (200, 303, 400)
    answer = await site.get(connection_link("agency/" + name[:500]), headers=PAGE)
    assert answer.status_code in (404, 400)
    assert "<script>alert" not in answer.text


# --- the theme


@pytest.mark.parametrize(("chosen", "kept"), [("dark", "dark"), ("light", "light"), ("auto", "auto"), ("<b>", "auto")])
async def test_the_theme_is_kept(site: Served, chosen: str, kept: str) -> None:
    answer = await send(site, "/theme", theme=chosen, next="/alerts?event=expired")
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts?event=expired")
    page = await read(site, "/alerts")
    assert page.all("html")[0]["data-theme"] == kept
    pressed = [button for button in page.all("button") if button.get("aria-pressed") == "true"]
    assert [button["value"] for button in pressed] == [kept]
