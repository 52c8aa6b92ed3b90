"""python -m tests.answers: a hundred thousand generated answers, and every hand-written one from each of its APIs."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import structlog

from tests.answers import bulk, corpus
from tests.answers.bulk import Tally
from tests.answers.checker import check_poll, check_probe, checker
from tests.answers.memory import Peak

MIB = 1024 * 1024
MOST_MEMORY = 32 * MIB


def main() -> int:
    """Run the parts asked for, print one line for each, and return 1 if anything was violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payloads", type=int, default=100_000, help="generated answers (default 100000, 0 for none)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first one, to see one of them again")
    parser.add_argument("--corpus", action=argparse.BooleanOptionalAction, default=True, help="the hand-written ones")
    wanted = parser.parse_args()
    bad = 0
    with structlog.testing.capture_logs():
        if wanted.payloads:
            tally = asyncio.run(bulk.run(payloads=wanted.payloads, seed=wanted.seed, first=wanted.first))
            bad += _report_bulk(tally, seed=wanted.seed)
        if wanted.corpus:
            bad += asyncio.run(_report_corpus())
    return 1 if bad else 0


def _report_bulk(tally: Tally, *, seed: int) -> int:
    polls = ", ".join(f"{count} {outcome}" for outcome, count in sorted(tally.outcomes.items()))
    verdicts = ", ".join(f"{count} {status}" for status, count in sorted(tally.verdicts.items()))
    _print(f"generated (seed {seed}): {tally.payloads} answers, {tally.probes} of them to probes, in {tally.seconds:.0f} s")
    _print(f"  polls: {polls}")
    _print(f"  rows: {tally.rows} read, {tally.unreadable} unreadable; verdicts: {verdicts}")
    _print(f"  {len(tally.crashes)} crashes, {len(tally.wrong)} false verdicts, peak memory +{tally.grown / MIB:.1f} MiB")
    for line in (tally.crashes + tally.wrong)[:30]:
        _print(f"    {line}")
    return len(tally.crashes) + len(tally.wrong) + (tally.grown > MOST_MEMORY)


async def _report_corpus() -> int:
    wrong: list[str] = []
    begun, count = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="token-monitor-answers-") as folder:
        async with checker(Path(folder)) as made:
            peak = Peak()
            for case, kind in corpus.polls(by_all=True):
                count += 1
                wrong += await check_poll(made, case, kind)
            for probe_case, kind in corpus.probe_answers(by_all=True):
                count += 1
                wrong += await check_probe(made, probe_case, kind)
            grown, strays = peak.grown(), len(made.elsewhere.requests)
    cases = len(corpus.POLLS) + len(corpus.PROBES)
    _print(f"hand-written: {cases} answers, sent {count} times over real sockets in {time.monotonic() - begun:.0f} s")
    _print(f"  {len(wrong)} violations, {strays} requests to another host, peak memory +{grown / MIB:.1f} MiB")
    for line in wrong[:30]:
        _print(f"    {line}")
    return len(wrong) + strays + (grown > MOST_MEMORY)


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program that prints


if __name__ == "__main__":
    sys.exit(main())
