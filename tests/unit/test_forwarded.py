"""The headers of reverse proxies: read from trusted ones only."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from starlette.requests import Request

from monitor.config import WebConfig
from monitor.web.base_path import base_of
from monitor.web.forwarded import LONGEST_NAME, as_sent_by_client, proxy_user
from monitor.web.origins import is_tls
from monitor.web.security import client_address

PROXY = "10.0.0.2"
FORGED = [
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-prefix", "/evil"),
    ("x-forwarded-user", "root"),
    ("forwarded", "for=203.0.113.9"),
]


def web(*trusted: str, **over: Any) -> WebConfig:
    networks = tuple(ip_network(text) for text in trusted)
    return WebConfig(listen="0.0.0.0:8321", token=None, connection_metrics="auto", trusted_proxies=networks, **over)


def received(config: WebConfig, headers: list[tuple[str, str]], *, peer: str | None = PROXY, path: str = "/") -> Request:
    """Return the request that the pages see."""
    scope = {
        "type": "http",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "server": ("127.0.0.1", 8321),
        "client": (peer, 40000) if peer else None,
        "headers": [(b"host", b"127.0.0.1:8321"), *((name.encode(), value.encode()) for name, value in headers)],
    }
    return Request(as_sent_by_client(scope, config))


@pytest.mark.parametrize("peer", ["203.0.113.1", "10.0.0.3", "::1", None])
def test_forged_headers_of_other_clients_change_nothing(peer: str | None) -> None:
    config = web(PROXY, "fd00::/8", auth_header="x-forwarded-user")
    found = received(config, FORGED, peer=peer)
    assert client_address(found) == peer
    assert not is_tls(found)
    assert found.headers.getlist("host") == ["127.0.0.1:8321"]
    assert base_of(found.scope) == ""
    assert proxy_user(found) is None
    assert not any(name in found.headers for name, _ in FORGED)


def test_without_trusted_proxies_only_the_scheme_is_read() -> None:
    found = received(web(), FORGED)
    assert is_tls(found)
    assert client_address(found) == PROXY
    assert found.headers["host"] == "127.0.0.1:8321"
    assert base_of(found.scope) == ""
    assert proxy_user(found) is None


def test_a_trusted_proxy_states_client_scheme_host_prefix_and_user() -> None:
    headers = [
        ("x-forwarded-for", "198.51.100.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "monitor.example.com:8443"),
        ("x-forwarded-prefix", "/tokens/"),
        ("x-forwarded-user", "Zo\u00eb \u202eevil"),
    ]
    found = received(web("10.0.0.0/24", auth_header="x-forwarded-user"), headers, path="/sources")
    assert client_address(found) == "198.51.100.7"
    assert is_tls(found)
    assert found.headers.getlist("host") == ["monitor.example.com:8443"]
    assert str(found.base_url) == "https://monitor.example.com:8443/"
    assert (base_of(found.scope), found.scope["path"]) == ("/tokens", "/sources")
    assert proxy_user(found) == "Zo\u00eb evil"


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], PROXY),
        (["198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
        (["198.51.100.7, 10.0.0.9"], "198.51.100.7"),
        (["10.0.0.8, 10.0.0.9"], "10.0.0.8"),
        (["198.51.100.7:5000"], "198.51.100.7"),
        (["[2001:db8::7]:5000"], "2001:db8::7"),
        (["2001:db8::7"], "2001:db8::7"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6, unknown"], PROXY),
        (["6.6.6.6, unknown, 10.0.0.9"], "10.0.0.9"),
        ([", ,"], PROXY),
    ],
)
def test_the_client_is_the_right_most_address_that_is_not_trusted(lines: list[str], client: str) -> None:
    found = received(web("10.0.0.0/24"), [("x-forwarded-for", line) for line in lines])
    assert client_address(found) == client


def test_a_proxy_at_an_ipv4_address_is_trusted_on_an_ipv6_socket() -> None:
    found = received(web(PROXY), [("x-forwarded-for", "198.51.100.7")], peer=f"::ffff:{PROXY}")
    assert client_address(found) == "198.51.100.7"


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "", "evil.example, "])
def test_a_malformed_host_is_ignored(host: str) -> None:
    found = received(web(PROXY), [("x-forwarded-host", host)])
    assert found.headers["host"] in ("127.0.0.1:8321", "evil.example")


@pytest.mark.parametrize("prefix", ["tokens", "//evil.example", "/a/../b", '/"', "/alerts", "https://evil.example/"])
def test_an_unusable_prefix_is_ignored(prefix: str) -> None:
    assert base_of(received(web(PROXY), [("x-forwarded-prefix", prefix)]).scope) == ""


def test_the_configured_address_precedes_the_proxys_prefix() -> None:
    header = [("x-forwarded-prefix", "/other")]
    assert base_of(received(web(PROXY, base_path="/tokens"), header).scope) == "/tokens"
    assert base_of(received(web(PROXY, public_url="https://monitor.example.com"), header).scope) == ""


@pytest.mark.parametrize(
    ("values", "user"),
    [
        (["ann"], "ann"),
        ([" ann\t"], "ann"),
        ([""], None),
        (["\u200b"], None),
        (["ann", "root"], None),
        (["a" * LONGEST_NAME], "a" * LONGEST_NAME),
        (["a" * (LONGEST_NAME + 1)], None),
    ],
)
def test_the_user_is_one_visible_name(values: list[str], user: str | None) -> None:
    found = received(web(PROXY, auth_header="remote-user"), [("remote-user", value) for value in values])
    assert proxy_user(found) == user
