"""URLs and addresses of the configuration: validation, and display without secrets."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from monitor.config.error_text import describe
from monitor.config.secrets import HIDDEN, UnusableError
from monitor.config.settings import HeartbeatKind

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SECOND_URL = re.compile(r"[\s,;]+[A-Za-z][A-Za-z0-9+.-]*://")
_BASE_PATH = re.compile(r"(/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+")
_HEADER = re.compile(r"[a-z0-9-]+")
FORWARDED_HEADERS = frozenset(("forwarded", *(f"x-forwarded-{name}" for name in ("for", "proto", "host", "prefix", "port"))))
"""Headers that proxies add, in lower case."""
_OTHER_HEADERS = frozenset(
    ("accept", "authorization", "connection", "content-length", "content-type", "cookie", "host", "origin")
)
_NO_WORDS = ("no", "false", "0", "off", "n", "f", "none", "deny", "never", "disable")


def is_loopback(host: str) -> bool:
    """Return True if a host name or address is a loopback one."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def base_url(text: str, *, list_path: str) -> str:
    """Return a source's base URL without trailing slashes. Raises UnusableError."""
    parts = _split(text)
    if parts is None or parts.scheme not in ("https", "http") or not parts.hostname:
        raise UnusableError("is not a usable URL: it must be an https:// URL with a host.")
    if parts.username is not None or parts.password is not None:
        raise UnusableError("contains a user name or password: put the key in api_key only.")
    if parts.query or parts.fragment:
        raise UnusableError("must not contain a query or fragment (? or #): write everything up to the resource's own path.")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise UnusableError(
            f"uses http to {parts.hostname}, which would send the key unencrypted: use https (http only on loopback)."
        )
    plain = text.strip().rstrip("/")
    if list_path and plain.endswith(list_path):
        raise UnusableError(f"must end before the resource's own path: remove {list_path}.")
    return plain


def is_private(url: str) -> bool:
    """Return True if a base URL has a private or link-local address, which no public service has."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (address.is_private or address.is_link_local) and not address.is_loopback


def proxy_url(text: str) -> str:
    """Return a proxy's URL. Raises UnusableError, which never contains it."""
    parts = _split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UnusableError("must be an http:// or https:// URL of a proxy.")
    return text


def channel_proxy_url(text: str) -> str:
    """Return the URL of a channel's proxy, which may be a SOCKS proxy. Raises UnusableError, which never contains it."""
    parts = _split(text)
    if parts is None or parts.scheme not in ("http", "https", "socks5", "socks5h") or not parts.hostname:
        raise UnusableError("must be an http://, https:// or socks5:// URL of a proxy.")
    return text


def environment_proxy(url: str, env: Mapping[str, str]) -> str | None:
    """Return the proxy from HTTPS_PROXY for an https URL; None if it is unset or NO_PROXY exempts the host.

    Raises UnusableError if the variable is not a usable proxy URL.
    """
    parts = urlsplit(url)
    named = (env.get("https_proxy") or env.get("HTTPS_PROXY") or "").strip()
    if parts.scheme != "https" or not named:
        return None
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined, unused-ignore] # real, not in every stub

    spared = env.get("no_proxy") or env.get("NO_PROXY") or ""
    if spared and proxy_bypass_environment(parts.netloc, {"no": spared}):
        return None
    return proxy_url(named if "://" in named else f"http://{named}")


def web_url(text: str) -> str:
    """Return an http or https URL with a host. Raises UnusableError, which never contains it."""
    parts = _split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UnusableError("must be an http:// or https:// URL.")
    return text


def public_url(text: str) -> str:
    """Return the public address of the status page without a trailing slash. Raises UnusableError."""
    parts = _split(text)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UnusableError("must be an https:// URL with a host, such as https://monitor.example.com.")
    if parts.username is not None or parts.password is not None:
        raise UnusableError("contains a user name or password, which every message would show: remove it.")
    if parts.query or parts.fragment:
        raise UnusableError("must not contain a query or fragment (? or #).")
    if parts.scheme == "http" and not (is_loopback(parts.hostname) or is_private(text)):
        raise UnusableError(
            f"uses http to {parts.hostname}, which would send the links of messages unencrypted: use https "
            "(http only for loopback and private addresses)."
        )
    path = base_path(parts.path) if parts.path.strip("/") else ""
    return f"{parts.scheme}://{_ascii_host(parts.netloc.lower())}{path}"


def _ascii_host(authority: str) -> str:
    """Return the host, with its port, as browsers send it: other letters than those of ASCII in IDNA's form."""
    try:
        return authority if authority.isascii() else authority.encode("idna").decode("ascii")
    except UnicodeError:
        raise UnusableError(f"has the host {describe(authority)}, which is not a valid host name.") from None


def base_path(text: str) -> str:
    """Return the path under which a proxy serves the page, without a trailing slash; "" for "/". Raises UnusableError."""
    plain = text.strip().rstrip("/")
    if plain and not _BASE_PATH.fullmatch(plain):
        raise UnusableError(
            f"is {describe(text)}, but must be a path such as /tokens: letters, digits, and . _ ~ - after each slash."
        )
    return plain


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network of an address or network. Raises UnusableError."""
    try:
        found = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise UnusableError(f"{describe(text)} is neither an IP address nor a network such as 172.18.0.0/16.") from None
    if not found.prefixlen:
        raise UnusableError(
            f"{describe(text)} trusts every address, so anyone could forge the headers: set the address of the proxy."
        )
    if "/" in text and str(found.network_address) != text.strip().partition("/")[0]:
        raise UnusableError(f"{describe(text)} is not a network: write {found}, or the address without the length.")
    return found


def header_name(text: str) -> str:
    """Return the name of a header in lower case. Raises UnusableError."""
    plain = text.strip().lower()
    if not _HEADER.fullmatch(plain):
        raise UnusableError(f"is {describe(text)}, but must be the name of a header, such as X-Forwarded-User.")
    if plain in _OTHER_HEADERS or plain in FORWARDED_HEADERS:
        raise UnusableError(f"is {describe(text)}, which has another meaning: use a header such as X-Forwarded-User.")
    return plain


def heartbeat_kind(url: str) -> HeartbeatKind | None:
    """Return the service that a heartbeat URL belongs to; None if it may be any.

    Any other URL with a query is plain: the suffixes that are tried at other URLs cannot be appended to it.
    """
    parts = urlsplit(url)
    host, path = (parts.hostname or "").lower(), parts.path
    if host == "cronitor.link" or host.endswith(".cronitor.link"):
        return "cronitor"
    if "/api/push/" in path:
        return "uptime-kuma"
    if host == "hc-ping.com" or "/ping/" in path:
        return "healthchecks"
    return "plain" if parts.query else None


def channel_url(text: str) -> str:
    """Return an Apprise URL, checked without loading Apprise. Raises UnusableError, which never contains it."""
    if not _SCHEME.match(text):
        raise UnusableError("must be an Apprise URL, such as slack://…, mailto://… or json://….")
    if _SECOND_URL.search(text):
        raise UnusableError("contains more than one URL: write one [[channels]] table for each.")
    return text


def channel_warnings(text: str) -> list[str]:
    """Return warnings about unsafe options of an Apprise URL, as ends of sentences."""
    query = urlsplit(text).query if _split(text) else ""
    options = {key.lower(): value.strip().lower() for key, value in parse_qsl(query)}
    warnings = []
    if options.get("verify") in _NO_WORDS:
        warnings.append("turns off the verification of TLS certificates (verify=no): messages can be intercepted.")
    if "optional" in options and options["optional"] not in _NO_WORDS:
        warnings.append("has optional=yes, which makes a failed message look delivered: remove it.")
    return warnings


def listen_address(text: str) -> tuple[str, int]:
    """Return host and port of host:port, IPv6 in brackets. Raises UnusableError."""
    invalid = UnusableError(f'is {describe(text)}, but must be an address with a port, such as "127.0.0.1:8321", or "off".')
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or (":" in host) != bracketed or not re.fullmatch(r"[A-Za-z0-9.:%_-]+", host):
        raise invalid
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise invalid
    return host, int(port)


def shown(url: str) -> str:
    """Return a URL for display: without password, path and query, which may all contain tokens."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return HIDDEN
    user = f"{parts.username}@" if parts.username and parts.password else ""
    rest = f"/{HIDDEN}" if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{user}{_host_and_port(parts)}{rest}"


def shown_channel(url: str) -> str:
    """Return the scheme of an Apprise URL for display: every other part may be a token."""
    match = _SCHEME.match(url)
    return f"{match.group(1)}://{HIDDEN}" if match else HIDDEN


def _host_and_port(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{parts.port}" if parts.port is not None else host


def _split(text: str) -> SplitResult | None:
    """Return the parts of a URL; None if it is malformed, contains white space, or has an invalid port."""
    try:
        parts = urlsplit(text.strip())
        _ = parts.port
    except ValueError:
        return None
    return None if re.search(r"\s", text.strip()) else parts
