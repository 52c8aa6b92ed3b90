"""Sessions, the signing key, and links: kept in the store, ended on the server, and without a test of guesses at the token."""

from __future__ import annotations

import hashlib
import hmac
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from sqlalchemy import select

from monitor.config import Config, Secret, load
from monitor.domain.records import replace
from monitor.store import Store, alerts, maintenance, meta, web_sessions
from monitor.store.schema import web_sessions as table
from monitor.telemetry import logs
from monitor.web import auth, security
from monitor.web.auth import Access, User
from monitor.web.clients import MOST_CLIENTS, WRONG_AT_MOST, WrongTokens, client_of
from tests.support import canary
from tests.support.command_line import make_world, write_config
from tests.support.factories import NOW, make_alert
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import count_rows
from tests.support.web_client import Served, serving

TOKEN = canary.WEB_TOKEN
OPERATOR = User(name="token", token=TOKEN)
PAGE = {"accept": "text/html"}
FORMER_SESSION = f"k.1767225600.{'x' * 22}.{'0' * 64}"
"""A cookie as version 0.1 made it."""
FORMER_SIGNATURE = "0123456789abcdef" * 2


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(write_config(tmp_path), {}).config


@pytest.fixture
async def guarded(store: Store, config: Config, clock: ManualClock) -> AsyncIterator[Served]:
    make_world(store, NOW)
    async with serving(store, config, clock, token=TOKEN) as served:
        yield served


async def log_in(site: Served, token: str = TOKEN) -> httpx.Response:
    return await post(site, "/login", token=token)


async def post(site: Served, path: str, form: str = "/login", **fields: str) -> httpx.Response:
    """Fill in a form as a browser does."""
    csrf = re.search(r'name="csrf" value="([^"]+)"', (await site.get(form, headers=PAGE)).text)
    assert csrf is not None
    return await site.client.post(site.url + path, data={"csrf": csrf[1], **fields}, headers=PAGE)


def cookie(site: Served) -> str:
    return site.client.cookies[security.cookie_name(site.config)]


async def status_with(site: Served, value: str, path: str = "/api/v1/connections") -> int:
    """What another browser gets with this cookie."""
    async with httpx.AsyncClient(trust_env=False) as other:
        return (await other.get(site.url + path, headers={"cookie": f"{security.cookie_name(site.config)}={value}"})).status_code


@pytest.fixture
def logged() -> Iterator[Callable[[], str]]:
    """The log of this test."""
    written = io.StringIO()
    logs.configure("debug", "json", stream=written)
    try:
        yield written.getvalue
    finally:
        logs.configure()


# --- the key


def test_the_key_is_random_and_made_once(store: Store) -> None:
    with store.begin_write() as conn:
        assert meta.get(conn, "web_key") is None
        key = web_sessions.signing_key(conn)
        assert len(key) == 32
        assert web_sessions.signing_key(conn) == key


def test_two_daemons_that_make_the_key_simultaneously_agree(database_url: str) -> None:
    def make(number: int) -> bytes:
        with stores[number].begin_write() as conn:
            return web_sessions.signing_key(conn)

    with ExitStack() as stack:
        stores = [stack.enter_context(Store(database_url)) for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            assert len(set(threads.map(make, range(8)))) == 1


async def test_S21_nothing_that_is_served_without_the_token_tests_a_guess_at_it(guarded: Served) -> None:
    """Version 0.1 derived its key from the token: one request allowed any number of guesses offline."""
    answer = await guarded.get("/login", headers=PAGE)
    key = hashlib.sha256(b"token-monitor web 1\0" + TOKEN.encode()).digest()
    text, _, mac = cookie(guarded).rpartition(".")
    assert mac != hmac.new(key, f"session\0{text}".encode(), hashlib.sha256).hexdigest()
    found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
    assert found is not None
    for purpose, signed in (("csrf", cookie(guarded)), ("csrf", text)):
        assert found[1] != hmac.new(key, f"{purpose}\0{signed}".encode(), hashlib.sha256).hexdigest()
    # The same key gives the same answers whatever the token is.
    assert found[1] == Access([User(name="token", token="another token")], guarded.site.signing_key).csrf(cookie(guarded))


async def test_forms_and_sessions_outlive_a_restart(store: Store, config: Config, clock: ManualClock) -> None:
    for token in (None, TOKEN):
        async with serving(store, config, clock, token=token) as site:
            if token:
                await log_in(site)
            csrf = re.search(r'name="csrf" value="([^"]+)"', (await site.get("/", headers=PAGE)).text)
            assert csrf is not None
            given = cookie(site)
        async with serving(store, config, clock, token=token) as site:
            name = security.cookie_name(site.config)
            done = await site.client.post(
                f"{site.url}/theme", data={"csrf": csrf[1], "theme": "dark"}, headers={"cookie": f"{name}={given}"}
            )
            assert done.status_code == 303


# --- sessions


async def test_the_database_holds_nothing_that_opens_a_session(guarded: Served, store: Store) -> None:
    await log_in(guarded)
    with store.begin_read() as conn:
        (row,) = conn.execute(select(table)).mappings().all()
    assert re.fullmatch("[A-Za-z0-9_-]{43}", cookie(guarded)), "a random id and nothing else"
    assert cookie(guarded) not in repr(row)
    assert TOKEN not in repr(row)
    assert row["credential"] != hashlib.sha256(TOKEN.encode()).hexdigest()
    assert await status_with(guarded, row["id"]) == 401
    assert await status_with(guarded, cookie(guarded)) == 200


async def test_S23_logging_out_ends_the_session_on_the_server(guarded: Served) -> None:
    await log_in(guarded)
    value = cookie(guarded)
    assert await status_with(guarded, value) == 200
    assert (await post(guarded, "/logout", form="/")).status_code == 303
    assert await status_with(guarded, value) == 401, "the old cookie opens nothing, in whatever browser it is"


async def test_a_login_gets_a_new_id_that_no_other_user_knows(guarded: Served) -> None:
    await guarded.get("/login", headers=PAGE)
    before = cookie(guarded)
    await log_in(guarded)
    assert cookie(guarded) != before
    assert await status_with(guarded, before) == 401


async def test_a_new_token_ends_the_sessions_of_the_old_one_for_good(guarded: Served, store: Store) -> None:
    await log_in(guarded)
    value = cookie(guarded)
    web = guarded.config.web
    guarded.config = replace(guarded.config, web=replace(web, token=Secret("another-token-of-the-web")))
    assert await status_with(guarded, value) == 401
    guarded.client.cookies.clear()
    await log_in(guarded, "another-token-of-the-web")
    guarded.config = replace(guarded.config, web=web)
    assert await status_with(guarded, value) == 401
    with store.begin_read() as conn:
        assert len(conn.execute(select(table)).all()) == 1


async def test_requests_write_nothing(guarded: Served, store: Store) -> None:
    await log_in(guarded)
    before = count_rows(store)
    for path in ("/", "/login", "/api/v1/connections", "/healthz"):
        await guarded.get(path, headers=PAGE)
        await status_with(guarded, "", path)
    assert count_rows(store) == before


async def test_the_retention_job_deletes_expired_sessions(guarded: Served, store: Store, clock: ManualClock) -> None:
    def left() -> int:
        with store.begin_write() as conn:
            maintenance.prune(conn, clock.now(), history=None, polls_kept=None)
            return len(conn.execute(select(table)).all())

    await log_in(guarded)
    clock.advance(auth.SESSION_LASTS - timedelta(seconds=1))
    assert left() == 1
    clock.advance(timedelta(seconds=1))
    assert left() == 0


@pytest.mark.parametrize("backend", ["sqlite"])  # a file can be moved away, a server cannot
async def test_without_the_store_unauthenticated_clients_get_503_without_details(guarded: Served, store: Store) -> None:
    assert store.path is not None
    await log_in(guarded)
    store.path.rename(store.path.with_suffix(".gone"))
    for path in ("/", "/api/v1/connections", "/feed.atom"):
        answer = await guarded.get(path, headers=PAGE)
        assert answer.status_code == 503
        assert "database is not available" in answer.text
        assert str(store.path.parent) not in answer.text
        assert answer.headers["retry-after"] == "5"
    guarded.client.cookies.clear()
    assert (await log_in(guarded)).status_code == 503
    for path in ("/healthz", "/readyz"):
        assert set((await guarded.get(path)).json()) == {"status"}


# --- sessions and links of version 0.1


async def test_a_session_of_version_0_1_is_gone_and_the_login_works(guarded: Served) -> None:
    name = security.cookie_name(guarded.config)
    old = {**PAGE, "cookie": f"{name}={FORMER_SESSION}"}
    answer = await guarded.get("/", headers=old)
    assert answer.status_code == 410
    assert "Log in again" in answer.text
    assert answer.headers["set-cookie"].startswith(f"{name}=")
    assert FORMER_SESSION not in answer.headers["set-cookie"]
    guarded.client.cookies.clear()
    assert (await guarded.get("/api/v1/connections", headers={"cookie": f"{name}={FORMER_SESSION}"})).status_code == 410
    assert (await guarded.get("/login", headers=old)).status_code == 200
    assert (await log_in(guarded)).status_code == 303


async def test_a_link_of_version_0_1_is_gone_and_names_the_way_to_a_new_one(guarded: Served) -> None:
    for path in auth.FEEDS:
        for query in (f"sig={FORMER_SIGNATURE}", f"label=client%3Dbravo&sig={FORMER_SIGNATURE}"):
            answer = await guarded.get(f"{path}?{query}")
            assert answer.status_code == 410
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert "Copy a new one from the foot of the status page." in answer.text
            page = await guarded.get(f"{path}?{query}", headers=PAGE)
            assert page.status_code == 410
            assert page.headers["content-type"].startswith("text/html")
    await log_in(guarded)
    assert (await guarded.get(f"/feed.atom?sig={FORMER_SIGNATURE}")).status_code == 200, "the session opens it"


# --- links hold their filter


def links_in(page: str) -> dict[str, str]:
    return {
        path: address.replace("&amp;", "&") for address, path in re.findall(r'href="((/[a-z]+\.[a-z]+)\?[^"]*sig=[^"]*)"', page)
    }


async def test_the_page_makes_links_for_its_filter(guarded: Served, store: Store) -> None:
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(), None, None), (make_alert(id="b", source="studio"), None, None)])
    await log_in(guarded)
    page = (await guarded.get("/?source=studio&status=attention&page=1", headers=PAGE)).text
    found = links_in(page)
    assert set(found) == set(auth.FEEDS)
    guarded.client.cookies.clear()
    for path, link in found.items():
        assert link.startswith(f"{path}?source=studio&sig=v2.")
        assert (await guarded.get(link)).status_code == 200
    assert (await guarded.get(found["/feed.atom"])).text.count("<entry>") == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda pairs: [pair for pair in pairs if pair[0] != "label"],
        lambda pairs: [*pairs, ("source", "studio")],
        lambda pairs: [*pairs, ("source", "agency")],
        lambda pairs: [(name, "client=globex" if name == "label" else value) for name, value in pairs],
        lambda pairs: [*pairs, ("x", "")],
        lambda pairs: [*pairs, ("label", "client=globex")],
        lambda pairs: [("label", "client=globex"), *pairs],
        lambda pairs: [*pairs[1:], pairs[0], ("sig", "v2." + "0" * 32)][1:],
    ],
)
async def test_S27_a_link_opens_its_own_filter_alone(
    guarded: Served, change: Callable[[list[tuple[str, str]]], list[tuple[str, str]]]
) -> None:
    filters = [("label", "client=acme"), ("source", "agency")]
    for path in auth.FEEDS:
        pairs = [*filters, ("sig", Access([OPERATOR], guarded.site.signing_key).sign(OPERATOR, path, filters))]
        assert (await guarded.get(f"{path}?{urlencode(pairs)}")).status_code == 200
        assert (await guarded.get(f"{path}?{urlencode(pairs[::-1])}")).status_code == 200, "readers may sort parameters"
        answer = await guarded.get(f"{path}?{urlencode(change(pairs))}")
        assert answer.status_code == 401
        assert "linkedin" not in answer.text


async def test_the_order_of_one_parameters_values_is_signed(guarded: Served) -> None:
    """The last of two values for one label decides."""
    access = Access([OPERATOR], guarded.site.signing_key)
    pairs = [("label", "client=globex"), ("label", "client=acme")]
    assert access.sign(OPERATOR, "/feed.atom", pairs) != access.sign(OPERATOR, "/feed.atom", pairs[::-1])


async def test_links_hold_no_signature_without_a_token(store: Store, config: Config, clock: ManualClock) -> None:
    make_world(store, NOW)
    async with serving(store, config, clock) as site:
        page = (await site.get("/?label=client%3Dacme", headers=PAGE)).text
    assert dict(parse_qsl(re.findall(r'href="/calendar\.ics\?([^"]*)"', page)[0])) == {"label": "client=acme"}


# --- wrong tokens


@pytest.mark.parametrize("way", ["form", "bearer"])
async def test_S22_wrong_tokens_are_limited_and_the_right_one_is_accepted(guarded: Served, clock: ManualClock, way: str) -> None:
    async def attempt(token: str) -> httpx.Response:
        guarded.client.cookies.clear()
        if way == "form":
            return await log_in(guarded, token)
        return await guarded.get("/api/v1/connections", headers={"authorization": f"Bearer {token}"})

    refused, right = (403, 303) if way == "form" else (401, 200)
    for number in range(WRONG_AT_MOST):
        assert (await attempt(f"guess-{number}")).status_code == refused
    for _ in range(5):
        answer = await attempt("guess")
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert (await attempt(TOKEN)).status_code == right
    assert (await attempt("guess")).status_code == 429
    clock.advance(timedelta(minutes=1))
    assert (await attempt("guess")).status_code == refused


async def test_a_wrong_bearer_does_not_close_what_is_open(guarded: Served) -> None:
    wrong = {"authorization": "Bearer guess"}
    for _ in range(WRONG_AT_MOST + 5):
        assert (await guarded.get("/healthz", headers=wrong)).status_code == 200
    await log_in(guarded)
    assert (await guarded.get("/", headers={**PAGE, **wrong})).status_code == 200


def test_clients_are_limited_separately_and_in_bounded_memory(clock: ManualClock) -> None:
    wrong, now = WrongTokens(), clock.now()
    for _ in range(WRONG_AT_MOST + 1):
        wrong.count("192.0.2.1", now)
    assert wrong.retry_after("192.0.2.1", now) == 60
    assert wrong.retry_after("192.0.2.2", now) is None
    assert wrong.retry_after("192.0.2.1", now - timedelta(days=1)) is None, "the clock was set back"
    for number in range(MOST_CLIENTS * 2):
        wrong.count(f"10.0.{number // 250}.{number % 250}", now)
    assert len(wrong._clients) == MOST_CLIENTS


def test_wrong_tokens_do_not_flood_the_log(clock: ManualClock, logged: Callable[[], str]) -> None:
    wrong = WrongTokens()
    for number in range(500):
        wrong.count(f"10.0.{number // 250}.{number % 250}", clock.now())
        wrong.count("2001:db8::1", clock.now())
    assert 1 <= logged().count("web.wrong_token") <= 20
    clock.advance(timedelta(minutes=1))
    wrong.count("2001:db8::2", clock.now())
    assert '"client": "2001:db8::2"' in logged().splitlines()[-1]


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("", "unknown"),
        (None, "unknown"),
        ("socket", "unknown"),
    ],
)
def test_a_client_is_an_address_or_a_network(address: str | None, client: str) -> None:
    assert client_of(address) == client
