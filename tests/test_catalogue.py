"""Every failure of the catalogue has a test that names it, and what is published about it is true."""

from __future__ import annotations

import pytest

from tests.failures import catalogue

ROWS = catalogue.rows()


def test_the_catalogue_is_whole() -> None:
    counts = {letter: sum(row.number.startswith(letter) for row in ROWS) for letter in "NPAS"}
    assert counts == {"N": 35, "P": 47, "A": 22, "S": 28}
    assert len({row.number for row in ROWS}) == 132


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.number)
def test_every_failure_has_a_test_that_names_it(row: catalogue.Row) -> None:
    assert row.tests, f"{row.number} ({row.fault}) has no test named test_{row.number}_..."


def test_no_test_names_a_row_that_is_not_there() -> None:
    assert set(catalogue.tests_by_row()) <= {row.number for row in ROWS}


def test_the_last_recorded_run_covers_every_row_and_all_is_well() -> None:
    recorded = catalogue.results()
    assert set(recorded) == {row.number for row in ROWS}
    assert {row["result"] for row in recorded.values()} == {"passed"}
