"""Messages as they leave the process: a dozen services pointed at loopback, each in its own format, with hostile names in all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from monitor.config import ChannelConfig, Secret
from monitor.config.templates import TemplatePair
from monitor.domain import Alert, AlertEvent, Severity
from monitor.domain.rules.alerting import AlertReason
from monitor.notify.apprise import Channel
from monitor.notify.messages import Dispatch, Markup, Part, Tone, build
from tests.support.factories import NOW, make_alert
from tests.support.receivers import MailReceiver, Received, Reply, WebhookReceiver

HOUR = timedelta(hours=1)
SLACK_HOOK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops"
SLACK_BOT = "slack://xoxb-1234-1234-4ddbc191d40ee098cbaae6f3523ada2d/#ops"
DISCORD = "discord://1234567890123456789/abcdefghijABCDEFGHIJ"
TELEGRAM = "tgram://123456789:abcdefg_hijklmnop/12315544/"

HOSTILE = [
    "<!channel>",
    "<!here|here>",
    "<@U123>",
    "<#C1|x>",
    "@everyone",
    "@here",
    "@all",
    "<@&99>",
    "<https://evil.example|Your bank>",
    "[Your bank](https://evil.example)",
    "https://evil.example/x",
    "www.evil.example",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</b></p><h1>x",
    '"><a href="https://evil.example">x</a>',
    "&lt;!channel&gt;",
    "*bold* _it_ ~no~ `code` **b** ||s||",
    "# heading",
    "> quote",
    "- item",
    "\\<!channel\\>",
    "\\[x\\](https://evil.example)",
    "a\nb\r\nBcc: all@example.com",
    "\x1b[31m\u202ered",
    "{{ 7*7 }} {% raw %}",
    "=HYPERLINK(1)",
    ":fire: :warning:",
    "!channel> @U123> https://evil.example>",
]


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def fixed_hosts(webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch) -> WebhookReceiver:
    """Services whose addresses cannot be configured, pointed at the webhook."""
    from apprise.plugins import opsgenie, pagerduty
    from apprise.plugins.discord import NotifyDiscord
    from apprise.plugins.slack import NotifySlack
    from apprise.plugins.telegram import NotifyTelegram

    base = f"http://{webhook.address}"
    monkeypatch.setattr(NotifySlack, "webhook_url", f"{base}/slack")
    monkeypatch.setattr(NotifySlack, "api_url", base + "/slack-api/{}")
    monkeypatch.setattr(NotifyDiscord, "notify_url", f"{base}/discord")
    monkeypatch.setattr(NotifyTelegram, "notify_url", f"{base}/bot")
    for region in list(pagerduty.PAGERDUTY_API_LOOKUP):
        monkeypatch.setitem(pagerduty.PAGERDUTY_API_LOOKUP, region, f"{base}/pagerduty")
    for region in list(opsgenie.OPSGENIE_API_LOOKUP):
        monkeypatch.setitem(opsgenie.OPSGENIE_API_LOOKUP, region, f"{base}/opsgenie")
    return webhook


def config(url: str, **over: Any) -> ChannelConfig:
    values: dict[str, Any] = {
        "name": "ops",
        "url": Secret(url),
        "events": None,
        "severity": Severity.INFO,
        "sources": None,
        "platforms": None,
        "labels": {},
        "group_wait": timedelta(0),
    }
    return ChannelConfig(**{**values, **over})


def expired(number: int = 1, **over: Any) -> Alert:
    values: dict[str, Any] = {
        "id": f"alert-{number}",
        "incident": f"inc{number}",
        "external_id": f"linkedin-{number}",
        "reason": AlertReason.FIRST,
        "expires_at": NOW - 2 * HOUR,
        "message": "The token expired",
        "link": "https://app.postpost.dev",
    }
    return make_alert(**{**values, **over})


def recovered(number: int = 1, **over: Any) -> Alert:
    values = {"event": AlertEvent.RECOVERED, "status": "valid", "reason": AlertReason.RECOVERED, "previous": "expired"}
    return expired(number, **{**values, "opened_at": NOW - 4 * HOUR, "id": f"alert-{number}b", **over})


def send(url: str, *alerts: Alert, channel: Channel | None = None, **over: Any) -> tuple[Part, ...]:
    """What the worker does with claimed deliveries."""
    settings = config(url, **over)
    channel = channel or Channel("ops", settings.url)
    dispatches = [Dispatch(alert=alert) for alert in alerts]
    parts = build.build(dispatches, channel=settings, profile=channel.profile, timezone="UTC", now=NOW)
    for part in parts:
        channel.send(part)
    return parts


LOOPBACK = {
    "json": "json://{}/hook",
    "xml": "xml://{}/hook",
    "form": "form://{}/hook",
    "ntfy": "ntfy://{}/topic",
    "gotify": "gotify://{}/abcdefghijklmno",
    "mattermost": "mmost://{}/3ccdd113474722377935511fc85d3dd4",
    "rocket": "rocket://abcdefghijklmnopq/abcdefghijklmnopqrstuvwxyz1234567890abcdefgh@{}/#general",
    "matrix": "matrix://token@{}/hook?mode=slack",
    "apprise": "apprise://{}/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "bark": "bark://{}/devicekey",
    "synology": "synology://{}/token",
    "goalert": "goalert://{}/8d1fa6d4-9d3b-4e8c-a8a6-0a5b6f0f4b2a",
}


@pytest.mark.parametrize("name", list(LOOPBACK))
def test_a_service_gets_name_id_status_expiry_and_what_to_do(webhook: WebhookReceiver, name: str) -> None:
    """Whatever its format, with a batch of two and a recovery folded into its problem."""
    folded = expired(2, at=NOW - HOUR, label="Beta"), recovered(2, label="Beta")
    parts = send(LOOPBACK[name].format(webhook.address), expired(1), *folded)
    text = text_of(webhook.received)
    for promised in (
        "Acme Ltd",
        "linkedin-1",
        "expired",
        "10 Mar 2026 10" if name == "goalert" else "expired 2 hours ago (Tue 10 Mar 10",
        "UTC",
        "Reconnect LinkedIn",
        "app.postpost.dev",
        "Beta",
    ):
        assert promised in text
    assert "works again" in text
    assert sorted(alert_id for part in parts for alert_id in part.alert_ids) == ["alert-1", "alert-2", "alert-2b"]


def text_of(requests: list[Received]) -> str:
    """All that arrived, with the encodings of transport taken off."""
    from urllib.parse import unquote_plus

    texts = []
    for request in requests:
        text = request.body.decode()
        if "urlencoded" in request.headers.get("Content-Type", ""):
            text = unquote_plus(text)
        if text.startswith("{"):
            text = " ".join(strings(request.json))
        texts.append(text.replace("\\-", "-").replace("\\.", "."))
    return "\n".join(texts)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


# What would be a power in the service's own format, were it in the payload.
POWERS = {
    "slack": re.compile(r"<(?!https://app\.postpost\.dev>)|(?<![\w.])https?://(?!app\.postpost\.dev>)|@(?:everyone|here|channel|all)\b"),
    "discord": re.compile(r"@(?:everyone|here|all)\b|<[@#!:]|(?<!\\)\[[^\]]*\]\(|(?<!<)https?://|(?<!\\)\|\||<(?!https://app\.postpost\.dev>|\u200b)"),
    "mattermost": re.compile(r"@(?:all|here|channel|everyone)\b|(?<!\\)\[[^\]]*\]\(|(?<!<)https?://"),
    "telegram": re.compile(r"<(?!/?b>|/?code>|a href=\"https://app\.postpost\.dev\">|/a>)|@(?:all|everyone)\b"),
    "plain": re.compile(r"@(?:everyone|here|channel|all)\b|<!channel>|https?://(?!app\.postpost\.dev)"),
}  # fmt: skip
TARGETS = {
    "slack": (SLACK_HOOK, "slack"),
    "slack blocks": (f"{SLACK_HOOK}?blocks=yes", "slack"),
    "discord": (DISCORD, "discord"),
    "discord embed": (f"{DISCORD}?format=markdown", "discord"),
    "telegram": (TELEGRAM, "telegram"),
    "mattermost": (LOOPBACK["mattermost"], "mattermost"),
    "rocket": (LOOPBACK["rocket"], "mattermost"),
    "gotify": (LOOPBACK["gotify"], "plain"),
    "ntfy": (LOOPBACK["ntfy"], "plain"),
    "json": (LOOPBACK["json"], "plain"),
}


@pytest.mark.parametrize("name", list(TARGETS))
def test_S05_no_hostile_name_keeps_a_power_in_any_format(fixed_hosts: WebhookReceiver, name: str) -> None:
    url, powers = TARGETS[name]
    fixed_hosts.reply = Reply(body=b"ok" if "slack" in name else b'{"ok": true}')
    alerts = [expired(n, label=text, message=f"It says {text}", external_id=f"x-{n}{text}") for n, text in enumerate(HOSTILE)]
    channel = Channel("ops", Secret(url.format(fixed_hosts.address)))
    for alert in alerts:
        send(channel.url.reveal(), alert, channel=channel)
    send(channel.url.reveal(), *alerts, channel=channel)
    for request in fixed_hosts.received:
        if request.headers.get("Content-Type", "").startswith("application/json"):
            for text in strings(request.json):
                found = POWERS[powers].search(text)
                assert found is None, (found, text)
    assert len(fixed_hosts.received) > len(HOSTILE)


def test_slack_gets_its_own_formatting(fixed_hosts: WebhookReceiver) -> None:
    fixed_hosts.reply = Reply(body=b"ok")
    send(SLACK_HOOK, expired(1, label="Zo\u00eb & S\u00f6hne"), expired(2, label="Beta"))
    (request,) = fixed_hosts.received
    (attachment,) = request.json["attachments"]
    assert attachment["title"] == "2 connections need attention: 2 expired at agency (Beta, Zoë &amp; Söhne)"
    state = "\u00b7 LinkedIn \u00b7 expired 2 hours ago (Tue 10 Mar 10:00) \u00b7"
    assert attachment["text"].startswith(f"- *Beta* {state} `linkedin-2`\n")
    assert f"- *Zo\u00eb &amp; S\u00f6hne* {state} `linkedin-1`" in attachment["text"]
    assert "Link: <https://app.postpost.dev>" in attachment["text"]
    assert request.json["mrkdwn"] is True


@pytest.mark.parametrize("url", [SLACK_HOOK, DISCORD, TELEGRAM])
def test_plain_text_stays_literal_where_a_channel_reads_markup(fixed_hosts: WebhookReceiver, url: str) -> None:
    fixed_hosts.reply = Reply(body=b"ok" if url is SLACK_HOOK else b'{"ok": true}')
    Channel("ops", Secret(url)).send(Part(title="A", body="1 < 2 & 3", tone=Tone.INFO, alert_ids=("a",)))
    shown = "1 < 2 & 3" if url is DISCORD else "1 &lt; 2 &amp; 3"
    assert any(shown in text for text in strings(fixed_hosts.received[0].json))


def test_discord_gets_markdown_in_two_thousand_characters_and_the_rest_as_a_file(fixed_hosts: WebhookReceiver) -> None:
    send(DISCORD, *(expired(number, label=f"Customer {number}") for number in range(1000)))
    text, upload = fixed_hosts.received
    content = text.json["content"]
    title, rest = content.split("\r\n", 1)
    assert title == "**1000 connections need attention: 1000 expired at agency (Customer 0, Customer 1 and 998 more)**"
    assert rest.startswith("Total: 1000 on LinkedIn.")
    assert len(content) <= 2000
    assert "The attached file lists all 1000." in content
    assert b'filename="connections.csv"' in upload.body
    assert all(f",linkedin-{number},".encode() in upload.body for number in range(1000))


def test_without_attachments_a_channel_gets_no_file(fixed_hosts: WebhookReceiver) -> None:
    send(DISCORD, *(expired(number) for number in range(1000)), attachments=False)
    assert len(fixed_hosts.received) == 3
    assert fixed_hosts.received[-1].json["content"].endswith("more: `token-monitor status --status expired`")


def test_a_webhook_can_carry_the_file_in_its_json(webhook: WebhookReceiver) -> None:
    """Names this long do not fit into three texts."""
    send(
        LOOPBACK["json"].format(webhook.address),
        *(expired(n, label="N" * 70, external_id=f"x-{n:04}" + "y" * 60) for n in range(1000)),
    )
    (request,) = webhook.received
    assert [file["filename"] for file in request.json["attachments"]] == ["connections.csv"]


@pytest.fixture
def mail() -> Iterator[MailReceiver]:
    with MailReceiver() as receiver:
        yield receiver


def texts(message: EmailMessage) -> tuple[str, str]:
    html, plain = message.get_body(("html",)), message.get_body(("plain",))
    assert html is not None
    assert plain is not None
    return html.get_content(), plain.get_content()


def test_a_mail_is_html_with_a_text_alternative_and_nothing_from_outside(mail: MailReceiver) -> None:
    send(mail.apprise_url(), expired(1), expired(2, label="Beta", platform="tiktok"))
    (message,) = mail.messages
    html, plain = texts(message)
    assert message["Subject"] == "2 connections need attention: 2 expired at agency (Acme Ltd, Beta)"
    assert html.count("<table") == 1
    assert '<a href="https://app.postpost.dev" style="color:inherit' in html
    assert re.findall(r"(?:src|background)=|url\(|<link|<style|<script|@import", html) == []
    for promised in (
        "Acme Ltd",
        "linkedin-1",
        "expired 2 hours ago (Tue 10 Mar 10:00)",
        "Times: UTC",
        "Link: https://app.postpost.dev",
    ):
        assert promised in plain
    assert "<" not in plain


def test_S05_a_mail_shows_hostile_names_as_they_are_and_obeys_none(mail: MailReceiver) -> None:
    for number, text in enumerate(HOSTILE):
        send(mail.apprise_url(), expired(number, label=text, message=text))
    send(mail.apprise_url(), *(expired(number, label=text, message=text) for number, text in enumerate(HOSTILE)))
    for message in mail.messages:
        html, _ = texts(message)
        tags = set(re.findall(r"<\s*/?\s*([a-zA-Z!][\w]*)", html))
        assert tags <= {
            "!DOCTYPE",
            "html",
            "head",
            "meta",
            "title",
            "body",
            "div",
            "h1",
            "h2",
            "p",
            "span",
            "table",
            "tr",
            "td",
            "b",
            "br",
            "a",
        }
        assert set(re.findall(r'href="([^"]*)"', html)) == {"https://app.postpost.dev"}
        assert not re.search(r"<[^>]*\son\w+=", html)
        assert message["Bcc"] is None
        assert "\n" not in message["Subject"]


def test_mails_of_one_incident_are_one_thread_and_keep_headers_of_the_url(mail: MailReceiver) -> None:
    channel = Channel("ops", Secret(f"{mail.apprise_url()}&+X-Team=social"))
    send(channel.url.reveal(), expired(1), channel=channel)
    send(channel.url.reveal(), recovered(1), channel=channel)
    first, second = mail.messages
    for message in (first, second):
        assert message["References"] == message["In-Reply-To"] == "<incident-inc1@token-monitor.invalid>"
        assert message["X-Team"] == "social"
    assert first["Message-ID"] != second["Message-ID"]


def test_a_mail_about_a_thousand_shows_twenty_and_attaches_all(mail: MailReceiver) -> None:
    send(mail.apprise_url(), *(expired(number, label=f"Customer {number}") for number in range(1000)))
    (message,) = mail.messages
    (file,) = message.iter_attachments()
    assert file.get_filename() == "connections.csv"
    assert "The attached file lists all 1000." in texts(message)[1]
    content = file.get_content()
    listed = content if isinstance(content, str) else content.decode()
    assert all(f",linkedin-{number}," in listed for number in range(1000))


def test_a_mail_is_plain_where_the_url_asks_for_text(mail: MailReceiver) -> None:
    send(f"{mail.apprise_url()}&format=text", expired(1, label="A & B <x>"))
    (message,) = mail.messages
    assert message.get_body(("html",)) is None
    plain = message.get_body(("plain",))
    assert plain is not None
    assert "A & B <\u200bx> on LinkedIn has expired." in plain.get_content()


PAGERDUTY = "pagerduty://A1BRTD4JDTIiajkdnlazkcOXrIdevi7F@A1BRTD4JDTIiajkdnlazkcOXrIdevi7F"


def test_pagerduty_gets_one_message_for_each_incident_and_resolves_it_by_the_same_key(fixed_hosts: WebhookReceiver) -> None:
    fixed_hosts.reply = Reply(status=202)
    channel = Channel("ops", Secret(PAGERDUTY))
    send(PAGERDUTY, expired(1), expired(2), channel=channel)
    send(PAGERDUTY, recovered(1), channel=channel)
    sent = [(each.json["event_action"], each.json["dedup_key"]) for each in fixed_hosts.received]
    assert sent == [("trigger", "inc1"), ("trigger", "inc2"), ("resolve", "inc1")]
    assert len(fixed_hosts.received[0].json["payload"]["summary"]) <= 1024


def test_a_key_or_action_in_the_url_is_the_persons_own_choice(fixed_hosts: WebhookReceiver) -> None:
    fixed_hosts.reply = Reply(status=202)
    send(f"{PAGERDUTY}?dedup=mine", expired(1), expired(2))
    send(f"{PAGERDUTY}?action=trigger", recovered(3))
    first, second = fixed_hosts.received
    assert first.json["dedup_key"] == "mine"
    assert (second.json["event_action"], second.json["dedup_key"]) == ("trigger", "inc3")


def test_goalert_closes_what_it_opened(webhook: WebhookReceiver) -> None:
    send(LOOPBACK["goalert"].format(webhook.address), expired(1))
    send(LOOPBACK["goalert"].format(webhook.address), recovered(1))
    opened, closed = (each.json for each in webhook.received)
    assert (opened.get("action"), opened["dedup"]) == (None, "inc1")
    assert (closed["action"], closed["dedup"]) == ("close", "inc1")


def test_opsgenie_closes_by_alias_what_this_process_opened_and_sends_the_rest_anew(fixed_hosts: WebhookReceiver) -> None:
    """Its plugin forgets at a restart what it opened; then a recovery would be lost and called sent."""
    url = "opsgenie://aaaaaaaa-1111-2222-3333-444444444444"
    fixed_hosts.reply = Reply(status=202, body=b'{"requestId": "r-1"}')
    channel = Channel("ops", Secret(url))
    send(url, expired(1), channel=channel)
    send(url, recovered(1), channel=channel)
    send(url, recovered(2), channel=Channel("ops", Secret(url)))
    opened, closed, anew = fixed_hosts.received
    assert opened.json["alias"] == "inc1"
    assert closed.path.startswith("/opsgenie/r-1/close")
    assert anew.json["alias"] == "inc2"


@pytest.mark.parametrize("event", list(AlertEvent))
def test_a_sample_of_every_event_goes_out_through_the_real_path_and_is_marked_as_one(
    webhook: WebhookReceiver, event: AlertEvent
) -> None:
    channel = config(LOOPBACK["json"].format(webhook.address))
    target = Channel("ops", channel.url)
    (part,) = build.build_test(event, channel=channel, profile=target.profile, timezone="UTC", now=NOW)
    target.send(part)
    (request,) = webhook.received
    assert "sample" in request.text
    assert event.value in request.text + request.title.lower().replace(" ", "_")


def test_a_test_opens_no_incident_that_stays_open(fixed_hosts: WebhookReceiver) -> None:
    fixed_hosts.reply = Reply(status=202)
    channel = Channel("ops", Secret(PAGERDUTY))
    for event in (None, AlertEvent.EXPIRED, AlertEvent.RECOVERED):
        for part in build.build_test(event, channel=config(PAGERDUTY), profile=channel.profile, timezone="UTC", now=NOW):
            channel.send(part)
    sent = [each.json["event_action"] for each in fixed_hosts.received]
    assert sent == ["trigger", "resolve", "trigger", "resolve", "resolve"]


def test_a_channel_uses_its_templates(webhook: WebhookReceiver) -> None:
    pairs = {
        "expired": TemplatePair(title="Ticket: {{ name }}", body="{{ external_id }} at {{ source }}: {{ expires }}"),
        "*": TemplatePair(body="Something else: {{ status }}"),
    }
    url = LOOPBACK["json"].format(webhook.address)
    send(url, expired(1), templates=pairs)
    send(url, recovered(1), templates=pairs)
    first, second = webhook.received
    assert first.title == "Ticket: Acme Ltd"
    assert first.text == "linkedin-1 at agency: It expired Tue 10 Mar 2026 10:00 UTC, 2 hours ago."
    assert (second.title, second.text) == ("[RECOVERED] Acme Ltd (linkedin) at agency", "Something else: recovered")


def test_a_batch_uses_the_template_of_each_alert(webhook: WebhookReceiver) -> None:
    url = LOOPBACK["json"].format(webhook.address)
    send(url, expired(1), expired(2, label="Beta"), templates={"*": TemplatePair(body="Call {{ name }}!")})
    assert "Call Acme Ltd!\nCall Beta!" in webhook.received[0].text
    assert webhook.received[0].title == "2 connections need attention: 2 expired at agency (Acme Ltd, Beta)"


def test_a_template_that_fails_gives_way_to_the_built_in_text_with_a_note(webhook: WebhookReceiver) -> None:
    url = LOOPBACK["json"].format(webhook.address)
    parts = send(url, expired(1), templates={"expired": TemplatePair(body="{{ nope }}")})
    assert parts[0].alert_ids == ("alert-1",)
    text = webhook.received[0].text
    assert "Acme Ltd on LinkedIn has expired." in text
    assert "The template could not be rendered, so this is the built-in text." in text


def test_what_a_template_shows_is_escaped_for_its_channel(fixed_hosts: WebhookReceiver) -> None:
    fixed_hosts.reply = Reply(body=b"ok")
    pairs = {"*": TemplatePair(title="{{ name }}", body="<!here> *{{ name }}* {{ link }}")}
    send(SLACK_HOOK, expired(1, label="<!channel> *x*"), templates=pairs)
    (attachment,) = fixed_hosts.received[0].json["attachments"]
    assert attachment["text"] == "<!here> *&lt;\u200b!channel&gt; \u2217x\u2217* https://app.postpost.dev"
    assert "<!channel>" not in attachment["title"]


def test_a_bot_of_slack_uploads_and_its_webhook_does_not() -> None:
    assert Channel("ops", Secret(SLACK_BOT)).profile.files
    assert not Channel("ops", Secret(SLACK_HOOK)).profile.files


@pytest.mark.parametrize(
    ("url", "markup"),
    [
        (SLACK_HOOK, Markup.SLACK),
        (f"{SLACK_HOOK}?format=text", Markup.TEXT),
        (DISCORD, Markup.CHAT),
        (TELEGRAM, Markup.HTML),
        (f"{TELEGRAM}?format=markdown", Markup.MARKDOWN),
        ("mailto://localhost?from=a@example.com&to=b@example.com", Markup.MAIL),
        ("matrixs://user:pw@localhost/#room", Markup.HTML),
        ("json://localhost", Markup.TEXT),
        ("json://localhost?format=markdown", Markup.MARKDOWN),
        ("wxteams://" + "a" * 80, Markup.MARKDOWN),
    ],
)  # fmt: skip
def test_each_service_gets_its_own_format(url: str, markup: Markup) -> None:
    assert Channel("ops", Secret(url)).profile.markup is markup
