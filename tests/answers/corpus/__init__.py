"""Hostile answers, written down by hand: each part of an answer, wrong in every way that came to mind, for each of the APIs.

Each table says what must come of it. One family is one file; the number in front of a name is the row of the failure catalogue.
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


Told = tuple[Case, str]
ToldProbe = tuple[ProbeCase, str]


def polls(row: str | None = None, *, by_all: bool = False) -> Iterator[Told]:
    """Every answer to a poll, of one row or of all rows, each told by one of its APIs in turn, or by all of them."""
    chosen = [case for case in POLLS if row in (None, case.row)]
    return ((case, kind) for turn, case in enumerate(chosen) for kind in _turn(case.kinds, turn, by_all=by_all))


def probe_answers(row: str | None = None, *, by_all: bool = False) -> Iterator[ToldProbe]:
    """Every answer to a probe, likewise."""
    chosen = [case for case in PROBES if row in (None, case.row)]
    return ((case, kind) for turn, case in enumerate(chosen) for kind in _turn(case.kinds, turn, by_all=by_all))


def _turn(kinds: Sequence[str], turn: int, *, by_all: bool) -> Sequence[str]:
    return kinds if by_all else [kinds[turn % len(kinds)]]
