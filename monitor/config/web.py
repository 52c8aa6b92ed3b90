"""The `[web]` table: listen address, token, and the address under which people reach the status page."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

from monitor.config import urls
from monitor.config.error_text import describe
from monitor.config.resolve import Resolver
from monitor.config.schema import Document
from monitor.config.secrets import SHORTEST_TOKEN, UNREAD, Secret, UnusableError, suggested_token
from monitor.config.settings import HooksConfig, WebConfig, WebUser
from monitor.config.users import resolve_users

OWN_PATHS = frozenset(
    (
        *("ack", "alerts", "api", "badge.svg", "calendar.ics", "clients", "connections", "feed.atom", "forecast", "healthz"),
        *("hooks", "login", "logout", "metrics", "readyz", "reports", "selection", "share", "silences", "sources", "static"),
        "theme",
    )
)
"""First parts of the addresses of the site. A base path that begins with one of them would be ambiguous."""


def resolve_web(resolver: Resolver, document: Document) -> WebConfig:
    """Return the settings of the status page."""
    raw = document.web
    token = resolver.secret(("web", "token"), raw.token)
    users = resolve_users(resolver, document, token)
    listen, too_short = None, False
    if raw.listen != "off":
        try:
            host, port = urls.listen_address(raw.listen)
        except UnusableError as exc:
            resolver.problems.error(("web", "listen"), str(exc))
        else:
            listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            if not urls.is_loopback(host):
                too_short = _has_short_token(resolver, token, users, listen)
                open_to_all = raw.token is None and not raw.users and raw.auth_header is None
                if open_to_all and ("web", "token") not in resolver.rejected:
                    resolver.problems.error(
                        ("web", "listen"),
                        f"is {describe(listen)}, which other machines can reach: set web.token, or listen on 127.0.0.1.",
                    )
    public_url, base_path = _addresses(resolver, document)
    trusted, auth_header = _proxies(resolver, document)
    return WebConfig(
        listen=listen,
        token=token,
        connection_metrics=raw.connection_metrics,
        hosts=raw.hosts or (),
        public_url=public_url,
        base_path=base_path,
        trusted_proxies=trusted,
        auth_header=auth_header,
        users=users,
        token_too_short=too_short,
    )


def resolve_hooks(resolver: Resolver, document: Document, web: WebConfig) -> HooksConfig:
    """Return the settings of the listener for deliveries of services and pushed reports."""
    raw = document.hooks
    if raw.listen == "off":
        return HooksConfig(listen=None)
    try:
        host, port = urls.listen_address(raw.listen)
    except UnusableError as exc:
        resolver.problems.error(("hooks", "listen"), str(exc))
        return HooksConfig(listen=None)
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if listen == web.listen:
        resolver.problems.error(("hooks", "listen"), f"is {describe(listen)}, which web.listen is too: choose another port.")
    return HooksConfig(listen=listen)


def _has_short_token(resolver: Resolver, token: Secret | None, users: Iterable[WebUser], listen: str) -> bool:
    """Return True, and record a warning with a better token, if a token can be guessed by other machines.

    It is not an error: monitoring must go on after an upgrade from version 0.1, which took any token.
    """
    tokens = [(("web", "token"), token), *((("web", "users", place, "token"), user.token) for place, user in enumerate(users))]
    short = [loc for loc, each in tokens if each is not None and each is not UNREAD and len(each.reveal()) < SHORTEST_TOKEN]
    for loc in short:
        resolver.problems.warning(
            loc,
            f"is shorter than {SHORTEST_TOKEN} characters, and other machines can reach {describe(listen)}: the status page is "
            f"not served. Monitoring continues. Set a random token, for example {suggested_token()}",
        )
    return bool(short)


def _addresses(resolver: Resolver, document: Document) -> tuple[str | None, str]:
    """Return the public URL and the base path, both without a trailing slash."""
    raw, public, base = document.web, None, None
    if raw.public_url is not None:
        try:
            public = urls.public_url(raw.public_url)
        except UnusableError as exc:
            resolver.problems.error(("web", "public_url"), str(exc))
    if raw.base_path is not None:
        try:
            base = urls.base_path(raw.base_path)
        except UnusableError as exc:
            resolver.problems.error(("web", "base_path"), str(exc))
    published = urlsplit(public).path if public is not None else None
    for key, path in (("base_path", base), ("public_url", published)):
        if path and path.split("/")[1] in OWN_PATHS:
            resolver.problems.error(
                ("web", key), f"contains the path {describe(path)}, which is also an address of a page: choose another path."
            )
    if base is not None and published is not None and base != published:
        resolver.problems.error(
            ("web", "base_path"),
            f"is {describe(raw.base_path)}, but the path of web.public_url is {describe(published or '/')}: remove one of them.",
        )
    return public, base if base is not None else published or ""


def _proxies(resolver: Resolver, document: Document) -> tuple[tuple[IPv4Network | IPv6Network, ...], str | None]:
    """Return the networks of trusted proxies, and the header with the name of the user in lower case."""
    raw, trusted, header = document.web, [], None
    for index, text in enumerate(raw.trusted_proxies or ()):
        try:
            trusted.append(urls.network(text))
        except UnusableError as exc:
            resolver.problems.error(("web", "trusted_proxies", index), str(exc))
    if raw.auth_header is not None:
        try:
            header = urls.header_name(raw.auth_header)
        except UnusableError as exc:
            resolver.problems.error(("web", "auth_header"), str(exc))
        if not raw.trusted_proxies:
            resolver.problems.error(
                ("web", "auth_header"), "requires web.trusted_proxies, the addresses of the proxies that may set this header."
            )
    return tuple(trusted), header
