"""The hours of a connection within a period, and how long recoveries took."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from monitor.domain import Status
from monitor.domain.rules.uptime import Hours, Recovery, hours_of, joined, recoveries, recovery_times
from tests.support.factories import NOW

HOUR, NONE = timedelta(hours=1), timedelta(0)
BEGIN, END = NOW, NOW + 100 * HOUR
VALID, SOON, UNKNOWN = Status.VALID, Status.EXPIRING_SOON, Status.UNKNOWN
FAILING, EXPIRED, DISCONNECTED = Status.FAILING, Status.EXPIRED, Status.DISCONNECTED


def at(hours: float) -> datetime:
    return BEGIN + hours * HOUR


@pytest.mark.parametrize(
    ("status", "changes", "gaps", "hours"),
    [
        pytest.param(VALID, [], [], (100, 0, 0), id="nothing happened"),
        pytest.param(SOON, [], [], (100, 0, 0), id="a token that expires soon works"),
        pytest.param(FAILING, [], [], (0, 100, 0), id="in trouble all the time"),
        pytest.param(UNKNOWN, [], [], (0, 0, 100), id="unknown is neither"),
        pytest.param(EXPIRED, [(90, VALID, EXPIRED)], [], (90, 10, 0), id="expired within the period"),
        pytest.param(VALID, [(30, DISCONNECTED, VALID)], [], (70, 30, 0), id="recovered within the period"),
        pytest.param(VALID, [(10, VALID, FAILING), (15, FAILING, VALID)], [], (95, 5, 0), id="both"),
        pytest.param(VALID, [(-5, VALID, FAILING), (-1, FAILING, VALID)], [], (100, 0, 0), id="before the period"),
        pytest.param(FAILING, [(-5, VALID, FAILING)], [], (0, 100, 0), id="since before the period"),
        pytest.param(FAILING, [(120, VALID, FAILING)], [], (100, 0, 0), id="after the period"),
        pytest.param(VALID, [(-5, VALID, FAILING), (120, FAILING, VALID)], [], (0, 100, 0), id="longer than the period"),
        pytest.param(VALID, [], [(10, 40)], (70, 0, 30), id="not observed"),
        pytest.param(FAILING, [(30, VALID, FAILING)], [(20, 40)], (20, 60, 20), id="changed while not observed"),
        pytest.param(VALID, [], [(-10, 5), (95, 200)], (90, 0, 10), id="gaps are cut at the borders"),
        pytest.param(UNKNOWN, [], [(20, 40)], (0, 0, 100), id="a gap within unknown counts once"),
    ],
)
def test_hours_are_cut_at_the_borders_of_the_period(
    status: Status,
    changes: list[tuple[float, Status, Status]],
    gaps: list[tuple[float, float]],
    hours: tuple[float, float, float],
) -> None:
    found = hours_of(
        status,
        [(at(hours), before, after) for hours, before, after in changes],
        begin=BEGIN,
        end=END,
        gaps=[(at(first), at(last)) for first, last in gaps],
    )
    assert found == Hours(*(number * HOUR for number in hours))
    assert found.total == END - BEGIN


def test_unknown_time_lowers_no_uptime_and_raises_none() -> None:
    assert Hours(9 * HOUR, HOUR, 90 * HOUR).uptime == 0.9
    assert Hours(9 * HOUR, HOUR, 90 * HOUR).unobserved == 0.9
    assert Hours(NONE, NONE, HOUR).uptime is None, "nothing observed is not 100 %"
    assert Hours().uptime is None
    assert Hours(HOUR, NONE, NONE) + Hours(HOUR, 2 * HOUR, 3 * HOUR) == Hours(2 * HOUR, 2 * HOUR, 3 * HOUR)


def test_overlapping_spans_count_once() -> None:
    assert joined([(at(5), at(9)), (at(1), at(3)), (at(2), at(4)), (at(4), at(5))]) == ((at(1), at(9)),)
    assert joined([(at(5), at(9)), (at(1), at(3))]) == ((at(1), at(3)), (at(5), at(9)))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ([], []),
        ([(1, VALID, FAILING)], []),
        ([(1, VALID, FAILING), (4, FAILING, VALID)], [(1, 4)]),
        ([(1, VALID, SOON), (2, SOON, EXPIRED), (4, EXPIRED, VALID)], [(2, 4)]),
        ([(1, VALID, FAILING), (2, FAILING, EXPIRED), (3, EXPIRED, SOON)], [(1, 3)]),
        ([(1, VALID, FAILING), (2, FAILING, UNKNOWN), (3, UNKNOWN, VALID)], [(1, 3)]),
        ([(4, FAILING, VALID)], [(None, 4)]),
        ([(4, UNKNOWN, VALID)], []),
        ([(1, VALID, UNKNOWN), (4, UNKNOWN, VALID)], []),
        ([(1, VALID, FAILING), (2, FAILING, VALID), (5, VALID, FAILING), (9, FAILING, VALID)], [(1, 2), (5, 9)]),
    ],
)
def test_a_recovery_ends_the_trouble_since_it_began(
    changes: list[tuple[float, Status, Status]], found: list[tuple[float | None, float]]
) -> None:
    given = [(at(hours), before, after) for hours, before, after in changes]
    assert recoveries(given) == [Recovery(None if first is None else at(first), at(last)) for first, last in found]


def test_the_times_of_recoveries_are_the_median_and_the_worst() -> None:
    assert recovery_times([]) is None
    found = recovery_times([HOUR, 4 * HOUR, 30 * HOUR])
    assert found is not None
    assert (found.number, found.median, found.worst) == (3, 4 * HOUR, 30 * HOUR)
    found = recovery_times([HOUR, 2 * HOUR])
    assert found is not None
    assert found.median == timedelta(minutes=90)
