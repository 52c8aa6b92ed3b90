"""Bounded HTTP exchanges."""

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
from typing import Self
from urllib.parse import unquote, urlsplit

import aiohttp
import httpx
import stamina.instrumentation
from httpx_aiohttp import AiohttpTransport
from yarl import URL

from monitor import __version__
from monitor.domain.errors import ConfigError, ProviderError, ProviderPayloadInvalid, ProviderUnreachable
from monitor.domain.records import Record
from monitor.providers.base import HttpLimits
from monitor.providers.payload import off_loop
from monitor.providers.resolver import SystemResolver
from monitor.providers.transport import TRANSPORT_FAULTS, decode, read_capped, to_provider_error

USER_AGENT = f"token-expiry-monitor/{__version__}"

SUCCESS = frozenset({200, 201})
"""Successful statuses. 201 is included because some frameworks return it for every POST."""

_DECODED_AGAIN = re.compile(r"[^A-Za-z0-9._:~/%-]", re.ASCII)

_USUAL_INFLATION = 8
"""Typical decoded bytes per compressed byte, to decide whether a list is decompressed in a thread."""

_KEEP_ALIVE = 4.0
"""Seconds. Node closes idle connections after five; a probe sent at that moment would fail and must not be retried."""


class HttpResponse(Record, frozen=True, kw_only=True):
    """One decoded response. `fault` is the reason why the body of an error response could not be read and is empty."""

    status: int
    headers: Mapping[str, str]
    """By case-insensitive name."""
    body: bytes
    fault: str | None = None


class HttpSessions:
    """Async context manager of the process's HTTP connections: one session and TLS context for each (ca_file, proxy)."""

    def __init__(self, *, limits: HttpLimits | None = None, env: Mapping[str, str] | None = None) -> None:
        self.limits = limits or HttpLimits()
        """Limits of every exchange."""
        self._env = os.environ if env is None else env
        self._transports: dict[tuple[Path | None, str | None], AiohttpTransport] = {}
        self._resolver = SystemResolver()
        self._known: dict[tuple[str, Path | None, str | None], AiohttpTransport] = {}
        """Transports by the arguments of transport(): probes need not read the environment again."""

    async def __aenter__(self) -> Self:
        # The default hooks would log arguments and exceptions of every retry; the poller logs the outcome instead.
        stamina.instrumentation.set_on_retry_hooks([])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection. May be called repeatedly."""
        transports, self._transports = list(self._transports.values()), {}
        self._known.clear()
        for transport in transports:
            await transport.aclose()

    def transport(self, base_url: str, *, ca_file: Path | None, proxy: str | None) -> AiohttpTransport:
        """Return the transport for a base URL. Call within the event loop. Raises ConfigError for an unusable ca_file."""
        arguments = (base_url, ca_file, proxy)
        known = self._known.get(arguments)
        if known is not None:
            return known
        proxy = proxy or self._proxy_from_env(base_url)
        key = (ca_file, proxy)
        if key not in self._transports:
            self._transports[key] = _build_transport(ca_file, proxy, self._resolver)
        self._known[arguments] = self._transports[key]
        return self._transports[key]

    def _proxy_from_env(self, base_url: str) -> str | None:
        """Return HTTPS_PROXY unless NO_PROXY exempts the host. Plain http is loopback only, which needs no proxy."""
        parts = urlsplit(base_url)
        if parts.scheme != "https":
            return None
        proxy = self._env.get("https_proxy") or self._env.get("HTTPS_PROXY")
        exempt = self._env.get("no_proxy") or self._env.get("NO_PROXY") or ""
        if not proxy or _is_exempt(parts.hostname or "", exempt):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


def _is_exempt(host: str, no_proxy: str) -> bool:
    """Return True if NO_PROXY contains the host, a parent domain, or *."""
    names = [name.strip().lower().lstrip(".") for name in no_proxy.split(",")]
    return any(name == "*" or (name and (host == name or host.endswith("." + name))) for name in names)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a verifying TLS context for the system's trust store and ca_file. Raises ConfigError for an unreadable ca_file."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError(f"ca_file: {ca_file} cannot be read as PEM certificates.") from exc
    return context


def _build_transport(ca_file: Path | None, proxy: str | None, resolver: SystemResolver) -> AiohttpTransport:
    context = tls_context(ca_file)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=context,
            resolver=resolver,
            limit=0,  # bounded by each source's budget
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
    """Restore percent-encodings that aiohttp removed (such as those of & ' ( )), so that path segments are sent as built."""
    path = request.url.raw_path
    kept = _DECODED_AGAIN.sub(lambda match: f"%{ord(match.group()):02X}", path)
    if kept != path:
        url = request.url
        request.url = URL.build(
            scheme=url.scheme, authority=url.raw_authority, path=kept, query_string=url.raw_query_string, encoded=True
        )
    response = await handler(request)
    response.reason = None  # httpx requires UTF-8, proxies use other encodings, and the phrase is unused
    return response


def _proxy(url: str) -> httpx.Proxy:
    """Return the proxy with user and password in a header: aiohttp deprecates its argument for them."""
    parts = urlsplit(url)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.username is None:
        return httpx.Proxy(address)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    token = base64.b64encode(pair.encode()).decode("ascii")
    return httpx.Proxy(address, headers={"Proxy-Authorization": f"Basic {token}"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of one exchange: total seconds, and bytes of a successful and of an error body."""

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
    """Send one request and return its response, read within `bounds`. `on_headers` is called when the headers arrive.

    Every HTTP status is a response. Raises ProviderUnreachable (connection, TLS, timeout, incomplete body) or
    ProviderPayloadInvalid (invalid HTTP, too large, damaged body).
    """
    host = request.url.netloc.decode("ascii", "replace")
    try:
        async with asyncio.timeout(bounds.timeout):
            response = await transport.handle_async_request(request)
            headers = response.headers
            try:
                on_headers(headers)
                body = partial(read_capped, response.aiter_raw(), announced=headers.get("content-length"))
                return await read_response(response.status_code, headers, body, bounds)
            finally:
                await response.aclose()
    except ProviderError:
        raise
    except TimeoutError as exc:
        raise ProviderUnreachable(f"The API at {host} did not respond in time (timeout).") from exc
    except TRANSPORT_FAULTS as exc:
        raise to_provider_error(exc, host=host) from exc


def session_of(transport: AiohttpTransport) -> aiohttp.ClientSession:
    """Return the session whose connections a transport uses."""
    session = transport.client
    if not isinstance(session, aiohttp.ClientSession):
        raise TypeError("The transport has no aiohttp session.")
    return session


async def read_response(
    status: int, headers: Mapping[str, str], body: Callable[..., Awaitable[bytes]], bounds: Bounds
) -> HttpResponse:
    """Return the response, decoded within `bounds`; `body(cap=...)` reads its raw body. Raises what `body` raises.

    Also raises ProviderPayloadInvalid. The status of an error response suffices: its body is left out if it cannot be read.
    """
    success = status in SUCCESS
    cap = bounds.body_bytes if success else bounds.error_bytes
    try:
        raw = text = await body(cap=cap)
        encoding = headers.get("content-encoding")
        if encoding is not None:
            unpack = partial(decode, raw, encoding, cap=cap, inflation=bounds.inflation)
            text = await off_loop(unpack, size=len(raw) * _USUAL_INFLATION)
    except (ProviderPayloadInvalid, *TRANSPORT_FAULTS) as exc:
        if success or isinstance(exc, TimeoutError):
            raise
        return HttpResponse(status=status, headers=headers, body=b"", fault=str(exc)[:100])
    return HttpResponse(status=status, headers=headers, body=text)
