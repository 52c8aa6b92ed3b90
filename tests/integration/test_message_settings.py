"""Priority, tags and click address as services receive them: by severity and link, unless the URL sets them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from monitor.config import Secret
from monitor.domain import Alert
from monitor.notify import DeliverySettings
from monitor.notify.apprise import Channel
from monitor.notify.apprise.message_settings import MESSAGE_SETTINGS
from monitor.notify.links import AcknowledgeLink, read_acknowledge_link
from monitor.notify.messages import Part, Tone
from monitor.store import Store, web_sessions
from tests.support.command_line import ROOT
from tests.support.delivery import QUICK, channel, queue, running, states, until
from tests.support.factories import make_alert
from tests.support.fakes import ManualClock
from tests.support.ntfy import NtfyReceiver
from tests.support.receivers import Received, Reply, WebhookReceiver

PAGE = "https://tokens.example/connections/agency/linkedin-1"
ACKNOWLEDGE = "https://tokens.example/ack/0123.ops.1790000000.abcdef"
TAGS = ("expired", "linkedin", "agency")
TONES = (Tone.FAILURE, Tone.WARNING, Tone.INFO, Tone.SUCCESS)

URLS = {
    "bark": "bark://{}/devicekey",
    "firehydrant": "firehydrant://eyJhbGciOiJIUzI1NiJ9.eyJvcmdhbml6YXRpb25faWQiOiJhYmMtMTIzIn0.Ab-Cd_EfGhIjKlMnOpQrStUvWxYz0123456789",
    "gotify": "gotify://{}/abcdefghijklmno",
    "ilert": "ilert://il1api0123456789abcdef0123456789abcdef",
    "incidentio": "incidentio://01GW2G3V0S59R238FAHPDS1R66/secret",
    "jira": "jira://apikey/",
    "join": "join://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/dddddddddddddddddddddddddddddddd",
    "lauther": "lauther://lpt_abc123",
    "ntfy": "ntfy://{}/topic",
    "opsgenie": "opsgenie://aaaaaaaa-1111-2222-3333-444444444444",
    "pagerduty": "pagerduty://A1BRTD4JDTIiajkdnlazkcOXrIdevi7F@A1BRTD4JDTIiajkdnlazkcOXrIdevi7F",
    "prowl": "prowl://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "pushover": "pover://uuuuuuuuuuuuuuuuuuuuuuuuuuuuuu@tttttttttttttttttttttttttttttt",
    "pushsafer": "psafers://aaaaaaaaaaaaaaaaaaaa",
    "simplepush": "simplepush://AAAAAAAAAAAAAA/alerts",
    "squadcast": "squadcast://7f550a9f4c44173a37664d938f1355f0f92a47a7",
    "trigv": "trigv://trgv_a1b2c3d4_0123456789abcdef0123456789abcdef@{}/general",
    "youlmk": "youlmk://ylk_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6",
}
"""A URL for each service that is reached by HTTP; `{}` is the receiver's address."""

BY_OTHER_MEANS = {"dbus", "glib", "gnome", "growl", "macosx"}
"""Desktop notifications and GNTP: only the names of the settings are compared with the plugins."""

PRIORITIES: dict[str, tuple[str, list[Any]]] = {
    "bark": ("level", ["timeSensitive", "active", "active", "passive"]),
    "firehydrant": ("annotations.signals.firehydrant.com/notification-priority", ["HIGH", "MEDIUM", "LOW", "LOW"]),
    "gotify": ("priority", [8, 5, 5, 0]),
    "ilert": ("priority", ["HIGH", "LOW", "LOW", "LOW"]),
    "jira": ("priority", ["P1", "P3", "P5", "P5"]),
    "join": ("priority", ["1", "0", "0", "-1"]),
    "lauther": ("priority", [1, 0, 0, -1]),
    "ntfy": ("x-priority", ["high", None, None, "low"]),
    "opsgenie": ("priority", ["P1", "P3", "P5", "P5"]),
    "pagerduty": ("payload.severity", ["critical", "warning", "info", "info"]),
    "prowl": ("priority", ["1", "0", "0", "-1"]),
    "pushover": ("priority", ["1", "0", "0", "-1"]),
    "pushsafer": ("pr", ["1", "0", "0", "-1"]),
    "simplepush": ("priority", [4, 3, 3, 2]),
    "squadcast": ("priority", ["P1", "P3", "P5", "P5"]),
    "trigv": ("delivery_urgency", ["time_sensitive", "standard", "standard", "standard"]),
}
"""The field with the priority, and its values for critical, warning, everything else and recovered."""

ADDRESSES: dict[str, tuple[str, Any]] = {
    "bark": ("url", PAGE),
    "firehydrant": ("links", [{"href": PAGE, "text": PAGE}]),
    "ilert": ("links", [{"href": PAGE}]),
    "incidentio": ("source_url", PAGE),
    "lauther": ("url", PAGE),
    "ntfy": ("x-click", PAGE),
    "pagerduty": ("links", [{"href": PAGE}]),
    "pushover": ("url", PAGE),
    "simplepush": ("links", [PAGE]),
    "trigv": ("url", PAGE),
    "youlmk": ("url", PAGE),
}
"""The field with the address that a click opens."""

TAGGED: dict[str, tuple[str, Any]] = {
    "firehydrant": ("tags", list(TAGS)),
    "jira": ("tags", list(TAGS)),
    "ntfy": ("x-tags", "rotating_light,expired,linkedin,agency"),
    "opsgenie": ("tags", list(TAGS)),
    "pagerduty": ("payload.class", "expired"),
}
"""The field with the tags of a critical alert."""

SET_IN_THE_URL: dict[str, tuple[str, str, Any]] = {
    "bark": ("level=active", "level", "active"),
    "gotify": ("priority=low", "priority", 0),
    "ntfy": ("priority=max", "x-priority", "max"),
    "opsgenie": ("priority=p4", "priority", "P4"),
    "pushover": ("url=https://other.example/", "url", "https://other.example/"),
    "pagerduty": ("severity=warning", "payload.severity", "warning"),
    "prowl": ("priority=low", "priority", "-2"),
    "squadcast": ("priority=2", "priority", "P2"),
}
"""What a user may write in the URL, and the field with its value."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookReceiver]:
    """A receiver to which every service of the table sends."""
    with WebhookReceiver() as made:
        made.reply = Reply(body=json.dumps({"status": 1, "code": 200, "requestId": "r-1", "success": True}).encode())
        for kind in URLS:
            redirect(monkeypatch, kind, f"http://{made.address}/{kind}")
        yield made


def redirect(monkeypatch: pytest.MonkeyPatch, kind: str, address: str) -> None:
    """Point a service whose host is fixed at an address."""
    module = import_module(f"apprise.plugins.{kind}")
    for name, value in vars(module).items():
        if name.endswith("_API_LOOKUP"):
            for region in value:
                monkeypatch.setitem(value, region, address)
        elif name.startswith("Notify") and isinstance(value, type) and isinstance(getattr(value, "notify_url", None), str):
            monkeypatch.setattr(value, "notify_url", address)


def part(tone: Tone = Tone.FAILURE, **over: Any) -> Part:
    values: dict[str, Any] = {"page": PAGE, "tags": TAGS, "acknowledge": ACKNOWLEDGE, "incident": "inc1", **over}
    return Part(title="A title", body="A text", tone=tone, alert_ids=("alert-1",), **values)


def fields(request: Received) -> dict[str, Any]:
    """Everything that a service receives, by name: JSON, a form, the query and the headers."""
    found: dict[str, Any] = {name.lower(): value for name, value in request.headers.items()}
    found |= dict(parse_qsl(urlsplit(request.path).query))
    text = request.body.decode()
    if text.startswith("{"):
        for name, value in json.loads(text).items():
            found[name] = value
            if isinstance(value, dict):
                found |= {f"{name}.{inner}": each for inner, each in value.items()}
    else:
        found |= dict(parse_qsl(text))
    return found


def received(receiver: WebhookReceiver, url: str, *parts: Part) -> list[dict[str, Any]]:
    """Send the parts, and return what the service received for each."""
    channel = Channel("ops", Secret(url.format(receiver.address)))
    results = []
    for each in parts:
        before = len(receiver.received)
        channel.send(each)
        results.append(fields(receiver.received[before]))
    return results


def test_every_service_of_the_table_is_tested() -> None:
    assert set(URLS) | BY_OTHER_MEANS == set(MESSAGE_SETTINGS)
    with_priority = {
        kind for kind, each in MESSAGE_SETTINGS.items() if {"priority", "level", "urgency"} & {s.attribute for s in each}
    }
    assert with_priority - BY_OTHER_MEANS == set(PRIORITIES) - {"pagerduty"}


@pytest.mark.parametrize("kind", PRIORITIES)
def test_the_priority_follows_the_severity_in_any_order(receiver: WebhookReceiver, kind: str) -> None:
    name, expected = PRIORITIES[kind]
    parts = [part(tone) for tone in (*TONES, *reversed(TONES))]
    assert [each.get(name) for each in received(receiver, URLS[kind], *parts)] == [*expected, *reversed(expected)]


@pytest.mark.parametrize("kind", ADDRESSES)
def test_a_click_opens_the_page_of_the_message(receiver: WebhookReceiver, kind: str) -> None:
    name, expected = ADDRESSES[kind]
    long = "https://tokens.example/connections/" + "x" * 500
    shown = received(receiver, URLS[kind], part(), part(page=""), part(page=long), part())
    assert [each.get(name) for each in shown] == [expected, None, None, expected]


@pytest.mark.parametrize("kind", TAGGED)
def test_tags_are_the_machine_words_of_the_alert(receiver: WebhookReceiver, kind: str) -> None:
    name, expected = TAGGED[kind]
    with_tags, without = received(receiver, URLS[kind], part(), part(Tone.INFO, tags=()))
    assert with_tags[name] == expected
    assert without.get(name) is None


@pytest.mark.parametrize("kind", SET_IN_THE_URL)
def test_what_the_url_sets_stays(receiver: WebhookReceiver, kind: str) -> None:
    parameter, name, expected = SET_IN_THE_URL[kind]
    shown = received(receiver, f"{URLS[kind]}?{parameter}", *map(part, TONES[:2]))
    assert [each.get(name) for each in shown] == [expected, expected]


def test_tags_of_the_url_stay_and_the_rest_follows_the_message(receiver: WebhookReceiver) -> None:
    (shown,) = received(receiver, f"{URLS['ntfy']}?xtags=team&click=https://other.example/", part())
    assert (shown["x-tags"], shown["x-click"], shown["x-priority"]) == ("team", "https://other.example/", "high")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (
            "https://t.example/?status=expired&label=client=Casa%20Verde",
            "https://t.example/?status=expired&label=client=Casa%20Verde",
        ),
        ("https://t.example/connections/a/caf%C3%A9", "https://t.example/connections/a/caf%C3%A9"),
        ("https://t.example/connections/a/b%3Fc", None),  # the plugin would quote it again
    ],
)
def test_ntfy_opens_exactly_this_address(receiver: WebhookReceiver, page: str, expected: str | None) -> None:
    (shown,) = received(receiver, URLS["ntfy"], part(page=page))
    assert shown.get("x-click") == expected


def test_ntfy_has_a_button_that_opens_the_acknowledge_link() -> None:
    with NtfyReceiver() as receiver:
        first, second = received(receiver, URLS["ntfy"], part(), part(acknowledge=""))
        assert first["x-actions"] == f"view, Acknowledge, {ACKNOWLEDGE}"
        assert "x-actions" not in second
        assert [each["message"] for each in receiver.accepted] == ["A text", "A text"]


LINKS = replace(QUICK, public_url="https://tokens.example")


async def delivered(
    store: Store, clock: ManualClock, receiver: NtfyReceiver, *alerts: Alert, settings: DeliverySettings = LINKS, **over: Any
) -> dict[str, Any]:
    """What the service receives for these alerts, in one message of a running notifier."""
    queue(store, alerts)
    before = len(receiver.received)
    async with running(store, clock, channel(URLS["ntfy"].format(receiver.address), **over), settings=settings):
        await until(lambda: states(store) == {"sent": len(alerts)})
    (request,) = receiver.received[before:]
    return fields(request)


async def test_an_alert_arrives_with_its_page_its_tags_and_a_link_that_opens(store: Store, clock: ManualClock) -> None:
    alert = make_alert(connection="agency/linkedin-1", incident="0123", at=clock.now())
    with NtfyReceiver() as receiver:
        shown = await delivered(store, clock, receiver, alert)
    assert shown["x-click"] == "https://tokens.example/connections/agency/linkedin-1"
    assert shown["x-tags"] == "rotating_light,expired,linkedin,agency"
    begin, _, secret = shown["x-actions"].rpartition("/")
    assert begin == "view, Acknowledge, https://tokens.example/ack"
    with store.begin_write() as conn:
        found = read_acknowledge_link(secret, web_sessions.signing_key(conn))
    assert found == AcknowledgeLink(incident="0123", channel="ops", until=clock.now() + timedelta(days=14))


async def test_a_group_arrives_with_the_page_of_its_connections_and_no_button(store: Store, clock: ManualClock) -> None:
    alerts = [
        make_alert(id=f"a{number}", incident=f"i{number}", connection=f"agency/linkedin-{number}", at=clock.now())
        for number in range(2)
    ]
    with NtfyReceiver() as receiver:
        shown = await delivered(store, clock, receiver, *alerts)
    assert shown["x-click"] == "https://tokens.example/?status=expired&source=agency&platform=linkedin"
    assert "x-actions" not in shown


@pytest.mark.parametrize(
    ("settings", "over", "missing"),
    [(QUICK, {}, ["x-actions", "x-click"]), (LINKS, {"actions": False}, ["x-actions"])],
    ids=["no-public-url", "no-actions"],
)
async def test_without_a_public_url_or_actions(
    store: Store, clock: ManualClock, settings: DeliverySettings, over: dict[str, Any], missing: list[str]
) -> None:
    alert = make_alert(connection="agency/linkedin-1", at=clock.now())
    with NtfyReceiver() as receiver:
        shown = await delivered(store, clock, receiver, alert, settings=settings, **over)
    assert [name for name in ("x-actions", "x-click") if name not in shown] == missing
    assert shown["x-priority"] == "high"


async def test_a_reload_changes_the_address_in_messages(store: Store, clock: ManualClock) -> None:
    with NtfyReceiver() as receiver:
        ops = channel(URLS["ntfy"].format(receiver.address))
        async with running(store, clock, ops, settings=LINKS) as notifier:
            for number, address in enumerate(("https://tokens.example", "https://new.example/tokens")):
                await notifier.reconfigure([ops], settings=replace(QUICK, public_url=address))
                alert = make_alert(id=f"a{number}", connection="agency/linkedin-1", at=clock.now())
                queue(store, [alert])
                notifier.wake()
                await until(lambda count=number + 1: len(receiver.received) == count)  # type: ignore[misc]  # a plain function
                assert fields(receiver.received[-1])["x-click"] == f"{address}/connections/agency/linkedin-1"


def plugin(kind: str) -> Any:
    """The plugin's class."""
    module = import_module(f"apprise.plugins.{kind}")
    own = (each for name, each in vars(module).items() if name.startswith("Notify") and hasattr(each, "template_args"))
    return next(each for each in own if each.__module__ == module.__name__)


@pytest.mark.parametrize("kind", MESSAGE_SETTINGS)
def test_the_plugins_have_these_settings(kind: str) -> None:
    known: Any = plugin(kind)
    for setting in MESSAGE_SETTINGS[kind]:
        named = [name for name in setting.parameters if name in known.template_args]
        assert named, f"{kind} has none of {setting.parameters}"
        if kind in URLS:
            channel = Channel("ops", Secret(URLS[kind].format("127.0.0.1:9")))
            channel.verify()
            assert hasattr(channel._service, setting.attribute), setting.attribute


@pytest.mark.parametrize("kind", MESSAGE_SETTINGS)
def test_the_documentation_names_every_service_with_settings(kind: str) -> None:
    section = (
        (ROOT / "docs" / "alerts.md").read_text("utf-8").partition("### Priority, tags and click address")[2].partition("###")[0]
    )
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| ")]
    names = [name.strip().casefold() for row in rows for name in row.split(",")]
    service = str(plugin(kind).service_name).casefold().replace(" ", "")
    assert any(service.startswith(name.replace(" ", "")) for name in names)
