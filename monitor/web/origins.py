"""Checks of the addresses in a request: the host name under which it was sent, and the page that it comes from."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

from monitor.config import Config
from monitor.domain.text import clean
from monitor.web.auth import is_secret
from monitor.web.base_path import base_of

_SHOWN = 200


def host_names(config: Config) -> set[str]:
    """Return the host names, other than IP addresses, under which the pages are served."""
    own = socket.gethostname().lower()
    names = {"localhost", _listen_host(config), own, own.partition(".")[0], *_configured(config)}
    return names - {"", "0.0.0.0", "::"}  # noqa: S104 - only compared


def is_known_host(request: Request, config: Config) -> bool:
    """Return True if the request was sent to a name of this site, or to an IP address, which cannot be rebound."""
    given = request.headers.getlist("host")
    host = _name_in(f"//{given[0]}") if len(given) == 1 else ""
    return bool(host) and (host in host_names(config) or _is_served_address(host, config))


def require_host(request: Request, config: Config) -> None:
    """Refuse unknown host names (DNS rebinding)."""
    if not is_known_host(request, config):
        raise HTTPException(
            421, "This monitor is not served under this host name. Set web.public_url, or add the name to web.hosts."
        )


def require_same_site(request: Request, config: Config) -> None:
    """Refuse changes from pages of other sites. Clients that are not browsers send neither header."""
    site = request.headers.get("sec-fetch-site")
    if site in ("same-origin", "none"):
        return
    if site is not None:
        sent = clean(site, limit=_SHOWN)
        raise HTTPException(403, f"The request comes from a page of another site: Sec-Fetch-Site is {sent}. Nothing was changed.")
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin == "null" and is_secret(request.scope["path"]):
        return  # browsers hide the origin of pages with `Referrer-Policy: no-referrer` (Fetch); the form repeats the secret
    # A proxy that does not pass the Host header on leaves only the name in Origin to recognise.
    if origin is None or _authority(origin) == host.lower() or _name_in(origin) in _configured(config):
        return
    shown, expected = clean(origin, limit=_SHOWN), clean(host, limit=_SHOWN)
    raise HTTPException(
        403,
        f"The request comes from a page of another site, or through a proxy: Origin {shown} does not match Host {expected}. "
        "Let the proxy pass Host on (nginx: proxy_set_header Host $http_host), or add the name to web.hosts. "
        "Nothing was changed.",
    )


def is_tls(request: Request) -> bool:
    """Return True if the browser uses https, here or at a proxy.

    While no trusted proxies are configured, the header of any client counts: a forged one only harms its sender.
    """
    return request.scope["scheme"] == "https" or request.headers.get("x-forwarded-proto") == "https"


def site_address(request: Request, config: Config) -> str:
    """Return the address under which people reach the site, without a final slash: web.public_url, or the request's own."""
    if config.web.public_url is not None:
        return config.web.public_url
    base = request.base_url.replace(scheme="https") if is_tls(request) else request.base_url
    return str(base).rstrip("/") + base_of(request.scope)


def is_loopback(host: str) -> bool:
    """Return True for a loopback IP address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_served_address(host: str, config: Config) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    listen = _listen_host(config)
    loopback_only = listen == "localhost" or is_loopback(listen)
    return address.is_loopback or not loopback_only


def _configured(config: Config) -> set[str]:
    public = _name_in(config.web.public_url) if config.web.public_url else ""
    return {*(name.lower() for name in config.web.hosts), public} - {""}


def _listen_host(config: Config) -> str:
    return urlsplit(f"//{config.web.listen}").hostname or ""


def _authority(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _name_in(url: str) -> str:
    """Return the host name in an address in lower case, empty if there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
