"""Messages about several accounts: one line each, grouped by client, and what is not shown is counted beside a link or a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs import messages as samples
from monitor.config import Secret
from monitor.domain import Alert, AlertEvent
from monitor.domain.records import replace
from monitor.notify.apprise import Channel
from monitor.notify.messages import ChannelLimits, ChannelProfile, Dispatch, Markup, Part, compose, fit
from tests.unit.test_message_fit import PROFILES

LISTS = {name: alerts for name, alerts in samples.SCENES.items() if len(alerts) > 1}
URL = "https://tokens.example.com/"
REAL = {**PROFILES, "ntfy": samples.NTFY}
ROOMY = [name for name in REAL if name not in ("sms", "radio", "desktop")]


def whole(parts: tuple[Part, ...]) -> str:
    """Return everything that arrives in the texts and files of these messages."""
    files = [file.content.decode() for part in parts for file in part.files]
    return "\n".join([*(f"{part.title}\n\n{part.body}" for part in parts), *files])


@pytest.mark.parametrize("public", [True, False])
def test_17_accounts_are_at_most_30_lines_and_3_kB_to_ntfy(*, public: bool) -> None:
    (part,) = samples.parts(LISTS["group-of-17"], samples.NTFY, public=public)
    text = f"{part.title}\n\n{part.body}"
    assert len(text.splitlines()) <= 30
    assert len(text.encode()) <= 3_000
    assert len([line for line in text.splitlines() if line.startswith("- ")]) == 17


@pytest.mark.parametrize("clients", [1, 2, 3, 4, 5, 9, 17])
@pytest.mark.parametrize("public", [True, False])
def test_the_number_of_clients_adds_few_lines(clients: int, *, public: bool) -> None:
    alerts = [replace(alert, labels={"client": f"Client {n % clients}"}) for n, alert in enumerate(LISTS["group-of-17"])]
    (part,) = samples.parts(alerts, samples.NTFY, public=public)
    assert part.body.count("\n") + 3 <= 30
    assert all(f"Client {number}" in part.title + part.body for number in range(clients))


@pytest.mark.parametrize("name", ROOMY)
def test_136_accounts_are_one_message_with_a_link_to_the_rest(name: str) -> None:
    (part,) = samples.parts(LISTS["group-of-136"], REAL[name])
    shown = part.body.count("</td>") if REAL[name].markup is Markup.MAIL else len(re.findall(r"(?:^|<br>|\n)- ", part.body))
    assert f"and {136 - shown} more" in part.body
    assert shown <= 20
    assert URL + "?status=expired&status=expiring_soon&source=agency" in part.body.replace("&amp;", "&")
    assert part.files == ()
    assert len(part.alert_ids) == 136
    assert len(part.body.encode()) <= 4_096 or REAL[name].markup is Markup.MAIL


@pytest.mark.parametrize("name", list(REAL))
@pytest.mark.parametrize("scene", list(LISTS))
@pytest.mark.parametrize("public", [True, False])
def test_every_account_is_named_attached_or_counted_beside_a_link_or_a_command(name: str, scene: str, *, public: bool) -> None:
    alerts = LISTS[scene]
    parts = samples.parts(alerts, REAL[name], public=public)
    text = whole(parts)
    named = [alert for alert in alerts if alert.external_id and (alert.external_id in text or (alert.label or "") in text)]
    assert len(named) == len(alerts) or URL in text or "token-monitor status" in text
    assert sorted(alert_id for part in parts for alert_id in part.alert_ids) == sorted(alert.id for alert in alerts)
    assert len(parts) <= (1 if public and name != "desktop" else 3)


@pytest.mark.parametrize("name", ["gotify", "slack", "mail without files"])
def test_without_a_page_and_files_every_account_is_named(name: str) -> None:
    text = whole(samples.parts(LISTS["group-of-136"], REAL[name], public=False))
    assert all(str(alert.external_id) in text for alert in LISTS["group-of-136"])


@pytest.mark.parametrize("name", ["json", "ntfy", "discord", "telegram", "mail"])
def test_without_a_page_more_than_twenty_accounts_are_attached_as_a_file(name: str) -> None:
    (part,) = samples.parts(LISTS["group-of-136"], REAL[name], public=False)
    assert "The attached file lists all 136." in part.body
    assert all(str(alert.external_id) in part.files[0].content.decode() for alert in LISTS["group-of-136"])


@pytest.mark.parametrize("markup", [Markup.CHAT, Markup.MARKDOWN, Markup.SLACK, Markup.HTML, Markup.MAIL])
def test_each_name_leads_to_the_page_of_its_connection_in_formats_with_links(markup: Markup) -> None:
    (part,) = samples.parts(LISTS["group-of-17"], ChannelProfile(limits=ChannelLimits(body=30_000), markup=markup))
    assert part.body.count(f"{URL}connections/agency/") == 17
    assert "/ack/" not in part.body


@pytest.mark.parametrize("name", list(REAL))
def test_a_hostile_name_of_a_client_mentions_nobody_and_links_nowhere(name: str) -> None:
    """It comes from the service, as the label of the connection."""
    hostile = {"client": "@everyone <!channel> [x](https://evil.example) \u202e\x1b[31m", "<b>": "<script>"}
    for scene in ("single", "reminder", "group-of-17"):
        text = whole(samples.parts([replace(alert, labels=hostile) for alert in samples.SCENES[scene]], REAL[name]))
        for harmful in ("@everyone", "<!channel>", "](https://evil", "<script>", "\u202e", "\x1b"):
            assert harmful not in text, (scene, harmful)


def test_a_single_alert_leads_to_its_page_and_can_be_acknowledged_from_it() -> None:
    (part,) = samples.parts(samples.SCENES["single"], samples.NTFY)
    assert f"Details: {URL}connections/agency/" in part.body
    assert f"Acknowledge: {URL}ack/" in part.body
    assert len(part.secrets) == 1
    assert part.secrets[0] in part.body
    (off,) = samples.parts(samples.SCENES["single"], samples.NTFY, actions=False)
    assert "/ack/" not in off.body
    assert "Acknowledge: token-monitor ack agency/" in off.body


@pytest.mark.parametrize("profile", [samples.NTFY, samples.MAIL])
@pytest.mark.parametrize("scene", list(samples.SCENES))
@pytest.mark.parametrize("public", [True, False])
def test_no_message_has_a_placeholder_an_invisible_character_or_a_multiplication_sign(
    scene: str, profile: ChannelProfile, *, public: bool
) -> None:
    alerts = [*samples.SCENES[scene], replace(samples.connection(150), label="@acme at acme.example")]
    gone = samples.connection(151, event=AlertEvent.DISCONNECTED, status="disconnected")
    for part in samples.parts([*alerts, gone], profile, public=public):
        assert re.search(r"\bCONNECTION\b|[\u200b-\u200f\u2060\ufeff]|\d \u00d7|\d x ", part.title + part.body) is None


def test_the_advice_about_a_missing_account_has_its_id() -> None:
    alert = samples.connection(1, event=AlertEvent.DISCONNECTED, status="disconnected")
    (part,) = samples.parts([alert], samples.NTFY)
    assert f"token-monitor forget {alert.connection}." in part.body


def grouped(alerts: list[Alert], group_by: str) -> list[str]:
    """Return the headings of a message."""
    dispatches = [Dispatch(alert=alert) for alert in alerts]
    message = compose(dispatches, timezone="UTC", now=samples.NOW, group_by=group_by)
    return [section.heading for section in message.sections]


def test_a_message_is_grouped_by_the_label_that_the_channel_sets() -> None:
    alerts = [
        replace(samples.connection(number), source=f"s{number % 2}", labels={"client": f"c{number % 3}", "team": "red"})
        for number in range(6)
    ]
    assert sorted(grouped(alerts, "client")) == ["c0", "c1", "c2"]
    assert sorted(grouped(alerts, "source")) == ["s0", "s1"]
    assert grouped(alerts, "team") == [""]
    no_client = [replace(alert, labels={}) for alert in alerts]
    assert sorted(grouped(no_client, "client")) == ["s0 (PostPost)", "s1 (PostPost)"]


def test_the_title_of_a_message_about_one_client_names_it() -> None:
    alerts = [replace(alert, labels={"client": "Casa Verde"}) for alert in LISTS["group-of-17"]]
    (part,) = samples.parts(alerts, samples.NTFY)
    assert part.title.startswith("17 connections of Casa Verde need attention: 3 expired, 14 expiring soon (")


def test_reminders_are_marked_in_the_title_with_number_and_duration() -> None:
    (one,) = samples.parts([samples.reminder(0)], samples.NTFY)
    assert one.title == "Reminder 2: [EXPIRED] Casa Verde Living (linkedin) at agency, for 2 days"
    both = [samples.reminder(0), samples.reminder(1)]
    (part,) = samples.parts(both, samples.NTFY)
    assert part.title.startswith("Reminder 2: 2 connections need attention: 2 expired at agency (")
    assert part.body.count("reminder 2, for 2 days") == 2
    (mixed,) = samples.parts([*both, samples.expired(2)], samples.NTFY)
    assert mixed.title.startswith("3 connections need attention")


def test_a_source_that_cannot_be_read_states_how_many_connections_are_unmonitored_and_since_when() -> None:
    (part,) = samples.parts([samples.source_down()], samples.NTFY)
    assert "2000 connections have not been monitored since Sun 29 Nov 2026 20:30 CET." in part.body
    assert part.body.count("not been monitored") == 1


@given(
    st.lists(st.integers(0, 150), min_size=2, max_size=40, unique=True),
    st.lists(st.integers(0, 150), min_size=2, max_size=40, unique=True),
)
def test_titles_differ_where_numbers_first_names_or_clients_differ(one: list[int], other: list[int]) -> None:
    first, second = (message(numbers) for numbers in (one, other))
    if first[1] != second[1]:
        assert first[0] != second[0]


def message(numbers: list[int]) -> tuple[str, object]:
    """Return the title of a message about these accounts, and what it must tell apart: the count and the first two names."""
    alerts = [replace(samples.connection(number), label=f"Account {number}", labels={}) for number in numbers]
    profile = ChannelProfile(limits=ChannelLimits(body=30_000))
    composed = compose([Dispatch(alert=alert) for alert in alerts], timezone="UTC", now=samples.NOW)
    names = [item.subject for item in composed.items]
    return fit(composed, profile)[0].title, (len(numbers), names[:2])


@pytest.mark.parametrize("path", sorted(samples.FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_the_sample_messages_in_the_documentation_are_those_of_the_code(path: Path) -> None:
    """If this fails: make docs."""
    assert path.read_text("utf-8") == dict(samples.texts())[path]


def test_every_sample_message_is_in_the_documentation() -> None:
    assert sorted(path for path, _ in samples.texts()) == sorted(samples.FOLDER.glob("*.txt"))


def test_the_sample_messages_have_the_profiles_of_the_real_services() -> None:
    real = Channel("ops", Secret("ntfy://localhost/ops")).profile
    assert (real.limits.body, real.limits.shared, real.files) == (samples.NTFY.limits.body, True, True)
    mail = Channel("ops", Secret("mailto://localhost?from=a@example.com&to=b@example.com")).profile
    assert (mail.limits.body, mail.limits.title, mail.markup) == (samples.MAIL.limits.body, 160, Markup.MAIL)
