"""Lasting differences between clocks: since when, and which one is wrong."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from monitor.domain.rules.clock_skew import SourceClock, describe, skewed_since
from tests.support.factories import NOW

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("before", "skew", "since"),
    [
        (None, 0.0, None),
        (None, 300.0, None),
        (None, 301.0, NOW),
        (None, -301.0, NOW),
        (NOW - HOUR, 400.0, NOW - HOUR),
        (NOW - HOUR, -3.0, None),
        (NOW - HOUR, None, NOW - HOUR),
        (None, None, None),
        (NOW + HOUR, 400.0, NOW),
    ],
)
def test_a_difference_lasts_from_the_first_poll_that_showed_it(
    before: datetime | None, skew: float | None, since: datetime
) -> None:
    assert skewed_since(before, skew, NOW) == since


def clock(name: str, skew: float, host: str | None = None) -> SourceClock:
    return SourceClock(name=name, host=host or name, skew=skew)


ONE_CLOCK = "This machine's clock is wrong, or that server's."
THIS_MACHINE = "All sources agree: this machine's clock is wrong."
THAT_SERVER = "Other sources agree with this machine: that server, or a proxy, states a wrong time."
SEVERAL = "The sources also disagree with each other: several clocks are wrong."


@pytest.mark.parametrize(
    ("clocks", "which", "cause"),
    [
        ([clock("agency", -420)], "The clock of agency (7 minutes behind) differs", ONE_CLOCK),
        (
            [clock("agency", 3600), clock("studio", 3660)],
            "The clocks of agency (1 hour ahead) and studio (1 hour 1 minute ahead) differ",
            THIS_MACHINE,
        ),
        ([clock("agency", 420), clock("studio", 1)], "The clock of agency (7 minutes ahead) differs", THAT_SERVER),
        (
            [clock("agency", 420), clock("studio", -420)],
            "The clocks of agency (7 minutes ahead) and studio (7 minutes behind) differ",
            SEVERAL,
        ),
        (
            [clock("a", 420, "same"), clock("b", 421, "same"), clock("c", 422, "same")],
            "The clocks of a (7 minutes ahead), b (7 minutes ahead) and c (7 minutes ahead) differ",
            ONE_CLOCK,
        ),
    ],
)
def test_the_description_names_the_clocks_and_the_one_that_is_probably_wrong(
    clocks: list[SourceClock], which: str, cause: str
) -> None:
    assert (
        describe(clocks)
        == f"{which} from this machine's. {cause} Until this is corrected, expiry is judged by the more lenient clock."
    )


def test_many_sources_are_counted() -> None:
    assert "c (1 hour ahead) and 97 more differ" in describe(
        [clock(name, 3600) for name in ["a", "b", "c", *map(str, range(97))]]
    )
