"""Rows that cannot be read: when they count, and their description."""

from __future__ import annotations

import pytest

from monitor.domain import Unreadable
from monitor.domain.rules.unreadable_rows import count_polls, describe, is_failing


@pytest.mark.parametrize(
    ("before", "unreadable", "confirm", "polls"),
    [(0, 1, 2, 1), (1, 6, 2, 2), (2, 6, 2, 2), (2, 0, 2, 0), (0, 0, 2, 0), (0, 1, 0, 1), (0, 1, 1, 1), (2, 1, 3, 3)],
)
def test_lists_in_a_row_are_counted_up_to_the_confirmation(before: int, unreadable: int, confirm: int, polls: int) -> None:
    assert count_polls(before, unreadable, confirm=confirm) == polls


@pytest.mark.parametrize(
    ("unreadable", "of", "polls", "failing"),
    [(1, 6, 1, False), (1, 6, 2, True), (6, 6, 1, True), (0, 6, 0, False), (0, 0, 0, False), (0, 6, 2, False)],
)
def test_a_source_fails_if_the_rows_stay_unreadable_or_none_is_readable(
    unreadable: int, of: int, polls: int, *, failing: bool
) -> None:
    assert is_failing(unreadable, of, polls=polls, confirm=2) is failing


def test_the_description_is_bounded_and_names_the_scope() -> None:
    rows = [
        Unreadable(external_id="a", why="Expected `str`, got `int` - at `$.tokenStatus`."),
        Unreadable(external_id=None, why="x"),
    ]
    assert describe(rows, 6, scope="ws_1") == (
        "2 of 6 rows of ws_1 cannot be read (Expected `str`, got `int` - at `$.tokenStatus`). They keep their last status."
    )
    assert describe(rows[:1], 1, scope=None).startswith("1 of 1 row cannot be read (")
    assert len(describe([Unreadable(external_id="a", why="y" * 5000)], 9, scope="s" * 5000)) <= 256
