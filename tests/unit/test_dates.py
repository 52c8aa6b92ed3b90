"""Reading dates, spans and Retry-After: tables, one row per shape."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.rules.dates import Remaining, parse_expiry, parse_instant, parse_remaining
from monitor.providers.rate_limit import http_date, retry_after

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MAY = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)
D, H, M = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


@pytest.mark.parametrize(
    ("value", "instant", "flags"),
    [
        (None, None, set()),
        ("", None, set()),
        ("2026-05-15T10:30:00.000Z", MAY, set()),
        ("2026-05-15T10:30:00Z", MAY, set()),
        (" 2026-05-15t10:30z ", MAY, set()),
        ("2026-05-15T12:30:00+02:00", MAY, set()),
        ("2026-05-15 03:30:00-0700", MAY, set()),
        ("2026-05-15T10:30:00.123456789Z", MAY + timedelta(microseconds=123456), set()),
        ("2026-05-15T10:30:00", MAY, {"naive_date"}),
        ("2026-05-15", datetime(2026, 5, 15, tzinfo=UTC), {"naive_date"}),
        ("2026-05-15 10:30:00 UTC", MAY, set()),
        ("2026-05-15 12:30:00 +0200", MAY, set()),
        ("2026-05-15T10:30:00 GMT", MAY, set()),
        ("2026-05-15 10:30:00 CET", None, {"unparsed_date"}),
        ("2026-02-30 10:30:00 UTC", None, {"unparsed_date"}),
        ("Fri, 15 May 2026 10:30:00 GMT", MAY, set()),
        ("15 May 2026 12:30:00 +0200", MAY, set()),
        ("Fri, 31 Feb 2026 10:30:00 GMT", None, {"unparsed_date"}),
        ("Fri, 15 May 0001 10:30:00 +0200", None, {"ancient_date"}),
        (1778841000, MAY, {"epoch_date"}),
        (1778841000000, MAY, {"epoch_date"}),
        ("1778841000", MAY, {"epoch_date"}),
        (1778841000.5, MAY + timedelta(milliseconds=500), {"epoch_date"}),
        # N23 to N25: no dates
        ("20260515", None, {"unparsed_date"}),
        ("2026-W20-5", None, {"unparsed_date"}),
        ("٢٠٢٦-05-15T10:30:00Z", None, {"unparsed_date"}),
        ("2026-02-30T00:00:00Z", None, {"unparsed_date"}),
        ("2026-05-15T23:59:60Z", None, {"unparsed_date"}),
        ("2026-05-15T24:00:00Z", None, {"unparsed_date"}),
        ("2026-05-15T10:30:00+99:00", None, {"unparsed_date"}),
        ("soon", None, {"unparsed_date"}),
        (True, None, {"unparsed_date"}),
        ([], None, {"unparsed_date"}),
        (math.nan, None, {"unparsed_date"}),
        (math.inf, None, {"unparsed_date"}),
        pytest.param(10**5000, None, {"unparsed_date"}, id="5,000 digits"),
        # outside the years in which these services exist
        (0, None, {"epoch_date", "ancient_date"}),
        ("2014-12-31T23:59:59Z", None, {"ancient_date"}),
        ("0001-01-01T00:00:00+14:00", None, {"ancient_date"}),
        ("9999-12-31T23:59:59-14:00", None, {"far_date"}),
    ],
)
def test_N23_N24_N25_instants(value: Any, instant: datetime | None, flags: set[str]) -> None:
    assert parse_instant(value) == (instant, frozenset(flags))


@pytest.mark.parametrize(
    ("value", "instant", "flags"),
    [
        ("2031-11-20T12:00:00Z", datetime(2031, 11, 20, 12, tzinfo=UTC), set()),
        ("2031-12-01T12:00:00Z", None, {"far_date"}),
        ("9999-12-31T23:59:59Z", None, {"far_date"}),
        ("2058-08-01T00:00:00", None, {"naive_date", "far_date"}),
        ("2020-01-01T00:00:00Z", datetime(2020, 1, 1, tzinfo=UTC), set()),
    ],
)
def test_an_expiry_over_five_years_ahead_means_does_not_expire(value: str, instant: datetime | None, flags: set[str]) -> None:
    assert parse_expiry(value, now=NOW) == (instant, frozenset(flags))


def span(at_least: timedelta, grain: timedelta) -> Remaining:
    return Remaining(at_least=at_least, below=at_least + grain)


@pytest.mark.parametrize(
    ("text", "remaining"),
    [
        ("82d 4h", span(82 * D + 4 * H, H)),
        (" 7D  3H ", span(7 * D + 3 * H, H)),
        ("5h", span(5 * H, H)),
        ("< 1h", span(0 * H, H)),
        ("<1H", span(0 * H, H)),
        ("29 days", span(29 * D, D)),
        ("1 day", span(D, D)),
        ("12d", span(12 * D, D)),
        ("40m", span(40 * M, M)),
        ("1d 2h 3m", span(D + 2 * H + 3 * M, M)),
    ],
)
def test_spans_are_rounded_down(text: str, remaining: Remaining) -> None:
    found = parse_remaining(text)
    assert found == remaining
    assert found is not None
    assert not found.expired
    assert found.coarse is (remaining.below - remaining.at_least > H)


def test_expired_is_a_span_without_anything_left() -> None:
    found = parse_remaining("Expired")
    assert found is not None
    assert found.expired


@pytest.mark.parametrize("text", [None, "", "soon", "d", "h 5", "-3d", "3.5h", "9999999d", "٣h", "4h 3d", 7, "1h" * 99])
def test_what_is_no_span_is_none(text: object) -> None:
    assert parse_remaining(text) is None


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"Retry-After": "45"}, None, 45.0),
        ({"Retry-After": " 45 "}, {"retryAfter": 9}, 45.0),
        ({"Retry-After": "0"}, None, 1.0),
        ({"Retry-After": "86400"}, None, 3600.0),
        ({"Retry-After": "1" + "0" * 5000}, None, 3600.0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:01:30 GMT"}, None, 90.0),
        ({"Retry-After": "Saturday, 21-Nov-26 12:01:30 GMT"}, None, 90.0),
        ({"Retry-After": "Sat Nov 21 12:01:30 2026"}, None, 90.0),
        ({"Retry-After": "Sat, 21 Nov 2026 11:00:00 GMT"}, None, 1.0),
        # the server's own clock counts, not ours
        ({"Retry-After": "Sat, 21 Nov 2026 15:00:10 GMT", "Date": "Sat, 21 Nov 2026 15:00:00 GMT"}, None, 10.0),
        # N8: no number and no date
        ({"Retry-After": "-5"}, None, None),
        ({"Retry-After": "1e20"}, None, None),
        ({"Retry-After": "NaN"}, None, None),
        ({"Retry-After": "1.5"}, None, None),
        ({"Retry-After": "Sat, 21 Nov 99999 12:00:00 GMT"}, None, None),
        ({"Retry-After": "Sat, 99 Nov 2026 12:00:00 GMT"}, None, None),
        ({"Retry-After": "2026-11-21T12:01:30Z"}, None, None),
        ({"Retry-After": "soon"}, {"retryAfter": 30}, 30.0),
        # the body, then the reset
        ({}, {"retryAfter": 45}, 45.0),
        ({}, {"retryAfter": "45"}, 45.0),
        ({}, {"retryAfterMs": 2500}, 2.5),
        ({}, {"retryAfter": -1, "retryAfterMs": 2500}, 2.5),
        ({}, {"retryAfter": True}, None),
        ({}, {"retryAfter": math.nan}, None),
        ({}, {"retryAfter": 10**400}, 3600.0),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 20)}, {}, 20.0),
        ({"X-RateLimit-Reset": str(int(NOW.timestamp() * 1000) + 20_000)}, {}, 20.0),
        ({"X-RateLimit-Reset": "20"}, {}, None),
        ({"X-RateLimit-Reset": "1"}, {"retryAfter": 3}, 3.0),
        ({}, [], None),
        ({}, None, None),
    ],
)
def test_N08_retry_after(headers: dict[str, str], body: Any, seconds: float | None) -> None:
    assert retry_after(httpx.Headers(headers), body, now=NOW) == seconds


def test_N08_digits_of_other_scripts_are_no_number() -> None:
    assert retry_after({"retry-after": "٣"}, None, now=NOW) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    header=st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT"),
    body=JSON,
    reset=st.text(),
)
def test_N08_whatever_is_sent_the_wait_is_bounded(header: str, body: Any, reset: str) -> None:
    seconds = retry_after({"retry-after": header, "x-ratelimit-reset": reset, "date": header}, body, now=NOW)
    assert seconds is None or 1.0 <= seconds <= 3600.0
    date = http_date(header)
    assert date is None or date.tzinfo is UTC


ISO_LIKE = st.from_regex(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?", fullmatch=True)


@given(value=JSON | ISO_LIKE)
def test_N23_N24_N25_a_date_is_aware_utc_or_none_and_never_an_exception(value: Any) -> None:
    instant, flags = parse_expiry(value, now=NOW)
    assert instant is None or (instant.tzinfo is UTC and datetime(2015, 1, 1, tzinfo=UTC) <= instant < NOW + 1828 * D)
    assert all(isinstance(flag, str) for flag in flags)


@given(st.datetimes(min_value=datetime(2015, 1, 2), max_value=datetime(2031, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_every_written_instant_is_read_back(written: datetime) -> None:
    offset = written.utcoffset()
    if offset is not None and not offset.seconds % 60:
        assert parse_instant(written.isoformat()) == (written.astimezone(UTC), frozenset())


@given(st.integers(0, 999_999), st.integers(0, 23))
def test_a_span_of_days_and_hours_is_an_hour_wide(days: int, hours: int) -> None:
    assert parse_remaining(f"{days}d {hours}h") == span(days * D + hours * H, H)


@given(st.text())
def test_any_text_is_a_span_or_none(text: str) -> None:
    found = parse_remaining(text)
    assert found is None or found.at_least < found.below
