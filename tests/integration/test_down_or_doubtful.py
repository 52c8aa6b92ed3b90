"""Whether a message that failed may have arrived all the same (docs/alerts.md).

What certainly did not is tried every minute where the service is down; what may have says so when it is sent again.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress

import pytest
import trustme

from monitor.config import Secret
from monitor.domain.errors import ChannelUnreachable
from monitor.notify.apprise import Channel
from monitor.notify.messages import Part, Tone
from tests.support.ports import free_port
from tests.support.receivers import MailReceiver, Reply, WebhookReceiver

PART = Part(title="Title", body="Body", tone=Tone.INFO, alert_ids=("one",))


def failure(url: str) -> ChannelUnreachable:
    with pytest.raises(ChannelUnreachable) as raised:
        Channel("ops", Secret(url)).send(PART)
    return raised.value


@pytest.mark.parametrize(
    ("status", "down"), [(500, True), (502, True), (503, True), (504, False), (429, False), (400, False), (302, False)]
)
def test_an_answer_shows_whether_the_service_is_down(status: int, down: bool) -> None:
    with WebhookReceiver() as webhook:
        webhook.reply = Reply(status=status)
        failed = failure(webhook.apprise_url())
    assert failed.down is down
    assert failed.uncertain is (status == 504), "every other answer is a refusal"


@pytest.mark.parametrize(
    "url", ["json://127.0.0.1:{}/hook", "mailto://localhost:{}?smtp=127.0.0.1&from=a@example.com&to=b@example.com"]
)
def test_where_no_connection_comes_about_nothing_was_taken(url: str) -> None:
    failed = failure(url.format(free_port()))
    assert failed.down
    assert not failed.uncertain


def test_a_connection_that_is_cut_off_after_the_request_leaves_a_doubt() -> None:
    with WebhookReceiver() as webhook:
        webhook.reply = Reply(reset=True)
        failed = failure(webhook.apprise_url())
    assert not failed.down
    assert failed.uncertain


def test_an_answer_that_does_not_come_leaves_a_doubt() -> None:
    release = threading.Event()
    with WebhookReceiver() as webhook:
        webhook.reply = Reply(until=release)
        failed = failure(f"{webhook.apprise_url()}?rto=0.2")
        release.set()
    assert not failed.down
    assert failed.uncertain


@pytest.mark.parametrize(("answer", "down"), [("421 Going down", True), ("451 Try later", False)])
def test_a_mail_servers_answer_shows_it_too(answer: str, down: bool) -> None:
    with MailReceiver() as mail:
        mail.refused["ops@example.com"] = answer
        failed = failure(mail.apprise_url())
    assert failed.down is down
    assert not failed.uncertain


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
    assert not found.uncertain, "no text had been asked for"


_TALK = (b"220 here\r\n", b"250 hello\r\n", b"250 sender\r\n", b"250 recipient\r\n", b"354 go on\r\n")


@pytest.mark.parametrize("heard", [4, 5])
def test_a_mail_server_that_hangs_up_may_have_taken_the_mail_only_once_it_asked_for_the_text(heard: int) -> None:
    def talk(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            for line in _TALK[:heard]:
                connection.sendall(line)
                taken = connection.recv(100_000)
            while heard == len(_TALK) and not taken.endswith(b"\r\n.\r\n"):
                taken += connection.recv(100_000)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=talk, args=(server,))
        thread.start()
        port = server.getsockname()[1]
        found = failure(f"mailto://localhost:{port}?smtp=127.0.0.1&from=a@example.com&to=b@example.com")
        thread.join()
    assert found.uncertain is (heard == len(_TALK))


def test_a_server_that_is_not_who_it_claims_to_be_was_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

        def greet() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(1_000)

        thread = threading.Thread(target=greet)
        thread.start()
        failed = failure(f"jsons://127.0.0.1:{server.getsockname()[1]}/hook")
        thread.join()
    assert not failed.uncertain


def test_with_one_recipient_reached_the_others_cause_no_retry_of_the_channel() -> None:
    with MailReceiver() as mail:
        mail.refused["two@example.com"] = "421 Going down"
        assert not failure(mail.apprise_url(to="one@example.com,two@example.com")).down
