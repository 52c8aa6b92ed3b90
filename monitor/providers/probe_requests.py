"""Probe requests: POST with an empty body, sent below aiohttp's session.

Probes are the most frequent requests of the monitor, and a session needs more time to prepare a request than to exchange it.
Here, everything that the probes of one source share is prepared once. Connections, TLS, proxies and the parser are aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

import aiohttp
from aiohttp.client_proto import ResponseHandler
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict
from yarl import URL

from monitor.domain.errors import ProviderError, ProviderUnreachable
from monitor.providers.http import Bounds, HttpResponse, read_response, session_of
from monitor.providers.transport import TRANSPORT_FAULTS, read_whole, to_provider_error

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
"""For connection attempts: the deadline of the whole exchange covers them."""

_SWITCHING_PROTOCOLS = 101


class ProbeRequests:
    """Sends the probes of one source. Create it within the event loop that sends them."""

    def __init__(self, transport: AiohttpTransport, base_url: URL, headers: Mapping[str, str], *, bounds: Bounds) -> None:
        """Prepare requests to addresses below `base_url` with these headers. Raises ValueError for a URL that is not valid."""
        session = session_of(transport)
        if session.connector is None:
            raise TypeError("The session has no connector.")
        self._connector = session.connector
        self._request = _prototype(session, transport, base_url, headers)
        self._host = base_url.raw_authority
        root = URL(f"{base_url}/", encoded=True)
        is_sent_whole = self._request.proxy is not None and not self._request.is_ssl()  # an HTTP proxy needs the whole URL
        self._target = (str(root) if is_sent_whole else root.raw_path_qs).removesuffix("/")
        self._headers = _header_lines(self._request.headers)
        self._bounds = bounds

    async def send(self, path: str, headers: Mapping[str, str]) -> HttpResponse:
        """Send a probe to base_url + path with further headers, and return the response, read within the bounds.

        The path must be percent-encoded. Redirects are not followed. Raises like monitor.providers.http.exchange.
        """
        head = f"POST {self._target}{path} HTTP/1.1\r\n{self._headers}{_header_lines(headers)}\r\n".encode("ascii")
        try:
            async with asyncio.timeout(self._bounds.timeout):
                connection = await self._connector.connect(self._request, [], _NO_TIMEOUT)
                try:
                    response = await self._exchange(connection.protocol, head)
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

    async def _exchange(self, protocol: ResponseHandler | None, head: bytes) -> HttpResponse:
        if protocol is None or protocol.transport is None or protocol.transport.is_closing():
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        protocol.transport.write(head)
        message, content = await protocol.read()
        while 100 <= message.code < 200 and message.code != _SWITCHING_PROTOCOLS:  # the response follows
            message, content = await protocol.read()
        headers = message.headers
        body = partial(read_whole, content, announced=headers.get("content-length"))
        return await read_response(message.code, headers, body, self._bounds)


def _prototype(
    session: aiohttp.ClientSession, transport: AiohttpTransport, base_url: URL, headers: Mapping[str, str]
) -> aiohttp.ClientRequest:
    """Return the request that identifies the connections to use, with all headers of a probe."""
    proxy = transport.proxy
    return aiohttp.ClientRequest(
        "POST",
        base_url,
        headers={**headers, "Content-Type": "application/octet-stream"},
        loop=asyncio.get_running_loop(),
        session=session,
        proxy=None if proxy is None else URL(str(proxy.url)),
        # aiohttp adds this Host when it connects, which would change the identity.
        proxy_headers=None if proxy is None else CIMultiDict({**proxy.headers, "Host": base_url.host_port_subcomponent or ""}),
    )


def _header_lines(headers: Mapping[str, str]) -> str:
    """Return headers as they are sent. Their values must be valid in a header."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()]) if headers else ""
