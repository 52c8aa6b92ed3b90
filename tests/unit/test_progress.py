"""What counts as standing still: by what got on last, not by being alive."""

from __future__ import annotations

import pytest

from monitor.telemetry.progress import DELIVERY, LIMITS, POLL, SCHEDULER, Progress


class Passing:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def passing() -> Passing:
    return Passing()


@pytest.fixture
def progress(passing: Passing) -> Progress:
    return Progress(monotonic=passing)


def test_nothing_is_expected_before_it_has_begun(progress: Progress, passing: Passing) -> None:
    passing.now += 1e6
    assert progress.stuck() is None


@pytest.mark.parametrize("kind", [SCHEDULER, f"{DELIVERY}:ops"])
def test_what_goes_on_is_not_stuck_and_what_stops_is(progress: Progress, passing: Passing, kind: str) -> None:
    within = LIMITS[kind.partition(":")[0]].within.total_seconds()
    progress.note(kind)
    passing.now += within
    assert progress.stuck() is None
    passing.now += 1
    said = progress.stuck()
    assert said is not None
    assert said.endswith(".")
    progress.note(kind)
    assert progress.stuck() is None


def test_a_channel_is_named_and_may_leave(progress: Progress, passing: Passing) -> None:
    progress.note("delivery:ops")
    progress.note("delivery:night")
    passing.now += 3600
    assert "ops" in (progress.stuck() or "")
    assert "1 hour" in (progress.stuck() or "")
    progress.forget("delivery:ops")
    assert progress.problems() == ["Delivery to the channel night has been stalled for 1 hour."]


def test_polls_are_expected_only_while_they_are_due(progress: Progress, passing: Passing) -> None:
    within = LIMITS[POLL].within.total_seconds()
    progress.note(POLL)
    passing.now += 10 * within
    assert progress.stuck() is None, "nothing was due"
    progress.set_due(POLL, due=True)
    passing.now += within
    progress.set_due(POLL, due=True)
    assert progress.stuck() is None
    passing.now += 1
    assert "Polls are due" in (progress.stuck() or "")
    progress.note(POLL)
    assert progress.stuck() is None, "one of them has ended"
    passing.now += within + 1
    assert progress.stuck() is not None
    progress.set_due(POLL, due=False)
    assert progress.stuck() is None


def test_an_instant_may_be_given(progress: Progress, passing: Passing) -> None:
    progress.note(SCHEDULER)
    assert progress.stuck(passing.now + 1e6) is not None
    assert progress.stuck(passing.now) is None


def test_kinds_without_a_limit_are_never_stuck(progress: Progress, passing: Passing) -> None:
    progress.note("care")
    passing.now += 1e6
    assert progress.stuck() is None
