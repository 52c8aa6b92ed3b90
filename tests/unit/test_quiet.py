"""Quiet hours by the wall clock: over midnight, on single days, for some severities, and on the nights when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import QuietHours, Severity
from monitor.domain.rules.recurrence import quiet_until

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
SATURDAY, SUNDAY = 5, 6


def window(**over: Any) -> QuietHours:
    return QuietHours(**{"from_time": time(22), "to_time": time(7), **over})


def at(text: str, zone: str = BERLIN, *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def until(instant: datetime, *windows: QuietHours, severity: Severity = Severity.WARNING, zone: str = BERLIN) -> datetime | None:
    return quiet_until(windows, instant, severity=severity, timezone=zone)


@pytest.mark.parametrize(
    ("instant", "end"),
    [
        ("2026-03-10 21:59:59", None),  # one second before it begins
        ("2026-03-10 22:00", "2026-03-11 07:00"),  # exactly at its beginning: quiet
        ("2026-03-10 22:00:01", "2026-03-11 07:00"),
        ("2026-03-10 23:59:59", "2026-03-11 07:00"),
        ("2026-03-11 00:00", "2026-03-11 07:00"),  # after midnight it is the window of the day before
        ("2026-03-11 06:59:59", "2026-03-11 07:00"),
        ("2026-03-11 07:00", None),  # exactly at its end: no longer quiet
        ("2026-03-11 12:00", None),
    ],
)
def test_a_window_over_midnight_holds_from_its_beginning_to_just_before_its_end(instant: str, end: str | None) -> None:
    assert until(at(instant), window()) == (at(end) if end else None)


@pytest.mark.parametrize(
    ("instant", "end"),
    [
        ("2026-03-13 23:00", None),  # Friday night
        ("2026-03-14 06:00", None),  # Saturday morning belongs to Friday's night
        ("2026-03-14 22:00", "2026-03-15 07:00"),
        ("2026-03-15 06:00", "2026-03-15 07:00"),
        ("2026-03-15 22:30", "2026-03-16 07:00"),  # Sunday's night ends on Monday
        ("2026-03-16 06:59", "2026-03-16 07:00"),
        ("2026-03-16 22:30", None),
    ],
)
def test_days_are_those_on_which_the_window_begins(instant: str, end: str | None) -> None:
    assert until(at(instant), window(days=frozenset({SATURDAY, SUNDAY}))) == (at(end) if end else None)


@pytest.mark.parametrize(
    ("hours", "instant", "end"),
    [
        # Spring in Berlin: on 29 March 2026 clocks jump from 02:00 to 03:00.
        (window(), "2026-03-28T21:00Z", "2026-03-29T05:00Z"),  # 22:00 CET to 07:00 CEST: eight hours
        (window(), "2026-03-29T04:59:59Z", "2026-03-29T05:00Z"),
        (window(), "2026-03-29T05:00Z", None),
        (window(to_time=time(2, 30)), "2026-03-29T00:59:59Z", "2026-03-29T01:00Z"),  # it ends in the hour that is skipped
        (window(to_time=time(2, 30)), "2026-03-29T01:00Z", None),
        (window(from_time=time(2, 30)), "2026-03-29T00:59:59Z", None),  # it begins in the hour that is skipped
        (window(from_time=time(2, 30)), "2026-03-29T01:00Z", "2026-03-29T05:00Z"),
        (window(from_time=time(2, 10), to_time=time(2, 50)), "2026-03-29T01:00Z", None),  # a window that does not exist
        # Autumn in Berlin: on 25 October 2026 clocks go back from 03:00 to 02:00.
        (window(), "2026-10-24T20:00Z", "2026-10-25T06:00Z"),  # 22:00 CEST to 07:00 CET: ten hours
        (window(), "2026-10-25T05:59:59Z", "2026-10-25T06:00Z"),
        (window(), "2026-10-25T06:00Z", None),
        (window(to_time=time(2, 30)), "2026-10-25T00:30Z", "2026-10-25T01:30Z"),  # it ends with the second 02:30
        (window(to_time=time(2, 30)), "2026-10-25T01:30Z", None),
        (window(from_time=time(2, 30)), "2026-10-25T00:29:59Z", None),  # it begins with the first 02:30
        (window(from_time=time(2, 30)), "2026-10-25T00:30Z", "2026-10-25T06:00Z"),
        # The other side of the ocean changes on other days.
        (window(timezone=NEW_YORK), "2026-03-08T02:00Z", None),  # 21:00 EST
        (window(timezone=NEW_YORK), "2026-03-08T03:00Z", "2026-03-08T11:00Z"),  # 22:00 EST to 07:00 EDT
        (window(timezone=NEW_YORK), "2026-11-01T02:00Z", "2026-11-01T12:00Z"),  # 22:00 EDT to 07:00 EST
    ],
)
def test_on_nights_when_clocks_change_the_wall_clock_decides(hours: QuietHours, instant: str, end: str | None) -> None:
    assert until(datetime.fromisoformat(instant), hours) == (datetime.fromisoformat(end) if end else None)


@pytest.mark.parametrize(
    ("severity", "excepted", "quiet"),
    [
        (Severity.CRITICAL, None, True),  # nothing is excepted
        (Severity.CRITICAL, Severity.CRITICAL, False),
        (Severity.WARNING, Severity.CRITICAL, True),
        (Severity.WARNING, Severity.WARNING, False),
        (Severity.CRITICAL, Severity.WARNING, False),  # at least as severe
        (Severity.INFO, Severity.WARNING, True),
    ],
)
def test_what_is_severe_enough_goes_out_all_the_same(severity: Severity, excepted: Severity | None, quiet: bool) -> None:
    found = until(at("2026-03-10 23:00"), window(except_severity=excepted), severity=severity)
    assert (found is not None) is quiet


def test_windows_that_touch_or_overlap_are_one() -> None:
    night, morning = window(), window(from_time=time(7), to_time=time(9))
    assert until(at("2026-03-10 23:00"), night, morning) == at("2026-03-11 09:00")
    weekend = window(from_time=time(0), to_time=time(0), days=frozenset({SATURDAY, SUNDAY}))
    assert until(at("2026-03-13 23:00"), night, weekend) == at("2026-03-16 07:00")


def test_equal_times_are_a_whole_day_and_a_whole_week_of_them_still_ends() -> None:
    always = window(from_time=time(9), to_time=time(9))
    now = at("2026-03-10 12:00")
    end = until(now, always)
    assert end is not None
    assert now < end < now + timedelta(days=17)


def test_without_windows_nothing_is_quiet_and_an_unknown_zone_is_read_as_utc() -> None:
    assert until(at("2026-03-10 23:00")) is None
    assert until(datetime(2026, 3, 10, 23, tzinfo=UTC), window(timezone="Mars/Olympus")) == datetime(2026, 3, 11, 7, tzinfo=UTC)


@given(
    instant=st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - made aware below
    since=st.times(),
    to=st.times(),
    zone=st.sampled_from([BERLIN, NEW_YORK, "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "UTC"]),
)
def test_the_end_lies_ahead_and_is_itself_not_quiet(instant: datetime, since: time, to: time, zone: str) -> None:
    now = instant.replace(tzinfo=UTC)
    hours = window(from_time=since.replace(tzinfo=None), to_time=to.replace(tzinfo=None))
    end = until(now, hours, zone=zone)
    if end is not None and hours.from_time != hours.to_time:
        assert now < end <= now + timedelta(hours=49)
        assert until(end, hours, zone=zone) is None
