"""When a failed delivery is tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.domain.rules.retry import next_attempt
from tests.support.factories import NOW

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def wait(attempt: int, *, retry_after: float | None = None, key: str = "alert/ops", **how: bool) -> timedelta:
    at = next_attempt(attempt, NOW, now=NOW + HOUR, key=key, retry_after=retry_after, **how)
    assert at is not None
    return at - NOW - HOUR


@pytest.mark.parametrize(
    ("attempt", "about"),
    [(1, 10 * SECOND), (2, 30 * SECOND), (3, MINUTE), (4, 2 * MINUTE), (5, 5 * MINUTE), (6, 10 * MINUTE), (7, 30 * MINUTE)],
)
def test_the_first_tries_follow_the_steps_within_a_tenth(attempt: int, about: timedelta) -> None:
    assert about * 0.9 <= wait(attempt) <= about * 1.1


@pytest.mark.parametrize("attempt", [8, 9, 70, 10_000])
def test_later_tries_are_hourly(attempt: int) -> None:
    assert wait(attempt) == HOUR


def test_jitter_is_the_same_each_time_and_differs_between_deliveries() -> None:
    assert wait(5) == wait(5)
    assert len({wait(5, key=f"alert-{number}") for number in range(20)}) > 10


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        (300.0, 300 * SECOND),  # longer than the step: obeyed
        (86_400.0, HOUR),  # bounded
        (float("inf"), HOUR),
        (0.0, None),  # shorter than the step: the step holds
        (-5.0, None),
    ],
)
def test_A05_retry_after_is_never_undercut_and_bounded_by_an_hour(retry_after: float, expected: timedelta | None) -> None:
    assert wait(1, retry_after=retry_after) == (expected or wait(1))


def test_A04_a_permanent_refusal_is_tried_hourly_from_the_start() -> None:
    assert wait(1, permanent=True) == HOUR


@pytest.mark.parametrize("attempt", [3, 4, 9, 10_000])
def test_A01_what_is_down_is_tried_every_minute(attempt: int) -> None:
    assert 40 * SECOND <= wait(attempt, down=True) <= 50 * SECOND
    assert wait(attempt, down=True, permanent=True) == HOUR
    assert wait(attempt, down=True, retry_after=300) == 300 * SECOND


def test_the_first_tries_of_what_is_down_are_as_soon_as_any() -> None:
    assert [wait(attempt, down=True) for attempt in (1, 2)] == [wait(1), wait(2)]


def test_A02_the_last_try_falls_just_beyond_the_end_of_three_days_and_then_it_gives_up() -> None:
    end = NOW + timedelta(hours=72, minutes=1)
    assert next_attempt(80, NOW, now=end - MINUTE, key="k") == end
    assert next_attempt(81, NOW, now=end, key="k") is None
    assert next_attempt(1, NOW, now=end + HOUR, key="k", retry_after=5) is None


def test_a_dead_channel_costs_about_eighty_tries() -> None:
    tries, now = 0, NOW
    while (at := next_attempt(tries + 1, NOW, now=now, key="k")) is not None:
        assert at > now
        tries, now = tries + 1, at
    assert 72 <= tries <= 82
