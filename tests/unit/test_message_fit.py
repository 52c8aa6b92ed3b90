"""What one channel gets of many alerts: at most three messages, nothing cut, and everybody named, attached or counted."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest

from monitor.domain import Alert, AlertEvent
from monitor.domain.records import replace
from monitor.notify.messages import ChannelLimits, ChannelProfile, Dispatch, Markup, Part, Tone, compose, fit
from tests.support.factories import NOW, make_alert

COMMAND = "token-monitor status --status expired"


def many(count: int, **over: Any) -> list[Alert]:
    return [
        make_alert(
            id=f"alert-{number:05}",
            incident=f"inc{number:05}",
            external_id=f"linkedin-{number:05}",
            label=f"Customer {number}",
            expires_at=NOW - timedelta(hours=2),
            link="https://app.postpost.dev",
            **over,
        )
        for number in range(count)
    ]


def parts_of(alerts: list[Alert], profile: ChannelProfile) -> tuple[Part, ...]:
    return fit(compose([Dispatch(alert=alert) for alert in alerts], timezone="UTC", now=NOW), profile)


def settled(parts: tuple[Part, ...]) -> list[str]:
    return sorted(alert_id for part in parts for alert_id in part.alert_ids)


PROFILES = {
    "json": ChannelProfile(limits=ChannelLimits(body=31_129), files=True),
    "gotify": ChannelProfile(limits=ChannelLimits(body=31_129)),
    "slack": ChannelProfile(limits=ChannelLimits(body=33_250), markup=Markup.SLACK),
    "discord": ChannelProfile(
        limits=ChannelLimits(body=1_900, shared=True), markup=Markup.CHAT, title_has_markup=True, files=True
    ),
    "telegram": ChannelProfile(limits=ChannelLimits(body=3_891, title=0), markup=Markup.HTML, title_has_markup=True, files=True),
    "mattermost": ChannelProfile(limits=ChannelLimits(body=3_800, title=0), markup=Markup.CHAT, title_has_markup=True),
    "webex": ChannelProfile(limits=ChannelLimits(body=950, title=0), markup=Markup.MARKDOWN, title_has_markup=True),
    "mail": ChannelProfile(limits=ChannelLimits(body=400_000), markup=Markup.MAIL, files=True),
    "mail without files": ChannelProfile(limits=ChannelLimits(body=400_000), markup=Markup.MAIL),
    "short mail": ChannelProfile(limits=ChannelLimits(body=60_000), markup=Markup.MAIL),
    "sms": ChannelProfile(limits=ChannelLimits(body=152, title=0)),
    "radio": ChannelProfile(limits=ChannelLimits(body=63, title=0)),
    "desktop": ChannelProfile(limits=ChannelLimits(body=31_129, lines=10)),
}


@pytest.mark.parametrize("markup", [Markup.TEXT, Markup.CHAT, Markup.HTML])
@pytest.mark.parametrize(
    "limits", [ChannelLimits(body=40, title=0), ChannelLimits(body=40, lines=2), ChannelLimits(body=50)], ids=str
)
def test_A09_a_word_longer_than_the_limit_is_cut_and_the_alerts_are_delivered(limits: ChannelLimits, markup: Markup) -> None:
    for count in (1, 2, 4, 30):
        alerts = many(count)
        parts = parts_of(alerts, ChannelProfile(limits=limits, markup=markup))
        assert all(0 < len(part.body) <= limits.body for part in parts)
        assert settled(parts) == [alert.id for alert in alerts]


@pytest.mark.parametrize("name", list(PROFILES))
@pytest.mark.parametrize("count", [1, 2, 3, 4, 101, 1000])
def test_A09_any_number_is_at_most_three_messages_within_the_limits_and_settles_every_alert(name: str, count: int) -> None:
    alerts, profile = many(count), PROFILES[name]
    parts = parts_of(alerts, profile)
    assert len(parts) <= 3
    assert settled(parts) == [alert.id for alert in alerts]
    for part in parts:
        limits = profile.limits
        assert len(part.body) + (len(part.title) + 2 if limits.title_in_body and part.title else 0) <= limits.body
        assert len(part.title) <= (limits.title or 250)
        assert limits.lines == 0 or part.body.count("\n") < limits.lines


@pytest.mark.parametrize("name", ["json", "gotify", "slack", "discord", "telegram", "mail", "mail without files"])
def test_a_thousand_are_all_named_in_the_texts_or_in_the_file(name: str) -> None:
    parts = parts_of(many(1000), PROFILES[name])
    said = "".join(part.body + "".join(file.content.decode() for file in part.files) for part in parts)
    assert all(f"linkedin-{number:05}" in said for number in range(1000))
    assert "1000 connections need attention: 1000 expired at agency" in parts[0].title.replace("\\", "").replace("*", "")


@pytest.mark.parametrize("name", ["mattermost", "webex", "sms", "short mail", "desktop"])
def test_what_can_be_neither_named_nor_attached_is_counted_with_the_command_that_names_it(name: str) -> None:
    parts = parts_of(many(1000), PROFILES[name])
    assert COMMAND in parts[-1].body
    if name in ("mattermost", "webex", "short mail"):
        assert "1000 on LinkedIn" in parts[0].body
        named = len(set(re.findall(r"linkedin-0\d+", "".join(part.body for part in parts))))
        assert f"and {1000 - named} more" in parts[-1].body


def test_a_short_message_for_many_is_one_with_the_figures_and_the_command() -> None:
    (part,) = parts_of(many(1000), PROFILES["sms"])
    assert part.title == ""
    assert part.body == (
        "1000 connections need attention: 1000 expired at agency. 1000 on LinkedIn. token-monitor status --status expired"
    )


def test_a_short_message_leaves_out_what_has_no_room_and_cuts_nothing() -> None:
    long_id = "bluesky-" + "x" * 120
    (part,) = parts_of([make_alert(external_id=long_id, label="A name of some length", expires_at=None)], PROFILES["sms"])
    assert part.body.startswith("expired: A name of some length linkedin at agency. No expiry date is known.")
    assert "x" * 5 not in part.body
    assert len(part.body) <= 152


def test_the_file_lists_every_connection_with_what_people_need_to_act() -> None:
    parts = parts_of(many(300), PROFILES["discord"])
    (part,) = parts
    (file,) = part.files
    assert (file.name, file.mimetype) == ("connections.csv", "text/csv")
    rows = list(csv.DictReader(io.StringIO(file.content.decode("utf-8-sig"))))
    assert len(rows) == 300
    row = rows[0]
    assert (row["status"], row["name"], row["external_id"]) == ("expired", "Customer 0", "linkedin-00000")
    assert (row["platform"], row["source"], row["expires_at"]) == ("linkedin", "agency", "2026-03-10T10:00:00Z")
    assert row["what_to_do"].startswith("Reconnect LinkedIn in PostPost")
    assert (row["link"], row["alert"]) == ("https://app.postpost.dev", "alert-00000")
    assert "lists all 300" in part.body


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_a_name_is_no_formula_in_the_file(formula: str) -> None:
    alerts = [*many(200), make_alert(id="z", external_id="x-1", label=formula)]
    (part,) = parts_of(alerts, PROFILES["discord"])
    rows = list(csv.DictReader(io.StringIO(part.files[0].content.decode("utf-8-sig"))))
    assert [row["name"] for row in rows if row["alert"] == "z"] == [f"'{formula}"]


def test_counts_are_by_platform_and_source_the_most_first() -> None:
    alerts = [*many(300), *(make_alert(id=f"t{n}", external_id=f"tiktok-{n}", platform="tiktok") for n in range(200))]
    (part,) = parts_of(alerts, PROFILES["discord"])
    assert "Total: 300 on LinkedIn, 200 on TikTok." in part.body


def test_a_part_that_shows_some_of_a_section_states_the_total() -> None:
    alerts = [*many(1000, source="studio"), *many(1)]
    parts = parts_of([replace(alert, id=f"{alert.source}-{alert.id}") for alert in alerts], PROFILES["gotify"])
    assert "studio (PostPost), " in parts[0].body
    assert "of 1000 connections" in parts[0].body


@pytest.mark.parametrize(
    ("alerts", "command"),
    [
        (many(1000), "token-monitor status --status expired"),
        (many(1000, event=AlertEvent.RECOVERED, status="valid"), "token-monitor status"),
        (
            [
                *many(500),
                *(make_alert(id=f"r{n}", external_id=f"r-{n}", event=AlertEvent.REVOKED, status="revoked") for n in range(500)),
            ],
            "token-monitor status",
        ),
        ([make_alert(id=f"s{n}", source=f"s{n}", external_id=None, event=AlertEvent.SOURCE_FAILING) for n in range(99)],
         "token-monitor sources"),
    ],
)  # fmt: skip
def test_the_command_names_what_was_left_out(alerts: list[Alert], command: str) -> None:
    (part,) = parts_of(alerts, PROFILES["sms"])
    assert part.body.endswith(command)


def test_a_mail_names_its_incidents_so_that_they_become_one_thread() -> None:
    (part,) = parts_of(many(2), PROFILES["mail"])
    first, second = "<incident-inc00000@token-monitor.invalid>", "<incident-inc00001@token-monitor.invalid>"
    assert part.headers == {"References": f"{first} {second}", "In-Reply-To": second}


def test_S06_a_thread_id_holds_nothing_but_letters_and_digits() -> None:
    (part,) = parts_of([make_alert(incident="x>\r\nBcc: all@example.com")], PROFILES["mail"])
    assert part.headers["References"] == "<incident-xBccallexamplecom@token-monitor.invalid>"


def test_mails_divided_for_their_size_are_numbered_in_all_three() -> None:
    parts = parts_of(many(1000), PROFILES["short mail"])
    assert [part.title.rsplit(" ", 1)[1] for part in parts] == ["(1/3)", "(2/3)", "(3/3)"]
    assert all(part.tone is Tone.FAILURE and part.markup is Markup.MAIL for part in parts)
