"""The public address of the status page in the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import WebConfig, load
from monitor.domain.errors import ConfigError

SOURCE = '[[sources]]\nname = "a"\nprovider = "postpost"\napi_key = "k"\n'


def _load_web(folder: Path, web: str) -> WebConfig:
    file = folder / "config.toml"
    file.write_text(f"{SOURCE}[web]\n{web}\n")
    file.chmod(0o600)
    return load(file, {"HOME": str(folder)}).config.web


def _load(folder: Path, web: str) -> tuple[str | None, str]:
    found = _load_web(folder, web)
    return found.public_url, found.base_path


@pytest.mark.parametrize(
    ("web", "public", "base"),
    [
        ("", None, ""),
        ('public_url = "https://Monitor.example.com/"', "https://monitor.example.com", ""),
        ('public_url = "https://monitor.example.com/tokens/"', "https://monitor.example.com/tokens", "/tokens"),
        ('public_url = "http://192.168.1.5:8321"', "http://192.168.1.5:8321", ""),
        ('public_url = "http://localhost:8321/t"', "http://localhost:8321/t", "/t"),
        ('public_url = "https://Münster.example:8443/t"', "https://xn--mnster-3ya.example:8443/t", "/t"),
        ('public_url = "https://[2001:DB8::1]:8443"', "https://[2001:db8::1]:8443", ""),
        ('base_path = "/a/b/"', None, "/a/b"),
        ('base_path = "/"', None, ""),
        ('public_url = "https://m.example/t"\nbase_path = "/t"', "https://m.example/t", "/t"),
    ],
)
def test_the_address_under_which_people_reach_the_page(tmp_path: Path, web: str, public: str | None, base: str) -> None:
    assert _load(tmp_path, web) == (public, base)


@pytest.mark.parametrize(
    ("web", "key", "problem"),
    [
        ('public_url = "http://monitor.example.com"', "web.public_url", "use https"),
        ('public_url = "monitor.example.com"', "web.public_url", "must be an https:// URL"),
        ('public_url = "https://u:p4ss@monitor.example.com"', "web.public_url", "user name or password"),
        ('public_url = "https://monitor.example.com/?a=1"', "web.public_url", "query or fragment"),
        ('public_url = "https://monitor.example.com/a/../b"', "web.public_url", "must be a path"),
        ('public_url = "https://mü..nster.example"', "web.public_url", "not a valid host name"),
        ('base_path = "tokens"', "web.base_path", "must be a path such as /tokens"),
        ('base_path = "/a//b"', "web.base_path", "must be a path"),
        ('base_path = "/a\\"b"', "web.base_path", "must be a path"),
        ('trusted_proxies = ["nginx"]', "web.trusted_proxies", '"nginx" is neither an IP address nor a network'),
        ('trusted_proxies = ["127.0.0.1", "0.0.0.0/0"]', "web.trusted_proxies[1]", "trusts every address"),
        ('trusted_proxies = ["172.18.0.1/16"]', "web.trusted_proxies", "write 172.18.0.0/16"),
        ('trusted_proxies = "127.0.0.1"', "web.trusted_proxies", "must be a list of names or addresses"),
        ("trusted_proxies = []", "web.trusted_proxies", "is an empty list: omit the key instead"),
        ('trusted_proxies = ["10.0.0.0 /8"]', "web.trusted_proxies", "without spaces"),
        ("hosts = []", "web.hosts", "is an empty list: omit the key instead"),
        ('auth_header = "X-Forwarded-User"', "web.auth_header", "requires web.trusted_proxies"),
        ('trusted_proxies = ["::1"]\nauth_header = "X User"', "web.auth_header", "must be the name of a header"),
        ('trusted_proxies = ["::1"]\nauth_header = "Cookie"', "web.auth_header", "has another meaning"),
        ('trusted_proxies = ["::1"]\nauth_header = "X-Forwarded-For"', "web.auth_header", "has another meaning"),
        ('base_path = "/alerts"', "web.base_path", "also an address of a page"),
        ('base_path = "/api/tokens"', "web.base_path", "also an address of a page"),
        ('public_url = "https://m.example/connections"', "web.public_url", "also an address of a page"),
        ('public_url = "https://m.example/t"\nbase_path = "/u"', "web.base_path", '"/t": remove one of them'),
        ('public_url = "https://m.example"\nbase_path = "/u"', "web.base_path", '"/": remove one of them'),
    ],
)
def test_an_unusable_address_is_an_error(tmp_path: Path, web: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, web)
    assert key in str(caught.value)
    assert problem in str(caught.value)
    assert "p4ss" not in str(caught.value)


def test_trusted_proxies_are_networks_and_the_header_is_in_lower_case(tmp_path: Path) -> None:
    web = _load_web(tmp_path, 'trusted_proxies = ["127.0.0.1", "fd00::/8"]\nauth_header = "X-Forwarded-User"')
    assert [str(network) for network in web.trusted_proxies] == ["127.0.0.1/32", "fd00::/8"]
    assert web.auth_header == "x-forwarded-user"


def test_single_sign_on_replaces_the_token_beyond_loopback(tmp_path: Path) -> None:
    signs_on = 'trusted_proxies = ["172.31.83.2"]\nauth_header = "Remote-User"'
    assert _load_web(tmp_path, f'listen = "0.0.0.0:8321"\n{signs_on}').guarded
    with pytest.raises(ConfigError, match=r"set web\.token"):
        _load_web(tmp_path, 'listen = "0.0.0.0:8321"')
