"""Channel URLs: what is written is what Apprise builds, or the URL is refused with the character, its place and its escape."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import requests
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from monitor.config import Secret
from monitor.domain.errors import ConfigError
from monitor.notify.apprise import Channel, MisreadUrl
from monitor.notify.apprise.services import load_for

DATA = Path(__file__).parents[1] / "data"
NEEDS_LIBRARY = {"amqp", "blink1", "dbus", "glib", "gnome", "growl", "macosx", "mqtt", "smpp", "windows", "xmpp"}
"""Plugins that Apprise switches off without a library or system that the tests do not need."""

# A documented form of these has a / before the @ of the host, or a / in the place of the @.
BOTH_FORMS = ("rocket", "ifttt")


def lines(name: str) -> list[str]:
    found = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [line for line in found if line and not line.startswith("# ")]


USABLE = lines("channel_urls.txt")
WITHOUT_RECIPIENT = lines("channel_urls_without_recipient.txt")


def built(url: str) -> Any:
    """Return the Apprise service. Raises ConfigError."""
    channel = Channel("ops", Secret(url))
    channel.verify()
    return channel._service  # the service itself: what it holds is what is compared


def refusal(url: str) -> str:
    with pytest.raises(MisreadUrl) as caught:
        built(url)
    return str(caught.value)


# --- URLs of which a part is lost or moved


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("ntfys://tk_abc123#xyz@ntfy.corp.example/alerts", '"#" at character 18 ends the address, *: write %23.'),
        ("ntfys://user#x:secret@host.example/alerts", '"#" at character 13 *: write %23.'),
        ("ntfy://tm:pa#ss@host/topic", '"#" at character 13 *: write %23.'),
        ("ntfy://ntfyuser:4rji5g&%g55#5g5@host/topic", '"#" at character 28 *: write %23.'),
        ("slack://xoxb-1234-1234-abc124/#general,#ops", '"#" at character 40 *: write %23.'),
        ("json://hooks.example/a#b", '"#" at character 23 *: write %23.'),
        ("ntfys://admin:pa/ss@ntfy.corp.example/alerts", '"/" at character 17 *: write %2F *, or %40 *.'),
        ("json://admin:pa/ss@hooks.example/x", '"/" at character 16 *: write %2F *, or %40 *.'),
        ("json://tok/en@hooks.corp.example/x", '"/" at character 11 *: write %2F *, or %40 *.'),
        ("discord://l/2g@123456/abcdefghijkl", '"/" at character 12 *: write %2F *, or %40 *.'),
        ("ntfy://admin:pa?ss@host/topic", '"?" at character 16 *: write %3F *, or %40 *.'),
        ("gotify://host.example/to?ken", '"?" at character 25 begins a parameter *: write %3F.'),
        ("ntfy://admin:hkQR@ajfSNdu@host/myTopic", '"@" at character 18 *moves the host: write %40.'),
        ("ntfy://admin:pa@@host/topic", '"@" at character 16 *: write %40.'),
        ("ntfy://admin:pa:ss@host/topic", '":" at character 16 cuts off the password: write %3A.'),
        ("mailtos://me@example.com?user=me&pass=x;y", '";" at character 40 begins a parameter *: write %3B.'),
        ("mailtos://me@example.com?user=me&pass=x&y", '"&" at character 40 begins a parameter *: write %26.'),
        ("json://hooks.example/a;b", '";" at character 23 cuts off the text after it: write %3B.'),
        (
            "mailtos://me:pw@example.com?to=a@example.com&to=b@example.com",
            '"&" at character 45 *set twice*: write one parameter*.',
        ),
        (
            "o365://_/?oauth_id=abcd&oauth_secret=se+cret&tenant=t&to=a@example.com&from=b@example.com",
            '"+" at character 40 *: write %2B.',
        ),
        ("discord://bot:secret@123456/abcdefghijkl", "*password at character 15 that Discord does not use*"),
    ],
)
def test_A17_a_url_that_apprise_misreads_is_refused_with_the_character_its_place_and_its_escape(url: str, fault: str) -> None:
    text = refusal(url)
    assert re.search(".*".join(map(re.escape, fault.split("*"))) + "$", text), text
    rest = url.partition("://")[2]
    assert not any(piece in text for piece in re.split(r"[:/?#@&;=]+", rest) if len(piece) > 4)


def test_the_escape_that_a_refusal_names_corrects_the_url() -> None:
    assert built("ntfys://tk_abc123%23xyz@ntfy.corp.example/alerts").token == "tk_abc123#xyz"
    service = built("ntfys://admin:pa%2Fs%3As%40%3F@ntfy.corp.example/alerts")
    assert (service.host, service.user, service.password, service.topics) == (
        "ntfy.corp.example",
        "admin",
        "pa/s:s@?",
        ["alerts"],
    )


@pytest.mark.parametrize("url", USABLE)
def test_no_documented_form_of_any_service_is_refused(url: str) -> None:
    built(url)


def test_the_documented_forms_cover_every_service_of_apprise() -> None:
    from apprise.manager_plugins import NotificationManager

    with pytest.raises(ConfigError):
        built("no-such-service://x")  # loads every plugin
    new: Any = NotificationManager
    manager = new()  # the one that all share
    covered = {type(built(url)).__module__.split(".")[2] for url in USABLE}
    existing = {plugin.__module__.split(".")[2] for plugin in manager.plugins()}
    assert existing - covered <= NEEDS_LIBRARY
    assert len(covered) > 160


@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general/#ops/",
        "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "mailtos://me%40example.com:p%40ss@mail.example?from=Token Monitor <me@example.com>&to=a@example.com,b@example.com",
        "json://receiver:8080/hooks/user@example.com",
        "json://hooks.example.com/u/user@example.com/x?+X-Token=a=b&-q=1",
        "rocket://web/token@chat.example/@user",
        "matrixs://bot:secret@matrix.example/#room:matrix.example/!id:matrix.example",
        "ntfy://ntfy.sh/topic",
        "ntfy://topic",
        "https://ntfy.sh/topic",
        "ntfys://ntfy.corp.example:8443/topic?priority=high",
        "json://[::1]:8080/hook",
        "tgram://123456789:abcdefg_hijklmnop/12315544/-1003456789",
        "tgram://123456789:abcdefg_hijklmnop?to=@channel",
        "tgram://123456789:abcdefg_hijklmnop/@channel?thread=5",
        "zohocliq://?token=1001.2798931fdf4905dc5d37806b47d8253a.2d73063dae2ccf4a04810ddb0a1b2c3d&to=general,@mybot",
        "bluesky://name.bsky.social@abcd-efgh-ijkl-mnop",
    ],
)
def test_ordinary_urls_are_not_refused(url: str) -> None:
    built(url)


# --- every service, with every character


@cache
def spots(url: str) -> tuple[tuple[str, int, int], ...]:
    """Return the kind and span of each part of a URL into which a character can get: user, token, path, parameter."""
    start = url.index("://") + 3
    before, _, query = url[start:].partition("?")
    login = before.partition("/")[0].rpartition("@")[0]
    authority = before.partition("/")[0]
    found = []
    for match in re.finditer(r"[^/@:#]+", before):
        kind = "login" if match.end() <= len(login) else "host" if match.end() <= len(authority) else "path"
        found.append((kind, start + match.start(), start + match.end()))
    for match in re.finditer(r"=([^&;=#]+)", query):
        offset = start + len(before) + 1
        found.append(("parameter", offset + match.start(1), offset + match.end(1)))
    return tuple((kind, first, last) for kind, first, last in found if last - first > 2 and kind != "host")


def texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in texts(each)]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [text for each in value for text in texts(each)]
    return [value.decode("utf-8", "replace")] if isinstance(value, bytes) else [value] if isinstance(value, str) else []


def held(service: Any) -> list[str]:
    return sorted(texts({key: value for key, value in vars(service).items() if key not in ("asset", "logger")}))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(url=st.sampled_from([url for url in USABLE if not url.startswith("http")]), data=st.data())
def test_A17_a_secret_with_any_character_is_built_exactly_as_written_or_refused(url: str, data: st.DataObject) -> None:
    assume(spots(url))
    kind, first, last = data.draw(st.sampled_from(spots(url)))
    character = data.draw(st.sampled_from("#/?@;%&+: "))
    middle = (first + last) // 2
    assume(character != "%" or not re.match("[0-9A-Fa-f]{2}", url[middle:]))  # that is an escape
    assume(character != "/" or (kind == "login" and not url.startswith(BOTH_FORMS)))  # in a path it separates two parts
    assume(character != ":" or kind != "login")  # it separates a user from a password
    try:
        service = built(url[:middle] + character + url[middle:])
    except ConfigError:
        return
    secret = unquote(url[first:middle]) + character + unquote(url[middle:last])
    if any(secret in text for text in held(service)):
        return
    assert held(service) == held(built(url[:middle] + quote(character, safe="") + url[middle:]))


# --- recipients and servers


@pytest.mark.parametrize("url", WITHOUT_RECIPIENT)
def test_A17_a_url_without_a_recipient_is_refused_because_nothing_would_be_sent(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import apprise

    requested: list[str] = []

    def refuse(_session: object, request: requests.PreparedRequest, **_settings: object) -> requests.Response:
        requested.append(request.url or "")
        raise requests.exceptions.ConnectionError

    monkeypatch.setattr(requests.Session, "send", refuse)
    load_for(url)
    service: Any = apprise.Apprise.instantiate(url)
    assert service.send(body="text", title="title") is False
    assert not requested, "a service that sends something has a recipient"
    refusal(url)


@pytest.mark.parametrize(
    "url",
    [
        "ntfy://ntfy.example.com",
        "ntfys://user:secret@ntfy.example.com",
        "ntfys://user:secret@ntfyserver",
        "ntfy://ntfy.example.com:8080",
        "ntfy://localhost:8080",
        "ntfy://under_score_/topic",
        "ntfys://tk_abc123456@ntfy.example.com/",
    ],
)
def test_A17_a_message_for_a_private_server_never_goes_to_the_public_one(url: str) -> None:
    assert "would publish on its public server" in refusal(url) or "names no recipient" in refusal(url)


@pytest.mark.parametrize(
    "url", ["ntfy://topic", "ntfy://ntfy.sh/topic", "ntfy://my.topic?mode=cloud&to=x", "https://ntfy.sh/topic"]
)
def test_the_public_server_is_used_where_the_url_names_it(url: str) -> None:
    assert str(built(url).mode) == "cloud" or built(url).host == "ntfy.sh"


# --- warnings


@pytest.mark.parametrize(
    ("url", "secure"),
    [
        ("json://user:secret@hooks.example/x", "jsons"),
        ("xml://user:secret@hooks.example/x", "xmls"),
        ("form://user:secret@hooks.example/x", "forms"),
        ("ntfy://tk_abc12345@ntfy.example/alerts", "ntfys"),
        ("ntfy://user:secret@ntfyserver/alerts", "ntfys"),
        ("gotify://gotify.example/abcdefghij", "gotifys"),
        ("mailto://user:secret@mail.example", "mailtos"),
        ("matrix://bot:secret@matrix.example/#room", "matrixs"),
        ("mmost://chat.example/3ccdd113474722377935511fc85d3dd4", "mmosts"),
        ("rocket://user:secret@chat.example/#room", "rockets"),
    ],
)
def test_S28_a_password_or_token_over_clear_text_is_a_warning_that_names_the_secure_scheme(url: str, secure: str) -> None:
    def warnings(of: str) -> list[str]:
        channel = Channel("ops", Secret(of))
        return [each for each in channel.warnings if "unencrypted" in each]

    assert [f"use {secure}://" in each for each in warnings(url)] == [True]
    assert warnings(url.replace("://", "s://", 1)) == []
    host = re.search(r"[a-z]+\.example|ntfyserver", url)
    assert host is not None
    assert warnings(url.replace(host[0], "localhost")) == []


@pytest.mark.parametrize(
    "url", ["json://hooks.example/x", "mailto://user:secret@gmail.com", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"]
)
def test_what_is_encrypted_or_holds_no_password_is_no_warning(url: str) -> None:
    assert Channel("ops", Secret(url)).warnings == ()


@pytest.mark.parametrize(
    "url", ["syslog://", "rsyslog://127.0.0.1:514", "ircs://irc.example/#ops", "aprs://D1JSL-15:12345@D1ABC"]
)
def test_A22_a_service_that_confirms_nothing_is_a_warning(url: str) -> None:
    assert any("never confirms a message" in each for each in Channel("ops", Secret(url)).warnings)


def test_a_parameter_that_the_service_does_not_have_is_a_warning() -> None:
    (warning,) = Channel("ops", Secret("json://hooks.example/x?fromat=html")).warnings
    assert warning == "has the parameter fromat, which JSON does not have: it is ignored."


@pytest.mark.parametrize("secret", ["x&Hunter=y", "x&hunter=", "x;hunter2=="])
def test_an_unknown_parameter_that_may_be_a_part_of_a_secret_is_not_shown(secret: str) -> None:
    (warning,) = Channel("ops", Secret(f"json://hooks.example/x?+X-Token={secret}")).warnings
    assert warning.startswith("has a parameter at character 35 that JSON does not have: it is ignored.")
    assert "hunter" not in warning.casefold()
