"""Every hand-written hostile answer, over real sockets, through the real adapters, into a stored world.

checker.py states what must hold: nothing raises, every poll ends, no connection becomes valid or lost unless the answer
justifies it, and nobody is notified of anything else. Each case is sent by one of its APIs in turn; `python -m tests.answers`
sends each by all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import structlog

from tests.answers import corpus
from tests.answers.case import Case, ProbeCase
from tests.answers.checker import Checker, check_poll, check_probe, checker

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def checking(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Checker]:
    """One world for all cases: what a case changes in it is rolled back."""
    async with checker(tmp_path_factory.mktemp("answers")) as made:
        yield made


def each_case(*rows: str) -> pytest.MarkDecorator:
    """Make one test of each case of these rows of the failure catalogue."""
    polls = [each for row in rows for each in corpus.polls(row)]
    probes = [each for row in rows for each in corpus.probe_answers(row)]
    cases: list[tuple[Case | ProbeCase, str]] = [*polls, *probes]
    return pytest.mark.parametrize(("case", "kind"), [pytest.param(case, kind, id=f"{case.name}-{kind}") for case, kind in cases])


async def assert_harmless(made: Checker, case: Case | ProbeCase, kind: str) -> None:
    """Assert that an answer leads to what its case states and to nothing else, and that no other host is asked."""
    made.elsewhere.requests.clear()
    with structlog.testing.capture_logs():
        if isinstance(case, Case):
            wrong = await check_poll(made, case, kind)
        else:
            wrong = await check_probe(made, case, kind)
    assert wrong == []
    assert made.elsewhere.requests == []


async def test_the_corpus_is_large_and_every_case_has_its_own_name() -> None:
    names = [*(case.name for case in corpus.POLLS), *(case.name for case in corpus.PROBES)]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert len(names) >= 1500
    rows = ({case.row for case in corpus.POLLS} | {case.row for case in corpus.PROBES}) - {""}
    assert rows == {f"N{number:02}" for number in (*range(7, 26), 27, 28, 29)}


@each_case("N07")
async def test_N07_redirects_are_not_followed(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N08")
async def test_N08_every_way_to_ask_for_a_pause(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N09", "N10", "")
async def test_N09_N10_the_body_of_an_error_is_never_a_list(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N11", "N20")
async def test_N11_N20_bodies_that_are_no_list_and_odd_ones_that_are(
    checking: Checker, case: Case | ProbeCase, kind: str
) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N12")
async def test_N12_answers_truncated_at_every_meaningful_place(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N13", "N14")
async def test_N13_N14_answers_beyond_every_limit(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N15")
async def test_N15_broken_http(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N16", "N17")
async def test_N16_N17_deep_nesting_and_odd_numbers(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N18")
async def test_N18_repeated_keys(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N19")
async def test_N19_every_odd_character_in_a_name_an_id_and_a_status(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N21")
async def test_N21_every_field_with_every_wrong_type(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N22")
async def test_N22_unknown_statuses_and_platforms(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N23", "N24", "N25")
async def test_N23_N24_N25_dates_of_every_kind(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N27", "N28")
async def test_N27_N28_lists_that_are_nearly_empty_and_ids_that_are_nearly_the_same(
    checking: Checker, case: Case | ProbeCase, kind: str
) -> None:
    await assert_harmless(checking, case, kind)


@each_case("N29")
async def test_N29_pages_of_every_kind(checking: Checker, case: Case | ProbeCase, kind: str) -> None:
    await assert_harmless(checking, case, kind)
