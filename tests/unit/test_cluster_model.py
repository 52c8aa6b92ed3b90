"""The model of a cluster: arithmetic on the measured costs."""

from __future__ import annotations

import pytest

from benchmarks.cluster_model import BUSY, CONNECTIONS_EACH, Costs, need, speed_up, table

COSTS = Costs.of(
    polls={"cpu": 0.004, "server": 0.002, "locked": 0.001},
    probes={"cpu": 0.0003, "server": 0.0001, "locked": 0.00005},
    unit=0.002,
)


def test_what_is_needed_grows_with_the_connections() -> None:
    small, large = need(100_000, each=500, costs=COSTS), need(1_000_000, each=500, costs=COSTS)
    assert large.polls == pytest.approx(1_000_000 / 500 / 900)
    assert large.probes == pytest.approx(1_000_000 / 21_600)
    assert large.cores == pytest.approx(10 * small.cores)
    assert small.daemons == large.daemons == 1
    assert large.connections == CONNECTIONS_EACH


def test_many_small_sources_need_more_than_few_large_ones() -> None:
    assert need(1_000_000, each=10, costs=COSTS).cores > 10 * need(1_000_000, each=500, costs=COSTS).cores
    assert need(10_000_000, each=10, costs=COSTS).daemons > 1


def test_at_the_stated_number_of_connections_the_lock_is_as_busy_as_is_planned_for() -> None:
    found = need(1_000_000, each=10, costs=COSTS)
    assert need(round(1_000_000 * found.most), each=10, costs=COSTS).locked == pytest.approx(BUSY, rel=0.01)


def test_daemons_help_until_the_database_or_the_lock_is_busy() -> None:
    assert speed_up(COSTS, 2, server_cores=4) == pytest.approx(2)
    assert speed_up(COSTS, 8, server_cores=1) == pytest.approx(2)
    assert speed_up(COSTS, 8, server_cores=16) == pytest.approx(4)


def test_every_row_of_the_table_has_figures() -> None:
    rows = dict(table(COSTS))
    assert "1,000,000 connections, 500 each" in rows
    assert all(figures for figures in rows.values())
