"""Clients that leave, send malformed or oversized requests, or hold connections open: over raw sockets, and what the log gets."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from monitor.config import Config, load
from monitor.domain.records import replace
from monitor.store import Store
from monitor.telemetry import logs
from monitor.web import connections
from monitor.web.clients import LOOPBACK
from monitor.web.connections import OpenConnections
from monitor.web.security import LARGEST_HEAD, MOST_HEADERS
from tests.support import canary
from tests.support.command_line import make_world, write_config
from tests.support.factories import NOW
from tests.support.fakes import ManualClock
from tests.support.web_client import Served, serving

TOKEN = canary.WEB_TOKEN
PAGE = {"accept": "text/html"}
JSON_START = (
    b"POST /api/v1/acks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer TOKEN\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100\r\n\r\n{"
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(write_config(tmp_path), {}).config


@pytest.fixture
async def site(store: Store, config: Config, clock: ManualClock) -> AsyncIterator[Served]:
    """A page with a token, as unauthenticated clients reach it."""
    make_world(store, NOW)
    async with serving(store, config, clock, token=TOKEN) as served:
        yield served


@pytest.fixture
def logged() -> Iterator[Callable[[], str]]:
    """The log of this test, asyncio's and the server's lines included."""
    written = io.StringIO()
    logs.configure("info", "json", stream=written)
    try:
        yield written.getvalue
    finally:
        logs.configure()


async def connect(site: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = site.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def raw(site: Served, *pieces: bytes) -> bytes:
    """Return the server's response to these pieces, until it closes the connection."""
    reader, writer = await connect(site)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        return await asyncio.wait_for(reader.read(), 15)
    except ConnectionError:
        return b""
    finally:
        writer.close()


# --- clients that leave


@pytest.mark.parametrize(
    "start",
    [
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST /silences HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer TOKEN\r\nContent-Length: 100\r\n\r\nabc",
        JSON_START,
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer TOKEN\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: local",
    ],
    ids=["form", "chunked form", "form with the token", "JSON", "100-continue", "page", "head"],
)
@pytest.mark.parametrize("way", ["close", "reset", "half"])
async def test_N34_a_client_that_leaves_is_no_error(site: Served, logged: Callable[[], str], start: bytes, way: str) -> None:
    for _ in range(3):
        _, writer = await connect(site)
        writer.write(start.replace(b"TOKEN", TOKEN.encode()))
        await writer.drain()
        await asyncio.sleep(0.02)
        if way == "half":
            writer.write_eof()
        elif way == "reset":
            writer.transport.abort()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    await asyncio.sleep(0.05)
    assert logged() == ""
    assert (await site.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /caf\xe9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [\r\nAccept: text/html\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\nContent-Length: 0\r\n\r\n",
        b"GET /healthz HTTP/1.0\r\nHost: [\r\nAccept: text/html\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: \xff=\xff; theme=\xff\r\nConnection: close\r\n\r\n",
        b"GET /?q=%ff&page=%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
async def test_a_malformed_request_writes_no_traceback(site: Served, logged: Callable[[], str], sent: bytes) -> None:
    await raw(site, sent + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert logged() == ""
    assert (await site.get("/healthz")).status_code == 200


@pytest.mark.parametrize("authorization", ["", "Authorization: Bearer TOKEN\r\n"], ids=["refused", "served"])
async def test_a_body_that_turns_out_to_be_malformed_gets_one_answer(
    site: Served, logged: Callable[[], str], authorization: str
) -> None:
    """An unauthenticated client is answered before the body is read; a form is answered after it."""
    head = f"POST /silences HTTP/1.1\r\nHost: localhost\r\n{authorization}Transfer-Encoding: chunked\r\n\r\n"
    answer = await raw(site, head.replace("TOKEN", TOKEN).encode(), b"3\r\na=b\r\n", b"nonsense\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 " if authorization else b"HTTP/1.1 401 ")
    assert logged() == ""


async def test_no_host_header_makes_a_page_out_of_a_health_address(site: Served) -> None:
    """`request.url` is built with the Host header, so that its path is not the path of the request."""
    for host in (b"localhost/healthz?", b"x/login?", b"x/static/", b"127.0.0.1/healthz#", b"localhost/calendar.ics?"):
        answer = await raw(site, b"GET /api/v1/connections HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
        assert re.match(rb"HTTP/1.1 4(00|01|21) ", answer), answer[:200]
        assert b"linkedin" not in answer


# --- heads


def head(*lines: bytes, target: bytes = b"/healthz") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *lines, b"", b""])


@pytest.mark.parametrize(
    "sent",
    [
        head(b"X: " + b"a" * 70_000),
        head(b"X: " + b"a" * LARGEST_HEAD),
        head(target=b"/healthz?" + b"a" * 70_000),
        head(target=b"/" + b"a" * 70_000),
        head(*(b"X-%d: a" % number for number in range(1500))),
        head(*(b"X-%d: a" % number for number in range(MOST_HEADERS))),
        head(b"Cookie: " + b"; ".join(b"a%d=b" % number for number in range(5000))),
    ],
    ids=["header", "just over", "query", "path", "headers", "just too many", "cookies"],
)
@pytest.mark.parametrize("pieces", [1, 2, 20])
async def test_S25_a_head_that_is_too_large_is_refused(site: Served, logged: Callable[[], str], sent: bytes, pieces: int) -> None:
    size = len(sent) // pieces + 1
    answer = await raw(site, *(sent[at : at + size] for at in range(0, len(sent), size)))
    # If the server closes the connection while the rest is still being sent, the response may be lost.
    assert answer.startswith(b"HTTP/1.1 431 ") or (answer == b"" and pieces > 1)
    assert b"HTTP/1.1 200" not in answer
    assert logged() == ""


async def test_a_large_head_within_the_limit_is_served(site: Served) -> None:
    answer = await raw(site, head(b"X: " + b"a" * (LARGEST_HEAD - 200)))
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "lines",
    [
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 44\r\n\r\n",
        b"POST /login HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_S26_a_request_of_two_lengths_is_refused_and_the_rest_is_no_request(site: Served, lines: bytes) -> None:
    answer = await raw(site, lines + b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()


# --- connections that are held open


async def test_N35_idle_connections_do_not_keep_out_health_checks(site: Served, logged: Callable[[], str]) -> None:
    held: list[asyncio.StreamWriter] = []
    for number in range(connections.MOST_CONNECTIONS + 50):
        _, writer = await connect(site)
        if number % 2:
            writer.write(b"GET / HTTP/1.1\r\nHost: loc")
        held.append(writer)
        if number % 10 == 0:
            assert (await raw(site, head())).startswith(b"HTTP/1.1 200 "), number
    assert logged() == ""
    for each in held:
        each.close()


class Held:
    """A connection that does nothing else."""

    def __init__(self, *, waiting: bool) -> None:
        self.waiting, self.aborted = waiting, False

    def is_waiting(self) -> bool:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True


def test_the_oldest_waiting_connection_of_the_same_client_makes_room() -> None:
    opened = OpenConnections()
    other = Held(waiting=True)
    assert opened.admit(other, "192.0.2.2")
    held = [Held(waiting=True) for _ in range(connections.MOST_PER_CLIENT)]
    assert all(opened.admit(each, "192.0.2.1") for each in held)
    opened.renew(held[0])
    assert opened.admit(Held(waiting=True), "192.0.2.1")
    assert [number for number, each in enumerate(held) if each.aborted] == [1]
    assert not other.aborted


def test_busy_connections_are_not_closed_for_new_ones() -> None:
    opened = OpenConnections()
    held = [Held(waiting=False) for _ in range(connections.MOST_PER_CLIENT)]
    assert all(opened.admit(each, "192.0.2.1") for each in held)
    assert not opened.admit(Held(waiting=True), "192.0.2.1")
    assert not any(each.aborted for each in held)
    opened.remove(held[0])
    assert opened.admit(Held(waiting=True), "192.0.2.1")


def test_connections_are_reserved_for_this_machine() -> None:
    opened = OpenConnections()
    admitted = sum(opened.admit(Held(waiting=False), f"192.0.2.{number}") for number in range(connections.MOST_CONNECTIONS))
    assert admitted == connections.MOST_CONNECTIONS - connections.RESERVED
    assert opened.admit(Held(waiting=False), LOOPBACK)


# --- health checks, proxies


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_N33_health_addresses_answer_whatever_the_host_is(
    store: Store, config: Config, clock: ManualClock, path: str
) -> None:
    """HAProxy's check sends none, and a container platform its own name."""
    make_world(store, NOW)
    for token in (None, TOKEN):
        async with serving(store, config, clock, token=token) as site:
            answers = [
                await raw(site, f"GET {path} HTTP/1.0\r\n\r\n".encode()),
                await raw(site, f"OPTIONS {path} HTTP/1.0\r\n\r\n".encode()),
                await raw(site, f"GET {path} HTTP/1.1\r\nHost: monitor.svc\r\nConnection: close\r\n\r\n".encode()),
            ]
            assert re.match(rb"HTTP/1\.1 (200|503) ", answers[0])
            assert re.match(rb"HTTP/1\.1 405 ", answers[1])
            assert re.match(rb"HTTP/1\.1 (200|503) ", answers[2])
            assert all(b"reasons" not in answer for answer in answers), "any name may resolve to this machine"
            assert (await raw(site, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 421 ")


async def test_N32_links_of_the_feed_use_https_where_a_proxy_does(site: Served) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "host": "localhost"}
    assert 'href="http://localhost/feed.atom"' in (await site.get("/feed.atom", headers=headers)).text
    behind = (await site.get("/feed.atom", headers={**headers, "x-forwarded-proto": "https"})).text
    assert 'href="https://localhost/feed.atom"' in behind
    assert "http://localhost" not in behind


async def log_in(site: Served, **headers: str) -> httpx.Response:
    csrf = re.search(r'name="csrf" value="([^"]+)"', (await site.get("/login", headers=PAGE)).text)
    assert csrf is not None
    return await site.client.post(f"{site.url}/login", data={"csrf": csrf[1], "token": TOKEN}, headers={**PAGE, **headers})


@pytest.mark.parametrize(
    "origin", ["https://monitor.example.com", "https://Monitor.Example.com:8443", "http://monitor.example.com"]
)
async def test_N32_a_login_works_behind_a_proxy_that_changes_the_host(site: Served, origin: str) -> None:
    site.config = replace(site.config, web=replace(site.config.web, hosts=("monitor.example.com",)))
    assert (await log_in(site, origin=origin)).status_code == 303


async def test_N32_the_refusal_names_the_headers_that_differ_and_the_remedy(site: Served) -> None:
    answer = await log_in(site, origin="https://monitor.example.com")
    assert answer.status_code == 403
    for words in ("Origin https://monitor.example.com", f"Host {site.url[7:]}", "proxy_set_header Host $http_host", "web.hosts"):
        assert words in answer.text
    assert "Sec-Fetch-Site is cross-site" in (await log_in(site, **{"sec-fetch-site": "cross-site"})).text
