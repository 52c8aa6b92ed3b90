"""Whatever names services send, a message stays one message and is safe to display."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import AlertEvent, Severity
from monitor.domain.providers import provider_names
from monitor.notify.messages import ChannelLimits, ChannelProfile, Dispatch, Markup, clean, clean_id, compose, defuse, fit, render
from tests.support.factories import NOW, make_alert

NASTY = st.sampled_from(
    [
        "@everyone",
        "@here",
        "<!channel>",
        "<@U1>",
        "https://evil.example",
        "\x1b[31m",
        "\r\n",
        "\u202e",
        "\ud800",
        "](",
        "```",
        "\u200b",
        "\x00",
        "@",
        "<",
        ":",
        "//",
        ".",
        "com",
        "|",
        "\\",
    ]
)
TEXTS = st.lists(st.one_of(NASTY, st.text(st.characters(), max_size=6)), max_size=12).map("".join)
POWERS = re.compile(r"@(?=[^\s\u200b])|<(?=[^\s\u200b])|://|\]\(|```|\w\.(?=[A-Za-z]{2})|javascript:\S", re.IGNORECASE)
INSTANTS = st.none() | st.datetimes(timezones=st.just(UTC))


@given(TEXTS)
def test_S05_no_power_survives_in_a_name(text: str) -> None:
    harmless = defuse(clean(text))
    assert POWERS.search(harmless) is None
    assert defuse(harmless) == harmless


@given(TEXTS, st.integers(1, 300))
def test_S04_a_clean_name_is_one_short_printable_line(text: str, limit: int) -> None:
    line = clean(text, limit=limit)
    assert len(line) <= limit
    assert all(unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") for character in line)
    assert not any(character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" for character in line)
    assert clean(line, limit=limit) == line
    line.encode()


@given(TEXTS)
def test_an_id_is_either_plain_or_harmless(text: str) -> None:
    shown = clean_id(text)
    assert shown
    assert "\n" not in shown
    assert "@everyone" not in shown
    assert "://" not in shown


@given(
    label=TEXTS,
    external_id=TEXTS,
    platform=TEXTS | st.none(),
    message=TEXTS,
    reason=TEXTS,
    previous=TEXTS | st.none(),
    link=TEXTS | st.none(),
    scope=TEXTS | st.none(),
    expires_at=INSTANTS,
    opened_at=INSTANTS,
    event=st.sampled_from(list(AlertEvent)),
    provider=st.sampled_from(provider_names()),
    severity=st.sampled_from(list(Severity)),
    status=st.sampled_from(["valid", "unknown", "expiring_soon", "expired", "unauthorized", ""]),
    limits=st.builds(
        ChannelLimits,
        body=st.sampled_from([60, 160, 500, 2000, 32768]),
        title=st.sampled_from([0, 40, 250]),
        shared=st.booleans(),
        lines=st.sampled_from([0, 0, 2, 10]),
    ),
    markup=st.sampled_from(list(Markup)),
    files=st.booleans(),
    copies=st.integers(1, 5),
    about_source=st.booleans(),
)
def test_any_alert_fits_any_channel(
    *, limits: ChannelLimits, markup: Markup, files: bool, copies: int, about_source: bool, **facts: object
) -> None:
    if about_source:
        facts["external_id"] = None
    elif facts["external_id"] == "":
        facts["external_id"] = "x"
    alerts = [make_alert(id=f"alert-{number}", incident=f"inc-{number % 3}", **facts) for number in range(copies)]
    message = compose([Dispatch(alert=alert) for alert in alerts], timezone="Europe/Berlin", now=NOW)
    title_in_body = limits.shared or limits.title == 0
    parts = fit(
        message,
        ChannelProfile(limits=limits, markup=markup, title_has_markup=title_in_body and markup is not Markup.TEXT, files=files),
    )
    assert sorted(alert_id for part in parts for alert_id in part.alert_ids) == [alert.id for alert in alerts]
    assert len(parts) <= 3
    for part in (*parts, render(message)):
        part.body.encode()
        assert part.body.strip()
        assert "\n" not in part.title
        assert "@everyone" not in part.title + part.body
        assert "<!channel>" not in part.title + part.body
    assert markup is Markup.MAIL or all(len(part.body) <= max(limits.body, 60) for part in parts)


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - zones are added
def test_any_instant_can_be_shown_in_any_zone(instant: datetime) -> None:
    for timezone in ("UTC", "Pacific/Kiritimati", "Etc/GMT+12", "America/New_York"):
        message = compose([Dispatch(alert=make_alert(expires_at=instant))], timezone=timezone, now=NOW)
        assert (
            str(instant.year) in render(message).body
            or instant.year in (1, 9999)
            or (instant.month, instant.day) in ((1, 1), (12, 31))
        )
