"""Shared pages: one client's accounts in plain words, for everybody who has the address."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.store import Store, shares
from monitor.web.clients import WRONG_AT_MOST
from tests.support.clients_world import BRAVA, COMMENTS, DORADA, ERRORS, IMPOSTOR, OWN, OWNER, clients_world
from tests.support.fakes import ManualClock
from tests.support.web_client import Served, serving

PAGE = {"accept": "text/html"}
DAY = timedelta(days=1)


@pytest.fixture
async def site(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Served]:
    """The pages of two teams and three clients."""
    async with clients_world(store, clock, tmp_path) as config, serving(store, config, clock) as served:
        yield served


def share(store: Store, clock: ManualClock, **labels: str) -> tuple[int, str]:
    """Add a share for 90 days, and return its id and its path."""
    now = clock.now()
    with store.begin_write() as conn:
        number, secret = shares.add(conn, labels, until=now + 90 * DAY, now=now, author="ann")
    return number, f"/share/{secret}"


def words(text: str) -> str:
    """Return the text of a page."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


async def test_a_shared_page_shows_one_client_in_plain_words(site: Served, store: Store, clock: ManualClock) -> None:
    _, path = share(store, clock, client="casa")
    answer = await site.get(path, headers=PAGE)
    assert answer.status_code == 200
    text = words(answer.text)
    assert "Social accounts of casa" in text
    assert "2 of 3 accounts need reconnecting. 1 more expires soon." in text
    assert re.search(r"casacanary on tiktok TikTok Needs reconnecting since 10 Mar", text), text
    assert re.search(r"casacanary on linkedin LinkedIn Expires in 1 day 23 hours \(12 Mar\)", text), text
    assert "Last checked" not in text


async def test_a_shared_page_holds_no_id_no_error_and_no_other_client(site: Served, store: Store, clock: ManualClock) -> None:
    _, path = share(store, clock, client="casa")
    answer = await site.get(path, headers=PAGE)
    body = answer.content.decode() + repr(answer.headers)
    for word in (
        *BRAVA,
        *DORADA,
        *IMPOSTOR,
        *OWNER,
        *ERRORS,
        *COMMENTS,
        OWN[1],
        "agency",
        "casacanarytiktok",
        "postpost",
        "PostPost",
    ):
        assert word not in body, word
    links = re.findall(r'(?:href|src|action)="([^"]*)"', answer.text)
    assert all(link.startswith(("/static/", "#i-")) for link in links), links
    assert "<form" not in answer.text


async def test_a_shared_page_marks_old_data(site: Served, store: Store, clock: ManualClock) -> None:
    _, path = share(store, clock, client="casa")
    clock.advance(2 * DAY)
    text = words((await site.get(path, headers=PAGE)).text)
    assert "The information below is not up to date" in text
    assert text.count("Last checked 2 days ago") == 3
    assert "3 of 3 accounts need reconnecting." in text  # the clock is applied


async def test_a_shared_page_is_not_kept_or_passed_on(site: Served, store: Store, clock: ManualClock) -> None:
    _, path = share(store, clock, client="casa")
    headers = (await site.get(path, headers=PAGE)).headers
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "noindex" in headers["x-robots-tag"]
    assert "set-cookie" not in headers


async def test_a_share_ends_when_it_is_revoked_or_expires(site: Served, store: Store, clock: ManualClock) -> None:
    (first, one), (_, two) = share(store, clock, client="casa"), share(store, clock, team="red")
    assert "bravacanary on tiktok" in (await site.get(two, headers=PAGE)).text
    with store.begin_write() as conn:
        assert shares.revoke(conn, first, now=clock.now(), author="bob") == [first]
        assert shares.revoke(conn, first, now=clock.now(), author="bob") == []
    assert (await site.get(one, headers=PAGE)).status_code == 410
    assert (await site.get(two, headers=PAGE)).status_code == 200
    clock.advance(90 * DAY)
    ended = await site.get(two, headers=PAGE)
    assert ended.status_code == 410
    assert "canary" not in ended.text
    with store.begin_read() as conn:
        assert [(each.revoked_by, each.last_read_at is not None) for each in shares.list_shares(conn)] == [
            ("bob", False),
            (None, True),
        ]


async def test_wrong_links_are_limited_and_the_right_one_is_accepted(site: Served, store: Store, clock: ManualClock) -> None:
    _, path = share(store, clock, client="casa")
    for wrong in (path[:-1], f"{path}x", "/share/%ff", "/share/x"):
        answer = await site.get(wrong, headers=PAGE)
        assert answer.status_code == 404
        assert "canary" not in answer.text
    for _ in range(WRONG_AT_MOST):
        last = await site.get("/share/guess", headers=PAGE)
    assert last.status_code == 429
    assert (await site.get(path, headers=PAGE)).status_code == 200


async def test_only_digests_of_the_addresses_are_stored(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    from sqlalchemy import select

    from monitor.store import schema

    _, path = share(store, clock, client="casa")
    with store.begin_read() as conn:
        [row] = conn.execute(select(schema.shares)).all()
        assert path.removeprefix("/share/") not in repr(row)
        assert shares.find(conn, "") is None


async def test_a_share_without_labels_shows_nothing(site: Served, store: Store, clock: ManualClock) -> None:
    _, path = share(store, clock)
    text = words((await site.get(path, headers=PAGE)).text)
    assert "There are no accounts to show at the moment." in text
    assert "canary" not in text
