"""What the HTTP library raises, said in our words: the cause's class, never an address with a query, never a key."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator

import aiohttp
import httpx
from aiohttp import http_exceptions
from multidict import CIMultiDict, CIMultiDictProxy

from monitor.domain.errors import ProviderError, ProviderPayloadInvalid, ProviderUnreachable
from monitor.domain.text_part import clean

TRANSPORT_FAULTS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    aiohttp.ClientError,
    http_exceptions.HttpProcessingError,
    OSError,
    ValueError,
)
"""Everything an exchange raises. OSError holds TimeoutError and EMFILE; ValueError what the library refuses to send."""

_UNREACHABLE_BY_ERRNO = {
    errno.ECONNREFUSED: "the connection was refused",
    errno.EHOSTUNREACH: "there is no route to the host",
    errno.ENETUNREACH: "the network is unreachable",
    errno.ECONNRESET: "the connection was reset",
    errno.EPIPE: "the connection was reset",
    errno.EMFILE: "this process has too many open files",
    errno.ENFILE: "this machine has too many open files",
}


def in_our_words(exc: BaseException, *, host: str) -> ProviderError:
    """The error to raise for what an exchange with `host` raised. Takes the request's headers out of the cause."""
    causes = list(_chain(exc))
    for cause in causes:
        _forget_request(cause)
    cut_off = any(isinstance(cause, aiohttp.ClientPayloadError) for cause in causes)
    broken = None if cut_off else next((cause for cause in causes if _is_malformed(cause)), None)
    if broken is not None:
        detail = clean(getattr(broken, "message", "") or "")[:80]
        return ProviderPayloadInvalid(f"The answer from {host} is not valid HTTP{f' ({detail})' if detail else ''}.")
    return ProviderUnreachable(f"The API at {host} could not be reached: {_cause(causes)}.")


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        exc = exc.__cause__ or exc.__context__


def _forget_request(exc: BaseException) -> None:
    # Its repr shows all headers of the request, and with them the key (or the proxy's password).
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
        said = _cause_of(exc)
        if said is not None:
            return said
    return "the connection failed"


def _cause_of(exc: BaseException) -> str | None:
    if isinstance(exc, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)):
        status = getattr(exc, "status", None)
        return f"the proxy refused (HTTP {status})" if status else "the proxy does not answer"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved (DNS)"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"its TLS certificate is not trusted ({_certificate(exc.certificate_error)})"
    if isinstance(exc, (aiohttp.ClientSSLError, ssl.SSLError)):
        return "no TLS connection could be made (TLS)"
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "the connection was closed without an answer"
    if isinstance(exc, aiohttp.ClientPayloadError):
        return "the answer was cut off"
    if isinstance(exc, (TimeoutError, httpx.TimeoutException)) and not isinstance(exc, httpx.ConnectTimeout):
        return "it did not answer in time (timeout)"
    if isinstance(exc, OSError):
        return _UNREACHABLE_BY_ERRNO.get(exc.errno or 0)
    return None


def _certificate(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return clean(error.verify_message)[:100] or "TLS"
    return "TLS"
