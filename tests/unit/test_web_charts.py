"""Where things stand in the pages' pictures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import Event, EventKind, Status
from monitor.domain.rules.forecast import BATCH_SPAN, Need, reconnect_batches
from monitor.store.reconnects import ExpiringGroup
from monitor.views.renewals import RenewalView
from monitor.web import charts
from tests.support.factories import NOW

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def coming(days: float, *, number: int = 1, platform: str = "linkedin", source: str = "agency") -> ExpiringGroup:
    at = NOW + days * DAY
    return ExpiringGroup(source, platform, at, at, number)


def entry(kind: EventKind, days: float, old: str | None = None, new: str | None = None) -> Event:
    return Event(kind=kind, at=NOW + days * DAY, old=old, new=new)


# --- the next 90 days


def test_expiries_within_three_days_are_one_batch() -> None:
    drawn = charts.timeline([coming(10), coming(12.9, number=4), coming(13.1), coming(40)], now=NOW)
    assert [(group.number, (group.first - NOW) / DAY) for group in drawn.batches] == [(5, 10), (1, pytest.approx(13.1)), (1, 40)]
    assert drawn.number == 7
    assert drawn.busiest == drawn.batches[0]


def test_lanes_are_by_platform_the_fullest_first_and_the_rest_share_one() -> None:
    platforms = [f"p{number}" for number in range(12)]
    drawn = charts.timeline([coming(5, platform=name, number=20 - index) for index, name in enumerate(platforms)], now=NOW)
    assert [lane.platform for lane in drawn.lanes] == [*platforms[:7], ""]
    assert sum(lane.number for lane in drawn.lanes) == drawn.number
    assert len(charts.timeline([coming(5, platform=name) for name in platforms[:8]], now=NOW).lanes) == 8


def test_the_table_ends_after_sixty_batches_and_the_largest_is_found_among_all() -> None:
    drawn = charts.timeline([coming(1 + index / 10, number=1 + index, source=f"s{index}") for index in range(70)], now=NOW)
    assert [(batch.source, batch.number) for batch in drawn.batches] == [(f"s{index}", index + 1) for index in range(60)]
    assert drawn.later == 10
    assert drawn.busiest is not None
    assert drawn.busiest.source == "s69"


def test_nothing_to_come_is_an_empty_picture() -> None:
    drawn = charts.timeline([], now=NOW)
    assert (drawn.lanes, drawn.batches, drawn.number, drawn.busiest) == ((), (), 0, None)


@given(st.lists(st.integers(min_value=0, max_value=89), max_size=40))
def test_marks_of_a_lane_never_overlap_and_batches_match_the_forecast(days: list[int]) -> None:
    """With one instant a day the batches are exactly those of the rules."""
    numbers = {day: days.count(day) for day in days}
    drawn = charts.timeline([coming(day, number=number) for day, number in numbers.items()], now=NOW)
    for lane in drawn.lanes:
        ends = [(mark.x, mark.x + mark.width) for mark in lane.marks]
        assert all(first[1] <= second[0] + 1e-9 for first, second in pairwise(ends))
    needs = [
        Need(connection=str(index), source="agency", platform="linkedin", label="", status=Status.VALID, by=NOW + day * DAY)
        for index, day in enumerate(days)
    ]
    expected = sorted((batch.first, batch.last, len(batch.needs)) for batch in reconnect_batches(needs))
    assert sorted((group.first, group.last, group.number) for group in drawn.batches) == expected
    assert all(group.last - group.first <= BATCH_SPAN for group in drawn.batches)


# --- status over time


def test_a_band_shows_each_period_in_a_status() -> None:
    entries = [
        entry(EventKind.APPEARED, -40, new="valid"),
        entry(EventKind.STATUS_CHANGED, -10, "valid", "expired"),
        entry(EventKind.RENEWED, -5, "2026-01-01T00:00:00Z", "2026-05-01T00:00:00Z"),
        entry(EventKind.STATUS_CHANGED, -5, "expired", "valid"),
    ]
    drawn = charts.band(entries, status=Status.VALID, added_at=NOW - 40 * DAY, now=NOW)
    periods = [(segment.status, segment.begin, segment.end) for segment in drawn.segments]
    assert periods == [
        (Status.VALID, NOW - 40 * DAY, NOW - 10 * DAY),
        (Status.EXPIRED, NOW - 10 * DAY, NOW - 5 * DAY),
        (Status.VALID, NOW - 5 * DAY, NOW),
    ]
    assert drawn.segments[1].x == pytest.approx(75)
    assert drawn.segments[1].width == pytest.approx(12.5)
    assert [dot.entry.kind for dot in drawn.dots] == [EventKind.RENEWED]


def test_a_band_whose_beginning_is_no_longer_kept_begins_with_what_was_before_the_first_change() -> None:
    entries = [entry(EventKind.STATUS_CHANGED, -10, "expiring_soon", "expired")]
    drawn = charts.band(entries, status=Status.EXPIRED, added_at=NOW - 500 * DAY, now=NOW)
    assert [segment.status for segment in drawn.segments] == [Status.EXPIRING_SOON, Status.EXPIRED]
    assert drawn.begin == NOW - 90 * DAY


def test_a_band_without_a_past_is_what_it_is_now() -> None:
    drawn = charts.band([], status=Status.UNKNOWN, added_at=NOW, now=NOW)
    assert [segment.status for segment in drawn.segments] == [Status.UNKNOWN]
    assert drawn.begin < drawn.end


def test_an_unknown_status_is_a_gap() -> None:
    entries = [
        entry(EventKind.STATUS_CHANGED, -3, "valid", "haunted"),
        entry(EventKind.STATUS_CHANGED, -1, "haunted", "valid"),
    ]
    drawn = charts.band(entries, status=Status.VALID, added_at=NOW - 9 * DAY, now=NOW)
    assert [segment.status for segment in drawn.segments] == [Status.VALID, None, Status.VALID]


def test_a_gap_in_monitoring_has_no_status_and_the_previous_status_continues_after_it() -> None:
    gap = f"{NOW - 8 * DAY:%Y-%m-%dT%H:%M:%SZ}"
    entries = [
        entry(EventKind.APPEARED, -20, new="valid"),
        entry(EventKind.GAP, -6, gap, f"{NOW - 6 * DAY:%Y-%m-%dT%H:%M:%SZ}"),
        entry(EventKind.STATUS_CHANGED, -6, "valid", "expired"),
        entry(EventKind.GAP, 0, f"{NOW - DAY:%Y-%m-%dT%H:%M:%SZ}", None),
    ]
    drawn = charts.band(entries, status=Status.EXPIRED, added_at=NOW - 20 * DAY, now=NOW)
    assert [(segment.status, (segment.begin - NOW) / DAY, (segment.end - NOW) / DAY) for segment in drawn.segments] == [
        (Status.VALID, -20, -8),
        (None, -8, -6),
        (Status.EXPIRED, -6, -1),
        (None, -1, 0),
    ]
    assert drawn.dots == ()


KINDS = st.sampled_from(list(EventKind))
WORDS = st.none() | st.sampled_from([*Status, "haunted", "2026-05-01T00:00:00Z", "2026-05-01", "soon", ""])
ENTRIES = st.lists(st.builds(entry, KINDS, st.floats(min_value=-400, max_value=5), WORDS, WORDS), max_size=12)


@given(ENTRIES, st.floats(min_value=0, max_value=500), st.none() | st.floats(min_value=-3000, max_value=3000))
def test_pictures_of_any_past_stay_inside_of_their_frame(entries: list[Event], age: float, days: float | None) -> None:
    entries = sorted(entries, key=lambda each: each.at)
    drawn = charts.band(entries, status=Status.VALID, added_at=NOW - age * DAY, now=NOW)
    assert sum(segment.width for segment in drawn.segments) == pytest.approx(100)
    for segment in drawn.segments:
        assert 0 <= segment.x <= segment.x + segment.width <= 100 + 1e-6
    assert all(0 <= x <= 100 for x in [*(dot.x for dot in drawn.dots), *(tick.x for tick in drawn.ticks)])
    assert len(drawn.ticks) <= 9
    left = charts.time_left(
        entries, expires_at=None if days is None else NOW + days * DAY, window=7 * DAY, begin=drawn.begin, now=NOW
    )
    if left is None:
        return
    for line in left.lines:
        assert all(-1e-6 <= value <= 100 + 1e-6 for value in (line.x1, line.y1, line.x2, line.y2))
    assert all(-1e-6 <= y <= 100 + 1e-6 for y, _ in left.levels)
    assert left.window is None or 0 <= left.window <= left.zero <= 100


# --- the time left


def test_time_left_falls_a_day_a_day_and_renewals_lift_it() -> None:
    entries = [entry(EventKind.RENEWED, -10, f"{NOW - 5 * DAY:%Y-%m-%dT%H:%M:%SZ}", f"{NOW + 50 * DAY:%Y-%m-%dT%H:%M:%SZ}")]
    left = charts.time_left(entries, expires_at=NOW + 50 * DAY, window=7 * DAY, begin=NOW - 40 * DAY, now=NOW)
    assert left is not None
    assert [line.jump for line in left.lines] == [False, True, False]
    before, jump, after = left.lines
    assert (before.x2, jump.x1, jump.x2, after.x1) == pytest.approx((75, 75, 75, 75))
    assert before.y1 < before.y2 < left.zero
    assert after.y1 < before.y2
    slopes = [(line.y2 - line.y1) / (line.x2 - line.x1) for line in (before, after)]
    assert slopes[0] == pytest.approx(slopes[1])
    assert left.renewals == 1


def test_without_a_date_there_is_no_picture() -> None:
    assert charts.time_left([], expires_at=None, window=None, begin=NOW - DAY, now=NOW) is None


def test_the_far_end_of_the_calendar_is_drawn_too() -> None:
    left = charts.time_left([], expires_at=datetime(9999, 12, 31, tzinfo=UTC), window=DAY, begin=NOW - DAY, now=NOW)
    assert left is not None
    assert len(left.levels) <= 40


# --- learned renewals


def renewals(*, last: float = 0, every: float = 1, **over: Any) -> RenewalView:
    """The renewals of a token that was renewed `last` hours ago and is renewed every so many hours; overdue after half more."""
    last_at = NOW - last * HOUR
    values = {"last_at": last_at, "next_at": last_at + every * HOUR, "overdue_at": last_at + 1.5 * every * HOUR, **over}
    return RenewalView(every=every * HOUR, left=HOUR, **values)


def test_the_renewals_of_a_two_hour_token_that_is_renewed_every_hour() -> None:
    drawn = charts.renewal(renewals(last=0.5), expires_at=NOW + 1.5 * HOUR, now=NOW)
    assert drawn is not None
    assert [(mark.number, mark.name, round((mark.at - drawn.begin) / HOUR, 1)) for mark in drawn.marks] == [
        (1, "Last renewal", 0), (2, "Next renewal expected", 1), (3, "Overdue", 1.5), (4, "Expiry", 2)
    ]  # fmt: skip
    assert [(zone.name, zone.status) for zone in drawn.zones] == [
        ("on time", Status.VALID), ("late", Status.UNKNOWN), ("overdue", Status.EXPIRING_SOON), ("expired", Status.EXPIRED)
    ]  # fmt: skip
    assert drawn.now.x == pytest.approx(100 * 0.5 / (2 + 2 / 25))


def test_a_token_that_expires_before_its_renewal_is_overdue_has_no_zone_for_that() -> None:
    drawn = charts.renewal(renewals(every=58 * 24), expires_at=NOW + 60 * DAY, now=NOW)
    assert drawn is not None
    assert [zone.name for zone in drawn.zones] == ["on time", "late", "expired"]
    assert [mark.name for mark in drawn.marks][-1] == "Overdue"


@pytest.mark.parametrize("known", [None, renewals(next_at=None), renewals(overdue_at=None), renewals(last_at=None)])
def test_no_picture_where_no_renewal_is_expected(known: RenewalView | None) -> None:
    assert charts.renewal(known, expires_at=NOW + DAY, now=NOW) is None


hours = st.floats(min_value=-2000, max_value=2000)


@given(last=hours, every=st.floats(min_value=0, max_value=2000), expires=st.none() | hours)
def test_renewals_fill_the_picture_whatever_the_times_are(last: float, every: float, expires: float | None) -> None:
    expires_at = None if expires is None else NOW + expires * HOUR
    drawn = charts.renewal(renewals(last=last, every=every), expires_at=expires_at, now=NOW)
    assert drawn is not None
    assert [mark.at for mark in drawn.marks] == sorted(mark.at for mark in drawn.marks)
    assert all(0 <= x <= 100 for x in (*(mark.x for mark in drawn.marks), drawn.now.x))
    assert sum(zone.width for zone in drawn.zones) == pytest.approx(100)
    assert all(first.x + first.width == pytest.approx(second.x) for first, second in pairwise(drawn.zones))
