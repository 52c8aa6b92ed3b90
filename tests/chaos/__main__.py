"""make chaos: a thousand random kills on each database, a kill at every system call of one cycle, and 200 in a cluster.

Takes about an hour and a half.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.cluster_kills import DAEMONS, WORKERS, run_cluster_kills
from tests.chaos.random_kills import run_kills
from tests.chaos.system_calls import rehearsal
from tests.support import postgres


def main() -> int:
    """Run what was asked for, print one line for each part, and exit 1 where anything was violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="random kills on each database (default 1000, 0 for none)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append", help="default: both")
    parser.add_argument("--cluster-kills", type=int, default=200, help="random kills in a cluster (default 200, 0 for none)")
    parser.add_argument("--every-call", action=argparse.BooleanOptionalAction, default=True, help="the exhaustive run")
    wanted = parser.parse_args()
    bad = 0
    for kind in wanted.database or ["sqlite", "postgresql"]:
        if wanted.kills:
            bad += _random_kills(kind, kills=wanted.kills, seed=wanted.seed)
        if wanted.every_call:
            bad += _every_call(kind)
        if wanted.cluster_kills and kind == "postgresql":
            bad += _cluster_kills(kills=wanted.cluster_kills, seed=wanted.seed)
    return 1 if bad else 0


def _random_kills(kind: str, *, kills: int, seed: int) -> int:
    begun = time.monotonic()
    with _place(kind) as (folder, database):
        found = run_kills(folder, database, kills=kills, seed=seed)
    _print(
        f"{kind}: {kills} random kills in {time.monotonic() - begun:.0f} s: {found.transitions} transitions, "
        f"{found.alerts} alerts in {found.posts} messages, {found.repeats} repeats, {len(found.violations)} violations"
    )
    for violation in found.violations[:20]:
        _print(f"  {violation}")
    return len(found.violations)


def _cluster_kills(*, kills: int, seed: int) -> int:
    begun = time.monotonic()
    with _place("postgresql") as (folder, database):
        found, cluster = run_cluster_kills(folder, database, kills=kills, seed=seed)
    away = cluster.planner_away
    _print(
        f"cluster: {len(cluster.kills)} random kills of {DAEMONS} daemons with {WORKERS} workers in "
        f"{time.monotonic() - begun:.0f} s: {found.transitions} transitions, {found.alerts} alerts in {found.posts} messages, "
        f"{found.repeats} repeats, {len(away)} kills of the planner, which was back after {max(away, default=0):.0f} s at most, "
        f"{len(found.violations)} violations"
    )
    for violation in found.violations[:20]:
        _print(f"  {violation}")
    return len(found.violations)


def _every_call(kind: str) -> int:
    begun, bad = time.monotonic(), 0
    with _place(kind) as (folder, database), rehearsal(folder, database) as cycle:
        points = cycle.points()
        _print(f"{kind}: {len(points)} system calls to be killed at")
        for done, point in enumerate(points, 1):
            found = cycle.kill_at(point)
            for violation in found.violations:
                bad += 1
                _print(f"  {point.call} number {point.number}: {violation}")
            if done % 100 == 0:
                _print(f"  {done} of {len(points)} after {time.monotonic() - begun:.0f} s")
    _print(f"{kind}: killed at each of {len(points)} system calls in {time.monotonic() - begun:.0f} s: {bad} violations")
    return bad


@contextmanager
def _place(kind: str) -> Iterator[tuple[Path, str]]:
    with tempfile.TemporaryDirectory(prefix="token-monitor-chaos-") as folder:
        if kind == "sqlite":
            yield Path(folder), f"sqlite:///{folder}/monitor.db"
            return
        with postgres.server_url() as server:
            database = postgres.create_database(server)
            try:
                yield Path(folder), database
            finally:
                postgres.drop_database(database)


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program that prints


if __name__ == "__main__":
    sys.exit(main())
