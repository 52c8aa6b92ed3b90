"""Response bodies and transport errors."""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Protocol

import aiohttp
import httpx
from aiohttp import http_exceptions
from multidict import CIMultiDict, CIMultiDictProxy

from monitor.domain.errors import ProviderError, ProviderPayloadInvalid, ProviderUnreachable
from monitor.domain.network_causes import CAUSES
from monitor.domain.records import Record
from monitor.domain.text import sanitize
from monitor.providers.payload import off_loop

_GZIP = 31
_ZLIB = 15
_BARE_DEFLATE = -15
_MAX_MEMBERS = 16
"""Maximum number of members in a gzip body; more are not legitimate."""


SUCCESS = frozenset({200, 201})
"""Successful statuses. 201 is included because some frameworks return it for every POST."""


_USUAL_INFLATION = 8
"""Typical decoded bytes per compressed byte, to decide whether a list is decompressed in a thread."""


class HttpResponse(Record, frozen=True, kw_only=True):
    """One decoded response. `fault` is the reason why the body of an error response could not be read and is empty."""

    status: int
    headers: Mapping[str, str]
    """By case-insensitive name."""
    body: bytes
    fault: str | None = None


class Bounds(Record, frozen=True, kw_only=True):
    """Limits of one exchange: total seconds, and bytes of a successful and of an error body."""

    timeout: float
    body_bytes: int
    error_bytes: int
    inflation: int


class Chunks(Protocol):
    """A body being received."""

    async def readany(self) -> bytes:
        """Return received bytes, waiting if there are none; empty at the end."""
        ...

    def at_eof(self) -> bool:
        """Return True if the whole body was read."""
        ...


async def read_whole(chunks: Chunks, *, cap: int, announced: str | None) -> bytes:
    """Return the raw body like read_capped, without copying a body received in one piece."""
    refuse_announced(announced, cap=cap)
    first = await chunks.readany()
    if chunks.at_eof() and len(first) <= cap:
        return first
    body = bytearray(first)
    while len(body) <= cap:
        chunk = await chunks.readany()
        if not chunk:
            return bytes(body)
        body += chunk
    raise too_large(cap)


async def read_capped(chunks: AsyncIterable[bytes], *, cap: int, announced: str | None) -> bytes:
    """Return the raw body. Raises ProviderPayloadInvalid as soon as it is, or is announced to be, larger than `cap`."""
    refuse_announced(announced, cap=cap)
    body = bytearray()
    async for chunk in chunks:
        if len(body) + len(chunk) > cap:
            raise too_large(cap)
        body += chunk
    return bytes(body)


def refuse_announced(announced: str | None, *, cap: int) -> None:
    """Raise ProviderPayloadInvalid if a Content-Length is larger than `cap`."""
    if announced is not None and announced.isascii() and announced.isdigit() and (len(announced) > 15 or int(announced) > cap):
        raise too_large(cap)


def decode(raw: bytes, encoding: str | None, *, cap: int, inflation: int) -> bytes:
    """Return the decoded body, at most `cap` bytes and at most `inflation` times the raw bytes.

    Raises ProviderPayloadInvalid for a body that is larger, incomplete, damaged, or in an encoding that was not requested.
    """
    name = (encoding or "identity").strip().lower()
    if name in ("identity", "none", "") or not raw:
        return raw
    if name in ("gzip", "x-gzip"):
        return _inflate(raw, _GZIP, cap=cap, inflation=inflation)
    if name == "deflate":
        # Some servers send the bare stream, most the one with zlib's header; the first bytes differ.
        wbits = _ZLIB if raw[0] & 0x0F == 8 and len(raw) > 1 and (raw[0] << 8 | raw[1]) % 31 == 0 else _BARE_DEFLATE
        return _inflate(raw, wbits, cap=cap, inflation=inflation)
    raise ProviderPayloadInvalid("The API's response has a content encoding that was not requested.")


def _inflate(raw: bytes, wbits: int, *, cap: int, inflation: int) -> bytes:
    allowed = min(cap, len(raw) * inflation)
    out = b""
    rest = raw
    try:
        for _ in range(_MAX_MEMBERS):
            member = zlib.decompressobj(wbits)
            # One byte more than allowed is enough to detect the excess, and limits memory. Adding to b"" does not copy.
            out += member.decompress(rest, allowed - len(out) + 1)
            if len(out) > allowed:
                raise too_large(cap) if allowed == cap else _bomb(inflation)
            if not member.eof:
                raise ProviderPayloadInvalid("The API's response is incomplete: its compressed body has no end.")
            rest = member.unused_data
            if not rest or wbits != _GZIP:
                return out
    except zlib.error as exc:
        raise ProviderPayloadInvalid("The API's response is damaged: its compressed body cannot be decoded.") from exc
    raise ProviderPayloadInvalid("The API's response is damaged: its compressed body has too many parts.")


def too_large(cap: int) -> ProviderPayloadInvalid:
    """Return the error for a body beyond its cap."""
    size = f"{cap // (1024 * 1024)} MiB" if cap >= 1024 * 1024 else f"{cap} bytes"
    return ProviderPayloadInvalid(f"The API's response is larger than {size} and was not read.")


def _bomb(inflation: int) -> ProviderPayloadInvalid:
    return ProviderPayloadInvalid(f"The API's response decompresses to more than {inflation} times its size and was not decoded.")


TRANSPORT_FAULTS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    aiohttp.ClientError,
    http_exceptions.HttpProcessingError,
    OSError,
    ValueError,
)
"""Exceptions of an exchange. OSError includes TimeoutError and EMFILE; ValueError is raised for unsendable requests."""


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


def to_provider_error(exc: BaseException, *, host: str) -> ProviderError:
    """Return the ProviderError for an exception of an exchange with `host`. Removes the request's headers from the cause."""
    causes = list(_chain(exc))
    for cause in causes:
        _forget_request(cause)
    cut_off = any(isinstance(cause, aiohttp.ClientPayloadError) for cause in causes)
    broken = None if cut_off else next((cause for cause in causes if _is_malformed(cause)), None)
    if broken is not None:
        detail = sanitize(getattr(broken, "message", "") or "")[:80]
        return ProviderPayloadInvalid(f"The response from {host} is not valid HTTP{f' ({detail})' if detail else ''}.")
    return ProviderUnreachable(f"The API at {host} could not be reached: {_cause(causes)}.")


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or exc.__context__


def _forget_request(exc: BaseException) -> None:
    # Its repr contains all request headers, including the key or the proxy's password.
    if isinstance(exc, aiohttp.ClientResponseError):
        exc.args = ()
        exc.request_info = aiohttp.RequestInfo(
            exc.request_info.url.with_query(None).with_user(None),
            exc.request_info.method,
            CIMultiDictProxy(CIMultiDict()),
        )


def _is_malformed(exc: BaseException) -> bool:
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return False
    return isinstance(exc, (aiohttp.ClientResponseError, http_exceptions.HttpProcessingError))


def _cause(causes: list[BaseException]) -> str:
    for exc in causes:
        detail = _cause_of(exc)
        if detail is not None:
            return detail
    return "the connection failed"


def _cause_of(exc: BaseException) -> str | None:
    if isinstance(exc, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)):
        status = getattr(exc, "status", None)
        return f"the proxy refused (HTTP {status})" if status else "the proxy does not respond"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        unanswered = exc.os_error.errno == socket.EAI_AGAIN
        return "its name cannot be resolved (DNS does not respond)" if unanswered else "its name cannot be resolved (DNS)"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"its TLS certificate is not trusted ({_certificate(exc.certificate_error)})"
    if isinstance(exc, (aiohttp.ClientSSLError, ssl.SSLError)):
        return "the TLS handshake failed (TLS)"
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "the connection was closed without a response"
    if isinstance(exc, aiohttp.ClientPayloadError):
        return "the response was incomplete"
    if isinstance(exc, (TimeoutError, httpx.TimeoutException)) and not isinstance(exc, httpx.ConnectTimeout):
        return "it did not respond in time (timeout)"
    if isinstance(exc, OSError):
        return CAUSES.get(exc.errno or 0)
    return None


def _certificate(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return sanitize(error.verify_message)[:100] or "TLS"
    return "TLS"
