"""make mutants: take every guard out of a copy of the program and show the test that turns red. Takes about ten minutes."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.mutants.guards import Guard, GuardMoved, guards
from tests.mutants.running import ROOT, Result, tree, try_without
from tests.support import postgres


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, one line for each guard. 1 where one can be taken out unnoticed, 2 where nothing could be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="a guard, or an area; may be given several times")
    parser.add_argument("--list", action="store_true", help="print the table, and try nothing")
    wanted = parser.parse_args(arguments)
    every = guards()
    chosen = [each for each in every if wanted.only is None or {each.name, each.area} & set(wanted.only)]
    if not chosen:
        _say("There is no such guard: --list names them.")
        return 2
    if wanted.list:
        for each in chosen:
            _say(f"{each.area:<12} {each.name:<36} {each.promise}")
        return 0
    try:
        for each in chosen:
            each.removed((ROOT / each.file).read_text("utf-8"))
    except (GuardMoved, OSError) as error:
        _say(str(error))
        return 2
    return _try_all(chosen)


def _try_all(chosen: Sequence[Guard]) -> int:
    begun = time.monotonic()
    with _server(chosen), tree() as copy:
        before = copy.run(sorted({test for each in chosen for test in each.tests}), within=1800)
        if not before.green:
            _say(f"The tests fail already with every guard in place, so they can prove nothing:\n{before.output[-4000:]}")
            return 2
        _say(f"{'guard':<36} {'file':<38} {'seconds':>7}  caught by")
        survived = 0
        for each in chosen:
            result = try_without(copy, each)
            survived += not result.red
            _say(f"{each.name:<36} {each.file:<38} {result.seconds:>7.1f}  {_verdict(result)}")
    spent = time.monotonic() - begun
    _say(f"{len(chosen)} guards taken out, {len(chosen) - survived} noticed, {survived} unnoticed, in {spent:.0f} s.")
    return 1 if survived else 0


def _verdict(result: Result) -> str:
    if result.red:
        return result.failed or ""
    if result.green:
        return "NOTHING: every test passed without it"
    return f"NOTHING: its tests could not run (status {result.status}):\n{result.output[-2000:]}"


@contextmanager
def _server(chosen: Sequence[Guard]) -> Iterator[None]:
    """One PostgreSQL for all runs where some need it: each would start its own."""
    if not any("postgres" in test for each in chosen for test in each.tests):
        yield
        return
    with postgres.server_url() as url:
        os.environ["TEST_POSTGRES_URL"] = url
        yield


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program that prints


if __name__ == "__main__":
    sys.exit(main())
