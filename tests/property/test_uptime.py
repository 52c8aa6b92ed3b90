"""Properties of uptime: every second counts once, and more trouble never raises the share."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import Status
from monitor.domain.rules.uptime import Change, Hours, Span, hours_of, is_trouble, joined
from tests.support.factories import NOW

HOUR = timedelta(hours=1)
INSTANTS = st.integers(-50, 150).map(lambda hours: NOW + hours * HOUR)
STATUSES = st.sampled_from(list(Status))
BORDERS = st.lists(INSTANTS, min_size=2, max_size=2, unique=True).map(sorted)
GAPS = st.lists(BORDERS, max_size=6).map(lambda spans: joined((first, last) for first, last in spans))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Status, list[Change]]:
    """A first status and its changes, as the store has them."""
    held = [draw(STATUSES)]
    for status in draw(st.lists(STATUSES, max_size=8)):
        if status is not held[-1]:
            held.append(status)
    instants = sorted(draw(st.lists(INSTANTS, min_size=len(held) - 1, max_size=len(held) - 1)))
    return held[-1], [(at, *pair) for at, pair in zip(instants, pairwise(held), strict=True)]


@given(histories(), BORDERS, GAPS)
def test_every_second_counts_once(history: tuple[Status, list[Change]], borders: list[datetime], gaps: tuple[Span, ...]) -> None:
    begin, end = borders
    status, changes = history
    found = hours_of(status, changes, begin=begin, end=end, gaps=gaps)
    assert found.total == end - begin
    assert min(found.working, found.trouble, found.unknown) >= timedelta(0)
    assert found.uptime is None or 0 <= found.uptime <= 1


@given(histories(), BORDERS, GAPS, st.floats(0, 1))
def test_a_period_is_the_sum_of_its_parts(
    history: tuple[Status, list[Change]], borders: list[datetime], gaps: tuple[Span, ...], share: float
) -> None:
    begin, end = borders
    middle = begin + share * (end - begin)
    status, changes = history
    first = hours_of(status, changes, begin=begin, end=middle, gaps=gaps)
    second = hours_of(status, changes, begin=middle, end=end, gaps=gaps)
    assert first + second == hours_of(status, changes, begin=begin, end=end, gaps=gaps)


@given(histories(), BORDERS, GAPS)
def test_trouble_instead_of_work_never_raises_the_uptime(
    history: tuple[Status, list[Change]], borders: list[datetime], gaps: tuple[Span, ...]
) -> None:
    begin, end = borders
    status, changes = history

    def worse(held: Status) -> Status:
        return held if is_trouble(held) or held is Status.UNKNOWN else Status.FAILING

    better = hours_of(status, changes, begin=begin, end=end, gaps=gaps)
    worsened = [(at, worse(before), worse(after)) for at, before, after in changes]
    found = hours_of(worse(status), worsened, begin=begin, end=end, gaps=gaps)
    assert found.unknown == better.unknown
    assert (found.uptime or 0) <= (better.uptime or 0)


@given(histories(), BORDERS, GAPS)
def test_gaps_only_move_time_to_unknown(
    history: tuple[Status, list[Change]], borders: list[datetime], gaps: tuple[Span, ...]
) -> None:
    begin, end = borders
    status, changes = history
    whole: Hours = hours_of(status, changes, begin=begin, end=end)
    found = hours_of(status, changes, begin=begin, end=end, gaps=gaps)
    assert found.working <= whole.working
    assert found.trouble <= whole.trouble
