"""Hand-written hostile answers: each part of an answer, wrong in every known way, for each of the APIs.

Each case states its required result. One family is one file; a name begins with the row of the failure catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.answers.case import Case, ProbeCase
from tests.answers.corpus import bodies, dates, framing, pages, pauses, probes, rows, statuses

POLLS: tuple[Case, ...] = (
    *statuses.CASES,
    *pauses.CASES,
    *framing.CASES,
    *bodies.CASES,
    *rows.CASES,
    *dates.CASES,
    *pages.CASES,
)
PROBES: tuple[ProbeCase, ...] = tuple(probes.CASES)


def polls(row: str | None = None, *, by_all: bool = False) -> Iterator[tuple[Case, str]]:
    """Return the answers to polls of one row or of all, each with one of its APIs in turn, or with every one of them."""
    chosen = [case for case in POLLS if row in (None, case.row)]
    return ((case, kind) for turn, case in enumerate(chosen) for kind in _turn(case.kinds, turn, by_all=by_all))


def probe_answers(row: str | None = None, *, by_all: bool = False) -> Iterator[tuple[ProbeCase, str]]:
    """Return the answers to probes likewise."""
    chosen = [case for case in PROBES if row in (None, case.row)]
    return ((case, kind) for turn, case in enumerate(chosen) for kind in _turn(case.kinds, turn, by_all=by_all))


def _turn(kinds: Sequence[str], turn: int, *, by_all: bool) -> Sequence[str]:
    return kinds if by_all else [kinds[turn % len(kinds)]]
