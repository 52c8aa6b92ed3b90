"""Channels behind a company's own certificate authority or a proxy: what is trusted, what is used, and the cause of a failure."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from monitor.config import Secret
from monitor.domain.errors import ChannelUnreachable, ConfigError
from monitor.notify.apprise import Channel
from monitor.notify.apprise.network import Network
from monitor.notify.messages import Part, Tone
from tests.support.ports import free_port
from tests.support.proxy import TunnelProxy
from tests.support.receivers import MailReceiver, WebhookReceiver

PART = Part(title="Title", body="Text", tone=Tone.INFO, alert_ids=("a",))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Authority:
    """A certificate authority that no system knows."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.file)

    def context(self, name: str = "localhost") -> ssl.SSLContext:
        """The TLS context of a server with a certificate for this name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name).configure_cert(context)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    (tmp_path / "other").mkdir()
    return Authority(tmp_path / "other")


@pytest.fixture
def webhook(authority: Authority) -> Iterator[WebhookReceiver]:
    with WebhookReceiver(context=authority.context()) as receiver:
        yield receiver


def sending(url: str, network: Network | None = None) -> None:
    Channel("ops", Secret(url), network or Network()).send(PART)


def failure(url: str, network: Network | None = None) -> str:
    with pytest.raises(ChannelUnreachable) as caught:
        sending(url, network)
    assert not caught.value.uncertain
    return str(caught.value)


def secure(receiver: WebhookReceiver) -> str:
    return f"jsons://localhost:{receiver.port}/hook"


def test_a_ca_file_of_the_channel_is_trusted(webhook: WebhookReceiver, authority: Authority) -> None:
    sending(secure(webhook), Network(ca_file=authority.file))
    assert len(webhook.received) == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize("with_ca_file", [False, True])
def test_the_environments_certificates_are_trusted_too(
    variable: str, with_ca_file: bool, authority: Authority, other: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As Python does it; the tests' configuration skips it to save time.
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda context, _=None: context.set_default_verify_paths())
    monkeypatch.setenv(variable, str(authority.file))
    with WebhookReceiver(context=authority.context()) as webhook:
        sending(secure(webhook), Network(ca_file=other.file if with_ca_file else None))
        assert len(webhook.received) == 1


def test_A19_two_channels_trust_different_authorities(webhook: WebhookReceiver, authority: Authority, other: Authority) -> None:
    with WebhookReceiver(context=other.context()) as second:
        own, foreign = Network(ca_file=authority.file), Network(ca_file=other.file)
        for _ in range(2):
            sending(secure(webhook), own)
            sending(secure(second), foreign)
            assert "its TLS certificate is not trusted" in failure(secure(second), own)
            assert "its TLS certificate is not trusted" in failure(secure(webhook), foreign)
    assert len(webhook.received) == len(second.received) == 2


def test_A19_an_untrusted_certificate_is_named_with_its_reason(webhook: WebhookReceiver) -> None:
    text = failure(secure(webhook))
    assert text == "JSON could not be reached: its TLS certificate is not trusted (unable to get local issuer certificate)."


def test_a_ca_file_does_not_turn_off_the_check_of_the_name(authority: Authority) -> None:
    with WebhookReceiver(context=authority.context("elsewhere.example")) as receiver:
        assert "its TLS certificate is not trusted" in failure(secure(receiver), Network(ca_file=authority.file))
        assert receiver.received == []


def test_an_unusable_ca_file_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    for text in ("-----BEGIN nothing", None):
        file = tmp_path / f"{text is None}.pem"
        if text:
            file.write_text(text)
        with pytest.raises(ConfigError, match="ca_file"):
            Channel("ops", Secret("jsons://localhost/hook"), Network(ca_file=file)).verify()


@pytest.mark.parametrize("implicit", [True, False])
def test_A19_a_mail_server_is_verified_with_the_ca_file(implicit: bool, authority: Authority, other: Authority) -> None:
    with MailReceiver(context=authority.context(), implicit=implicit) as mail:
        mode = "ssl" if implicit else "starttls"
        url = f"mailtos://localhost:{mail.port}?smtp=localhost&from=monitor@example.com&to=ops@example.com&mode={mode}"
        sending(url, Network(ca_file=authority.file))
        assert len(mail.messages) == 1
        for network in (Network(), Network(ca_file=other.file)):
            assert "its TLS certificate is not trusted (unable to get local issuer certificate)" in failure(url, network)
        assert len(mail.messages) == 1


def test_a_proxy_of_the_channel_is_used_and_gets_its_own_credentials_only(webhook: WebhookReceiver, authority: Authority) -> None:
    with TunnelProxy() as proxy:
        url = Secret(proxy.url.replace("//", "//user:p%40ss@"))
        sending(secure(webhook), Network(ca_file=authority.file, proxy=url))
        (head,) = proxy.heads
    assert head.startswith(f"CONNECT localhost:{webhook.port} ")
    assert f"Basic {base64.b64encode(b'user:p@ss').decode()}" in head
    assert "Proxy-Authorization" not in webhook.received[0].headers


def test_A19_two_channels_use_different_proxies_or_none(webhook: WebhookReceiver, authority: Authority) -> None:
    with TunnelProxy() as first, TunnelProxy() as second:
        for proxy in (first, second, None):
            sending(secure(webhook), Network(ca_file=authority.file, proxy=Secret(proxy.url) if proxy else None))
        assert (len(first.heads), len(second.heads)) == (1, 1)
    assert len(webhook.received) == 3


@pytest.mark.parametrize(("no_proxy", "proxied"), [("", 1), ("localhost", 0)])
def test_https_proxy_and_no_proxy_of_the_environment(
    no_proxy: str, proxied: int, webhook: WebhookReceiver, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TunnelProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        sending(secure(webhook), Network(ca_file=authority.file))
        assert len(proxy.heads) == proxied


def test_a_proxy_that_refuses_is_named_without_its_password(webhook: WebhookReceiver, authority: Authority) -> None:
    with TunnelProxy(status=407) as proxy:
        url = Secret(proxy.url.replace("//", "//user:hunter2@"))
        text = failure(secure(webhook), Network(ca_file=authority.file, proxy=url))
    assert text == "JSON could not be reached: the proxy refused (HTTP 407)."


def test_a_proxy_that_is_down_is_named(webhook: WebhookReceiver, authority: Authority) -> None:
    network = Network(ca_file=authority.file, proxy=Secret(f"http://user:hunter2@127.0.0.1:{free_port()}"))
    text = failure(secure(webhook), network)
    assert text == "JSON could not be reached: the proxy does not respond (the connection was refused)."


def test_a_socks_proxy_names_the_package_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="a SOCKS proxy needs the Python package PySocks"):
        Channel("ops", Secret("json://localhost/hook"), Network(proxy=Secret("socks5://127.0.0.1:9"))).verify()
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    assert "a SOCKS proxy needs the Python package PySocks" in failure("json://localhost/hook")


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("json://127.0.0.1:{unused}/hook", "the connection was refused"),
        ("json://no-such-host.invalid/hook", "its name cannot be resolved (DNS)"),
        ("jsons://127.0.0.1:{plain}/hook", "the port does not use TLS"),
        ("mailto://localhost:{unused}?smtp=127.0.0.1&from=a@example.com&to=b@example.com", "the connection was refused"),
        ("mailto://localhost?smtp=no-such-host.invalid&from=a@example.com&to=b@example.com", "its name cannot be resolved (DNS)"),
        ("mailtos://localhost:{mail}?smtp=localhost&from=a@example.com&to=b@example.com&mode=ssl", "the port does not use TLS"),
        (
            "mailtos://localhost:{mail}?smtp=localhost&from=a@example.com&to=b@example.com&mode=starttls",
            "the server does not offer TLS",
        ),
        ("json://127.0.0.1:{silent}/hook?cto=0.3&rto=0.3", "it did not respond in time (timeout)"),
    ],
)
def test_the_cause_of_an_unreachable_channel_is_named(url: str, cause: str) -> None:
    with WebhookReceiver() as plain, MailReceiver() as mail, socket.create_server(("127.0.0.1", 0)) as silent:
        ports = {"plain": plain.port, "mail": mail.port, "silent": silent.getsockname()[1], "unused": free_port()}
        with pytest.raises(ChannelUnreachable) as caught:
            sending(url.format(**ports))
    assert str(caught.value).endswith(f": {cause}.")


@pytest.mark.parametrize(
    ("url", "network"),
    [
        ("mailto://localhost?from=a@example.com&to=b@example.com", Network(proxy=Secret("http://127.0.0.1:9"))),
        ("syslog://", Network(proxy=Secret("http://127.0.0.1:9"))),
        ("syslog://", Network(ca_file=Path("/etc/ca.pem"))),
    ],
)
def test_a_setting_without_an_effect_is_refused(url: str, network: Network) -> None:
    with pytest.raises(ConfigError, match="has no effect"):
        Channel("ops", Secret(url), network).verify()
