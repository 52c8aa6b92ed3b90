"""A channel's certificates and proxy on the command line: the cause of a failure, and what cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

from tests.support.command_line import CONFIG, OPS_URL, token_monitor, write_config
from tests.support.receivers import WebhookReceiver


def with_setting(url: str, line: str) -> str:
    """The configuration with this URL and one more line in the channel's table."""
    return CONFIG.replace(f'url = "{OPS_URL}"', f'url = "{url}"\n{line}')


def test_a_test_alert_names_an_untrusted_certificate_and_arrives_with_the_ca_file(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with WebhookReceiver(context=context) as webhook:
        url = f"jsons://localhost:{webhook.port}/hook"
        done = token_monitor("test-alert", "ops", config=write_config(tmp_path, text=with_setting(url, "")))
        assert done.status == 1
        assert (
            "JSON could not be reached: its TLS certificate is not trusted (unable to get local issuer certificate)." in done.out
        )
        assert webhook.received == []
        config = write_config(tmp_path, text=with_setting(url, 'ca_file = "ca.pem"'))
        assert token_monitor("test-alert", "ops", config=config).status == 0
        assert len(webhook.received) == 1
    shown = token_monitor("config", "show", config=config).out
    assert f'ca_file = "{tmp_path}/ca.pem"' in shown


def test_a_proxy_that_cannot_be_used_is_named_with_its_key(tmp_path: Path) -> None:
    config = write_config(tmp_path, text=with_setting("json://localhost/hook", 'proxy = "socks5://127.0.0.1:9"'))
    done = token_monitor("config", "check", config=config)
    assert done.status == 2
    assert f"{config}: channels[0] (ops).proxy cannot be used: a SOCKS proxy needs the Python package PySocks" in done.err
    assert "FAILED  channel ops: proxy cannot be used" in token_monitor("config", "check", "--live", config=config).out
