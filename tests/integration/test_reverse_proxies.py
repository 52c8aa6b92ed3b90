"""The site behind real reverse proxies, with the configuration files of docs/reverse-proxies.md: nginx and Caddy."""

from __future__ import annotations

import dataclasses
import re
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trustme
import yaml  # type: ignore[import-untyped]
from structlog.testing import capture_logs

from monitor.config import Config, load
from monitor.domain.records import replace
from monitor.store import Store
from tests.support.fakes import ManualClock
from tests.support.reverse_proxies import CERTIFICATE, KEY, PORT, caddy, nginx
from tests.support.web_client import Served, serving
from tests.support.web_world import web_config

TOKEN = "a-token-of-more-than-22-characters"
PAGE = {"accept": "text/html"}
CONNECTION = "/connections/agency/linkedin-agency000"
DOCUMENT = Path(__file__).parents[2] / "docs" / "reverse-proxies.md"
SOURCE = '\n[[sources]]\nname = "any"\nprovider = "postpeer"\napi_key = "key"\n'
LISTENS = "127.0.0.1:8321"
PASSWORDS = "ann:{PLAIN}correct\n"
OAUTH2_PROXY = "127.0.0.1:4180"


@cache
def _certificate() -> tuple[ssl.SSLContext, trustme.LeafCert]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context, authority.issue_cert("monitor.example.com", "example.com", "127.0.0.1")


def block(heading: str, language: str) -> str:
    """Return the block of this language under a heading of the document."""
    section = re.split(rf"^## {re.escape(heading)}$", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)[1]
    found = re.search(rf"^```{language}\n(.*?)^```$", section.split("\n## ")[0], re.MULTILINE | re.DOTALL)
    assert found is not None, (heading, language)
    return found[1]


def documented(heading: str, folder: Path, **over: Any) -> Config:
    """Return the filled site's configuration with the `[web]` table under a heading."""
    path = folder / "documented.toml"
    path.write_text(block(heading, "toml") + SOURCE, "utf-8")
    path.chmod(0o600)
    web = load(path, {"HOME": str(folder), "TOKEN_MONITOR_WEB_TOKEN": TOKEN}).config.web
    return replace(web_config(folder), web=replace(web, **over))


def nginx_file(heading: str) -> str:
    """Return nginx's documented file, which listens at the test's port with the test's certificate."""
    text = block(heading, "nginx").replace("listen 443 ssl;", f"listen 127.0.0.1:{PORT} ssl;")
    text = re.sub(r"(ssl_certificate +)\S+;", rf"\1{CERTIFICATE};", text)
    text = re.sub(r"(ssl_certificate_key +)\S+;", rf"\1{KEY};", text)
    return text.replace("/etc/nginx/monitor.htpasswd", "{passwords}")


def caddy_file(heading: str) -> str:
    """Return the documented Caddyfile, which listens at the test's port with the test's certificate."""
    text = block(heading, "caddy")
    return re.sub(r"^(\S+) \{", rf"https://\1:{PORT} {{\n    bind 127.0.0.1\n    tls {CERTIFICATE} {KEY}", text, count=1)


@dataclass(kw_only=True)
class Browser:
    """A browser that reaches the site through a proxy, without Sec-Fetch-Site, as on http pages in a LAN."""

    client: httpx.AsyncClient
    origin: str
    """As the user knows it, such as https://monitor.example.com."""
    base: str
    """The base path."""

    @property
    def host(self) -> str:
        return urlsplit(self.origin).netloc

    async def get(self, address: str, **headers: str) -> httpx.Response:
        return await self.client.get(address, headers={**PAGE, "host": self.host, **headers}, extensions=self._sni())

    async def post(self, address: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        given = {**PAGE, "host": self.host, "origin": self.origin, **headers}
        return await self.client.post(address, data=fields, headers=given, extensions=self._sni())

    async def csrf(self, address: str) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', (await self.get(address)).text)
        assert found is not None, address
        return found[1]

    async def log_in(self) -> httpx.Response:
        """Follow the redirect of the first page to the form, and send it."""
        redirected = await self.get(f"{self.base}/")
        assert redirected.status_code == 303, redirected.text
        form = redirected.headers["location"]
        assert form == f"{self.base}/login?next=/"
        fields = {"csrf": await self.csrf(form), "token": TOKEN, "next": "/"}
        return await self.post(f"{self.base}/login", fields)

    async def acknowledge(self, **headers: str) -> httpx.Response:
        page = f"{self.base}{CONNECTION}"
        fields = {"csrf": await self.csrf(page), "action": "ack", "comment": "on it", "for": ""}
        return await self.post(page, fields, **headers)

    def _sni(self) -> dict[str, Any]:
        return {"sni_hostname": self.host.partition(":")[0]}


@pytest.fixture
def store(filled_store: Store) -> Store:
    """One kind of database is enough here."""
    return filled_store


@dataclass(kw_only=True)
class Behind:
    """The parts of every test."""

    store: Store
    clock: ManualClock
    folder: Path

    @asynccontextmanager
    async def nginx(
        self, config: Config, text: str, origin: str, auth: httpx.Auth | None = None
    ) -> AsyncIterator[tuple[Browser, Served]]:
        """Serve the site behind nginx with this file."""
        async with self._serving(config) as served:
            proxied = text.replace(LISTENS, urlsplit(served.url).netloc)
            run = nginx(proxied, _certificate()[1], {"{passwords}": PASSWORDS})
            async with _browsing(run, config, origin, auth) as browser:
                yield browser, served

    @asynccontextmanager
    async def caddy(self, config: Config, text: str, origin: str) -> AsyncIterator[tuple[Browser, Served]]:
        """Serve the site behind Caddy with this file."""
        async with self._serving(config) as served:
            run = caddy(text.replace(LISTENS, urlsplit(served.url).netloc), _certificate()[1])
            # Caddy matches the port in Host, too.
            async with _browsing(run, config, origin, None, with_port=True) as browser:
                yield browser, served

    @asynccontextmanager
    async def _serving(self, config: Config) -> AsyncIterator[Served]:
        async with serving(self.store, config, self.clock, token=TOKEN) as served:
            yield served


@asynccontextmanager
async def _browsing(
    run: AbstractContextManager[int], config: Config, origin: str, auth: httpx.Auth | None, *, with_port: bool = False
) -> AsyncIterator[Browser]:
    with run as port:
        parts = urlsplit(origin)
        url = f"{parts.scheme}://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, verify=_certificate()[0], trust_env=False, timeout=30, auth=auth) as client:
            yield Browser(client=client, origin=f"{origin}:{port}" if with_port else origin, base=config.web.base_path)


@pytest.fixture
def behind(store: Store, clock: ManualClock, tmp_path: Path) -> Behind:
    return Behind(store=store, clock=clock, folder=tmp_path)


async def works(browser: Browser, *, public: str | None, secure: bool = True) -> None:
    """Log in, follow links, acknowledge, and read feeds, as a user does; another site's page changes nothing."""
    opened = await browser.log_in()
    assert (opened.status_code, opened.headers["location"]) == (303, f"{browser.base}/"), opened.text
    assert ("Secure" in opened.headers["set-cookie"]) is secure
    assert f"Path={browser.base or '/'};" in opened.headers["set-cookie"]
    await reads_and_acknowledges(browser, public=public)


async def reads_and_acknowledges(browser: Browser, *, public: str | None) -> None:
    """Follow links, acknowledge, and read feeds; another site's page changes nothing."""
    page = await browser.get(f"{browser.base}/")
    assert page.status_code == 200, page.text
    addresses = [unescape(link) for link in re.findall(r' (?:href|src)="(/[^"]*)"', page.text)]
    assert all(link.startswith(f"{browser.base}/") for link in addresses)
    for kind in ("/static/page.css", "/static/page.js", "/sources", "/alerts", "/connections/", "/api/v1/openapi.json"):
        found = next(link for link in addresses if link.startswith(f"{browser.base}{kind}"))
        assert (await browser.get(found)).status_code == 200, found
    refused = await browser.acknowledge(origin="https://evil.example")
    assert refused.status_code == 403
    assert "another site" in refused.text
    done = await browser.acknowledge()
    assert (done.status_code, done.headers["location"]) == (303, f"{browser.base}{CONNECTION}?said=acknowledged"), done.text
    feeds = [link for link in addresses if "sig=" in link]
    assert len(feeds) == 3
    browser.client.cookies.clear()
    browser.client.auth = None  # type: ignore[assignment]  # the annotation of the setter leaves None out
    for link in feeds:
        answer = await browser.get(link)
        assert answer.status_code == 200, link
        if ".atom" in link:
            links = re.findall(r'href="([^"]*)"', answer.text)
            assert all(each.startswith(f"{public or browser.origin}/") for each in links)


async def test_F11_nginx_with_its_own_default_headers(behind: Behind) -> None:
    """`proxy_pass` alone: Host is the monitor's own address, and Origin the site's."""
    config = web_config(behind.folder)
    config = replace(config, web=replace(config.web, hosts=("monitor.example.com",)))
    text = f"server {{ listen 127.0.0.1:{PORT}; location / {{ proxy_pass http://{LISTENS}; }} }}"
    async with behind.nginx(config, text, "http://monitor.example.com:8080") as (browser, served):
        await works(browser, public=served.url, secure=False)


async def test_F11_nginx_that_passes_the_host_and_its_port_on(behind: Behind) -> None:
    config = web_config(behind.folder)
    config = replace(config, web=replace(config.web, hosts=("monitor.example.com",)))
    passes = f"proxy_pass http://{LISTENS}; proxy_set_header Host $http_host;"
    text = f"server {{ listen 127.0.0.1:{PORT}; location / {{ {passes} }} }}"
    async with behind.nginx(config, text, "http://monitor.example.com:8080") as (browser, _):
        await works(browser, public=None, secure=False)


async def test_F11_a_host_that_nobody_configured_is_refused_with_the_way_out(behind: Behind) -> None:
    passes = f"proxy_pass http://{LISTENS}; proxy_set_header Host $http_host;"
    text = f"server {{ listen 127.0.0.1:{PORT}; location / {{ {passes} }} }}"
    async with behind.nginx(web_config(behind.folder), text, "http://monitor.example.com") as (browser, _):
        refused = await browser.get("/")
        assert refused.status_code == 421
        assert "web.hosts" in refused.text


@pytest.mark.parametrize("origin", ["https://monitor.example.com", "https://monitor.example.com:8443"])
async def test_nginx_with_a_name_of_its_own(behind: Behind, origin: str) -> None:
    config = documented("nginx", behind.folder)
    async with behind.nginx(config, nginx_file("nginx"), origin) as (browser, _):
        await works(browser, public="https://monitor.example.com")


@pytest.mark.parametrize("slash", ["/", ""], ids=["strips the path", "passes the path on"])
async def test_F10_nginx_below_a_path(behind: Behind, slash: str) -> None:
    config = documented("nginx below a path", behind.folder)
    text = nginx_file("nginx below a path").replace(f"{LISTENS}/;", f"{LISTENS}{slash};")
    async with behind.nginx(config, text, "https://example.com") as (browser, _):
        assert browser.base == "/tokens"
        redirected = await browser.get("/tokens")
        assert urlsplit(redirected.headers["location"]).path == "/tokens/"
        await works(browser, public="https://example.com/tokens")


async def test_the_prefix_of_a_trusted_proxy_serves_where_no_path_is_configured(behind: Behind) -> None:
    config = documented("nginx below a path", behind.folder, public_url=None, base_path="", hosts=("example.com",))
    sets = "proxy_set_header X-Forwarded-Prefix /tokens;\n        proxy_pass"
    text = nginx_file("nginx below a path").replace("proxy_pass", sets, 1)
    async with behind.nginx(config, text, "https://example.com") as (browser, _):
        browser.base = "/tokens"
        await works(browser, public="https://example.com/tokens")


async def test_a_forged_client_address_changes_nothing(behind: Behind) -> None:
    """nginx appends the address that it received from: here 127.0.0.2, which is not trusted."""
    config = documented("nginx", behind.folder)
    with capture_logs() as logs:
        async with behind.nginx(config, nginx_file("nginx"), "https://monitor.example.com") as (browser, served):
            transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2", verify=_certificate()[0])
            async with httpx.AsyncClient(transport=transport, base_url=browser.client.base_url) as elsewhere:
                other = dataclasses.replace(browser, client=elsewhere)
                forged = {"x-forwarded-for": "203.0.113.5", "x-forwarded-host": "evil.example", "accept": "*/*"}
                assert (await other.get("/api/v1/sources", authorization="Bearer wrong", **forged)).status_code == 401
                forged["x-forwarded-for"] = "203.0.113.6"
                direct = {**forged, "host": urlsplit(served.url).netloc, "authorization": "Bearer wrong"}
                assert (await elsewhere.get(f"{served.url}/api/v1/sources", headers=direct)).status_code == 401
    assert {entry["client"] for entry in logs if entry["event"] == "web.wrong_token"} == {"127.0.0.2"}


async def test_basic_authentication_in_front_of_the_login(behind: Behind) -> None:
    config = documented("Basic authentication", behind.folder, auth_header=None)
    text = re.sub(r".*X-Forwarded-User.*\n", "", nginx_file("Basic authentication"))
    auth = httpx.BasicAuth("ann", "correct")
    async with behind.nginx(config, text, "https://monitor.example.com", auth) as (browser, _):
        await works(browser, public="https://monitor.example.com")
        assert (await browser.get("/")).status_code == 401


async def test_basic_authentication_that_passes_its_header_on(behind: Behind) -> None:
    """The browser sends `Authorization: Basic` with every request; it is not a token of the monitor, wrong or right."""
    config = documented("Basic authentication", behind.folder, auth_header=None)
    text = re.sub(r".*(X-Forwarded-User|Authorization).*\n", "", nginx_file("Basic authentication"))
    auth = httpx.BasicAuth("ann", "correct")
    async with behind.nginx(config, text, "https://monitor.example.com", auth) as (browser, _):
        await works(browser, public="https://monitor.example.com")


async def test_caddy_with_a_name_of_its_own(behind: Behind) -> None:
    config = documented("nginx", behind.folder)
    async with behind.caddy(config, caddy_file("Caddy"), "https://monitor.example.com") as (browser, _):
        await works(browser, public="https://monitor.example.com")


async def test_F10_caddy_below_a_path(behind: Behind) -> None:
    config = documented("nginx below a path", behind.folder)
    async with behind.caddy(config, caddy_file("Caddy below a path"), "https://example.com") as (browser, _):
        await works(browser, public="https://example.com/tokens")


# --- single sign-on


async def test_basic_authentication_replaces_the_login(behind: Behind) -> None:
    config = documented("Basic authentication", behind.folder)
    auth = httpx.BasicAuth("ann", "correct")
    async with behind.nginx(config, nginx_file("Basic authentication"), "https://monitor.example.com", auth) as (browser, _):
        page = await browser.get("/")
        assert page.status_code == 200
        assert 'action="/logout"' not in page.text
        await reads_and_acknowledges(browser, public="https://monitor.example.com")
        browser.client.auth = auth
        shown = await browser.get(CONNECTION)
        assert re.search(r"by (<[^>]*>)*ann", shown.text), "the user is the author of the acknowledgement"
        missing = await browser.post(CONNECTION, {"csrf": "", "action": "ack", "comment": "", "for": ""})
        assert missing.status_code == 403


async def test_where_the_proxy_asks_for_no_password_no_name_is_accepted(behind: Behind) -> None:
    config = documented("Basic authentication", behind.folder)
    async with behind.nginx(config, nginx_file("Basic authentication"), "https://monitor.example.com") as (browser, served):
        forged = {"authorization": httpx.BasicAuth("ann", "wrong")._auth_header, "x-forwarded-user": "ann"}
        assert (await browser.get("/", **forged)).status_code == 401
        for path in ("/calendar.ics", "/feed.atom", "/badge.svg"):
            assert (await browser.get(path, accept="*/*", **forged)).status_code == 401, path
        served.config = replace(served.config, web=replace(served.config.web, trusted_proxies=()))
        direct = await served.get("/", headers={**PAGE, "x-forwarded-user": "ann"})
        assert direct.status_code == 303


@contextmanager
def oauth2_proxy() -> Iterator[str]:
    """Run a stand-in for oauth2-proxy, which knows one cookie; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = "_oauth2_proxy=ann" in self.headers.get("cookie", "")
            if self.path.startswith("/oauth2/sign_in"):
                self.send_response(200)
            elif self.path == "/oauth2/auth":
                self.send_response(202 if known else 401)
                if known:
                    self.send_header("X-Auth-Request-Email", "ann@example.com")
            else:
                self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


async def test_single_sign_on_with_oauth2_proxy(behind: Behind) -> None:
    config = documented("Basic authentication", behind.folder)
    with oauth2_proxy() as address:
        text = nginx_file("Single sign-on").replace(OAUTH2_PROXY, address)
        async with behind.nginx(config, text, "https://monitor.example.com") as (browser, _):
            redirected = await browser.get("/alerts", **{"x-forwarded-user": "root", "x-auth-request-email": "root"})
            assert redirected.status_code == 302
            where = urlsplit(redirected.headers["location"])
            assert (where.path, where.query) == ("/oauth2/sign_in", "rd=/alerts")
            assert (await browser.get(f"{where.path}?{where.query}")).status_code == 200
            browser.client.cookies.set("_oauth2_proxy", "ann")
            await reads_and_acknowledges(browser, public="https://monitor.example.com")
            browser.client.cookies.set("_oauth2_proxy", "ann")
            shown = await browser.get(CONNECTION)
            assert re.search(r"by (<[^>]*>)*ann@example\.com", shown.text)


async def test_without_a_token_only_users_of_the_proxy_get_in(behind: Behind) -> None:
    config = documented("Basic authentication", behind.folder)
    async with serving(behind.store, config, behind.clock) as served:
        for path in ("/", "/api/v1/sources", "/feed.atom", "/metrics"):
            assert (await served.get(path)).status_code == 401, path
        named = {**PAGE, "x-forwarded-user": "Ann"}
        page = await served.get("/", headers=named)
        assert page.status_code == 200
        assert 'action="/logout"' not in page.text
        # A form needs its token, although the header comes with every request of the browser.
        fields = {"csrf": "0" * 64, "action": "ack", "comment": "", "for": ""}
        assert (await served.client.post(f"{served.url}{CONNECTION}", data=fields, headers=named)).status_code == 403
        web = replace(served.config.web, trusted_proxies=(ip_network("10.0.0.0/8"),))
        served.config = replace(served.config, web=web)
        assert (await served.get("/", headers=named)).status_code == 303


# --- Traefik, which is not run


def test_the_compose_file_of_traefik_agrees_with_the_monitor(tmp_path: Path) -> None:
    services = yaml.safe_load(block("Traefik with Docker Compose", "yaml"))
    monitor, traefik = services["services"]["monitor"], services["services"]["traefik"]
    path = tmp_path / "config.toml"
    path.write_text(SOURCE, "utf-8")
    path.chmod(0o600)
    environment = {key: value.replace("${TOKEN_MONITOR_WEB_TOKEN}", TOKEN) for key, value in monitor["environment"].items()}
    loaded = load(path, {"HOME": str(tmp_path), **environment})
    web = loaded.config.web
    assert web.served_at == "0.0.0.0:8321"
    assert web.base_path == "/tokens"
    labels = dict(label.split("=", 1) for label in monitor["labels"])
    assert (
        labels["traefik.http.routers.monitor.rule"]
        == f"Host(`{urlsplit(web.public_url or '').hostname}`) && PathPrefix(`/tokens`)"
    )
    assert labels["traefik.http.services.monitor.loadbalancer.server.port"] == "8321"
    entry = labels["traefik.http.routers.monitor.entrypoints"]
    assert f"--entrypoints.{entry}.address=:443" in traefik["command"]
    assert any(
        word.startswith(f"--certificatesresolvers.{labels['traefik.http.routers.monitor.tls.certresolver']}.")
        for word in traefik["command"]
    )
    (subnet,) = services["networks"]["proxy"]["ipam"]["config"]
    assert [str(network) for network in web.trusted_proxies] == [subnet["subnet"]]
    assert monitor["networks"] == traefik["networks"] == ["proxy"]
    installed = (DOCUMENT.parents[1] / "Containerfile").read_text("utf-8")
    for volume in monitor["volumes"]:
        assert volume.split(":")[1].removesuffix("/config.toml") in installed, volume
