"""Take guards out of a copy of the tree, one by one, and see which test turns red."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.guards import Guard

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = (".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", ".schemathesis", "dist", "*.db*", "node_modules")
PATIENCE = 120.0
"""Seconds after which a run of tests is ended: without its guard a program may hang."""

TEST_WITHIN = 90
"""Seconds after which pytest fails a test that hangs."""

PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin")
"""What the tests need of what is installed. Loading all of it would take longer than most of them."""

_FAILED = re.compile(r"^FAILED (\S+::\S+)", re.MULTILINE)
_SKIPPED = re.compile(r"^SKIPPED .*", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of tests came to."""

    status: int | None
    """pytest's exit status; None where the run had to be ended."""
    failed: tuple[str, ...]
    """The tests that failed. An error before the test began is none: that proves nothing about the guard."""
    seconds: float
    output: str
    skipped: str | None = None
    """pytest's line about a test that needs what this machine lacks."""

    @property
    def green(self) -> bool:
        """True if every test passed."""
        return self.status == 0

    @property
    def red(self) -> bool:
        """True if a test ran and failed."""
        return self.status == 1 and bool(self.failed)


class Tree:
    """A copy of the working tree, whose `monitor` is the one that its tests and their daemons import."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, tests: Sequence[str], *, within: float = PATIENCE, to_the_end: bool = False) -> Result:
        """Run these tests, up to the first that fails or `to_the_end`, in this process's environment and interpreter."""
        begun = time.monotonic()
        plain = (*(() if to_the_end else ("-x",)), "-q", "--tb=short", "-rfs", "-p", "no:cacheprovider")
        plugins = [word for each in PLUGINS for word in ("-p", each)]
        command = [sys.executable, "-m", "pytest", *plain, f"--timeout={TEST_WITHIN}", *plugins, *tests]
        env = {**os.environ, "PYTHONPATH": str(self.folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        try:
            done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False, timeout=within)
        except subprocess.TimeoutExpired:
            return Result(None, (), time.monotonic() - begun, f"It had not ended after {within:.0f} seconds.")
        skipped = _SKIPPED.search(done.stdout)
        return Result(
            status=done.returncode,
            failed=tuple(_FAILED.findall(done.stdout)),
            seconds=time.monotonic() - begun,
            output=(done.stdout + done.stderr).strip(),
            skipped=skipped[0] if skipped else None,
        )

    @contextmanager
    def without(self, guard: Guard) -> Iterator[None]:
        """The tree while this guard is out. Raises GuardMoved."""
        path = self.folder / guard.file
        before = path.read_text("utf-8")
        self._write(path, guard.removed(before))
        try:
            yield
        finally:
            self._write(path, before)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        # Python distinguishes sources by second and size, which a guard of the same length deceives.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()


@contextmanager
def tree() -> Iterator[Tree]:
    """A copy of everything that is worked on, gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="token-monitor-mutants-") as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        yield Tree(copy)


def try_without(copy: Tree, guard: Guard) -> Result:
    """Run the guard's tests while it is out. Raises GuardMoved."""
    with copy.without(guard):
        return copy.run(guard.tests)
