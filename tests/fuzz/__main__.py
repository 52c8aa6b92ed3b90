"""make fuzz: every parser under coverage-guided fuzzing, each in a process of its own, for a bounded time.

An input that breaks something is kept in .fuzz/ under its target's name; python -m tests.fuzz TARGET FILE runs it again.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.target import Target

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".fuzz"
"""Where inputs are kept that broke something; git does not see it."""

FAMILIES = {
    "answers": (
        "list-postpost",
        "list-publora",
        "list-postbreeze",
        "list-postpeer",
        "probe",
        "refusal",
        "users",
        "unpacking",
        "retry-after",
        "http-date",
    ),
    "texts": ("dates", "names", "probe-texts", "messages", "templates"),
    "settings": ("config", "durations", "addresses", "redaction", "toml-text"),
    "queries": ("query",),
}
"""By module its targets. Known without an import: what is fuzzed must be imported under instrumentation."""

_SLACK = 60
"""Seconds beyond its time after which a target that has not ended is stuck."""


def main() -> int:
    """Run what was asked for, print a line for each target, and exit 1 where an input broke one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", help="one target (default: all)")
    parser.add_argument("input", nargs="?", type=Path, help="a kept input, to run once")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--runs", type=int, default=-1, help="inputs for each target (default: as many as fit)")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where inputs that break something go")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.target is not None and wanted.target not in names():
        parser.error(f"there is no target {wanted.target}; there are: {', '.join(names())}")
    if wanted.child:
        return _fuzz(wanted.target, seconds=wanted.seconds, runs=wanted.runs, kept=wanted.kept)
    if wanted.input is not None:
        return _once(wanted.target, wanted.input)
    chosen = [wanted.target] if wanted.target else names()
    return 1 if [name for name in chosen if not _run(name, wanted)] else 0


def names() -> list[str]:
    """Every target's name."""
    return [name for family in FAMILIES.values() for name in family]


def _run(name: str, wanted: argparse.Namespace) -> bool:
    """Fuzz one target in a separate process. Return True if nothing broke."""
    command = [sys.executable, "-m", "tests.fuzz", name, "--child", "--kept", str(wanted.kept)]
    command += ["--seconds", str(wanted.seconds), "--runs", str(wanted.runs)]
    with tempfile.TemporaryDirectory(prefix="token-monitor-fuzz-") as folder:  # the library ends its process without tidying up
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=wanted.seconds * 2 + _SLACK,
        )
    found = re.findall(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)", done.stdout)
    last = "{} inputs, {} edges, {} features, {} kept".format(*found[-1]) if found else "no figures"
    if done.returncode == 0:
        _print(f"{name:16} fine    {last}")
        return True
    kept = re.findall(r"Test unit written to (\S+)", done.stdout)
    _print(f"{name:16} BROKEN  {last}; the input: {kept[-1] if kept else 'none was written'}")
    _print("    " + "\n    ".join(done.stdout.splitlines()[-40:]))
    return False


def _fuzz(name: str, *, seconds: int, runs: int, kept: Path) -> int:
    """Fuzz one target here. Does not return: the library ends the process."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["monitor"], enable_loader_override=False):
        target = _load(name)
    kept.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    for number, seed in enumerate(target.seeds()):
        (folder / f"seed-{number:04}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-runs={runs}",
        f"-max_len={target.largest}",
        f"-artifact_prefix={kept}/{name}-",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        str(folder),
    ]
    atheris.Setup([sys.argv[0], *options], target.one)
    atheris.Fuzz()
    return 0


def _once(name: str, path: Path) -> int:
    _load(name).one(path.read_bytes())
    _print(f"{name}: {path} breaks nothing")
    return 0


def _load(name: str) -> Target:
    """The target, its module imported now."""
    family = next(family for family, targets in FAMILIES.items() if name in targets)
    module = importlib.import_module(f"tests.fuzz.{family}")
    found: Target = next(target for target in module.TARGETS if target.name == name)
    return found


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program that prints


if __name__ == "__main__":
    sys.exit(main())
