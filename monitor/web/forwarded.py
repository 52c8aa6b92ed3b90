"""Headers of trusted reverse proxies: the address of the client, the address that it used, and the user.

A client can send any of these headers, so they are read only from the networks in `web.trusted_proxies`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from monitor.config import WebConfig
from monitor.config.secrets import UnusableError
from monitor.config.urls import FORWARDED_HEADERS
from monitor.config.urls import base_path as checked_base_path
from monitor.config.web import OWN_PATHS
from monitor.domain.text import clean
from monitor.web.base_path import enter

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Scope

LONGEST_NAME = 100
"""Characters of a user's name. A longer one is not accepted: two users could not be distinguished by its beginning."""

_USER = "monitor.proxy_user"
_WITH_PORT = re.compile(r"\[(.+)\](?::\d+)?|([\d.]+):\d+")
_HOST = re.compile(r"[A-Za-z0-9._~-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


def as_sent_by_client(scope: Scope, web: WebConfig) -> Scope:
    """Return the request as its client sent it to the proxy, with the path below the base path.

    Without trusted proxies the request is unchanged, except for its path. With them, the headers of all others are removed.
    """
    if not web.trusted_proxies:
        return enter(scope, web.base_path)
    used = FORWARDED_HEADERS | {web.auth_header or ""}
    found = {**scope, "headers": [pair for pair in scope["headers"] if pair[0].decode("latin-1") not in used]}
    peer = scope["client"][0] if scope.get("client") else ""
    if not _is_trusted(peer, web):
        return enter(found, web.base_path)
    found["client"] = (_client(peer, _values(scope, "x-forwarded-for"), web), 0)
    schemes, hosts = _values(scope, "x-forwarded-proto"), _values(scope, "x-forwarded-host")
    if schemes and schemes[-1].lower() in ("http", "https"):
        found["scheme"] = schemes[-1].lower()
    if hosts and _HOST.fullmatch(hosts[-1]):
        others = [pair for pair in found["headers"] if pair[0] != b"host"]
        found["headers"] = [*others, (b"host", hosts[-1].encode("latin-1"))]
    found[_USER] = _user(scope, web.auth_header) if web.auth_header is not None else None
    base = web.base_path or ("" if web.public_url else _prefix(_values(scope, "x-forwarded-prefix")))
    return enter(found, base)


def proxy_user(request: Request) -> str | None:
    """Return the name of the user that a trusted proxy has authenticated, cleaned; None if there is none."""
    name: str | None = request.scope.get(_USER)
    return name


def _values(scope: Scope, name: str) -> list[str]:
    """Return the values of a list header, which may be in several lines, in their order."""
    lines = (value.decode("latin-1") for key, value in scope["headers"] if key.decode("latin-1") == name)
    return [part.strip() for line in lines for part in line.split(",") if part.strip()]


def _client(peer: str, chain: Iterable[str], web: WebConfig) -> str:
    """Return the right-most address that is not a trusted proxy: each proxy appends the address that it received from."""
    found = peer
    for text in reversed(list(chain)):
        address = _address(text)
        if address is None:
            break
        found = str(address)
        if not _is_trusted(found, web):
            break
    return found


def _is_trusted(address: str, web: WebConfig) -> bool:
    found = _address(address)
    return found is not None and any(found in network for network in web.trusted_proxies)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address in an entry, which may have a port; None if it is not one, such as "unknown"."""
    with_port = _WITH_PORT.fullmatch(text)
    plain = next(part for part in with_port.groups() if part) if with_port else text
    try:
        found = ipaddress.ip_address(plain.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _prefix(values: list[str]) -> str:
    """Return the base path that a proxy states; empty if it is not usable."""
    try:
        found = checked_base_path(values[-1]) if values else ""
    except UnusableError:
        return ""
    return "" if found.split("/")[1:2] and found.split("/")[1] in OWN_PATHS else found


def _user(scope: Scope, header: str) -> str | None:
    """Return the name in the header. A header that is there twice is not accepted: a client may have sent one of them."""
    given = [value for key, value in scope["headers"] if key.decode("latin-1") == header]
    if len(given) != 1:
        return None
    try:
        text = given[0].decode("utf-8")
    except UnicodeDecodeError:
        text = given[0].decode("latin-1")
    name = clean(text, limit=LONGEST_NAME + 1)
    return name if 0 < len(name) <= LONGEST_NAME else None
