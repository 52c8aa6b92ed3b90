"""Connections that cannot be tested: when they are counted, and their description."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from monitor.domain.rules.silent_probes import SilentGroup, describe, is_check_due
from tests.support.factories import NOW

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WHEN = f"since {NOW:%Y-%m-%d %H:%M} UTC"


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        (None, NOW, True),
        (NOW, NOW + MINUTE, False),
        (NOW + 45 * MINUTE, NOW + HOUR, True),
        (NOW, NOW + 24 * HOUR, True),
        (NOW + HOUR, NOW, True),
    ],
)
def test_they_are_counted_at_the_first_poll_of_every_hour(last: datetime | None, now: datetime, *, due: bool) -> None:
    assert NOW.minute == 0
    assert is_check_due(last, now) is due


def group(platform: str, silent: int, of: int, since: datetime | None = NOW) -> SilentGroup:
    return SilentGroup(platform, silent, of, since if silent else None)


@pytest.mark.parametrize(
    ("groups", "some"),
    [
        ([group("linkedin", 1, 9), group("twitter", 0, 4)], "1 connection could not be tested"),
        ([group("linkedin", 2, 9), group("twitter", 1, 4, NOW + HOUR)], "3 connections could not be tested"),
        ([group("linkedin", 9, 9), group("twitter", 1, 4)], "10 connections (all of LinkedIn) could not be tested"),
        ([group("linkedin", 1, 1)], "1 connection could not be tested"),
        ([group(name, 2, 2) for name in "abcde"], "10 connections (all of a, b, c and 2 more platforms) could not be tested"),
    ],
)
def test_the_description_counts_them_and_names_platforms_that_are_silent_as_a_whole(groups: list[SilentGroup], some: str) -> None:
    assert describe(groups, "fetch failed") == f"{some} {WHEN} (answer: 'fetch failed'). Their status in the list still applies."


def test_an_empty_answer_is_left_out_and_a_long_one_is_bounded() -> None:
    assert (
        describe([group("linkedin", 2, 9)], None)
        == f"2 connections could not be tested {WHEN}. Their status in the list still applies."
    )
    wide = [group(f"{'p' * 200}{number}", 2, 2) for number in range(9)]
    assert "Their status in the list still applies." in describe([group("linkedin", 2, 9)], "x" * 5000)
    assert len(describe([group("linkedin", 2, 9)], "x" * 5000)) <= 256
    assert describe(wide, "x").count("p" * 90) == 0
