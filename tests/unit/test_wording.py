"""The text of messages, its order, and its division into sections."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.domain import Alert, AlertEvent, Severity
from monitor.domain.rules.advice import source_advice
from monitor.domain.rules.alerting import AlertReason
from monitor.notify.messages import (
    ChannelLimits,
    ChannelProfile,
    Dispatch,
    Markup,
    Part,
    Tone,
    clean,
    clean_id,
    compose,
    compose_test,
    defuse,
    fit,
    render,
)
from tests.support.factories import NOW, make_alert

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def expiring(number: int = 1, **over: Any) -> Alert:
    values: dict[str, Any] = {
        "id": f"alert-{number}",
        "event": AlertEvent.EXPIRING_SOON,
        "status": "expiring_soon",
        "severity": Severity.WARNING,
        "reason": AlertReason.FIRST,
        "expires_at": NOW + 7 * DAY - HOUR,
        "external_id": f"linkedin-{number}",
        "message": "PostPost says that the token expires soon",
        "link": "https://app.postpost.dev",
    }
    return make_alert(**{**values, **over})


def expired(number: int = 2, **over: Any) -> Alert:
    values = {"event": AlertEvent.EXPIRED, "status": "expired", "severity": Severity.CRITICAL, "expires_at": NOW - 2 * HOUR}
    return expiring(number, **{**values, **over})


def source_down(number: int = 9, **over: Any) -> Alert:
    values: dict[str, Any] = {
        "event": AlertEvent.SOURCE_FAILING,
        "severity": Severity.CRITICAL,
        "status": "failing",
        "external_id": None,
        "connection": None,
        "platform": None,
        "label": None,
        "expires_at": None,
        "message": "api.postpost.dev answered 503",
    }
    return expiring(number, **{**values, **over})


def recovered(number: int = 5, **over: Any) -> Alert:
    values: dict[str, Any] = {
        "event": AlertEvent.RECOVERED,
        "status": "valid",
        "severity": Severity.CRITICAL,
        "reason": AlertReason.RECOVERED,
        "previous": "expired",
        "opened_at": NOW - 4 * HOUR,
        "expires_at": NOW + 60 * DAY,
        "message": "",
    }
    return expiring(number, **{**values, **over})


def message_of(*alerts: Alert, now: datetime = NOW, timezone: str = "UTC", **dispatch: Any) -> Part:
    return render(compose([Dispatch(alert=alert, **dispatch) for alert in alerts], timezone=timezone, now=now))


def test_one_alert_reads_as_a_short_letter() -> None:
    part = message_of(expiring(labels={"client": "acme"}, connection="agency/linkedin-1"), timezone="Europe/Berlin")
    assert part.title == "[EXPIRING SOON] Acme Ltd (linkedin) at agency, 6 days 23 hours left"
    assert part.tone is Tone.WARNING
    assert part.body == (
        "Acme Ltd on LinkedIn expires soon. It expires Tue 17 Mar 2026 12:00 CET, in 6 days 23 hours.\n"
        "\n"
        "Reason: PostPost says that the token expires soon. First alert.\n"
        "\n"
        "What to do: Before it expires, reconnect LinkedIn in PostPost; for a page, sign in as one of its admins.\n"
        "Link: https://app.postpost.dev\n"
        "Acknowledge: token-monitor ack agency/linkedin-1\n"
        "\n"
        "Status: expiring_soon\n"
        "Connection: agency/linkedin-1\n"
        "Platform: linkedin\n"
        "Source: agency (PostPost)\n"
        "Labels: client=acme\n"
        "Alert: alert-1"
    )


def test_several_alerts_are_one_line_each_the_worst_first() -> None:
    part = message_of(
        recovered(5),
        expiring(1),
        expired(2, label="Beta"),
        expired(3, label="Alpha"),
        expired(4, platform="tiktok", external_id="tiktok-4"),
        source_down(9, source="studio", provider="postbreeze"),
    )
    assert part.title == (
        "4 connections need attention: 3 expired, 1 expiring soon (Acme Ltd, Alpha, Beta); "
        "1 source cannot be read (studio); 1 connection recovered (Acme Ltd)"
    )
    assert part.body.splitlines()[:4] == [
        "- The source studio (Postbreeze) cannot be read (failing).",
        "  Reason: api.\u200bpostpost.\u200bdev answered 503. First alert.",
        f"  What to do: {source_advice('failing', 'postbreeze')}",
        "  Link: https://app.postpost.dev",
    ]
    assert part.body.split("\n\n")[1].splitlines() == [
        "- Acme Ltd \u00b7 TikTok \u00b7 expired 2 hours ago (Tue 10 Mar 10:00) \u00b7 tiktok-4",
        "- Alpha \u00b7 LinkedIn \u00b7 expired 2 hours ago (Tue 10 Mar 10:00) \u00b7 linkedin-3",
        "- Beta \u00b7 LinkedIn \u00b7 expired 2 hours ago (Tue 10 Mar 10:00) \u00b7 linkedin-2",
        "- Acme Ltd \u00b7 LinkedIn \u00b7 6 days left (Tue 17 Mar 11:00) \u00b7 linkedin-1",
        "- Acme Ltd \u00b7 LinkedIn \u00b7 works again after 4 hours \u00b7 linkedin-5",
    ]
    assert part.alert_ids == ("alert-9", "alert-4", "alert-3", "alert-2", "alert-1", "alert-5")
    assert part.tone is Tone.FAILURE


def test_of_the_same_status_the_earliest_date_comes_first_whatever_its_platform() -> None:
    days = {"facebook": 6, "tiktok": 1, "linkedin": 3}
    alerts = [
        expiring(number, platform=platform, label=f"In {left}", expires_at=NOW + left * DAY)
        for number, (platform, left) in enumerate(days.items())
    ]
    alerts.append(expiring(9, platform="linkedin", label="In 2", expires_at=NOW + 2 * DAY))
    sections = compose([Dispatch(alert=alert) for alert in alerts], timezone="UTC", now=NOW).sections
    assert [[item.subject for item in section.items] for section in sections] == [["In 1", "In 2", "In 3", "In 6"]]


@pytest.mark.parametrize("make", [expiring, expired, recovered])
def test_the_text_of_a_single_alert_holds_all_that_the_interface_promises(make: Any) -> None:
    alert = make(7, scope="66f000000000000000000001")
    text = message_of(alert).body
    over = alert.event is AlertEvent.RECOVERED
    for promised in (
        "linkedin-7",
        "Acme Ltd",
        "linkedin",
        "agency",
        "recovered" if over else alert.status,
        " UTC, ",
        "No action needed." if over else "Link: https://app.postpost.dev",
        "No action needed." if over else "What to do: ",
        "managed user 66f000000000000000000001",
        "Alert: alert-7",
    ):
        assert promised in text


@pytest.mark.parametrize(
    ("alert", "sentence"),
    [
        (expired(), "It expired Tue 10 Mar 2026 10:00 UTC, 2 hours ago."),
        # The provider's word stands above its date.
        (expired(expires_at=NOW + DAY), "Its stated expiry, Wed 11 Mar 2026 12:00 UTC, in 1 day, no longer applies."),
        (expired(expires_at=None), "No expiry date is known."),
        # A healthy connection with a stale past date does not read as a contradiction.
        (recovered(expires_at=NOW - DAY), "Its stated expiry, Mon 9 Mar 2026 12:00 UTC, 1 day ago, is not trusted."),
        (
            expired(event=AlertEvent.DISCONNECTED, status="disconnected", expires_at=NOW + DAY),
            "Last known expiry: Wed 11 Mar 2026 12:00 UTC, in 1 day.",
        ),
    ],
)
def test_the_expiry_is_stated_as_far_as_it_is_trusted(alert: Alert, sentence: str) -> None:
    assert sentence in message_of(alert).body


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ({"reason": AlertReason.FIRST}, "First alert."),
        ({"reason": AlertReason.WORSE, "previous": "expiring_soon"}, "The status has worsened. Previous status: expiring soon."),
        (
            {"reason": AlertReason.CHANGED, "previous": "revoked"},
            "The status has changed and still needs attention. Previous status: revoked.",
        ),
        ({"reason": AlertReason.STAGE, "stage": 3 * DAY}, "Further warning (stage 3d)."),
        ({"reason": AlertReason.STAGE, "stage": 36 * HOUR}, "Further warning (stage 36h)."),
        (
            {"reason": AlertReason.REMINDER, "opened_at": NOW - 8 * DAY, "since": NOW - DAY},
            "Reminder: unchanged for 1 day, since Mon 9 Mar 2026 12:00 UTC.",
        ),
        ({"reason": AlertReason.REMINDER, "opened_at": NOW - 8 * DAY}, "Reminder."),
        ({"reason": "something_new"}, "Something new."),
    ],
)
def test_a_message_states_why_it_was_sent(over: dict[str, Any], sentence: str) -> None:
    assert sentence in message_of(expiring(**over)).body


def test_a_recovery_states_the_length_of_the_incident_and_the_previous_status() -> None:
    part = message_of(recovered())
    assert part.title == "[RECOVERED] Acme Ltd (linkedin) at agency"
    assert part.body == (
        "Acme Ltd on LinkedIn works again after 4 hours. It expires Sat 9 May 2026 12:00 UTC, in 60 days. No action needed.\n"
        "\n"
        "Status: recovered, previously expired \u00b7 Connection: linkedin-5 \u00b7 Platform: linkedin "
        "\u00b7 Source: agency (PostPost) \u00b7 Alert: alert-5"
    )
    assert part.tone is Tone.SUCCESS
    renewed = message_of(recovered(reason=AlertReason.RENEWED, previous="expiring_soon")).body
    assert renewed.startswith("Acme Ltd on LinkedIn was renewed. It expires Sat 9 May 2026 12:00 UTC")
    reconnected = message_of(recovered(reason=AlertReason.RECONNECTED)).body
    assert reconnected.startswith("Acme Ltd on LinkedIn was reconnected under a new id and works again after 4 hours.")


def test_a_late_message_and_a_possible_repeat_have_a_note() -> None:
    body = message_of(expired(), uncertain=True, late_by=3 * HOUR).body
    assert "Late by 3 hours" in body
    assert "may be a repeat" in body
    assert "may be a repeat" not in message_of(expired()).body


def test_a_source_alert_names_the_source_the_cause_and_what_to_do() -> None:
    part = message_of(source_down(status="unauthorized", message="Invalid API key"))
    assert part.title == "[SOURCE FAILING] agency (PostPost)"
    assert "rejects the API key of the source agency (unauthorized)" in part.body
    assert "Create a new API key in PostPost" in part.body


def test_a_reminder_about_a_source_states_its_number_and_the_unmonitored_connections() -> None:
    message = "HTTP 503. 12 connections have not been monitored since 2026-11-28 14:05 UTC."
    part = message_of(source_down(reason=AlertReason.REMINDER, reminder=2, since=NOW - 2 * DAY, message=message))
    assert f"Reason: {message} Reminder 2: unchanged for 2 days, since Sun 8 Mar 2026 12:00 UTC." in part.body
    assert part.title == "Reminder 2: [SOURCE FAILING] agency (PostPost), for 2 days"


@pytest.mark.parametrize(
    ("instant", "timezone", "shown"),
    [
        # One minute before and after the autumn change: the same wall clock time, distinguished by its zone.
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "Europe/Berlin", "Sun 25 Oct 2026 02:30 CEST"),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "Europe/Berlin", "Sun 25 Oct 2026 02:30 CET"),
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), "Europe/Berlin", "Sun 29 Mar 2026 03:00 CEST"),
        (datetime(2026, 11, 21, 21, 30, tzinfo=UTC), "Asia/Kathmandu", "Sun 22 Nov 2026 03:15 UTC+0545"),
        (datetime(9999, 12, 31, 23, 59, tzinfo=UTC), "Asia/Kathmandu", "Fri 31 Dec 9999 23:59 UTC"),
        (datetime(2026, 11, 21, 21, 30, tzinfo=UTC), "Mars/Olympus", "Sat 21 Nov 2026 21:30 UTC"),
    ],
)
def test_P25_absolute_times_carry_the_zone_they_are_in(instant: datetime, timezone: str, shown: str) -> None:
    assert shown in message_of(expiring(expires_at=instant), timezone=timezone).body


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        (timedelta(seconds=1), "in 1 second."),
        (timedelta(seconds=59), "in 59 seconds."),
        (timedelta(seconds=60), "in 1 minute."),
        (timedelta(hours=1, minutes=1, seconds=59), "in 1 hour 1 minute."),
        (timedelta(days=1), "in 1 day."),
        (timedelta(days=6, hours=23, minutes=59), "in 6 days 23 hours."),
        (timedelta(days=400, minutes=5), "in 400 days."),
        (timedelta(0), "0 seconds ago."),
    ],
)
def test_the_time_left_has_two_units_and_is_rounded_down(left: timedelta, shown: str) -> None:
    assert shown in message_of(expiring(expires_at=NOW + left)).body


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "http://app.postpost.dev",
        "https://app.postpost.dev@evil.example/",
        "https://a.example/\nBcc: x",
        "https://a b",
        "//x",
        "",
    ],
)
def test_S08_only_a_plain_https_link_is_shown(link: str) -> None:
    assert "Link:" not in message_of(expired(link=link)).body


@pytest.mark.parametrize(
    "mention",
    ["@everyone", "@here", "@channel", "@room", "<!channel>", "<!here|here>", "<@U123>", "<#C1>", "<@&99>", "\uff20everyone"],
)
def test_S05_mentions_in_names_lose_their_power_but_stay_readable(mention: str) -> None:
    part = message_of(expired(label=f"Acme {mention}", message=f"Bot can post to {mention}"))
    for text in (part.title, part.body):
        assert mention not in text
    assert mention in part.body.replace("\u200b", "")


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("https://evil.example/x", "https:\u200b//evil.\u200bexample/x"),
        ("www.evil.example", "www.\u200bevil.\u200bexample"),
        ("[click](x)", "[click]\u200b(x)"),
        ("<https://evil|Bank>", "<\u200bhttps:\u200b//evil|Bank>"),
        ("```code", "'''code"),
        ("||spoiler|| **bold**", "|\u200b|spoiler|\u200b| *\u200b*bold*\u200b*"),
        ("javascript:alert(1)", "javascript:\u200balert(1)"),
        ("a@b", "a@\u200bb"),
        ("Dr. No, est. 1962", "Dr. No, est. 1962"),
        ("5 < 6 @ home", "5 < 6 @ home"),
    ],
)
def test_S05_links_and_formatting_in_names_lose_their_power(text: str, harmless: str) -> None:
    assert defuse(text) == harmless
    assert defuse(harmless) == harmless


@pytest.mark.parametrize("markup", [Markup.CHAT, Markup.MARKDOWN])
def test_S05_what_could_be_formatting_is_literal_where_a_channel_reads_markdown(markup: Markup) -> None:
    """Every special character is escaped: a name may look like snake_case, a heading, a quote, a table or half of a bold text."""
    made = make_alert(label="snake_case *a ~b [c] #d >e |f")
    (part,) = fit(
        compose([Dispatch(alert=made)], timezone="UTC", now=NOW), ChannelProfile(limits=ChannelLimits(body=4000), markup=markup)
    )
    assert r"snake\_case \*a \~b \[c\] \#d \>e \|f" in part.body


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("two\r\nlines", "two lines"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b1mbold", "bold"),
        ("abc\u202edcba\u2066", "abcdcba"),
        ("nul\x00l", "null"),
        ("\ud800", "\ufffd"),
        ("a\u0301\u0301\u0301\u0301\u0301\u0301", "a\u0301\u0301\u0301"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("a\u200db", "ab"),
        ("  \u3164\u2800 ", "nobody"),
        ("", "nobody"),
        (None, "nobody"),
        ("x" * 100, "x" * 79 + "\u2026"),
        ("Zo\u00eb & S\u00f6hne \u682a\u5f0f\u4f1a\u793e", "Zo\u00eb & S\u00f6hne \u682a\u5f0f\u4f1a\u793e"),
    ],
    ids=ascii,
)
def test_S04_names_become_one_clean_line(text: str | None, cleaned: str) -> None:
    assert clean(text, otherwise="nobody") == cleaned


@pytest.mark.parametrize(
    "plain", ["linkedin-Tz9W5i6ZYG", "telegram--1001234", "bluesky-acme.bsky.social", "soc_01HZX", "urn:li:person:a_b~c"]
)
def test_a_plain_id_is_shown_exactly_as_it_is(plain: str) -> None:
    assert clean_id(plain) == plain


def test_a_hostile_id_is_not() -> None:
    assert clean_id("x-@everyone\n<!here>") == "x-@\u200beveryone <\u200b!here>"
    assert "https://" not in clean_id("https://evil.example")


@pytest.mark.parametrize(
    "limits", [ChannelLimits(body=2000, shared=True), ChannelLimits(body=4096, title=0), ChannelLimits(body=1500, title=250)]
)
def test_what_does_not_fit_whole_is_divided_by_whole_alerts_with_everybody_named_once(limits: ChannelLimits) -> None:
    alerts = [expired(number, label=f"Customer {number}") for number in range(52)]
    parts = fit(compose([Dispatch(alert=alert) for alert in alerts], timezone="UTC", now=NOW), ChannelProfile(limits=limits))
    assert sorted(alert_id for part in parts for alert_id in part.alert_ids) == sorted(alert.id for alert in alerts)
    assert 1 < len(parts) <= 3
    for number, part in enumerate(parts, start=1):
        assert part.title.endswith(f"({number}/{len(parts)})")
        title_in_body = limits.shared or limits.title == 0
        assert len(part.body) + (len(part.title) + 2 if title_in_body else 0) <= limits.body
        for alert_id in part.alert_ids:
            assert f"\u00b7 linkedin-{alert_id.removeprefix('alert-')}\n" in part.body + "\n"


def test_parts_are_as_few_as_the_limit_allows() -> None:
    alerts = [expired(number) for number in range(60)]
    parts = fit(
        compose([Dispatch(alert=alert) for alert in alerts], timezone="UTC", now=NOW),
        ChannelProfile(limits=ChannelLimits(body=2000)),
    )
    assert len(parts) > 1
    assert all(len(first.body) > 1600 for first in parts[:-1])


def test_a_short_message_channel_gets_untitled_single_lines_with_name_id_and_date() -> None:
    message = compose([Dispatch(alert=expired(1)), Dispatch(alert=expiring(2))], timezone="UTC", now=NOW)
    first, second = fit(message, ChannelProfile(limits=ChannelLimits(body=160, title=0)))
    assert (first.title, second.title) == ("", "")
    assert first.body.startswith(
        "(1/2) expired: Acme Ltd (linkedin-1), linkedin at agency. It expired Tue 10 Mar 2026 10:00 UTC, 2 hours ago."
    )
    assert max(len(first.body), len(second.body)) <= 160
    assert "\n" not in first.body


def test_a_channel_with_few_lines_gets_one_line_for_each_alert() -> None:
    alerts = [Dispatch(alert=expired(number)) for number in range(5)]
    parts = fit(compose(alerts, timezone="UTC", now=NOW), ChannelProfile(limits=ChannelLimits(body=10_000, lines=2)))
    assert [part.body.count("\n") + 1 for part in parts] == [2, 2, 1]


def test_a_long_title_leaves_room_for_the_number() -> None:
    alerts = [Dispatch(alert=expired(number)) for number in range(50)]
    parts = fit(compose(alerts, timezone="UTC", now=NOW), ChannelProfile(limits=ChannelLimits(body=700, title=30)))
    assert max(len(part.title) for part in parts) <= 30


def test_the_same_alerts_make_the_same_message_in_any_order() -> None:
    alerts = [expired(1), expiring(2), recovered(3), source_down(4)]
    assert message_of(*alerts) == message_of(*reversed(alerts))


def test_a_test_message_is_marked_as_a_test() -> None:
    part = render(compose_test("ops", timezone="UTC", now=NOW))
    assert part.title == "[TEST] Test message for channel ops"
    assert "This is a test of the channel ops, sent Tue 10 Mar 2026 12:00 UTC." in part.body


def test_a_report_is_a_list_of_lines_below_its_first_one() -> None:
    first = "2 connections need action in the next 30 days, in 1 reconnect batch."
    lines = f"{first}\nNow: 2 on LinkedIn at agency: @everyone, Beta.\nChannels: ops."
    about = {"external_id": None, "connection": None, "platform": None, "label": None, "source": "", "provider": None}
    part = message_of(
        make_alert(event=AlertEvent.REPORT, reason="report", severity=Severity.INFO, status="", message=lines, **about)
    )
    assert part.title == "[REPORT] 2 connections need action in the next 30 days, in 1 reconnect batch"
    assert part.body == f"{first}\n\n- Now: 2 on LinkedIn at agency: @\u200beveryone, Beta.\n- Channels: ops.\n\nAlert: alert-1"
