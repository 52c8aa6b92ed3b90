"""The gate before the pages, over a real socket: names, tokens, forms, limits, headers (FAILURES S7, S11, S12)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from monitor.config import Secret
from monitor.domain.records import replace
from monitor.store import Store, silences
from monitor.telemetry import logs
from monitor.web import auth, connections, protocol, security
from monitor.web.auth import Access, User
from monitor.web.login import local
from tests.support import canary
from tests.support.fakes import ManualClock
from tests.support.incidents import all_open
from tests.support.poll_cycle import count_rows
from tests.support.web_client import Served, serving
from tests.support.web_world import web_config

TOKEN = canary.WEB_TOKEN
PAGE = {"accept": "text/html"}
PAGES = ("/", "/forecast", "/sources", "/alerts", "/silences", "/connections/agency/linkedin-agency000", "/alerts/alert-1")
EVERYTHING = (*PAGES, "/login", "/nothing", "/static/page.css", "/healthz", "/metrics", "/api/v1/connections")


@pytest.fixture
def store(filled_store: Store) -> Store:
    """One kind of database is enough here."""
    return filled_store


@pytest.fixture
async def open_site(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Served]:
    """A page on loopback without a token."""
    async with serving(store, web_config(tmp_path), clock) as served:
        yield served


@pytest.fixture
async def guarded(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Served]:
    """A page with a token."""
    async with serving(store, web_config(tmp_path), clock, token=TOKEN) as served:
        yield served


def csrf_in(answer: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', answer.text)
    assert found is not None, answer.text[:500]
    return found[1]


async def csrf_of(site: Served, path: str = "/") -> str:
    return csrf_in(await site.get(path, headers=PAGE))


async def send(site: Served, path: str, *, headers: Any = None, **fields: str) -> httpx.Response:
    return await site.client.post(site.url + path, data=fields, headers={**PAGE, **(headers or {})})


async def log_in(site: Served, token: str = TOKEN) -> httpx.Response:
    return await send(site, "/login", csrf=await csrf_of(site, "/login"), token=token, next="/alerts")


# --- the name it is asked by


@pytest.mark.parametrize(
    "host", ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "", "8.8.8.8", "[::ffff:8.8.8.8]", "a b"]
)
async def test_S12_an_unknown_host_name_is_refused(open_site: Served, host: str) -> None:
    for path in ("/", "/api/v1/connections", "/metrics", "/static/page.css"):
        answer = await open_site.get(path, headers={"host": host})
        assert answer.status_code in (400, 421), path
        assert "linkedin" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9999", "[::1]:80", "127.3.2.1"])
async def test_the_names_of_the_machine_are_accepted(open_site: Served, host: str) -> None:
    assert (await open_site.get("/", headers={"host": host})).status_code == 200


async def test_two_host_headers_are_refused(open_site: Served) -> None:
    answer = await raw(open_site, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\nConnection: close\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 421"))


async def test_a_configured_host_name_is_accepted(open_site: Served) -> None:
    headers = {"host": "Monitor.Example.com"}
    assert (await open_site.get("/", headers=headers)).status_code == 421
    open_site.config = replace(open_site.config, web=replace(open_site.config.web, hosts=("monitor.example.com",)))
    assert (await open_site.get("/", headers=headers)).status_code == 200


# --- the token


@pytest.mark.parametrize("path", PAGES)
async def test_S11_without_the_token_there_is_only_the_login_form(guarded: Served, path: str) -> None:
    answer = await guarded.get(path, headers=PAGE)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=")
    followed = await guarded.get(answer.headers["location"], headers=PAGE)
    assert followed.status_code == 200
    assert "Acme" not in followed.text
    assert "<nav" not in followed.text


@pytest.mark.parametrize("path", ["/api/v1/connections", "/metrics", "/calendar.ics", "/feed.atom", "/badge.svg", "/nothing"])
async def test_programs_without_the_token_get_401_with_instructions(guarded: Served, path: str) -> None:
    answer = await guarded.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "linkedin" not in answer.text


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xff"]
)
async def test_anything_but_the_token_is_refused(guarded: Served, given: str) -> None:
    answer = await guarded.get("/api/v1/connections", headers={"authorization": given.encode("latin-1")})
    assert answer.status_code == 401


async def test_the_token_as_a_bearer_opens_everything(guarded: Served) -> None:
    for path in ("/", "/api/v1/connections", "/metrics"):
        assert (await guarded.get(path, headers={"authorization": f"bearer {TOKEN}"})).status_code == 200


async def test_the_login_gives_a_cookie_that_no_script_sees(guarded: Served) -> None:
    answer = await log_in(guarded)
    assert (answer.status_code, answer.headers["location"]) == (303, "/alerts")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(answer.headers["set-cookie"].split("; "))
    assert TOKEN not in answer.headers["set-cookie"]
    assert (await guarded.get("/", headers=PAGE)).status_code == 200


async def test_the_cookie_is_only_for_tls_where_a_proxy_ends_it(guarded: Served) -> None:
    answer = await guarded.get("/login", headers={**PAGE, "x-forwarded-proto": "https"})
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_wrong_token_is_refused_and_no_token_is_ever_logged(guarded: Served) -> None:
    written = io.StringIO()
    logs.configure("debug", "json", stream=written)
    try:
        answer = await log_in(guarded, canary.OTHER_KEY)
        await guarded.get("/?token=a-token-in-the-query", headers=PAGE)
        await log_in(guarded)
        await guarded.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    finally:
        logs.configure()
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    canary.assert_absent(answer.text, "the page")
    assert "web.wrong_token" in written.getvalue()
    canary.assert_absent(written.getvalue(), "the log")
    assert "a-token-in-the-query" not in written.getvalue()


async def test_logging_out_forgets(guarded: Served) -> None:
    await log_in(guarded)
    answer = await send(guarded, "/logout", csrf=await csrf_of(guarded))
    assert answer.status_code == 303
    assert (await guarded.get("/", headers=PAGE)).status_code == 303


async def test_a_session_ends_and_a_new_token_ends_every_session(guarded: Served, clock: ManualClock) -> None:
    await log_in(guarded)
    clock.advance(auth.SESSION_LASTS - timedelta(seconds=1))
    assert (await guarded.get("/", headers=PAGE)).status_code == 200
    clock.advance(timedelta(seconds=1))
    assert (await guarded.get("/", headers=PAGE)).status_code == 303
    await log_in(guarded)
    guarded.config = replace(guarded.config, web=replace(guarded.config.web, token=Secret("another")))
    assert (await guarded.get("/", headers=PAGE)).status_code == 303


@pytest.mark.parametrize("change", ["before login", "stored", "changed", "another", "nothing"])
async def test_a_forged_cookie_is_refused(guarded: Served, change: str) -> None:
    await guarded.get("/login", headers=PAGE)
    name = security.cookie_name(guarded.config)
    before = guarded.client.cookies[name]
    await log_in(guarded)
    value = guarded.client.cookies[name]
    forged = {
        "before login": before,
        "stored": auth.session_id(value),
        "changed": value[:-1] + ("A" if value[-1] != "A" else "B"),
        "another": auth.new_visitor(),
        "nothing": "....",
    }[change]
    guarded.client.cookies.clear()
    assert (await guarded.get("/", headers={**PAGE, "cookie": f"{name}={forged}"})).status_code == 303
    assert (await guarded.get("/", headers={**PAGE, "cookie": f"{name}={value}"})).status_code == 200


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides are hashed first, so that not even their length shows."""
    compared: list[tuple[bytes, bytes]] = []

    def noting(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return first == second

    monkeypatch.setattr("hmac.compare_digest", noting)
    gate = Access([User(name="token", token="right")], b"")
    assert gate.user_with("right") is not None
    assert gate.user_with("wrong, and much longer") is None
    assert gate.user_with("\ud800") is None
    assert [len(side) for pair in compared for side in pair] == [32] * 6


async def test_feeds_open_to_their_signed_link_alone(guarded: Served) -> None:
    operator = User(name="token", token=TOKEN)
    gate = Access([operator], guarded.site.signing_key)
    for path in auth.FEEDS:
        assert (await guarded.get(f"{path}?sig={gate.sign(operator, path)}")).status_code == 200
        assert (await guarded.get(f"{path}?sig={gate.sign(operator, '/other')}")).status_code == 401
        assert (await guarded.get(f"{path}?sig=%ff")).status_code == 401
    signed = gate.sign(operator, "/calendar.ics")
    assert (await guarded.get(f"/?sig={signed}")).status_code == 401
    assert (await guarded.get(f"/api/v1/connections?sig={signed}")).status_code == 401


async def test_the_page_shows_the_signed_links(guarded: Served) -> None:
    await log_in(guarded)
    page = (await guarded.get("/", headers=PAGE)).text
    link = re.search(r'href="(/calendar\.ics\?sig=v2\.[0-9a-f]+)"', page)
    assert link is not None
    guarded.client.cookies.clear()
    assert (await guarded.get(link[1])).status_code == 200


async def test_health_stays_open_without_details(guarded: Served) -> None:
    answer = await guarded.get("/healthz")
    assert answer.json() == {"status": "ok"}
    ready = await guarded.get("/readyz")
    assert set(ready.json()) == {"status"}


@pytest.mark.parametrize(
    "target",
    [
        "//evil.test",
        "https://evil.test/",
        "/\\evil.test",
        "/\r\nX: y",
        "\\\\evil.test",
        "javascript:alert(1)",
        "",
        "/login?next=/",
    ],
)
def test_a_login_redirects_only_within_the_site(target: str) -> None:
    assert local(target) == "/"


# --- forms


FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/connections/agency/linkedin-agency000", {"action": "ack"}),
    ("/connections/agency/linkedin-agency000", {"action": "silence", "for": "1h", "comment": "x"}),
    ("/silences", {"source": "agency", "for": "1h", "comment": "x"}),
    ("/silences/1/remove", {}),
    ("/logout", {}),
    ("/theme", {"theme": "dark"}),
)


@pytest.mark.parametrize(("path", "fields"), FORMS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "of another browser"])
async def test_S12_a_form_without_a_valid_csrf_token_changes_nothing(
    open_site: Served, store: Store, path: str, fields: dict[str, str], csrf: str | None
) -> None:
    if csrf == "of another browser":
        csrf = await csrf_of(open_site)
        open_site.client.cookies.clear()
    await csrf_of(open_site)
    before = counted(store)
    answer = await send(open_site, path, **fields, **({} if csrf is None else {"csrf": csrf}))
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert counted(store) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
    ],
    ids=str,
)
async def test_S12_a_form_on_a_page_of_another_site_changes_nothing(
    open_site: Served, store: Store, headers: dict[str, str]
) -> None:
    csrf, before = await csrf_of(open_site), counted(store)
    for path, fields in FORMS:
        assert (await send(open_site, path, headers=headers, csrf=csrf, **fields)).status_code == 403
    body = {"connection": "agency/linkedin-agency000"}
    assert (await open_site.client.post(f"{open_site.url}/api/v1/acks", json=body, headers=headers)).status_code == 403
    assert counted(store) == before


async def test_a_form_with_another_content_type_is_refused(open_site: Served, store: Store) -> None:
    csrf, before = await csrf_of(open_site), counted(store)
    url = f"{open_site.url}/silences"
    plain = {"content-type": "text/plain"}
    assert (
        await open_site.client.post(url, content=f"csrf={csrf}&source=agency&for=1h&comment=x", headers=plain)
    ).status_code == 415
    assert (await open_site.client.post(url, files={"csrf": csrf})).status_code == 415
    assert (await open_site.client.post(url, json={"csrf": csrf})).status_code == 415
    assert counted(store) == before


async def test_the_api_takes_no_form_of_another_site(open_site: Served, store: Store) -> None:
    """A browser sends text/plain and forms to any site unasked, and JSON to none."""
    before = counted(store)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = await open_site.client.post(
            f"{open_site.url}/api/v1/acks", content=b'{"connection":"agency/linkedin-agency000"}', headers={"content-type": kind}
        )
        assert answer.status_code == 415
    assert counted(store) == before


async def test_a_bearer_token_needs_no_csrf_token(guarded: Served, store: Store) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = await send(guarded, "/silences", headers=headers, source="agency", comment="by a script", **{"for": "1h"})
    assert answer.status_code == 303
    with store.begin_read() as conn:
        assert [each.comment for each in silences.list_silences(conn)][-1] == "by a script"


async def test_forms_need_the_token_too(guarded: Served, store: Store) -> None:
    csrf, before = await csrf_of(guarded, "/login"), counted(store)
    for path, fields in FORMS:
        assert (await send(guarded, path, csrf=csrf, **fields)).status_code == 401
    assert counted(store) == before


async def test_no_GET_changes_anything(open_site: Served, store: Store) -> None:
    before = counted(store)
    for path in EVERYTHING:
        assert (await open_site.get(path, headers=PAGE)).status_code < 500
    for path, fields in FORMS:
        csrf = await csrf_of(open_site)
        for method in ("GET", "HEAD", "OPTIONS"):
            answer = await open_site.client.request(method, f"{open_site.url}{path}?{urlencode({**fields, 'csrf': csrf})}")
            assert answer.status_code < 500
    assert counted(store) == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "BREW"])
async def test_other_methods_are_refused(open_site: Served, store: Store, method: str) -> None:
    before = counted(store)
    for path in ("/", "/silences", "/api/v1/connections", "/static/page.css"):
        assert (await open_site.client.request(method, open_site.url + path)).status_code in (400, 403, 405)
    assert counted(store) == before


# --- limits


async def test_an_oversized_body_is_refused(open_site: Served) -> None:
    url, kind = f"{open_site.url}/silences", {"content-type": "application/x-www-form-urlencoded"}
    assert (await open_site.client.post(url, content=b"a" * (security.LARGEST_BODY + 1), headers=kind)).status_code == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"a" * 4096

    try:
        answer = await open_site.client.post(url, content=endless(), headers=kind)
    except httpx.TransportError:
        return  # the server has answered and hung up while we were still sending
    assert answer.status_code == 413


async def test_a_form_with_a_too_large_content_length_is_refused_immediately(
    open_site: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "BODY_WITHIN", 0.05)
    head = b"POST /silences HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\ncsrf="
    assert (await raw(open_site, head)).startswith(b"HTTP/1.1 413")


async def test_a_form_of_very_many_fields_is_refused(open_site: Served) -> None:
    body = "&".join(f"f{number}=1" for number in range(security.MOST_FIELDS + 1))
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert (await open_site.client.post(f"{open_site.url}/silences", content=body, headers=kind)).status_code == 400


async def test_a_form_that_never_ends_times_out(open_site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "BODY_WITHIN", 0.05)
    head = b"POST /silences HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ncsrf="
    assert (await raw(open_site, head)).startswith(b"HTTP/1.1 408")


async def test_N05_a_request_head_that_never_ends_closes_the_connection(
    store: Store, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_WITHIN", 0.1)
    async with serving(store, web_config(tmp_path), clock) as site:
        assert await raw(site, b"") == b""
        assert await raw(site, b"GET / HTTP/1.1\r\nHost: loc") == b""
        whole = await raw(site, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
        assert whole.count(b"HTTP/1.1 200") == 1


async def test_too_many_connections_are_closed(
    store: Store, clock: ManualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon needs its file descriptors for more than pages."""
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 3)
    async with serving(store, web_config(tmp_path), clock) as site:
        host, port = site.url.removeprefix("http://").split(":")
        held = []
        for _ in range(3):  # busy with a body that does not arrive
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /silences HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
            held.append(writer)
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        for each in held:
            each.close()


async def test_a_response_that_takes_too_long_is_abandoned(open_site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "ANSWER_WITHIN", 0.05)
    for _ in range(2):
        await open_site.site.read_slots.acquire()
    assert (await open_site.get("/", headers=PAGE)).status_code == 503


async def test_an_unexpected_error_of_a_page_stays_inside(open_site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from monitor.web import status_page

    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the error")

    monkeypatch.setattr(status_page, "build", broken)
    answer = await open_site.get("/", headers=PAGE)
    assert answer.status_code == 500
    assert "This page failed." in answer.text, "it is our answer, and not the server's"
    assert answer.headers["content-security-policy"] == security.POLICY
    assert "a secret of the error" not in answer.text
    assert (await open_site.get("/sources", headers=PAGE)).status_code == 200


# --- every answer


async def test_every_answer_carries_the_headers(open_site: Served, guarded: Served) -> None:
    csrf = await csrf_of(open_site)
    answers = [await open_site.get(path, headers=PAGE) for path in EVERYTHING]
    answers += [await open_site.get(path) for path in EVERYTHING]
    answers += [await send(open_site, path, **fields) for path, fields in FORMS]
    answers += [await send(open_site, "/theme", csrf=csrf, theme="dark")]
    answers += [
        await open_site.get("/", headers={"host": "evil.test"}),
        await guarded.get("/", headers=PAGE),
        await guarded.get("/metrics"),
    ]
    for answer in answers:
        for name in ("content-security-policy", "x-content-type-options", "x-frame-options", "referrer-policy", "cache-control"):
            assert name in answer.headers, (answer.request.url, name)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


async def test_pages_have_no_inline_script_or_style_and_load_nothing_from_elsewhere(open_site: Served) -> None:
    for path in (*PAGES, "/login", "/nothing"):
        page = (await open_site.get(path, headers=PAGE)).text
        assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", page), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"", page), path
        assert all(address.startswith("/") for address in re.findall(r'(?:src|action)="([^"]*)"', page)), path
        assert all(address.startswith("/static/") for address in re.findall(r'<link[^>]*href="([^"]*)"', page)), path


async def test_no_page_shows_a_secret(open_site: Served) -> None:
    for path in EVERYTHING:
        canary.assert_absent((await open_site.get(path, headers=PAGE)).text, path)


# --- what the tests share


def counted(store: Store) -> tuple[int, int, int]:
    """What a form could change."""
    with store.begin_read() as conn:
        current = [each for each in silences.list_silences(conn, include_removed=True) if each.removed_at is None]
        acked = [each for each in all_open(conn) if each.ack is not None]
    return count_rows(store), len(current), len(acked)


async def raw(site: Served, sent: bytes) -> bytes:
    """What the server says to these bytes until it hangs up."""
    host, port = site.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), 15)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
