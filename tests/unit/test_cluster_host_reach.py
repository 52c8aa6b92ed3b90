"""A machine decides if it has no network itself, before it reports that services are unreachable."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from monitor.daemon.cluster.host_reach import CONFIRM_WITHIN, REACHED_LATELY, REST, HostReach
from tests.support.fakes import Passing

LATELY, REST_FOR, CONFIRM = REACHED_LATELY.total_seconds(), REST.total_seconds(), CONFIRM_WITHIN.total_seconds()
NOW = 1_800_000_000.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source that cannot be reached, and what is decided."""

    title: str
    reached_ago: float | None = None
    others: int = 1
    known: object = None
    """What other daemons left: [since, by]."""
    doubtful: bool
    left: object = None
    """What is left for the others, of the source."""


CASES = [
    Case(title="nothing was ever reached", doubtful=True, left=[NOW, ["me"]]),
    Case(title="another service answered lately", reached_ago=LATELY - 1, doubtful=False),
    Case(title="a service answered long ago", reached_ago=LATELY + 1, doubtful=True, left=[NOW, ["me"]]),
    Case(title="no other daemon could try", others=0, doubtful=False),
    Case(title="this machine has tried before", known=[NOW - 5, ["me"]], doubtful=True, left=[NOW - 5, ["me"]]),
    Case(title="another machine confirms it", known=[NOW - 5, ["other"]], doubtful=False, left=[NOW - 5, ["other"]]),
    Case(title="two machines confirm it", known=[NOW - 5, ["me", "other"]], doubtful=False, left=[NOW - 5, ["me", "other"]]),
    Case(
        title="no machine has confirmed it in time",
        known=[NOW - CONFIRM - 1, ["me"]],
        doubtful=False,
        left=[NOW - CONFIRM - 1, ["me"]],
    ),
    Case(title="the time has nearly passed", known=[NOW - CONFIRM, ["me"]], doubtful=True, left=[NOW - CONFIRM, ["me"]]),
    Case(title="what was left cannot be read", known="x", doubtful=True, left=[NOW, ["me"]]),
    Case(title="what was left is incomplete", known=[NOW], doubtful=True, left=[NOW, ["me"]]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_source_is_left_to_others_if_this_machine_reaches_nothing(case: Case) -> None:
    clock = Passing()
    reach = HostReach(monotonic=clock)
    if case.reached_ago is not None:
        reach.reached()
        clock.now += case.reached_ago
    handover = {} if case.known is None else {"unreachable": case.known}
    assert reach.is_doubtful(handover, me="me", others=case.others, now=NOW) is case.doubtful
    assert handover.get("unreachable") == case.left
    assert reach.rests is case.doubtful
    assert reach.is_doubted is case.doubtful


@pytest.mark.parametrize(
    ("title", "known", "others", "doubted"),
    [
        ("another source is unreachable as well", None, 1, True),
        ("another machine confirms that a source is unreachable", [NOW, ["other"]], 1, False),
        ("no other daemon is at work", None, 0, False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_doubted_machine_leaves_deliveries_to_others_until_the_doubt_is_settled(
    title: str, known: object, others: int, doubted: bool
) -> None:
    clock = Passing()
    reach = HostReach(monotonic=clock)
    reach.is_doubtful({}, me="me", others=1, now=NOW)
    clock.now += REST_FOR + 1
    assert (reach.rests, reach.is_doubted) == (False, True), title
    reach.is_doubtful({} if known is None else {"unreachable": known}, me="me", others=others, now=NOW)
    assert reach.is_doubted is doubted, title


@pytest.mark.parametrize(
    ("passes", "answered", "doubted"), [(CONFIRM - 1, False, True), (CONFIRM, False, False), (0, True, False)]
)
def test_a_doubt_ends_when_a_service_answers_or_after_some_minutes(passes: float, answered: bool, doubted: bool) -> None:
    clock = Passing()
    reach = HostReach(monotonic=clock)
    reach.is_doubtful({}, me="me", others=1, now=NOW)
    clock.now += passes
    if answered:
        reach.reached()
    assert reach.is_doubted is doubted, "services that no machine reaches must not stop the deliveries for good"


def state(reach: HostReach) -> tuple[bool, bool]:
    """Return (it rests, it has a network)."""
    return reach.rests, reach.has_network


def test_a_machine_rests_after_a_doubt_until_it_reaches_something() -> None:
    clock = Passing()
    reach = HostReach(monotonic=clock)
    assert state(reach) == (False, False)
    reach.is_doubtful({}, me="me", others=1, now=NOW)
    clock.now += REST_FOR - 1
    assert state(reach) == (True, False)
    clock.now += 1
    assert state(reach) == (False, False)
    reach.is_doubtful({}, me="me", others=1, now=NOW)
    reach.reached()
    assert state(reach) == (False, True)
