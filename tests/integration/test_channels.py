"""Channels against real receivers: what arrives, what a failure is called, and what never shows."""

from __future__ import annotations

import io
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest

from monitor.config import Secret
from monitor.domain.errors import ChannelRejected, ChannelUnreachable, ConfigError
from monitor.notify.apprise import Channel
from monitor.notify.apprise.errors import parse_retry_after
from monitor.notify.messages import Part, Tone
from monitor.telemetry import logs
from tests.support import canary
from tests.support.factories import NOW
from tests.support.receivers import MailReceiver, Reply, WebhookReceiver

MEBIBYTE = 1024 * 1024

PART = Part(title="[EXPIRED] Acme", body="Acme is expired.\nConnection: linkedin-1", tone=Tone.FAILURE, alert_ids=("a",))


def channel_to(url: str) -> Channel:
    return Channel("ops", Secret(url))


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def logged() -> io.StringIO:
    """The program's log at debug level. (pytest's capture also records loggers without a handler.)"""
    stream = io.StringIO()
    logs.configure("debug", "console", stream=stream)
    return stream


def test_a_webhook_gets_title_text_and_tone(webhook: WebhookReceiver) -> None:
    sent = channel_to(webhook.apprise_url()).send(PART)
    (request,) = webhook.received
    assert request.path == "/hook"
    assert (request.title, request.text) == (PART.title, PART.body)
    assert request.json["type"] == "failure"
    assert sent.service == "JSON"
    assert sent.url_id


def test_mail_arrives_with_one_line_subject_and_the_whole_text() -> None:
    """A text stays text on its way: nothing in it becomes markup."""
    part = Part(title="[EXPIRED] Acme", body="Acme <b>&amp; Sons</b>\nsecond line", tone=Tone.FAILURE, alert_ids=("a",))
    with MailReceiver() as mail:
        channel_to(mail.apprise_url()).send(part)
    (message,) = mail.messages
    assert message["Subject"] == "[EXPIRED] Acme"
    assert message["To"] == "ops@example.com"
    plain = message.get_body(("plain",))
    assert message.get_body(("html",)) is None
    assert plain is not None
    assert plain.get_content().splitlines() == ["Acme <b>&amp; Sons</b>", "second line"]


def test_S06_a_title_with_line_breaks_makes_no_header() -> None:
    part = Part(title="[EXPIRED] Acme\r\nBcc: all@example.com", body="x", tone=Tone.FAILURE, alert_ids=("a",))
    with MailReceiver() as mail:
        channel_to(mail.apprise_url()).send(part)
    assert mail.messages[0]["Bcc"] is None


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_A04_answers_that_only_a_person_can_change_are_rejections(webhook: WebhookReceiver, status: int) -> None:
    webhook.reply = Reply(status=status)
    with pytest.raises(ChannelRejected, match=f"answered {status} "):
        channel_to(webhook.apprise_url()).send(PART)


@pytest.mark.parametrize("status", [400, 500, 502, 503, 599])
def test_A01_other_failures_may_pass(webhook: WebhookReceiver, status: int) -> None:
    webhook.reply = Reply(status=status)
    with pytest.raises(ChannelUnreachable, match=f"answered {status}") as caught:
        channel_to(webhook.apprise_url()).send(PART)
    assert caught.value.retry_after is None


@pytest.mark.parametrize(("said", "heard"), [("120", 120.0), (None, 60.0), ("soon", 60.0), ("-1", 60.0)])
def test_A05_a_429_carries_how_long_to_wait(webhook: WebhookReceiver, said: str | None, heard: float) -> None:
    webhook.reply = Reply(status=429, headers={"Retry-After": said} if said else {})
    with pytest.raises(ChannelUnreachable) as caught:
        channel_to(webhook.apprise_url()).send(PART)
    assert caught.value.retry_after == heard


def test_a_refused_connection_and_a_reset_may_pass(webhook: WebhookReceiver) -> None:
    webhook.reply = Reply(reset=True)
    with pytest.raises(ChannelUnreachable):
        channel_to(webhook.apprise_url()).send(PART)
    with pytest.raises(ChannelUnreachable, match="could not be reached"):
        channel_to("json://127.0.0.1:9/x").send(PART)


@pytest.mark.parametrize("status", [200, 302, 500])
def test_N13_the_rest_of_a_huge_response_of_a_service_is_not_read(webhook: WebhookReceiver, status: int) -> None:
    webhook.reply = Reply(status=status, headers={"Location": "/elsewhere"}, body=b"x" * 64 * MEBIBYTE)
    ours = channel_to(webhook.apprise_url())
    ours.verify()
    tracemalloc.start()
    try:
        with nullcontext() if status == 200 else pytest.raises(ChannelUnreachable, match=str(status)):
            ours.send(PART)
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()
    assert len(webhook.received) == 1


def test_a_redirect_is_not_followed(webhook: WebhookReceiver) -> None:
    """Credentials in the URL would go along to wherever the answer points."""
    with WebhookReceiver() as other:
        webhook.reply = Reply(status=307, headers={"Location": f"http://{other.address}/stolen"})
        with pytest.raises(ChannelUnreachable, match="307"):
            channel_to(webhook.apprise_url()).send(PART)
        assert other.received == []


def test_A07_a_mail_that_the_server_refuses_may_pass() -> None:
    with MailReceiver() as mail:
        mail.refused["ops@example.com"] = "451 try again later"
        with pytest.raises(ChannelUnreachable, match="E-Mail"):
            channel_to(mail.apprise_url()).send(PART)


def test_S02_a_mail_servers_reply_is_shown_without_any_part_of_the_address() -> None:
    with MailReceiver() as mail:
        mail.refused["ops@example.com"] = "451 4.2.2 the mailbox of ops@example.com is full"
        with pytest.raises(ChannelUnreachable, match="is full") as caught:
            channel_to(mail.apprise_url()).send(PART)
    assert "ops" not in str(caught.value)
    assert "example" not in str(caught.value)


def test_S01_a_mail_server_that_quotes_a_connection_page_does_not_give_it_away() -> None:
    page = "https://app.postpost.dev/connections?token=quoted-token"
    with MailReceiver() as mail:
        mail.refused["ops@example.com"] = f"451 4.7.1 looks like phishing: {page}"
        with pytest.raises(ChannelUnreachable, match="looks like phishing") as caught:
            channel_to(mail.apprise_url()).send(replace(PART, body=f"{PART.body} {page}", secrets=(page,)))
    assert "quoted-token" not in str(caught.value)
    assert "postpost.dev" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "nonsense", "nosuch://host/path-SECRETPATH", "slack://short-SECRETPATH", "json://", "mailto://SECRETPATH"]
)
def test_an_unusable_url_is_one_sentence_without_the_url(url: str, logged: io.StringIO) -> None:
    channel = channel_to(url)
    with pytest.raises(ConfigError, match=r"Apprise cannot use the URL of the channel ops( \([a-z]+://...\))?") as caught:
        channel.verify()
    with pytest.raises(ChannelRejected):
        channel.send(PART)
    assert "SECRETPATH" not in str(caught.value)
    assert "SECRETPATH" not in logged.getvalue()


def test_S02_no_piece_of_a_url_shows_anywhere(webhook: WebhookReceiver, logged: io.StringIO) -> None:
    """Apprise's own privacy mode masks passwords only: paths, headers and queries are the secrets of webhooks."""
    webhook.reply = Reply(status=500)
    url = f"json://user1:{canary.CHANNEL_PASSWORD}@{webhook.address}/hooks/{canary.CHANNEL_PATH}?+X-Api-Key={canary.CHANNEL_HEADER}&:k=word-for-the-message&-q={canary.CHANNEL_QUERY}"
    channel = channel_to(url)
    with pytest.raises(ChannelUnreachable) as caught:
        channel.send(PART)
    shown = str(caught.value) + repr(caught.value) + repr(channel) + logged.getvalue()
    canary.assert_absent(shown, "what is shown of the channel")
    assert "word-for-the-message" not in shown
    assert "127.0.0.1" not in str(caught.value)
    assert webhook.received[0].headers["X-Api-Key"] == canary.CHANNEL_HEADER


@pytest.mark.parametrize(
    ("url", "body", "title", "shared"),
    [
        ("discord://1234567890123456789/abcdefghijABCDEFGHIJ", 2000, 250, True),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", 4096, 0, False),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#c", 35000, 250, False),
        ("json://localhost/x", 32768, 250, False),
    ],
)
def test_limits_are_apprises_own_less_a_margin(url: str, body: int, title: int, *, shared: bool) -> None:
    limits = channel_to(url).profile.limits
    assert body * 0.9 < limits.body < body
    assert (limits.title, limits.shared) == (title, shared)


def test_apprises_own_throttle_is_off_and_its_pace_is_kept_for_us(webhook: WebhookReceiver) -> None:
    """ntfy would sleep 5.5 seconds between two messages, in our thread."""
    channel = channel_to(webhook.apprise_url("/topic", schema="ntfy"))
    assert channel.pace == 0
    channel.send(PART)
    channel.send(PART)
    assert len(webhook.received) == 2
    assert channel.pace == 1
    assert channel._service.request_rate_per_sec == 0, "a look inside: how long it took would be a claim about speed"


def test_answers_of_other_threads_are_not_mixed_up(webhook: WebhookReceiver) -> None:
    release = threading.Event()
    failures: list[str] = []

    def send_slowly() -> None:
        try:
            channel_to(webhook.apprise_url("/slow")).send(PART)
        except ChannelRejected as error:
            failures.append(str(error))

    webhook.script(Reply(status=410, until=release))
    slow = threading.Thread(target=send_slowly)
    slow.start()
    webhook.wait_for(1)
    channel_to(webhook.apprise_url("/fast")).send(PART)
    release.set()
    slow.join(10)
    assert len(failures) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("99999999999999999999", 1e9),
        ("Tue, 10 Mar 2026 12:01:00 GMT", 60.0),
        ("Tue, 10 Mar 2026 12:01:00", 60.0),
        ("Tue, 10 Mar 2026 11:00:00 GMT", 0.0),
        ("-1", None),
        ("NaN", None),
        ("1e3", None),
        ("\u0663", None),
        ("", None),
        ("Mon, 1 Jan 99999 00:00:00 GMT", None),
        (None, None),
    ],
)
def test_N08_retry_after_is_ascii_digits_or_a_date(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, now=NOW) == seconds
