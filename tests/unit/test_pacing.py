"""How many probes go side by side, and how long a full round takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.domain import provider_info
from monitor.domain.rules.schedule import BURST_CONCURRENCY, concurrent_probes, full_round, poll_requests

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("per_second", "fastest", "burst", "expected"),
    [
        (10.0, None, 1, 1),  # nothing is known yet
        (10.0, 0.001, 39, 1),  # one after another is quick enough
        (167.0, 0.2, 99, 42),  # each takes its time: Little's law, with a quarter more
        (0.5, 30.0, 5, 19),
        (10.0, 0.001, 400, 4),  # several answers wake the process once; one connection for every hundred probes
        (10.0, None, 100_000, BURST_CONCURRENCY),
    ],
)
def test_as_many_probes_go_side_by_side_as_the_pace_needs(
    per_second: float, fastest: float | None, burst: int, expected: int
) -> None:
    assert concurrent_probes(per_second, fastest, burst=burst) == expected


@pytest.mark.parametrize(
    ("kind", "connections", "scopes", "expected"),
    [
        ("postpost", 100_000, 0, 1),
        ("publora", 100_000, 301, 301),
        ("postbreeze", 50, 3, 3),
        ("postpeer", 0, 1, 1),
        ("postpeer", 201, 1, 3),
    ],
)
def test_a_poll_needs_a_request_for_each_scope_or_page(kind: str, connections: int, scopes: int, expected: int) -> None:
    assert poll_requests(provider_info(kind), connections=connections, scopes=scopes) == expected


def test_a_full_round_is_the_poll_and_a_probe_of_each_connection() -> None:
    pace = full_round(12_000, requests_per_minute=600, probes=True, probe_every=6 * HOUR, polling=300)
    assert (pace.polled, pace.probed, pace.lasts) == (HOUR / 120, HOUR / 3, HOUR / 120 + HOUR / 3)
    assert (pace.room, pace.too_slow) == (216_000, False)


def test_a_round_that_takes_longer_than_its_interval_is_too_slow() -> None:
    assert full_round(216_001, requests_per_minute=600, probes=True, probe_every=6 * HOUR).too_slow
    assert not full_round(216_000, requests_per_minute=600, probes=True, probe_every=6 * HOUR).too_slow


@pytest.mark.parametrize(("probes", "every"), [(False, 6 * HOUR), (True, None)])
def test_without_probes_nothing_is_too_slow(probes: bool, every: timedelta | None) -> None:
    pace = full_round(10**9, requests_per_minute=60, probes=probes, probe_every=every, polling=2)
    assert (pace.room, pace.too_slow, pace.polled) == (None, False, timedelta(seconds=2))
    assert pace.lasts == pace.polled + (pace.probed or timedelta(0))
