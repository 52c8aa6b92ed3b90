"""Requests without a body to one base URL, sent below aiohttp's session.

Probes and lists are nearly all requests of the monitor, and a session needs more time to prepare a request than to exchange it.
Here, everything that the requests to one base URL share is prepared once. Connections, TLS, proxies and the parser are aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict
from yarl import URL

from monitor.domain.errors import ProviderError, ProviderUnreachable
from monitor.providers.transport import TRANSPORT_FAULTS, Bounds, HttpResponse, read_response, read_whole, to_provider_error

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
"""For connection attempts: the deadline of the whole exchange covers them."""

_SWITCHING_PROTOCOLS = 101

_OF_EMPTY_BODY = {"POST": "Content-Length: 0\r\nContent-Type: application/octet-stream\r\n"}
"""Headers by method."""


class ApiRoute:
    """The way to one base URL. Sources share it. Create it within the event loop that sends the requests."""

    def __init__(self, transport: AiohttpTransport, base_url: str) -> None:
        """Prepare requests to addresses below `base_url`. Raises httpx.InvalidURL or ValueError for a URL that is not valid."""
        # As httpx writes it: percent-encodings stay, and what must be encoded is.
        root = URL(f"{httpx.URL(base_url)}".removesuffix("/") + "/", encoded=True)
        session = transport.client
        if not isinstance(session, aiohttp.ClientSession) or session.connector is None:
            raise TypeError("The transport has no aiohttp session with a connector.")
        self._connector = session.connector
        self._prototype = _prototype(session, transport, root)
        self._host = root.raw_authority
        is_sent_whole = self._prototype.proxy is not None and not self._prototype.is_ssl()  # an HTTP proxy needs the whole URL
        self._target = (str(root) if is_sent_whole else root.raw_path_qs).removesuffix("/")
        self._host_line = header_lines({"Host": root.host_port_subcomponent or ""})

    async def send(
        self,
        method: str,
        path: str,
        headers: str,
        *,
        bounds: Bounds,
        on_headers: Callable[[Mapping[str, str]], None] | None = None,
    ) -> HttpResponse:
        """Send a request to base_url + path with these lines of headers, and return the response, read within the bounds.

        The path must be percent-encoded. Redirects are not followed. Raises like monitor.providers.http.exchange, and calls
        `on_headers` like it.
        """
        try:
            more = _OF_EMPTY_BODY.get(method, "")
            head = f"{method} {self._target}{path} HTTP/1.1\r\n{self._host_line}{headers}{more}\r\n".encode("ascii")
            async with asyncio.timeout(bounds.timeout):
                connection = await self._connector.connect(self._prototype, [], _NO_TIMEOUT)
                try:
                    response = await _exchange(connection.protocol, head, bounds, on_headers)
                except BaseException:
                    connection.close()
                    raise
                connection.release()  # closes it unless the response was read completely
                return response
        except ProviderError:
            raise
        except TimeoutError as exc:
            raise ProviderUnreachable(f"The API at {self._host} did not respond in time (timeout).") from exc
        except TRANSPORT_FAULTS as exc:
            raise to_provider_error(exc, host=self._host) from exc


async def _exchange(
    protocol: ResponseHandler | None, head: bytes, bounds: Bounds, on_headers: Callable[[Mapping[str, str]], None] | None
) -> HttpResponse:
    if protocol is None or protocol.transport is None or protocol.transport.is_closing():
        raise aiohttp.ServerDisconnectedError
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)
    protocol.transport.write(head)
    message, content = await protocol.read()
    while 100 <= message.code < 200 and message.code != _SWITCHING_PROTOCOLS:  # the response follows
        message, content = await protocol.read()
    headers = message.headers
    if on_headers is not None:
        on_headers(headers)
    body = partial(read_whole, content, announced=headers.get("content-length"))
    return await read_response(message.code, headers, body, bounds)


def _prototype(session: aiohttp.ClientSession, transport: AiohttpTransport, root: URL) -> aiohttp.ClientRequest:
    """Return the request that identifies the connections to use."""
    proxy = transport.proxy
    return aiohttp.ClientRequest(
        "GET",
        root,
        loop=asyncio.get_running_loop(),
        session=session,
        proxy=None if proxy is None else URL(str(proxy.url)),
        # aiohttp adds this Host when it connects, which would change the identity.
        proxy_headers=None if proxy is None else CIMultiDict({**proxy.headers, "Host": root.host_port_subcomponent or ""}),
    )


def header_lines(headers: Mapping[str, str]) -> str:
    """Return headers as they are sent. Their values must be valid in a header."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()]) if headers else ""
