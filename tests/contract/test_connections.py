"""TLS, proxies, redirects within a host, and what an exception may show: real servers, real certificates."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import resource
import ssl
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from monitor.config import Secret
from monitor.domain import PollOutcome, PollReport
from monitor.domain.errors import ConfigError, ProviderError
from monitor.providers.base import Provider
from monitor.providers.http import tls_context
from tests.contract.loopback import KEY, Request, Response, Server, as_json, connected, running, source, wire
from tests.support import canary
from tests.support.fakes import ManualClock

KIND = "postpost"
LIST = {"success": True, "connections": [{"platformId": "threads-1", "tokenStatus": "valid"}]}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


async def poll(
    server: Server, clock: ManualClock, *, ca_file: Path | None = None, env: dict[str, str] | None = None
) -> PollReport:
    settings = source(KIND, server, scheme="https", host="localhost", ca_file=ca_file)
    async with connected(settings, clock, env=env) as provider:
        return await provider.poll()


async def test_a_ca_file_adds_trust(authority: trustme.CA, ca_file: Path, clock: ManualClock) -> None:
    async with running(lambda _: as_json(LIST), context=context_of(authority.issue_cert("localhost"))) as server:
        assert (await poll(server, clock, ca_file=ca_file)).outcome is PollOutcome.OK


async def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    bad.write_text("nothing")
    for path in (bad, tmp_path / "absent.pem"):
        with pytest.raises(ConfigError, match=path.name):
            tls_context(path)


@pytest.mark.parametrize("fault", ["self-signed", "expired", "wrong host"])
async def test_N06_a_doubtful_server_is_refused_and_the_cause_named(
    fault: str, authority: trustme.CA, ca_file: Path, clock: ManualClock
) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    contexts = {
        "self-signed": lambda: context_of(trustme.CA().issue_cert("localhost")),
        "expired": lambda: context_of(authority.issue_cert("localhost", not_before=past.replace(year=2019), not_after=past)),
        "wrong host": lambda: context_of(authority.issue_cert("other.example")),
    }
    async with running(lambda _: as_json(LIST), context=contexts[fault]()) as server:
        report = await poll(server, clock, ca_file=ca_file)
        assert (report.outcome, server.requests) == (PollOutcome.UNREACHABLE, [])
        assert "TLS" in (report.problem or "")


async def test_N06_plain_http_on_a_tls_port_is_refused(ca_file: Path, clock: ManualClock) -> None:
    async def speak_first(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(speak_first, "127.0.0.1", 0)
    server = Server(lambda _: as_json(LIST))
    server.port = listener.sockets[0].getsockname()[1]
    report = await poll(server, clock, ca_file=ca_file)
    listener.close()
    assert report.outcome is PollOutcome.UNREACHABLE
    assert "TLS" in (report.problem or "")


async def test_a_redirect_within_the_https_host_is_followed_once(
    authority: trustme.CA, ca_file: Path, clock: ManualClock
) -> None:
    def answer(request: Request) -> Response:
        moved = Response(status=308, headers={"location": request.target + "/"})
        return as_json(LIST) if request.path.endswith("/") else moved

    async with running(answer, context=context_of(authority.issue_cert("localhost"))) as server:
        assert (await poll(server, clock, ca_file=ca_file)).outcome is PollOutcome.OK
        assert server.paths == ["/platform-connections", "/platform-connections/"]
        server.answer = lambda request: Response(status=308, headers={"location": request.target + "/"})
        assert (await poll(server, clock, ca_file=ca_file)).outcome is PollOutcome.INVALID
        assert len(server.paths) == 4


async def test_a_redirect_from_https_to_http_is_not_followed(authority: trustme.CA, ca_file: Path, clock: ManualClock) -> None:
    async with running(lambda _: as_json(LIST)) as plain:
        there = Response(status=307, headers={"location": f"http://localhost:{plain.port}/"})
        async with running(lambda _: there, context=context_of(authority.issue_cert("localhost"))) as server:
            assert (await poll(server, clock, ca_file=ca_file)).outcome is PollOutcome.INVALID
        assert plain.requests == []


@pytest.mark.parametrize("place", ["https://localhost:{port}/api/v1/platform-connections", "//localhost:{port}/"])
async def test_N07_a_redirect_to_another_https_host_is_not_followed(
    place: str, authority: trustme.CA, ca_file: Path, clock: ManualClock
) -> None:
    """A host is its name and its port. The other one has a certificate that we would trust."""
    context = context_of(authority.issue_cert("localhost"))
    async with running(lambda _: as_json(LIST), context=context) as other:
        there = Response(status=307, headers={"location": place.format(port=other.port)})
        async with running(lambda _: there, context=context) as server:
            assert (await poll(server, clock, ca_file=ca_file)).outcome is PollOutcome.INVALID
        assert other.requests == []


async def test_a_redirect_that_brings_credentials_along_is_not_followed(
    authority: trustme.CA, ca_file: Path, clock: ManualClock
) -> None:
    def answer(request: Request) -> Response:
        moved = Response(status=307, headers={"location": f"https://user:pw@{request.headers['host']}{request.target}/"})
        return as_json(LIST) if request.path.endswith("/") else moved

    async with running(answer, context=context_of(authority.issue_cert("localhost"))) as server:
        assert (await poll(server, clock, ca_file=ca_file)).outcome is PollOutcome.INVALID
        assert len(server.requests) == 1


class Proxy:
    """A CONNECT proxy that remembers what it was asked."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.heads: list[str] = []
        self.port = 0
        self.refuse = refuse

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if self.refuse:
            writer.write(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        host, _, port = self.heads[-1].split(" ")[1].partition(":")
        upstream = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_pump(reader, upstream[1]), _pump(upstream[0], writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.CancelledError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(*, refuse: bool = False) -> AsyncIterator[Proxy]:
    proxy = Proxy(refuse=refuse)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        await asyncio.sleep(0.01)


async def test_a_sources_proxy_is_used_and_gets_its_own_credentials_only(
    authority: trustme.CA, ca_file: Path, clock: ManualClock
) -> None:
    async with (
        running(lambda _: as_json(LIST), context=context_of(authority.issue_cert("localhost"))) as server,
        proxying() as proxy,
    ):
        secret = Secret(f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        settings = source(KIND, server, scheme="https", host="localhost", ca_file=ca_file, proxy=secret)
        async with connected(settings, clock) as provider:
            assert (await provider.poll()).outcome is PollOutcome.OK
        (head,) = proxy.heads
        assert head.startswith(f"CONNECT localhost:{server.port} ")
        assert f"Basic {base64.b64encode(b'user:p@ss').decode()}" in head
        assert KEY not in head
        assert "proxy-authorization" not in server.requests[0].headers


@pytest.mark.parametrize(("no_proxy", "proxied"), [("", 1), ("example.org, LOCALHOST", 0), ("*", 0), (".host", 1)])
async def test_https_proxy_and_no_proxy_of_the_environment(
    no_proxy: str, proxied: int, authority: trustme.CA, ca_file: Path, clock: ManualClock
) -> None:
    async with (
        running(lambda _: as_json(LIST), context=context_of(authority.issue_cert("localhost"))) as server,
        proxying() as proxy,
    ):
        env = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", "NO_PROXY": no_proxy}
        assert (await poll(server, clock, ca_file=ca_file, env=env)).outcome is PollOutcome.OK
        assert len(proxy.heads) == proxied


async def test_a_proxy_that_refuses_is_named_without_its_password(ca_file: Path, clock: ManualClock) -> None:
    async with running(lambda _: as_json(LIST)) as server, proxying(refuse=True) as proxy:
        env = {"https_proxy": f"http://user:{canary.PROXY_PASSWORD}@127.0.0.1:{proxy.port}"}
        report = await poll(server, clock, ca_file=ca_file, env=env)
        assert report.outcome is PollOutcome.UNREACHABLE
        assert "proxy" in (report.problem or "")
        canary.assert_absent(repr(report), "the report")


def chain(exc: BaseException | None) -> str:
    """Everything that a careless program could print of an exception: texts, reprs and attributes of the whole chain."""
    seen: list[str] = []
    while exc is not None:
        seen += [str(exc), repr(exc), repr(vars(exc)), *traceback.format_exception(exc)]
        exc = exc.__cause__ or exc.__context__
    return "\n".join(seen)


@pytest.mark.parametrize(
    "answer",
    [
        as_json({"error": f"Invalid API key {KEY}"}, status=401),
        as_json({"error": "no"}, status=500),
        as_json({"error": f"{KEY}"}, status=429),
        Response(status=302, headers={"location": f"https://example.org/?key={KEY}"}),
        Response(body=f"{{'{KEY}'".encode()),
        wire(b"garbage\r\n\r\n"),
        wire(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n"),
        wire(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n["),
        wire(b""),
    ],
    ids=["401", "500", "429", "redirect", "json", "garbage", "header", "cut", "nothing"],
)
async def test_S01_no_exception_shows_the_key(answer: Response, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    async def ask(provider: Provider) -> None:
        await provider.probe("threads-1", scope=None)

    async with running(lambda _: answer) as server, connected(source(KIND, server), clock) as provider:
        with pytest.raises(ProviderError) as caught:
            await ask(provider)
        assert KEY not in chain(caught.value)
    assert KEY not in caplog.text


async def test_N01_a_name_that_does_not_exist_is_named_dns(clock: ManualClock) -> None:
    async with running(lambda _: as_json(LIST)) as server:
        settings = source(KIND, server, scheme="https", host="no-such-host.invalid")
    async with connected(settings, clock) as provider:
        report = await provider.poll()
    assert report.outcome is PollOutcome.UNREACHABLE
    assert "DNS" in (report.problem or "")


async def descriptors_are_closed() -> None:
    """Wait until both sides of ended connections are closed: what they free later would be a descriptor for the next poll."""
    counts: list[int] = []
    while len(counts) < 10 or len(set(counts[-10:])) > 1:
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
        await asyncio.sleep(0.02)


async def test_N30_without_a_descriptor_a_poll_fails_and_the_next_one_succeeds(clock: ManualClock) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    closing = as_json(LIST, connection="close")  # so that the next poll needs a descriptor
    async with running(lambda _: closing) as server, connected(source(KIND, server), clock) as provider:
        assert (await provider.poll()).outcome is PollOutcome.OK
        await descriptors_are_closed()
        with contextlib.ExitStack() as held:
            held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 1, hard)
            )
            with contextlib.suppress(OSError):
                while True:
                    held.callback(os.close, os.dup(0))
            without = await provider.poll()
        assert (without.outcome, "too many open files" in (without.problem or "")) == (PollOutcome.UNREACHABLE, True)
        assert (await provider.poll()).outcome is PollOutcome.OK
