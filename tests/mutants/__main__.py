"""make mutants: remove every guard from a copy of the program and show the test that turns red."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue

from tests.failures import catalogue
from tests.mutants.guards import Guard, GuardMoved, guards
from tests.mutants.running import ROOT, Result, Tree, tree
from tests.support import postgres

LIMIT = 3600.0
"""Seconds after which no further guard is tried."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, one line for each guard.

    Return 1 if a guard can be removed unnoticed, 2 if some could not be tried.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="a guard, an area or a row; may be given several times")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="guards that are tried simultaneously")
    parser.add_argument("--list", action="store_true", help="print the table, and try nothing")
    wanted = parser.parse_args(arguments)
    chosen = _chosen(wanted.only)
    if not chosen:
        _print("There is no such guard: --list names them.")
        return 2
    if wanted.list:
        for each in chosen:
            _print(f"{_rows(each):<16} {each.name:<36} {each.promise}")
        return 0
    try:
        for each in chosen:
            each.removed((ROOT / each.file).read_text("utf-8"))
    except (GuardMoved, OSError) as error:
        _print(str(error))
        return 2
    return _try_all(chosen, jobs=max(1, min(wanted.jobs, len(chosen))))


def _chosen(only: Sequence[str] | None) -> list[Guard]:
    """Return the guards with one of these names, areas or rows, in the order of the rows."""
    order = {row.number: place for place, row in enumerate(catalogue.rows())}
    found = [each for each in guards() if only is None or {each.name, each.area, *each.rows} & set(only)]
    return sorted(found, key=lambda each: min((order[row] for row in each.rows), default=len(order)))


def _try_all(chosen: Sequence[Guard], *, jobs: int) -> int:
    begun = time.monotonic()
    with _server(chosen), ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        free: SimpleQueue[Tree] = SimpleQueue()
        for _ in range(jobs):
            free.put(stack.enter_context(tree()))
        files = sorted({test for each in chosen for test in each.tests})
        broken: list[str] = []
        for before in pool.map(lambda part: _run(free, part), [files[place::jobs] for place in range(jobs)]):
            if not before.green and not before.red:
                _print(f"The tests cannot run with every guard in place:\n{before.output[-4000:]}")
                return 2
            broken += before.failed
        _print(f"{'rows':<16} {'guard':<40} {'seconds':>7}  caught by")
        results = []
        for each, result in zip(chosen, pool.map(lambda guard: _try(free, guard, broken, since=begun), chosen), strict=True):
            results.append(result)
            _print(f"{_rows(each):<16} {each.name:<40} {result.seconds:>7.1f}  {_verdict(result)}")
    unnoticed = sum(result.green and not result.skipped for result in results)
    noticed = sum(result.red for result in results)
    untried = len(results) - noticed - unnoticed
    spent = time.monotonic() - begun
    _print(f"{len(chosen)} guards removed, {noticed} noticed, {unnoticed} unnoticed, {untried} not tried, in {spent:.0f} s.")
    return 1 if unnoticed else 2 if untried else 0


def _run(free: SimpleQueue[Tree], tests: Sequence[str]) -> Result:
    copy = free.get()
    try:
        return copy.run(tests, within=LIMIT / 2, to_the_end=True)
    finally:
        free.put(copy)


def _try(free: SimpleQueue[Tree], guard: Guard, broken: Sequence[str], *, since: float) -> Result:
    """Run the guard's tests without it, unless one of them is among the `broken` ones, which fail with every guard in place."""
    already = next((each for each in broken if each.startswith(guard.tests)), None)
    if already is not None:
        return Result(None, (), 0.0, f"{already} fails with every guard in place.")
    copy = free.get()
    try:
        if time.monotonic() - since > LIMIT:
            return Result(None, (), 0.0, f"{LIMIT:.0f} seconds had passed.")
        with copy.without(guard):
            return copy.run(guard.tests)
    finally:
        free.put(copy)


def _rows(guard: Guard) -> str:
    return " ".join(guard.rows) or "-"


def _verdict(result: Result) -> str:
    if result.red:
        return result.failed[0]
    if result.skipped:
        return f"NOT TRIED: {result.skipped}"
    if result.green:
        return "NOTHING: every test passed without it"
    return f"NOT TRIED: its tests could not run (status {result.status}):\n{result.output[-2000:]}"


@contextmanager
def _server(chosen: Sequence[Guard]) -> Iterator[None]:
    """Start one PostgreSQL for all runs if some need it: each would start another."""
    if not any("postgres" in test for each in chosen for test in each.tests):
        yield
        return
    with postgres.server_url() as url:
        os.environ["TEST_POSTGRES_URL"] = url
        yield


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program that prints


if __name__ == "__main__":
    sys.exit(main())
