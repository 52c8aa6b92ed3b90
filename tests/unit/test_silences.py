"""What a silence matches and when it is in force, on the nights when clocks change too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.domain.rules.recurrence import rule_problem
from monitor.domain.rules.silences import NO_END, Silence, active_until, matches, next_window, silenced_until

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)
SUBJECT: dict[str, Any] = {
    "source": "agency",
    "platform": "linkedin",
    "connection": "agency/user-7/linkedin-123",
    "external_id": "linkedin-123",
    "labels": {"client": "acme", "tier": "gold"},
}
SOURCE: dict[str, Any] = {**SUBJECT, "platform": None, "connection": None, "external_id": None}


def make_silence(**over: Any) -> Silence:
    """Everything, from now on, until it is removed."""
    return Silence(**{"starts_at": NOW, **over})


def berlin(text: str) -> datetime:
    """An instant by Berlin's clocks; "2" at the end means the second time that clocks show it."""
    plain, again, _ = text.partition("#")
    return datetime.fromisoformat(plain).replace(tzinfo=BERLIN, fold=1 if again else 0).astimezone(UTC)


@pytest.mark.parametrize(
    ("matchers", "matched"),
    [
        ({}, True),  # no matcher refuses nothing
        ({"sources": ("agency",)}, True),
        ({"sources": ("studio", "agency")}, True),  # any of several
        ({"sources": ("agenc",)}, False),  # whole names
        ({"platforms": ("linkedin",)}, True),
        ({"platforms": ("tiktok",)}, False),
        ({"connections": ("agency/*",)}, True),  # the public id
        ({"connections": ("linkedin-1??",)}, True),  # the provider's own id
        ({"connections": ("linkedin",)}, False),  # a glob is no part
        ({"connections": ("LINKEDIN-*",)}, False),  # letter case matters
        ({"connections": ("*-9", "*-123")}, True),
        ({"connections": ("[",)}, False),  # no sense, no match
        ({"labels": {"client": "acme"}}, True),
        ({"labels": {"client": "acme", "tier": "gold"}}, True),  # all of several
        ({"labels": {"client": "acme", "tier": "silver"}}, False),
        ({"labels": {"region": ""}}, False),
        ({"sources": ("agency",), "platforms": ("tiktok",)}, False),  # matchers are ANDed
        ({"sources": ("agency",), "platforms": ("linkedin",), "connections": ("*",), "labels": {"tier": "gold"}}, True),
    ],
)
def test_matchers_are_anded(matchers: dict[str, Any], matched: bool) -> None:
    assert matches(make_silence(**matchers), **SUBJECT) is matched


def test_a_silence_of_one_connection_matches_its_id_although_it_has_brackets() -> None:
    one = make_silence(connections=("agency/acme-[eu]",))
    assert matches(one, **{**SUBJECT, "connection": "agency/acme-[eu]", "external_id": "acme-[eu]"})
    assert matches(one, **{**SUBJECT, "connection": "agency/acme-e", "external_id": "acme-e"})


@pytest.mark.parametrize(
    ("matchers", "matched"),
    [({"sources": ("agency",)}, True), ({}, True), ({"platforms": ("linkedin",)}, False), ({"connections": ("*",)}, False)],
)
def test_what_names_connections_is_never_about_a_whole_source(matchers: dict[str, Any], matched: bool) -> None:
    assert matches(make_silence(**matchers), **SOURCE) is matched


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("over", "at", "until"),
    [
        ({}, NOW, NO_END),  # holds its first instant
        ({}, NOW - SECOND, None),
        ({"ends_at": NOW + HOUR}, NOW + HOUR - SECOND, NOW + HOUR),
        ({"ends_at": NOW + HOUR}, NOW + HOUR, None),  # and not its last
        ({"ends_at": NOW - HOUR}, NOW, None),
        ({"removed_at": NOW + HOUR}, NOW, NO_END),
        ({"removed_at": NOW + HOUR}, NOW + HOUR, None),
    ],
)
def test_a_plain_window_holds_its_first_instant_and_not_its_last(over: dict[str, Any], at: datetime, until: datetime) -> None:
    assert active_until(make_silence(**over), at) == until


WEEKEND = make_silence(
    starts_at=berlin("2026-03-01T00:00"), rrule="FREQ=WEEKLY;BYDAY=SA,SU", lasts=timedelta(hours=24), timezone="Europe/Berlin"
)
NIGHT = make_silence(starts_at=berlin("2026-01-01T22:00"), rrule="FREQ=DAILY", lasts=9 * HOUR, timezone="Europe/Berlin")
CHANGE = make_silence(starts_at=berlin("2026-01-01T02:30"), rrule="FREQ=DAILY", lasts=HOUR / 2, timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("silence", "at", "until"),
    [
        # Saturday and Sunday are one window, and Sunday is over at midnight whether it has 23, 24 or 25 hours.
        (WEEKEND, "2026-03-13T23:59:59", None),
        (WEEKEND, "2026-03-14T00:00", "2026-03-16T00:00"),
        (WEEKEND, "2026-03-28T00:00", "2026-03-30T00:00"),
        (WEEKEND, "2026-03-29T23:59:59", "2026-03-30T00:00"),
        (WEEKEND, "2026-03-30T00:00", None),
        (WEEKEND, "2026-10-25T23:59:59", "2026-10-26T00:00"),
        (WEEKEND, "2026-10-26T00:00", None),
        # A night from 22:00 to 07:00 begins and ends by the clock.
        (NIGHT, "2026-03-28T21:59:59", None),
        (NIGHT, "2026-03-28T22:00", "2026-03-29T07:00"),
        (NIGHT, "2026-03-29T06:59:59", "2026-03-29T07:00"),
        (NIGHT, "2026-03-29T07:00", None),
        (NIGHT, "2026-10-25T02:30", "2026-10-25T07:00"),
        (NIGHT, "2026-10-25T02:30#", "2026-10-25T07:00"),
        (NIGHT, "2026-10-25T06:59:59", "2026-10-25T07:00"),
        (NIGHT, "2026-10-25T07:00", None),
        # A window in the hour that is skipped is not lost; in the hour that comes twice it begins with the first.
        (CHANGE, "2026-03-29T03:30", "2026-03-29T04:00"),
        (CHANGE, "2026-03-29T04:00", None),
        (CHANGE, "2026-10-25T02:29:59", None),
        (CHANGE, "2026-10-25T02:30", "2026-10-25T03:00"),
        (CHANGE, "2026-10-25T02:29:59#", "2026-10-25T03:00"),
        (CHANGE, "2026-10-25T03:00", None),
    ],
)
def test_recurring_windows_follow_the_wall_clock_on_both_nights(silence: Silence, at: str, until: str | None) -> None:
    assert active_until(silence, berlin(at)) == (None if until is None else berlin(until))


def test_two_zones_have_their_own_weekends() -> None:
    there = make_silence(
        starts_at=berlin("2026-03-01T00:00"), rrule="FREQ=WEEKLY;BYDAY=SA", lasts=24 * HOUR, timezone="Asia/Tokyo"
    )
    assert active_until(there, datetime(2026, 3, 13, 23, 30, tzinfo=UTC)) == datetime(2026, 3, 14, 23, 0, tzinfo=UTC)


def test_the_end_of_the_whole_cuts_the_last_window() -> None:
    silence = make_silence(rrule="FREQ=DAILY", lasts=4 * HOUR, ends_at=NOW + 24 * HOUR + HOUR)
    assert active_until(silence, NOW) == NOW + 4 * HOUR
    assert active_until(silence, NOW + 24 * HOUR) == NOW + 25 * HOUR
    assert active_until(silence, NOW + 25 * HOUR) is None


def test_windows_end_with_their_count() -> None:
    silence = make_silence(rrule="FREQ=DAILY;COUNT=2", lasts=HOUR)
    assert active_until(silence, NOW + timedelta(days=1)) == NOW + timedelta(days=1) + HOUR
    assert active_until(silence, NOW + timedelta(days=2)) is None
    assert next_window(silence, NOW + timedelta(days=2)) is None


def test_windows_that_touch_without_end_end_some_time() -> None:
    """Every day all day is silence for ever; it is looked at again within two years."""
    until = active_until(make_silence(rrule="FREQ=DAILY", lasts=24 * HOUR), NOW)
    assert until is not None
    assert timedelta(days=300) < until - NOW < timedelta(days=800)


@pytest.mark.parametrize(
    ("over", "window"),
    [
        ({}, (NOW, NO_END)),
        ({"starts_at": NOW + HOUR, "ends_at": NOW + 2 * HOUR}, (NOW + HOUR, NOW + 2 * HOUR)),
        ({"ends_at": NOW}, None),
        ({"removed_at": NOW}, None),
        ({"starts_at": NOW - HOUR, "rrule": "FREQ=DAILY", "lasts": HOUR}, (NOW + 23 * HOUR, NOW + 24 * HOUR)),
        ({"starts_at": NOW - HOUR, "rrule": "FREQ=DAILY", "lasts": HOUR, "ends_at": NOW + HOUR}, None),
        ({"rrule": "nonsense", "lasts": HOUR}, None),
    ],
)
def test_the_next_window_is_returned(over: dict[str, Any], window: Any) -> None:
    assert next_window(make_silence(**over), NOW) == window


def test_the_latest_end_of_all_that_match_counts() -> None:
    def until(*silences: Silence) -> datetime | None:
        return silenced_until(silences, **SUBJECT, now=NOW)

    short, long = make_silence(ends_at=NOW + HOUR), make_silence(ends_at=NOW + 3 * HOUR)
    other = make_silence(platforms=("tiktok",))
    assert until(short, long, other) == NOW + 3 * HOUR
    assert until(short, other) == NOW + HOUR
    assert until(other) is None
    assert until() is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FREQ=WEEKLY;BYDAY=SA,SU", None),
        ("freq=monthly;bymonthday=-1;interval=3", None),
        ("RRULE:FREQ=WEEKLY;BYDAY=SA,SU", None),
        (" rrule:freq=daily", None),
        ("RRULE:RRULE:FREQ=DAILY", "contains RRULE:FREQ, which is not supported."),
        ("RRULE:FREQ=DAILY\nEXDATE:20260301T000000Z", "has more than one line: give one rule, without DTSTART,"),
        ("DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY", "has more than one line"),
        ("EXRULE:FREQ=DAILY", "begins with EXRULE, which is not supported"),
        ("DTSTART;TZID=Europe/Berlin:20260101T000000", "begins with DTSTART, which is not supported"),
        ("every saturday", "is not an RRULE"),
        ("", "is not an RRULE"),
        ("FREQ=WEEKLY;BYDAY=", "is not an RRULE"),
        ("BYDAY=SA", "must have FREQ=DAILY, WEEKLY, MONTHLY or YEARLY."),
        ("FREQ=SECONDLY", "must have FREQ="),
        ("FREQ=HOURLY", "must have FREQ="),
        ("FREQ=DAILY;UNTIL=20261231", "--until instead."),
        ("FREQ=DAILY;BYEASTER=1", "contains BYEASTER, which is not supported."),
        ("FREQ=DAILY;FREQ=WEEKLY", "contains a part twice."),
        ("FREQ=DAILY;INTERVAL=0", "has INTERVAL=0, but a whole number of at least 1 is needed."),
        ("FREQ=DAILY;COUNT=-1", "has COUNT=-1"),
        ("FREQ=WEEKLY;BYDAY=SA,XX", "has BYDAY=XX, but MO, TU, WE, TH, FR, SA or SU (with a number"),
        ("FREQ=MONTHLY;BYDAY=-1FR,+2mo", None),
        ("FREQ=MONTHLY;BYDAY=0FR", "has BYDAY=0FR, but MO,"),
        ("FREQ=YEARLY;BYMONTH=13", "has BYMONTH=13, but a month from 1 to 12 is needed there."),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "has BYMONTHDAY=32, but a day from 1 to 31, or from -31 to -1"),
        ("FREQ=DAILY;BYHOUR=24", "has BYHOUR=24, but an hour from 0 to 23"),
        ("FREQ=DAILY;BYHOUR=0,23;BYMINUTE=59", None),
        ("FREQ=WEEKLY;WKST=XX", "has WKST=XX, but MO,"),
    ],
)
def test_a_rule_that_cannot_be_used_is_named(text: str, said: str | None) -> None:
    problem = rule_problem(text)
    assert (said in problem if problem is not None else False) if said is not None else problem is None


@pytest.mark.parametrize("rule", ["FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "FREQ=DAILY;BYDAY=XX", "FREQ=DAILY;BYMONTH=13", "x"])
def test_a_rule_that_never_comes_due_silences_nothing_and_ends_soon(rule: str) -> None:
    assert active_until(make_silence(rrule=rule, lasts=HOUR), NOW) is None
