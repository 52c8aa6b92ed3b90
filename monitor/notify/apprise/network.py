"""The network of one channel: the certificates that it trusts, its proxy, and the causes of failed connections.

All plugins of Apprise call `requests` and `smtplib` without a choice of certificates or proxy, so both are set for each call
(see `errors`). Nothing is set for the whole process: two channels may trust different authorities.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import RemoteDisconnected
from importlib.util import find_spec
from pathlib import Path
from smtplib import SMTPNotSupportedError
from typing import Any

from monitor.config import Secret
from monitor.domain.errors import ConfigError
from monitor.domain.network_causes import CAUSES
from monitor.domain.text import sanitize

_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
_NO_SOCKS = "a SOCKS proxy needs the Python package PySocks, which is not installed"


class UnusableNetwork(ConfigError):
    """A channel's ca_file or proxy cannot be used. The message begins with the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The certificates and proxy of one channel's requests. Verification of certificates is never turned off here."""

    ca_file: Path | None = None
    """Certificates that are trusted in addition to those of the system and of Apprise."""
    proxy: Secret | None = field(default=None, repr=False)
    """The proxy of every HTTP request; None: HTTPS_PROXY and NO_PROXY of the environment apply."""

    def verify(self) -> None:
        """Raise UnusableNetwork if ca_file cannot be read, or the proxy cannot be used."""
        if self.ca_file is not None:
            self._context()
        if self.proxy is not None and self.proxy.reveal().startswith("socks") and find_spec("socks") is None:
            raise UnusableNetwork(f"proxy cannot be used: {_NO_SOCKS}.")

    def prepare(self, session: Any, request: Any, options: dict[str, Any]) -> None:
        """Set up a session of `requests` and its options for one request. Does not change `verify=no` of a channel's URL."""
        if self.proxy is not None:
            options["proxies"] = dict.fromkeys(("http", "https"), self.proxy.reveal())
        if options.get("verify", True) is not False and str(request.url).lower().startswith("https:"):
            session.mount("https://", _adapter(self._context()))
            options["verify"] = True  # REQUESTS_CA_BUNDLE is part of the context

    def trust(self, context: ssl.SSLContext | None) -> None:
        """Add the channel's certificates to the context of a mail server."""
        if context is not None and context.verify_mode is not ssl.CERT_NONE:
            for path in _bundles(self.ca_file):
                _load(context, path)

    def _context(self) -> ssl.SSLContext:
        paths = _bundles(self.ca_file)
        try:
            changed = tuple(path.stat().st_mtime_ns for path in paths)
        except OSError as error:
            raise UnusableNetwork(f"ca_file cannot be read: {error.filename} ({error.strerror}).") from error
        return _context_of(paths, changed, tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")))


def _bundles(ca_file: Path | None) -> tuple[Path, ...]:
    """Return the files and folders of certificates that are trusted in addition to the system's."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    bundles = [Path(DEFAULT_CA_BUNDLE_PATH), *([Path(named)] if named else [])]
    return (*(path for path in bundles if path.exists()), *([ca_file] if ca_file is not None else []))


@lru_cache(maxsize=32)
def _context_of(paths: tuple[Path, ...], _changed: tuple[int, ...], _environment: tuple[str | None, ...]) -> ssl.SSLContext:
    """Return a verifying context for the system's certificates and those of `paths`; the rest is part of the cache's key."""
    context = ssl.create_default_context()
    for path in paths:
        _load(context, path)
    return context


def _load(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(**{"capath" if path.is_dir() else "cafile": str(path)})
    except OSError as error:  # ssl.SSLError is one
        raise UnusableNetwork(f"ca_file cannot be read as PEM certificates: {path}.") from error


def _adapter(context: ssl.SSLContext) -> Any:
    """Return an adapter of `requests` that verifies servers, and proxies that are reached by TLS, with this context."""
    from requests.adapters import HTTPAdapter

    class TrustingAdapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, ssl_context=context)

        def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
            if proxy.lower().startswith("https:"):
                kwargs["proxy_ssl_context"] = context
            return super().proxy_manager_for(proxy, **kwargs, ssl_context=context)

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            super().cert_verify(conn, url, verify, cert)
            conn.ca_certs = conn.ca_cert_dir = None  # else they are loaded into the context for every connection

    return TrustingAdapter()


def uses_http(service: Any) -> bool:
    """Return True if the plugin of an Apprise service sends through `requests`."""
    modules = (sys.modules.get(each.__module__) for each in type(service).__mro__ if ".plugins." in each.__module__)
    return any(hasattr(module, "requests") for module in modules)


def is_without_tls(error: BaseException) -> bool:
    """Return True if the other side did not answer with TLS, so nothing of the message was sent."""
    return any(isinstance(each, ssl.SSLError) and each.reason in _NO_TLS for each in _chain(error))


def cause_of(error: BaseException) -> str:
    """Return why a connection failed, as the end of a sentence; empty where that is unknown. Unredacted: it may name a host."""
    causes = list(_chain(error))
    if isinstance(error, UnusableNetwork):
        return str(error).rstrip(".")
    if any("SOCKS support" in str(each) for each in causes):
        return _NO_SOCKS
    if (through_proxy := _proxy_cause(causes)) is not None:
        return through_proxy
    return next((text for each in causes if (text := _text_of(each))), "")


def _proxy_cause(causes: list[BaseException]) -> str | None:
    from urllib3.exceptions import ProxyError

    if not any(isinstance(each, ProxyError) for each in causes):
        return None
    for each in causes:
        _, found, status = str(each).partition("Tunnel connection failed: ")
        if found and status[:3].isdigit():
            return f"the proxy refused (HTTP {status[:3]})"
    detail = next((text for each in causes if (text := _text_of(each))), "")
    return "the proxy does not respond" + (f" ({detail})" if detail else "")


def _text_of(error: BaseException) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its TLS certificate is not trusted ({sanitize(error.verify_message)[:100] or 'TLS'})"
        case ssl.SSLError():
            return "the port does not use TLS" if error.reason in _NO_TLS else "the TLS handshake failed (TLS)"
        case socket.gaierror():
            return "its name cannot be resolved (DNS)"
        case TimeoutError():
            return "it did not respond in time (timeout)"
        case SMTPNotSupportedError():
            return "the server does not offer TLS"
        case RemoteDisconnected():
            return "the connection was closed without a response"
        case OSError():
            return CAUSES.get(error.errno or 0, "")
    return "it did not respond in time (timeout)" if "Timeout" in type(error).__name__ else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that caused it: `requests` and urllib3 keep the cause as an argument or as `reason`."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [inner for inner in (*each.args, getattr(each, "reason", None)) if isinstance(inner, BaseException)]
        waiting += [each.__cause__, each.__context__]
