"""What helps the reader of a message to act: names in the title, commands to copy, a connection page, plain words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from monitor.domain import Alert, AlertEvent, ConnectionLink, Severity
from monitor.notify.messages import ChannelLimits, ChannelProfile, Dispatch, Markup, Part, compose, fit
from tests.support.factories import NOW, make_alert

DASHBOARD = "https://app.postpost.dev"
PAGE = ConnectionLink(url="https://app.example/connections?token=canary&x=1", good_until=NOW + timedelta(days=90))
PLAIN = ChannelProfile(limits=ChannelLimits(body=30_000))
MARKUPS = [Markup.TEXT, Markup.CHAT, Markup.MARKDOWN, Markup.SLACK, Markup.HTML, Markup.MAIL]


def expired(number: int = 1, **over: Any) -> Alert:
    """An expired connection of a managed user."""
    name = f"linkedin-{number}"
    values: dict[str, Any] = {
        "id": f"a{number}",
        "external_id": name,
        "connection": f"agency/u1/{name}",
        "scope": "u1",
        "link": DASHBOARD,
    }
    return make_alert(**{**values, **over})


def about_source(**over: Any) -> Alert:
    """Trouble of a source."""
    nobody = dict.fromkeys(("external_id", "connection", "platform", "label"))
    return make_alert(
        **{"id": "s1", "event": AlertEvent.SOURCE_FAILING, "status": "failing", "link": DASHBOARD, **nobody, **over}
    )


def message_of(*alerts: Alert, profile: ChannelProfile = PLAIN, page: ConnectionLink | None = None) -> Part:
    (part,) = fit(compose([Dispatch(alert=each, page=page) for each in alerts], timezone="UTC", now=NOW), profile)
    return part


# --- connection pages


@pytest.mark.parametrize("markup", MARKUPS)
@pytest.mark.parametrize("many", [False, True])
def test_a_connection_page_replaces_the_dashboard_link_and_states_until_when_it_is_valid(markup: Markup, *, many: bool) -> None:
    alerts = [expired(1), expired(2)] if many else [expired(1)]
    part = message_of(*alerts, profile=ChannelProfile(limits=ChannelLimits(body=30_000), markup=markup), page=PAGE)
    assert PAGE.url in part.body.replace("&amp;", "&")
    assert "valid until Mon 8 Jun 2026 12:00 UTC" in part.body
    assert DASHBOARD not in part.body
    assert part.secrets == (PAGE.url,)
    assert f"secrets={PAGE.url}" not in repr(part)


def test_an_ordinary_link_is_no_secret_and_has_no_end() -> None:
    part = message_of(expired())
    assert f"Link: {DASHBOARD}" in part.body
    assert "good until" not in part.body
    assert part.secrets == ()


def test_a_recovery_carries_no_connection_page() -> None:
    part = message_of(expired(event=AlertEvent.RECOVERED, status="valid", reason="recovered"), page=PAGE)
    assert (PAGE.url in part.body, part.secrets) == (False, ())


@pytest.mark.parametrize(
    "url", ["https://app.example/a\nb", "https://user:pass@app.example/", "http://app.example/", "https://a.example/<b>"]
)
def test_a_page_that_could_break_a_message_gives_way_to_the_dashboard(url: str) -> None:
    part = message_of(expired(), page=ConnectionLink(url=url, good_until=PAGE.good_until))
    assert f"Link: {DASHBOARD}" in part.body


def test_pages_of_two_users_stay_apart() -> None:
    other = ConnectionLink(url="https://app.example/connections?token=other", good_until=PAGE.good_until)
    dispatches = [Dispatch(alert=expired(1), page=PAGE), Dispatch(alert=expired(2, scope="u2"), page=other)]
    (part,) = fit(compose(dispatches, timezone="UTC", now=NOW), PLAIN)
    assert part.body.index("linkedin-1") < part.body.index(PAGE.url) < part.body.index("linkedin-2") < part.body.index(other.url)
    assert sorted(part.secrets) == sorted([PAGE.url, other.url])


# --- commands


def test_a_problem_names_the_whole_command_that_acknowledges_it() -> None:
    assert "Acknowledge: token-monitor ack agency/u1/linkedin-1\n" in message_of(expired()).body
    assert "Connection: agency/u1/linkedin-1\n" in message_of(expired()).body


@pytest.mark.parametrize(
    ("external_id", "command"),
    [
        ("telegram--1001", "token-monitor ack agency/telegram--1001"),
        ("bluesky-acme.bsky.social", "token-monitor ack agency/bluesky-acme.bsky.social"),
        ("a|b~c", "token-monitor ack 'agency/a|b~c'"),  # a shell would take it for more than a name
        ("x y", ""),
        ("@everyone", ""),
        ("$(reboot)", ""),
    ],
)
def test_a_command_can_be_copied_into_a_shell_or_is_not_given(external_id: str, command: str) -> None:
    body = message_of(expired(external_id=external_id, connection=f"agency/{external_id}", scope=None)).body
    assert [line for line in body.splitlines() if line.startswith("Acknowledge")] == (
        [f"Acknowledge: {command}"] if command else []
    )


def test_nothing_is_to_be_acknowledged_about_a_recovery_or_a_source() -> None:
    over = expired(event=AlertEvent.RECOVERED, status="valid", reason="recovered")
    assert "Acknowledge" not in message_of(over).body
    assert "Acknowledge" not in message_of(about_source()).body
    assert "Acknowledge" not in message_of(over, about_source()).body
    assert message_of(expired(1), about_source()).body.endswith("Acknowledge one: token-monitor ack agency/u1/linkedin-1")


# --- titles


@pytest.mark.parametrize(
    ("alerts", "title"),
    [
        ([expired(1, label="Acme"), expired(2, label="Beta")], "2 connections need attention: 2 expired at agency (Acme, Beta)"),
        (
            [expired(n, label=f"C{n}") for n in range(1, 6)],
            "5 connections need attention: 5 expired at agency (C1, C2 and 3 more)",
        ),
        (
            [expired(n, label=f"C{n}") for n in range(40)],
            "40 connections need attention: 40 expired at agency (C0, C1 and 38 more)",
        ),
        (
            [expired(1, label="Acme"), about_source()],
            "1 connection needs attention: 1 expired (Acme); 1 source cannot be read (agency)",
        ),
        ([expired(1, label="x" * 80), expired(2, label="y" * 80)], "2 connections need attention: 2 expired at agency"),
    ],
)
def test_a_title_of_several_names_who_is_affected_where_that_fits(alerts: list[Alert], title: str) -> None:
    assert message_of(*alerts).title == title


def test_a_title_that_costs_room_in_a_small_body_has_no_names() -> None:
    part = message_of(expired(1), expired(2, label="Beta"), profile=ChannelProfile(limits=ChannelLimits(body=900, title=0)))
    assert part.title == "2 connections need attention: 2 expired at agency"


# --- plain words


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (AlertEvent.EXPIRING_SOON, "Acme Ltd on LinkedIn expires soon."),
        (AlertEvent.EXPIRED, "Acme Ltd on LinkedIn has expired."),
        (AlertEvent.REVOKED, "Acme Ltd on LinkedIn was revoked."),
        (AlertEvent.FAILING, "Acme Ltd on LinkedIn is failing."),
        (AlertEvent.DISCONNECTED, "Acme Ltd on LinkedIn is disconnected."),
    ],
)
def test_the_first_sentence_is_plain_english_and_the_status_word_is_shown_too(status: AlertEvent, sentence: str) -> None:
    alert = expired(event=status, status=status.value, severity=Severity.WARNING)
    body = message_of(alert).body
    assert body.startswith(sentence)
    assert f"Status: {status.value}\n" in body
    brief = "expires soon" if status is AlertEvent.EXPIRING_SOON else status.value
    assert f"- Acme Ltd \u00b7 LinkedIn \u00b7 {brief} \u00b7 linkedin-1" in message_of(alert, about_source()).body


@pytest.mark.parametrize(
    ("over", "title", "sentence", "help_"),
    [
        (
            {"subject": "outage:twitter", "status": "platform_outage", "count": 9},
            "[SOURCE FAILING] agency (PostPost): X outage",
            "9 X connections of the source agency (PostPost) are refused at the same time.",
            "Wait. Each connection that is still rejected",
        ),
        (
            {"subject": "missing:", "status": "suspicious_list", "count": 12},
            "[SOURCE FAILING] agency (PostPost): connections missing",
            "12 connections of the source agency (PostPost) are missing from its latest list.",
            "Check in PostPost whether these connections were really removed",
        ),
        (
            {"subject": "probes", "status": "probes_unanswered", "count": 4},
            "[SOURCE FAILING] agency (PostPost): connections cannot be tested",
            "4 connections of the source agency (PostPost) cannot be tested.",
            "Test these connections in PostPost, and check its status page.",
        ),
        (
            {"subject": "unreadable:", "status": "rows_unreadable", "count": 2},
            "[SOURCE FAILING] agency (PostPost): unreadable rows",
            "2 rows in the list of the source agency (PostPost) cannot be read.",
            "Check these connections in PostPost. If they look normal there, its API has probably changed",
        ),
        (
            {"subject": "unreadable:ws_1", "status": "rows_unreadable", "count": 1},
            "[SOURCE FAILING] agency (PostPost): unreadable rows at ws_1",
            "1 row in the list of the source agency (PostPost) cannot be read.",
            "What to do: Check these connections in PostPost.",
        ),
        (
            {"subject": "unreadable:ws_1", "status": "rows_unreadable", "label_sets": [{"client": "Casa Verde"}]},
            "[SOURCE FAILING] agency (PostPost): unreadable rows at Casa Verde",
            "1 row in the list of the source agency (PostPost) cannot be read.",
            "",
        ),
        (
            {"subject": "missing:ws_1", "status": "failing", "label_sets": [{"client": "Casa"}, {"client": "Brava"}]},
            "[SOURCE FAILING] agency (PostPost): connections missing at ws_1",
            "Some connections of the source agency (PostPost) are missing from its latest list.",
            "",
        ),
        (
            {"subject": "unpolled", "message": "It has not been read for 3 hours."},
            "[SOURCE FAILING] agency (PostPost): not polled",
            "The source agency (PostPost) is not being polled.",
            "",
        ),
        (
            {"subject": "outage:twitter", "event": AlertEvent.SOURCE_RECOVERED, "status": "ok", "reason": "platform_outage"},
            "[SOURCE RECOVERED] agency (PostPost): X outage",
            "The problem with the source agency (PostPost) is resolved: X outage.",
            "No action needed.",
        ),
    ],
)
def test_a_problem_with_a_part_of_a_source_is_named_in_plain_english(
    over: dict[str, Any], title: str, sentence: str, help_: str
) -> None:
    part = message_of(about_source(**over))
    assert part.title == title
    assert part.body.startswith(sentence)
    assert help_ in part.body
    assert "outage:" not in part.title + part.body


def test_a_managed_user_is_named_by_its_client_and_by_its_id_only_without_one() -> None:
    named = message_of(expired(scope="u2", labels={"client": "Casa Verde"}))
    assert "Source: agency (PostPost)\nLabels: client=Casa Verde\n" in named.body
    assert "Source: agency (PostPost), managed user u2\n" in message_of(expired(scope="u2")).body


def test_the_counts_separate_unreadable_sources_from_other_source_problems() -> None:
    outage = about_source(id="s2", subject="outage:twitter", count=9)
    part = message_of(about_source(), outage, about_source(id="s3", source="studio", provider="publora"))
    assert part.title == "2 sources cannot be read (agency, studio); 1 source problem (agency)"


@pytest.mark.parametrize(
    ("subject", "help_"),
    [
        ("channel:ops", "`token-monitor test-alert ops` tests it."),
        ("deliveries:ops", "List the undelivered alerts with `token-monitor alerts`"),
        ("status:agency:odd", "Check these accounts at the provider, and report the status to the project"),
        ("clock", "Check with `timedatectl` that this machine's clock is synchronized"),
        ("network", "Check whether this machine can reach the internet"),
    ],
)
def test_trouble_of_the_monitor_itself_comes_with_advice(subject: str, help_: str) -> None:
    about = {"source": "", "provider": None, "link": None, "status": "", "reason": "channel_broken", "message": "It says why."}
    part = message_of(about_source(event=AlertEvent.MONITOR_PROBLEM, subject=subject, **about))
    assert help_ in part.body
    assert "Reason: It says why.\n" in part.body, "the machine's word adds nothing to it"
