"""python -m tests.answers: a hundred thousand generated answers, and every hand-written one told by all of its APIs."""

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
from tests.answers.memory import Peak
from tests.answers.stage import play, play_probe, stage

MIB = 1024 * 1024
MOST_MEMORY = 32 * MIB


def main() -> int:
    """Do what was asked for, print one line for each part, and exit 1 where anything was violated."""
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
            bad += _tell_bulk(tally, seed=wanted.seed)
        if wanted.corpus:
            bad += asyncio.run(_tell_corpus())
    return 1 if bad else 0


def _tell_bulk(tally: Tally, *, seed: int) -> int:
    polls = ", ".join(f"{count} {outcome}" for outcome, count in sorted(tally.outcomes.items()))
    verdicts = ", ".join(f"{count} {status}" for status, count in sorted(tally.verdicts.items()))
    _say(f"generated (seed {seed}): {tally.payloads} answers, {tally.probes} of them to probes, in {tally.seconds:.0f} s")
    _say(f"  polls: {polls}")
    _say(f"  rows: {tally.rows} read, {tally.unreadable} unreadable; verdicts: {verdicts}")
    _say(f"  {len(tally.crashes)} crashes, {len(tally.wrong)} false verdicts, peak memory +{tally.grown / MIB:.1f} MiB")
    for line in (tally.crashes + tally.wrong)[:30]:
        _say(f"    {line}")
    return len(tally.crashes) + len(tally.wrong) + (tally.grown > MOST_MEMORY)


async def _tell_corpus() -> int:
    wrong: list[str] = []
    begun, count = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="token-monitor-answers-") as folder:
        async with stage(Path(folder)) as made:
            peak = Peak()
            for case, kind in corpus.polls(by_all=True):
                count += 1
                wrong += await play(made, case, kind)
            for probe_case, kind in corpus.probe_answers(by_all=True):
                count += 1
                wrong += await play_probe(made, probe_case, kind)
            grown, strays = peak.grown(), len(made.elsewhere.requests)
    cases = len(corpus.POLLS) + len(corpus.PROBES)
    _say(f"hand-written: {cases} answers, told {count} times over real sockets in {time.monotonic() - begun:.0f} s")
    _say(f"  {len(wrong)} violations, {strays} requests to another host, peak memory +{grown / MIB:.1f} MiB")
    for line in wrong[:30]:
        _say(f"    {line}")
    return len(wrong) + strays + (grown > MOST_MEMORY)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program that prints


if __name__ == "__main__":
    sys.exit(main())
