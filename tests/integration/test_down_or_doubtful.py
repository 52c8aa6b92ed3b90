"""Whether a message that failed may have arrived all the same: what certainly did not is tried every minute (docs/alerts.md)."""

from __future__ import annotations

import socket
import threading

import pytest

from monitor.channels import Channel
from monitor.config import Secret
from monitor.errors import ChannelUnreachable
from monitor.rules.wording import Part, Tone
from tests.receivers import MailReceiver, Reply, WebhookReceiver

PART = Part(title="Title", body="Body", tone=Tone.INFO, alert_ids=("one",))


def failure(url: str) -> ChannelUnreachable:
    with pytest.raises(ChannelUnreachable) as raised:
        Channel("ops", Secret(url)).send(PART)
    return raised.value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("status", "down"), [(500, True), (502, True), (503, True), (504, False), (429, False), (400, False), (302, False)]
)
def test_an_answer_tells_whether_the_service_is_down(status: int, down: bool) -> None:
    with WebhookReceiver() as webhook:
        webhook.reply = Reply(status=status)
        assert failure(webhook.apprise_url()).down is down


@pytest.mark.parametrize(
    "url", ["json://127.0.0.1:{}/hook", "mailto://localhost:{}?smtp=127.0.0.1&from=a@example.com&to=b@example.com"]
)
def test_where_no_connection_comes_about_nothing_was_taken(url: str) -> None:
    assert failure(url.format(free_port())).down


def test_a_connection_that_is_cut_off_after_the_request_leaves_a_doubt() -> None:
    with WebhookReceiver() as webhook:
        webhook.reply = Reply(reset=True)
        assert not failure(webhook.apprise_url()).down


def test_an_answer_that_does_not_come_leaves_a_doubt() -> None:
    release = threading.Event()
    with WebhookReceiver() as webhook:
        webhook.reply = Reply(until=release)
        assert not failure(f"{webhook.apprise_url()}?rto=0.2").down
        release.set()


@pytest.mark.parametrize(("answer", "down"), [("421 Going down", True), ("451 Try later", False)])
def test_a_mail_servers_answer_tells_too(answer: str, down: bool) -> None:
    with MailReceiver() as mail:
        mail.refused["ops@example.com"] = answer
        assert failure(mail.apprise_url()).down is down


def _mute(server: socket.socket, after: bytes) -> None:
    """Greets as a mail server, takes what comes, and hangs up."""
    connection, _ = server.accept()
    with connection:
        if after:
            connection.sendall(after)
            connection.recv(1_000)


@pytest.mark.parametrize(("greeting", "down"), [(b"", True), (b"220 here\r\n", False)])
def test_a_mail_server_that_hangs_up_before_its_greeting_has_taken_nothing(greeting: bytes, down: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_mute, args=(server, greeting))
        thread.start()
        port = server.getsockname()[1]
        found = failure(f"mailto://localhost:{port}?smtp=127.0.0.1&from=a@example.com&to=b@example.com")
        thread.join()
    assert found.down is down


def test_one_recipient_that_has_it_makes_the_others_no_reason_to_knock() -> None:
    with MailReceiver() as mail:
        mail.refused["two@example.com"] = "421 Going down"
        assert not failure(mail.apprise_url(to="one@example.com,two@example.com")).down
