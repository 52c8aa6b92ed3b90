"""The probe's own way through the HTTP adapter, without httpx's objects: the same bounds and the same words as for lists."""

from __future__ import annotations

import asyncio
import gzip
import traceback
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from monitor.config import Secret
from monitor.domain import ProbeAnswer
from monitor.domain.errors import (
    ProviderError,
    ProviderPayloadInvalid,
    ProviderRateLimited,
    ProviderUnauthorized,
    ProviderUnreachable,
)
from monitor.domain.records import replace as replace_record
from monitor.providers import HttpSessions, build_provider
from monitor.providers.base import HttpLimits, Provider
from tests.contract.loopback import KEY, QUICK, Request, Response, Server, as_json, connected, running, source, wire
from tests.contract.test_connections import Proxy, context_of, proxying
from tests.support import canary
from tests.support.fakes import ManualClock

KIND = "postpost"
OK = {"status": "ok", "message": "Connection is valid"}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


async def probe(response: Response, clock: ManualClock, *, limits: HttpLimits = QUICK, **over: Any) -> ProbeAnswer:
    async with running(lambda _: response) as server, connected(source(KIND, server, **over), clock, limits=limits) as provider:
        return await provider.probe("linkedin-1", scope=None)


@contextmanager
def refused(kind: type[ProviderError]) -> Iterator[pytest.ExceptionInfo[ProviderError]]:
    """The block raises this, and shows the key nowhere."""
    with pytest.raises(kind) as caught:
        yield caught
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert len(str(caught.value)) < 400


async def test_a_probe_is_one_post_with_an_empty_body_and_the_key_in_one_header(clock: ManualClock) -> None:
    async with running(lambda _: as_json(OK)) as server, connected(source(KIND, server), clock) as provider:
        assert (await provider.probe("linkedin-1", scope=None)).status == "ok"
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/test-connection/linkedin-1", b"")
    assert {name: text for name, text in request.headers.items() if KEY in text} == {"x-api-key": KEY}
    assert request.headers["accept"] == "application/json"
    assert request.headers["content-length"] == "0"


@pytest.mark.parametrize(
    ("external_id", "path"),
    [
        ("telegram--100/..", "/test-connection/telegram--100%2F.."),
        ("x-../../admin", "/test-connection/x-..%2F..%2Fadmin"),
        ("x-a&b'(c)=d+e f", "/test-connection/x-a%26b%27%28c%29%3Dd%2Be%20f"),
        ("x-?q=1#f", "/test-connection/x-%3Fq%3D1%23f"),
        ("x-100%25", "/test-connection/x-100%2525"),
        ("bluesky-did:plc:ü~", "/test-connection/bluesky-did:plc:%C3%BC~"),
    ],
)
async def test_S09_an_id_stays_one_segment_byte_for_byte(external_id: str, path: str, clock: ManualClock) -> None:
    async with running(lambda _: as_json(OK)) as server, connected(source(KIND, server), clock) as provider:
        await provider.probe(external_id, scope=None)
    assert server.paths == [path]


async def test_a_managed_users_probe_carries_the_users_header_and_the_owners_does_not(clock: ManualClock) -> None:
    async with running(lambda _: as_json(OK)) as server, connected(source(KIND, server), clock) as provider:
        await provider.probe("x-1", scope="65f0c0ffee0000000000a11c")
        await provider.probe("x-1", scope=None)
    first, second = server.requests
    assert first.headers["x-postpost-user-id"] == "65f0c0ffee0000000000a11c"
    assert "x-postpost-user-id" not in second.headers


async def test_probes_reuse_their_connection(clock: ManualClock) -> None:
    ports: set[int] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername")[1])
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(HEAD + b'content-length: 15\r\n\r\n{"status":"ok"}')
            await writer.drain()

    listener = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    async with running(lambda _: as_json(OK)) as server:
        server.port = listener.sockets[0].getsockname()[1]
        async with connected(source(KIND, server), clock) as provider:
            for number in range(20):
                assert (await provider.probe(f"x-{number}", scope=None)).status == "ok"
    listener.close()
    assert len(ports) == 1


async def test_N02_refused(clock: ManualClock) -> None:
    async with running(lambda _: as_json(OK)) as server:
        settings = source(KIND, server)
    async with connected(settings, clock) as provider:
        with refused(ProviderUnreachable) as caught:
            await provider.probe("x-1", scope=None)
    assert "refused" in str(caught.value)


async def test_N04_reset_in_the_body(clock: ManualClock) -> None:
    with refused(ProviderUnreachable):
        await probe(wire(HEAD + b'content-length: 500\r\n\r\n{"sta', then_reset=True), clock)


async def test_N05_slow_loris_meets_the_deadline_of_the_whole_exchange(clock: ManualClock) -> None:
    slow = wire(HEAD + b"content-length: 500\r\n\r\n" + b"{" * 400, pause=0.02)
    with refused(ProviderUnreachable) as caught:
        await probe(slow, clock, limits=replace(QUICK, probe_timeout=0.3))
    assert "timeout" in str(caught.value)


async def test_N08_N10_refusals_of_the_key_and_of_the_pace_are_distinguished(clock: ManualClock) -> None:
    with refused(ProviderUnauthorized):
        await probe(as_json({"error": f"Invalid API key {KEY}"}, status=401), clock)
    with refused(ProviderRateLimited) as caught:
        await probe(as_json({"error": "slow down"}, status=429, Retry_After="45"), clock)
    assert isinstance(caught.value, ProviderRateLimited)
    assert caught.value.retry_after == 45.0


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b'content-length: 500\r\n\r\n{"status":"ok"}',
        HEAD + b'transfer-encoding: chunked\r\n\r\n5\r\n{"sta\r\n',
        b'HTTP/1.0 200 OK\r\n\r\n{"status":"o',
        b"",
        b"HTTP/1.1 200 OK\r\nx-big: " + b"a" * 200_000 + b"\r\n\r\n{}",
        b"what is this\r\n\r\n",
        HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        HEAD + b"content-length: 20\r\n\r\n<html>sign in</html>",
    ],
    ids=["length", "chunked", "closed", "nothing", "header", "status line", "two lengths", "bad chunk", "204", "html"],
)
async def test_N11_N12_N15_what_is_no_answer_is_raised_in_our_words(raw: bytes, clock: ManualClock) -> None:
    with refused(ProviderError) as caught:
        await probe(wire(raw), clock)
    assert isinstance(caught.value, (ProviderUnreachable, ProviderPayloadInvalid))


@pytest.mark.parametrize("announced", [True, False])
async def test_N13_a_huge_body_is_given_up_early(announced: bool, clock: ManualClock) -> None:
    head = HEAD + (b"content-length: 99999999999999999" if announced else b"connection: close") + b"\r\n\r\n"
    with refused(ProviderPayloadInvalid) as caught:
        await probe(wire(head + b" " * 100_000), clock, limits=replace(QUICK, other_bytes=4096))
    assert "larger than" in str(caught.value)


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(gzip.compress(b"{}")), gzip.compress(b"{" + b" " * 500_000 + b"}"), b"no gzip at all"],
    ids=["twice", "inflates", "bad"],
)
async def test_N14_compressed_nonsense_is_invalid(packed: bytes, clock: ManualClock) -> None:
    with refused(ProviderPayloadInvalid):
        await probe(Response(body=packed, headers={"content-encoding": "gzip"}), clock)


async def test_gzip_and_deflate_are_decoded(clock: ManualClock) -> None:
    body = b'{"status": "ok"}'
    for encoding, packed in [("gzip", gzip.compress(body)), ("deflate", zlib.compress(body)), ("identity", body)]:
        answer = await probe(Response(body=packed, headers={"content-encoding": encoding}), clock)
        assert (encoding, answer.status) == (encoding, "ok")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_N07_no_redirect_is_followed(status: int, clock: ManualClock) -> None:
    async with running(lambda _: as_json(OK)) as other:
        with refused(ProviderPayloadInvalid) as caught:
            await probe(Response(status=status, headers={"location": f"http://127.0.0.1:{other.port}/"}), clock)
    assert other.requests == []
    assert "redirect" in str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY}ä", "", f"{KEY}\x00"])
async def test_S01_a_key_that_no_header_takes_is_not_sent_and_not_shown(key: str, clock: ManualClock) -> None:
    async with (
        running(lambda _: as_json(OK)) as server,
        connected(source(KIND, server, api_key=Secret(key)), clock) as provider,
    ):
        for _ in range(2):
            with pytest.raises(ProviderUnauthorized) as caught:
                await provider.probe("x-1", scope=None)
            canary.assert_absent("".join(traceback.format_exception(caught.value)), "the traceback")
        assert server.requests == []


async def test_S01_an_echoed_key_is_taken_out(clock: ManualClock) -> None:
    assert (await probe(as_json({"status": "error", "message": f"no {KEY}"}), clock)).message == "no <secret>"


@pytest.mark.parametrize("echoed", [r"ab/cd+ef=gh12", r"ab\/cd+ef=gh12", r"ab/cd\u002bef\u003dgh12", r"ab\/cd\u002Bef\u003Dgh12"])
async def test_S01_an_echoed_key_is_taken_out_however_it_is_written(echoed: str, clock: ManualClock) -> None:
    body = b'{"status": "error", "message": "no %b"}' % echoed.encode()
    async with (
        running(lambda _: Response(status=200, body=body, headers={"content-type": "application/json"})) as server,
        connected(source(KIND, server, api_key=Secret("ab/cd+ef=gh12")), clock) as provider,
    ):
        assert (await provider.probe("x-1", scope=None)).message == "no <secret>"


async def test_cookies_are_never_kept(clock: ManualClock) -> None:
    """Through a name, because aiohttp's own jar would refuse an address anyway."""
    async with (
        running(lambda _: as_json(OK, Set_Cookie="session=1; Path=/")) as server,
        connected(source(KIND, server, host="localhost"), clock) as provider,
    ):
        for _ in range(2):
            await provider.probe("x-1", scope=None)
        assert not any("cookie" in request.headers for request in server.requests)


async def test_cancelled_probes_leave_the_connections_usable(clock: ManualClock) -> None:
    async with running(lambda _: as_json(OK)) as server, connected(source(KIND, server), clock) as provider:
        server.delay = 5
        for _ in range(30):
            task = asyncio.create_task(provider.probe("x-1", scope=None))
            await server.asked.wait()
            server.asked.clear()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        server.delay = 0
        assert (await provider.probe("x-1", scope=None)).status == "ok"


@asynccontextmanager
async def behind_proxy(clock: ManualClock, folder: Path, login: str = "") -> AsyncIterator[tuple[Provider, Server, Proxy]]:
    """A provider over TLS and through the source's proxy, with its server and the proxy."""
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    async with (
        running(lambda _: as_json(OK), context=context_of(authority.issue_cert("localhost"))) as server,
        proxying() as proxy,
    ):
        secret = Secret(f"http://{login}127.0.0.1:{proxy.port}")
        settings = source(KIND, server, scheme="https", host="localhost", ca_file=ca_file, proxy=secret)
        async with connected(settings, clock) as provider:
            yield provider, server, proxy


async def test_a_probe_goes_over_tls_and_through_the_sources_proxy(clock: ManualClock, tmp_path: Path) -> None:
    async with behind_proxy(clock, tmp_path, "user:p%40ss@") as (provider, server, proxy):
        assert (await provider.probe("x-1", scope=None)).status == "ok"
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT localhost:{server.port} ")
    assert "proxy-authorization: basic " in head.lower()
    assert KEY not in head
    assert "proxy-authorization" not in server.requests[0].headers


async def test_N06_a_probe_to_a_doubtful_server_is_not_sent(clock: ManualClock) -> None:
    async with running(lambda _: as_json(OK), context=context_of(trustme.CA().issue_cert("localhost"))) as server:
        async with connected(source(KIND, server, scheme="https", host="localhost"), clock) as provider:
            with refused(ProviderUnreachable) as caught:
                await provider.probe("x-1", scope=None)
        assert server.requests == []
    assert "TLS" in str(caught.value)


async def test_what_the_probes_of_one_source_share_is_not_changed_by_any_of_them(clock: ManualClock) -> None:
    """The headers are made once: a managed user's must not stay in them."""

    def answer(request: Request) -> Response:
        return as_json({"status": "ok", "message": request.headers.get("x-postpost-user-id", "owner")})

    users = [None, "65f0c0ffee0000000000a11c", None, "65f0c0ffee0000000000a11d"]
    async with running(answer) as server, connected(source(KIND, server), clock) as provider:
        answers = await asyncio.gather(*(provider.probe("x-1", scope=user) for user in users))
    assert [each.message for each in answers] == [user or "owner" for user in users]


async def test_two_probes_through_a_proxy_share_one_tunnel(clock: ManualClock, tmp_path: Path) -> None:
    async with behind_proxy(clock, tmp_path) as (provider, server, proxy):
        for name in ("x-1", "x-2"):
            await provider.probe(name, scope=None)
    assert len(proxy.heads) == 1
    assert server.paths == ["/test-connection/x-1", "/test-connection/x-2"]


async def test_a_proxy_for_plain_http_receives_the_whole_address(clock: ManualClock) -> None:
    async with running(lambda _: as_json(OK)) as proxy:
        settings = source(KIND, proxy, proxy=Secret(f"http://127.0.0.1:{proxy.port}"))
        async with connected(settings, clock) as provider:
            assert (await provider.probe("x-1", scope=None)).status == "ok"
    (request,) = proxy.requests
    assert request.target == f"http://127.0.0.1:{proxy.port}/api/v1/test-connection/x-1"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + HEAD + b'content-length: 15\r\n\r\n{"status":"ok"}',
        HEAD + b'connection: close\r\n\r\n{"status":"ok"}',
        HEAD + b'transfer-encoding: chunked\r\n\r\n5\r\n{"sta\r\na\r\ntus":"ok"}\r\n0\r\n\r\n',
        b'HTTP/1.0 200 OK\r\n\r\n{"status":"ok"}',
    ],
    ids=["informational first", "until the end of the connection", "chunked", "HTTP/1.0"],
)
async def test_every_form_of_a_whole_response_is_read(raw: bytes, clock: ManualClock) -> None:
    assert (await probe(wire(raw), clock)).status == "ok"


async def test_a_server_that_switches_protocols_gives_no_answer(clock: ManualClock) -> None:
    with refused(ProviderPayloadInvalid):
        await probe(wire(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), clock)


async def test_S09_the_path_of_the_base_url_is_sent_as_it_is_written(clock: ManualClock) -> None:
    async with running(lambda _: as_json(OK)) as server:
        settings = replace_record(source(KIND, server), base_url=f"http://127.0.0.1:{server.port}/a%26b%28c%29%27")
        async with connected(settings, clock) as provider:
            await provider.probe("x-1", scope=None)
    assert server.requests[0].target == "/a%26b%28c%29%27/test-connection/x-1"


async def test_sources_of_one_base_url_share_connections_and_keep_their_keys(clock: ManualClock) -> None:
    other = canary.secret("another-key")
    async with running(lambda _: as_json(OK)) as server, HttpSessions(limits=QUICK, env={}) as sessions:
        first, second = source(KIND, server), source(KIND, server, api_key=Secret(other))
        providers = [build_provider(each, sessions=sessions, clock=clock) for each in (first, second)]
        for provider in providers:
            await provider.probe("x-1", scope=None)
    assert [request.headers["x-api-key"] for request in server.requests] == [KEY, other]
