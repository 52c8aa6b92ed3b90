"""When something is due next: on a grid of its own, the same after every restart, never drifting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from monitor.domain.rules import schedule
from tests.support.factories import NOW

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
EVERY = 15 * MINUTE
LAST = datetime.max.replace(tzinfo=UTC)

KEYS = [f"source-{number}" for number in range(200)]


# --- the grid


@pytest.mark.parametrize("key", KEYS[:20])
def test_polls_follow_each_other_by_whole_intervals_whatever_their_delay(key: str) -> None:
    due = schedule.next_poll(NOW, EVERY, key=key, jitter=0.1)
    for number in range(1, 50):
        late_by = number * timedelta(seconds=7)  # up to nearly six minutes, never adding up
        following = schedule.next_poll(due + late_by, EVERY, key=key, jitter=0.1)
        assert following - due == EVERY
        due = following


@pytest.mark.parametrize("key", KEYS[:20])
def test_a_restart_neither_skips_nor_stampedes(key: str) -> None:
    due = schedule.next_poll(NOW, EVERY, key=key, jitter=0.1)
    seconds = [(schedule.next_poll(NOW + n * SECOND, EVERY, key=key, jitter=0.1) - due) / EVERY for n in range(0, 900, 30)]
    assert set(seconds) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "now", [NOW, datetime(1970, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 1, tzinfo=UTC)]
)
@pytest.mark.parametrize("every", [SECOND, timedelta(seconds=90), EVERY, 6 * HOUR, timedelta(days=30)])
def test_the_next_turn_is_at_most_an_interval_and_a_tenth_away_and_never_at_once(now: datetime, every: timedelta) -> None:
    slack = timedelta(milliseconds=1)
    for key in KEYS:
        wait = schedule.next_poll(now, every, key=key, jitter=0.1) - now
        assert wait >= every / 10 - slack
        assert wait <= every * 1.1 + slack or schedule.next_poll(now, every, key=key, jitter=0.1) == LAST


def test_sources_are_spread_over_the_interval() -> None:
    quarters = [int((schedule.next_poll(NOW, EVERY, key=key, jitter=0.1) - NOW - EVERY / 10) / (EVERY / 4)) for key in KEYS]
    assert all(quarters.count(quarter) > 25 for quarter in range(4))


def test_a_keys_place_is_fixed_and_within_the_interval() -> None:
    assert schedule.unit("agency") == schedule.unit("agency")
    assert all(0 <= schedule.unit(key) < 1 for key in (*KEYS, "", "\ud800"))


# --- cohorts


def test_a_cohort_is_fixed_for_its_connection_and_within_range() -> None:
    cohorts = [schedule.cohort_of("user-1", f"linkedin-{number}") for number in range(5000)]
    assert set(cohorts) == set(range(schedule.COHORTS))
    assert schedule.cohort_of("user-1", "linkedin-0") == cohorts[0]


def test_the_owner_and_an_empty_scope_are_the_same_place() -> None:
    assert schedule.cohort_of(None, "x") == schedule.cohort_of("", "x")
    assert 0 <= schedule.cohort_of(None, "\ud800") < schedule.COHORTS


def test_a_sources_cohorts_share_the_interval_evenly() -> None:
    every = 6 * HOUR
    due = sorted(
        schedule.next_cohort_probe(NOW, every, source="agency", cohort=cohort, jitter=0.1) for cohort in range(schedule.COHORTS)
    )
    gaps = [later - earlier for earlier, later in pairwise(due)]
    place = every / schedule.COHORTS
    assert max(gaps) <= place * 1.21
    assert min(gaps) >= place * 0.79


@pytest.mark.parametrize("jitter", [0.0, 0.1, 0.5])
def test_jitter_moves_a_cohort_by_no_more_than_its_share_and_never_adds_up(jitter: float) -> None:
    every = 6 * HOUR
    plain = schedule.next_cohort_probe(NOW, every, source="agency", cohort=7, jitter=0.0)
    due = schedule.next_cohort_probe(NOW, every, source="agency", cohort=7, jitter=jitter)
    assert abs(due - plain) <= every / schedule.COHORTS * jitter + SECOND
    following = schedule.next_cohort_probe(due, every, source="agency", cohort=7, jitter=jitter)
    assert following - due == every


# --- after a failure


def failed(failures: int, every: timedelta = EVERY, retry_after: float | None = None) -> timedelta:
    return schedule.next_poll_after_failure(NOW, every, failures=failures, retry_after=retry_after) - NOW


@pytest.mark.parametrize(
    ("failures", "wait"),
    [(1, 5 * MINUTE), (2, 10 * MINUTE), (3, 15 * MINUTE), (4, 15 * MINUTE), (10**9, 15 * MINUTE), (0, 5 * MINUTE)],
)
def test_N02_failed_polls_are_tried_again_sooner_then_less_and_less_often(failures: int, wait: timedelta) -> None:
    assert failed(failures) == wait


@pytest.mark.parametrize("every", [HOUR, timedelta(days=1)])
def test_N02_a_source_polled_rarely_is_tried_again_within_fifteen_minutes(every: timedelta) -> None:
    assert [failed(n, every) for n in (1, 2, 3, 50)] == [5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 15 * MINUTE]


def test_a_source_polled_often_is_never_tried_more_often_after_a_failure_than_once_a_second() -> None:
    assert [failed(n, SECOND) for n in (1, 2, 9)] == [SECOND, SECOND, SECOND]


@pytest.mark.parametrize(("seconds", "wait"), [(3600.0, HOUR), (1.0, 5 * MINUTE), (301.0, timedelta(seconds=301))])
def test_the_providers_own_pause_is_kept(seconds: float, wait: timedelta) -> None:
    assert failed(1, retry_after=seconds) == wait


def test_postponed_probes_wait_as_long_as_was_asked_and_at_least_a_second() -> None:
    assert schedule.postponed(NOW, 30.0) == NOW + timedelta(seconds=30)
    assert schedule.postponed(NOW, 0.0) == NOW + SECOND
    assert schedule.postponed(NOW, -5.0) == NOW + SECOND


# --- refused probes


@pytest.mark.parametrize("every", [SECOND, MINUTE, 6 * HOUR])
def test_a_first_refusal_is_probed_again_within_sixty_seconds(every: timedelta) -> None:
    wait = schedule.next_failing_probe(NOW, every, confirmed=False) - NOW
    assert timedelta(0) < wait <= schedule.CONFIRM_WITHIN
    assert wait <= every


def test_a_confirmed_refusal_is_probed_again_hourly_at_most() -> None:
    assert schedule.next_failing_probe(NOW, 6 * HOUR, confirmed=True) == NOW + HOUR
    assert schedule.next_failing_probe(NOW, EVERY, confirmed=True) == NOW + EVERY


# --- the end of the calendar


def test_N24_the_last_day_of_the_calendar_is_no_obstacle() -> None:
    assert schedule.next_poll(LAST, EVERY, key="agency", jitter=0.1) == LAST
    assert schedule.next_poll_after_failure(LAST, EVERY, failures=1, retry_after=None) == LAST
    assert schedule.next_cohort_probe(LAST, EVERY, source="agency", cohort=1, jitter=0.1) == LAST
    assert schedule.next_failing_probe(LAST, EVERY, confirmed=True) == LAST
    assert schedule.postponed(LAST, 60.0) == LAST


@pytest.mark.parametrize("every", [timedelta(seconds=60), timedelta(hours=6), timedelta(days=30)])
def test_a_cohort_that_came_along_early_is_next_an_interval_after_its_own_time(every: timedelta) -> None:
    """Or those at the edge of a burst would be probed twice in a row."""
    assert schedule.LEAD < schedule.MARGIN
    for cohort in range(0, schedule.COHORTS, 7):
        due = schedule.next_cohort_probe(NOW, every, source="agency", cohort=cohort, jitter=0.1)
        for early in (timedelta(0), schedule.lead(every) / 2, schedule.lead(every)):
            again = schedule.next_cohort_probe(due - early, every, source="agency", cohort=cohort, jitter=0.1)
            assert abs(again - due - every) < timedelta(milliseconds=1)


def test_no_probe_is_early_where_probes_are_off() -> None:
    assert schedule.lead(None) == timedelta(0)
