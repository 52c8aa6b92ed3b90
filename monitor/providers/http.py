"""Bounded HTTP exchanges, and the heartbeat ping."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import aiohttp
import httpx
import stamina.instrumentation
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict
from yarl import URL

from monitor import __version__
from monitor.domain.errors import ConfigError, ProviderError, ProviderPayloadInvalid, ProviderUnreachable
from monitor.providers import transport as bodies
from monitor.providers import transport as faults
from monitor.providers.base import HttpLimits
from monitor.providers.payload import off_loop

USER_AGENT = f"token-expiry-monitor/{__version__}"

GOOD = frozenset({200, 201})
"""Statuses whose body is what was asked for. 201 because some frameworks answer every POST so."""

_DECODED_AGAIN = re.compile(r"[^A-Za-z0-9._:~/%-]", re.ASCII)

_USUAL_INFLATION = 8
"""A list's bytes for each byte that was sent of it: from some size on it is unpacked in a thread."""

_KEEP_ALIVE = 4.0
"""Seconds. Node closes idle connections after five; a probe sent into that moment would fail and may not be repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """One answer, decoded. `fault` says why the body of an error answer could not be read (then it is empty)."""

    status: int
    headers: Mapping[str, str]
    """By name, whatever its case."""
    body: bytes
    fault: str | None = None


class HttpSessions:
    """The process's HTTP connections: one session and one TLS context per (ca_file, proxy). An async context manager."""

    def __init__(self, *, limits: HttpLimits | None = None, env: Mapping[str, str] | None = None) -> None:
        self.limits = limits or HttpLimits()
        """Times and sizes of every exchange."""
        self._env = os.environ if env is None else env
        self._transports: dict[tuple[Path | None, str | None], AiohttpTransport] = {}
        self._known: dict[tuple[str, Path | None, str | None], AiohttpTransport] = {}
        """The same by what was asked for: a probe does not look into the environment."""

    async def __aenter__(self) -> Self:
        # Its default hooks log the arguments and the exception of what is retried; ours are logged by the poller.
        stamina.instrumentation.set_on_retry_hooks([])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection. May be called more than once."""
        transports, self._transports = list(self._transports.values()), {}
        self._known.clear()
        for transport in transports:
            await transport.aclose()

    def transport(self, base_url: str, *, ca_file: Path | None, proxy: str | None) -> AiohttpTransport:
        """The transport to use for a base URL. Must be called inside the event loop. Raises ConfigError for a bad ca_file."""
        asked = (base_url, ca_file, proxy)
        known = self._known.get(asked)
        if known is not None:
            return known
        proxy = proxy or self._proxy_from_env(base_url)
        key = (ca_file, proxy)
        if key not in self._transports:
            self._transports[key] = _build_transport(ca_file, proxy)
        self._known[asked] = self._transports[key]
        return self._transports[key]

    def _proxy_from_env(self, base_url: str) -> str | None:
        """HTTPS_PROXY where NO_PROXY does not except the host. Plain http is loopback, which no proxy reaches."""
        parts = urlsplit(base_url)
        if parts.scheme != "https":
            return None
        proxy = self._env.get("https_proxy") or self._env.get("HTTPS_PROXY")
        excepted = self._env.get("no_proxy") or self._env.get("NO_PROXY") or ""
        if not proxy or _is_excepted(parts.hostname or "", excepted):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


def _is_excepted(host: str, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host, a domain above it, or everything."""
    names = [name.strip().lower().lstrip(".") for name in no_proxy.split(",")]
    return any(name == "*" or (name and (host == name or host.endswith("." + name))) for name in names)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Verified TLS on the system's trust store, and on ca_file beside it. Raises ConfigError where that cannot be read."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(f"ca_file: {ca_file} cannot be read as PEM certificates.") from exc
    return context


def _build_transport(ca_file: Path | None, proxy: str | None) -> AiohttpTransport:
    context = tls_context(ca_file)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=context,
            resolver=aiohttp.ThreadedResolver(),
            limit=0,  # each source's budget bounds it
            keepalive_timeout=_KEEP_ALIVE,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),  # each exchange has its own deadline
        middlewares=(_keep_encoded,),
    )
    return AiohttpTransport(verify=context, client=session, proxy=None if proxy is None else _proxy(proxy))


async def _keep_encoded(
    request: aiohttp.ClientRequest, handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
) -> aiohttp.ClientResponse:
    """Encode again what aiohttp took the encoding off (& ' ( ) and their like): a path segment stays as we wrote it."""
    path = request.url.raw_path
    kept = _DECODED_AGAIN.sub(lambda match: f"%{ord(match.group()):02X}", path)
    if kept != path:
        url = request.url
        request.url = URL.build(
            scheme=url.scheme, authority=url.raw_authority, path=kept, query_string=url.raw_query_string, encoded=True
        )
    response = await handler(request)
    response.reason = None  # httpx wants it in UTF-8, proxies write it in their own language, and nobody reads it
    return response


def _proxy(url: str) -> httpx.Proxy:
    """The proxy with its user and password in a header: aiohttp is giving up its own argument for them."""
    parts = urlsplit(url)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.username is None:
        return httpx.Proxy(address)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    token = base64.b64encode(pair.encode()).decode("ascii")
    return httpx.Proxy(address, headers={"Proxy-Authorization": f"Basic {token}"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one exchange may take: seconds in all, and bytes where the answer is a 200 and where it is not."""

    timeout: float
    body_bytes: int
    error_bytes: int
    inflation: int


async def exchange(
    transport: AiohttpTransport,
    request: httpx.Request,
    *,
    bounds: Bounds,
    on_headers: Callable[[httpx.Headers], None],
) -> HttpResponse:
    """Send one request and read its whole answer within `bounds`. `on_headers` is told as soon as headers arrive.

    Any HTTP status is an answer. Raises ProviderUnreachable (connect, TLS, timeout, cut off) or
    ProviderPayloadInvalid (no valid HTTP, too large, damaged); cancellation passes through.
    """
    host = request.url.netloc.decode("ascii", "replace")
    try:
        async with asyncio.timeout(bounds.timeout):
            response = await transport.handle_async_request(request)
            headers = response.headers
            try:
                on_headers(headers)
                body = partial(bodies.read_capped, response.aiter_raw(), announced=headers.get("content-length"))
                return await _read(response.status_code, headers, body, bounds)
            finally:
                await response.aclose()
    except ProviderError:
        raise
    except TimeoutError as exc:
        raise ProviderUnreachable(f"The API at {host} did not answer in time (timeout).") from exc
    except faults.TRANSPORT_FAULTS as exc:
        raise faults.in_our_words(exc, host=host) from exc


async def post(transport: AiohttpTransport, url: URL, headers: CIMultiDict[str], *, bounds: Bounds) -> HttpResponse:
    """POST with an empty body to a URL whose every byte is meant (encoded already). Answers and raises as exchange does."""
    host = url.raw_authority
    try:
        async with asyncio.timeout(bounds.timeout):
            response = await _session(transport).request("POST", url, headers=headers, **_LEAN, **_through(transport.proxy))
            said = response.headers
            try:
                body = partial(bodies.read_whole, response.content, announced=said.get("content-length"))
                return await _read(response.status, said, body, bounds)
            finally:
                response.release()
    except ProviderError:
        raise
    except TimeoutError as exc:
        raise ProviderUnreachable(f"The API at {host} did not answer in time (timeout).") from exc
    except faults.TRANSPORT_FAULTS as exc:
        raise faults.in_our_words(exc, host=host) from exc


_LEAN: dict[str, Any] = {"allow_redirects": False, "middlewares": ()}
"""No redirect is followed, and nothing mends the path: it comes encoded."""


def _session(transport: AiohttpTransport) -> aiohttp.ClientSession:
    session = transport.client
    if not isinstance(session, aiohttp.ClientSession):
        raise TypeError("The transport was built with a session.")
    return session


def _through(proxy: httpx.Proxy | None) -> dict[str, Any]:
    return {} if proxy is None else {"proxy": str(proxy.url), "proxy_headers": dict(proxy.headers)}


async def _read(status: int, headers: Mapping[str, str], body: Callable[..., Awaitable[bytes]], bounds: Bounds) -> HttpResponse:
    """The answer, whose raw body `body(cap=...)` reads."""
    good = status in GOOD
    cap = bounds.body_bytes if good else bounds.error_bytes
    try:
        raw = text = await body(cap=cap)
        encoding = headers.get("content-encoding")
        if encoding is not None:
            unpack = partial(bodies.decode, raw, encoding, cap=cap, inflation=bounds.inflation)
            text = await off_loop(unpack, size=len(raw) * _USUAL_INFLATION)
    except (ProviderPayloadInvalid, *faults.TRANSPORT_FAULTS) as exc:
        # The status of an error answer says enough, even where its text is lost.
        if good or isinstance(exc, TimeoutError):
            raise
        return HttpResponse(status=status, headers=headers, body=b"", fault=str(exc)[:100])
    return HttpResponse(status=status, headers=headers, body=text)


_BOUNDS = Bounds(timeout=10.0, body_bytes=64 * 1024, error_bytes=64 * 1024, inflation=100)
_LONGEST = 10_000
"""Bytes of text; the services keep no more of it."""


async def ping(sessions: HttpSessions, url: str, *, suffix: str = "", text: str = "") -> None:
    """POST `text` to the URL, with `suffix` at the end of its path. Follows no redirect, repeats nothing.

    Raises ProviderError where it was not taken; the message names the host alone, for the path may be a secret.
    """
    parts = urlsplit(url)
    target = parts._replace(path=parts.path.rstrip("/") + suffix).geturl() if suffix else url
    host = parts.hostname or "there"
    try:
        request = httpx.Request(
            "POST",
            target,
            content=text.encode("utf-8", "replace")[:_LONGEST],
            headers={"User-Agent": USER_AGENT, "Content-Type": "text/plain; charset=utf-8"},
        )
        transport = sessions.transport(target, ca_file=None, proxy=None)
        answer = await exchange(transport, request, bounds=_BOUNDS, on_headers=lambda _: None)
    except (ProviderError, httpx.InvalidURL) as error:
        raise ProviderUnreachable(f"The heartbeat's address at {host} was not reached: {_why(error)}") from error
    if not 200 <= answer.status < 300:
        raise ProviderPayloadInvalid(f"The heartbeat's address at {host} answered with HTTP {answer.status}.")


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, ProviderError) else "it cannot be called."
