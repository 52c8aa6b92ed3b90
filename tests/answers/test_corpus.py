"""Every hostile answer that was written down by hand, over real sockets, through the real adapters, into a stored world.

What must hold is in stage.py: nothing raises, everything ends, no connection becomes valid or lost that the answer did not
rightly say so of, and nobody is woken. Each case is told by one of its APIs in turn; `python -m tests.answers` tells all of them.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import structlog

from tests.answers import corpus
from tests.answers.stage import Stage, play, play_probe, stage


async def told(folder: Path, *rows: str) -> None:
    """Tell every case of these rows; all failures at once, each by its name."""
    wrong: list[str] = []
    count = 0
    with structlog.testing.capture_logs():
        async with stage(folder) as made:
            for row in rows:
                count += await tell(made, row, wrong)
            assert made.elsewhere.requests == []
    assert count > 0
    assert wrong == [], f"{len(wrong)} of {count} answers: " + "\n".join(wrong[:50])


async def tell(made: Stage, row: str, wrong: list[str]) -> int:
    """Tell the cases of one row; how many there were."""
    count = 0
    for case, kind in corpus.polls(row):
        count += 1
        wrong += await play(made, case, kind)
    for probe_case, kind in corpus.probe_answers(row):
        count += 1
        wrong += await play_probe(made, probe_case, kind)
    return count


def test_the_corpus_is_large_and_every_case_has_its_own_name() -> None:
    names = [*(case.name for case in corpus.POLLS), *(case.name for case in corpus.PROBES)]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert len(names) >= 1500
    told_rows = ({case.row for case in corpus.POLLS} | {case.row for case in corpus.PROBES}) - {""}
    assert told_rows == {f"N{number:02}" for number in (*range(7, 26), 27, 28, 29)}


async def test_N07_redirects_lead_nowhere(tmp_path: Path) -> None:
    await told(tmp_path, "N07")


async def test_N08_every_way_to_ask_for_a_pause(tmp_path: Path) -> None:
    await told(tmp_path, "N08")


async def test_N09_N10_what_comes_with_a_refusal_is_no_list(tmp_path: Path) -> None:
    await told(tmp_path, "N09", "N10", "")


async def test_N11_N20_what_is_no_list_and_what_is_one_all_the_same(tmp_path: Path) -> None:
    await told(tmp_path, "N11", "N20")


async def test_N12_cut_at_every_meaningful_place(tmp_path: Path) -> None:
    await told(tmp_path, "N12")


async def test_N13_N14_too_much_of_everything(tmp_path: Path) -> None:
    await told(tmp_path, "N13", "N14")


async def test_N15_what_is_no_http(tmp_path: Path) -> None:
    await told(tmp_path, "N15")


async def test_N16_N17_depths_and_numbers(tmp_path: Path) -> None:
    await told(tmp_path, "N16", "N17")


async def test_N18_whatever_is_stated_twice(tmp_path: Path) -> None:
    await told(tmp_path, "N18")


async def test_N19_every_strange_character_in_a_name_an_id_and_a_word(tmp_path: Path) -> None:
    await told(tmp_path, "N19")


async def test_N21_every_field_with_every_wrong_type(tmp_path: Path) -> None:
    await told(tmp_path, "N21")


async def test_N22_words_and_platforms_that_nobody_knows(tmp_path: Path) -> None:
    await told(tmp_path, "N22")


async def test_N23_N24_N25_dates_of_every_kind(tmp_path: Path) -> None:
    await told(tmp_path, "N23", "N24", "N25")


async def test_N27_N28_lists_that_are_nearly_empty_and_ids_that_are_nearly_the_same(tmp_path: Path) -> None:
    await told(tmp_path, "N27", "N28")


async def test_N29_pages_of_every_kind(tmp_path: Path) -> None:
    await told(tmp_path, "N29")
