"""The table of guards is true to the code, and the program that tries it reports correctly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.failures import catalogue
from tests.mutants.guards import TABLE, Guard, GuardMoved, guards
from tests.mutants.running import ROOT, Tree, tree, try_without

GUARDS = guards()
BY_NAME = {guard.name: guard for guard in GUARDS}
CHEAP = ("confirmed-refusals", "mentions", "redactor")
"""Of these the tests need neither a server nor a database."""


@pytest.fixture(scope="module")
def copy() -> Iterator[Tree]:
    with tree() as made:
        yield made


def test_there_are_guards_everywhere_each_with_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(GUARDS) >= 350
    assert {guard.area for guard in GUARDS} >= {"store", "lock", "network", "rules", "delivery", "messages", "log", "web"}


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_every_guard_is_where_the_table_places_it(guard: Guard) -> None:
    assert guard.removed((ROOT / guard.file).read_text("utf-8")).count(guard.guard) == guard.without.count(guard.guard)


def test_every_row_that_a_guard_names_is_in_the_catalogue() -> None:
    assert {row for guard in GUARDS for row in guard.rows} <= {row.number for row in catalogue.rows()}


@pytest.mark.parametrize("row", catalogue.rows(), ids=lambda row: row.number)
def test_every_row_has_a_guard_whose_removal_its_own_test_must_notice(row: catalogue.Row) -> None:
    named = [test for guard in GUARDS if row.number in guard.rows for test in guard.tests]
    own = [test for test in named if row.number in catalogue.numbers_in(test.rpartition("::")[2])]
    assert own, f"{row.number} ({row.fault}) needs a guard with rows and tests that name it; it has {named}"


def test_every_test_that_is_named_is_there() -> None:
    named = sorted({test for guard in GUARDS for test in guard.tests})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider", *named],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.mark.parametrize("name", CHEAP)
def test_a_guard_that_is_taken_out_turns_a_test_red_and_is_put_back(name: str, copy: Tree) -> None:
    guard = BY_NAME[name]
    before = (copy.folder / guard.file).read_bytes()
    result = try_without(copy, guard)
    assert result.red, result.output
    assert result.failed[0].startswith(guard.tests[0])
    assert (copy.folder / guard.file).read_bytes() == before


def test_an_undetected_removal_is_neither_red_nor_hidden(copy: Tree) -> None:
    useless = replace(BY_NAME["mentions"], guard="import unicodedata\n", without="import unicodedata  # as before\n")
    result = try_without(copy, useless)
    assert (result.green, result.red, result.failed) == (True, False, ())


def test_a_test_that_is_skipped_proves_nothing(copy: Tree) -> None:
    """The machine lacks what the test needs: its guard was not tried, and the test did not pass without it."""
    file = copy.folder / "tests/unit/test_skipped.py"
    file.write_text('import pytest\n\n\n@pytest.mark.skip(reason="no strace")\ndef test_it() -> None: ...\n', encoding="utf-8")
    result = try_without(copy, replace(BY_NAME["mentions"], tests=("tests/unit/test_skipped.py",)))
    assert (result.red, "no strace" in (result.skipped or "")) == (False, True)


def test_a_program_that_cannot_even_be_loaded_proves_nothing(copy: Tree) -> None:
    broken = replace(BY_NAME["mentions"], guard="import unicodedata\n", without="import nothing_of_this_name\n")
    result = try_without(copy, broken)
    assert (result.green, result.red) == (False, False)
    assert "nothing_of_this_name" in result.output


def test_a_guard_that_moved_is_reported_by_its_name() -> None:
    moved = replace(BY_NAME["mentions"], guard="a text that is not there")
    with pytest.raises(GuardMoved, match=f"mentions: its text is 0 times in .*text.py, not once.*{TABLE.name}"):
        moved.removed((ROOT / moved.file).read_text("utf-8"))
