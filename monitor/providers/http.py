"""Bounded HTTP exchanges."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
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
from monitor.domain.errors import ConfigError, ProviderError, ProviderUnreachable
from monitor.providers.base import HttpLimits
from monitor.providers.resolver import SystemResolver
from monitor.providers.route import ApiRoute
from monitor.providers.transport import TRANSPORT_FAULTS, Bounds, HttpResponse, read_capped, read_response, to_provider_error

USER_AGENT = f"token-expiry-monitor/{__version__}"

_DECODED_AGAIN = re.compile(r"[^A-Za-z0-9._:~/%-]", re.ASCII)

_KEEP_ALIVE = 4.0
"""Seconds. Node closes idle connections after five; a probe sent at that moment would fail and must not be retried."""


class HttpSessions:
    """Async context manager of the process's HTTP connections: one session and TLS context for each (ca_file, proxy)."""

    def __init__(self, *, limits: HttpLimits | None = None, env: Mapping[str, str] | None = None) -> None:
        self.limits = limits or HttpLimits()
        """Limits of every exchange."""
        self._env = os.environ if env is None else env
        self._transports: dict[tuple[Path | None, str | None], AiohttpTransport] = {}
        self._resolver = SystemResolver()
        self._routes: dict[tuple[str, Path | None, str | None], ApiRoute] = {}
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
        self._routes.clear()
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

    def route(self, base_url: str, *, ca_file: Path | None, proxy: str | None) -> ApiRoute:
        """Return the way to a base URL. Raises as transport() and ApiRoute do."""
        arguments = (base_url, ca_file, proxy)
        if arguments not in self._routes:
            self._routes[arguments] = ApiRoute(self.transport(base_url, ca_file=ca_file, proxy=proxy), base_url)
        return self._routes[arguments]

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
