"""Run every benchmark and print the figures: `make bench`. `--sizes` chooses the sizes, `--write` keeps the results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import latency
from benchmarks.setting import ROOT, apis, pinned, write_config

RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "performance.md"


def main() -> None:
    """Measure, print, and with --write keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--sizes", default="10,1000,10000", help="connections in one list")
    parser.add_argument("--database", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--write", action="store_true", help=f"keep the results in {RESULTS.relative_to(ROOT)}")
    arguments = parser.parse_args()
    kinds = ["sqlite", "postgres"] if arguments.database == "both" else [arguments.database]
    results: dict[str, object] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    for kind in kinds:
        with databases(kind) as new:
            results[kind] = measure(new, [int(size) for size in arguments.sizes.split(",")])
    print(json.dumps(results, indent=2))
    if arguments.write:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        PAGE.write_text(page(json.loads(json.dumps(results))), encoding="utf-8")


def page(results: dict[str, Any]) -> str:
    """docs/performance.md."""
    kinds = [kind for kind in ("sqlite", "postgres") if kind in results]
    lines = [
        "# Performance",
        "",
        f"Measured {results['at'][:10]} on {results['machine']}, Python {results['python']}, by `make bench ARGS=--write` on an",
        "otherwise idle machine: the monitor on one core, the simulated APIs on the other. CPU is that of the whole process.",
        "Each figure is a median, with the range where it says so.",
        "",
        "A poll of unchanged connections in one list:",
        "",
        "| database | connections | CPU s (range) | rows written | peak memory above rest, MB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for kind in kinds:
        for size, found in results[kind]["unchanged_poll"].items():
            cpu = found["cpu_s"]
            spent = f"{cpu['median']:.3f} ({cpu['min']:.3f} to {cpu['max']:.3f})"
            lines.append(f"| {kind} | {int(size):,} | {spent} | {found['rows_added']:.0f} | {found['peak_above_rest_mb']} |")
    lines += [
        "",
        "How soon, in seconds:",
        "",
        "| database | start to first poll | changed answer to webhook | passed date to webhook, API down |",
    ]
    lines.append("| --- | ---: | ---: | ---: |")
    for kind in kinds:
        found = results[kind]
        told, dated = found["transition_to_webhook"]["seconds"], found["date_to_webhook"]["seconds"]
        lines.append(
            f"| {kind} | {found['start']['then_s']} | {told['median']} ({told['min']} to {told['max']}) "
            f"| {dated['median']} ({dated['min']} to {dated['max']}) |"
        )
    lines += ["", 'The webhook takes each alert at once here (`group_wait = "0s"`).', ""]
    return "\n".join(lines)


class databases:  # noqa: N801 - reads as a context
    """Makes fresh databases of one kind: SQLite files, or databases on a PostgreSQL of the tests' own."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._folder = tempfile.TemporaryDirectory()
        self._made = 0

    def __enter__(self) -> databases:
        if self._kind == "postgres":
            from tests import postgres

            self._server = postgres.server_url()
            self._url = self._server.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._kind == "postgres":
            self._server.__exit__(None, None, None)
        self._folder.cleanup()

    def __call__(self) -> str:
        self._made += 1
        if self._kind == "postgres":
            from tests import postgres

            return postgres.create_database(self._url)
        return f"sqlite:///{self._folder.name}/{self._made}.db"


def measure(new: databases, sizes: list[int]) -> dict[str, object]:
    """Every figure on one kind of database."""
    found: dict[str, object] = {"unchanged_poll": {size: unchanged_poll(new(), size) for size in sizes}}
    found["start"] = latency.start_to_poll(new())
    found["transition_to_webhook"] = latency.transition_to_webhook(new())
    found["date_to_webhook"] = latency.date_to_webhook(new())
    return found


def unchanged_poll(database: str, size: int) -> object:
    """In a process of its own, so that memory is this poll's alone."""
    with apis(connections=size) as api, tempfile.TemporaryDirectory() as folder:
        config = write_config(Path(folder), api, database=database)
        command = pinned([sys.executable, "-m", "benchmarks.unchanged_poll", str(config)], core=0)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
