"""Every command with streams that are closed, unread or full: its exit status, and never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from monitor.store import Store
from tests.support.command_line import environment, make_world, real_now, write_config

pytestmark = pytest.mark.slow

CLOSED, UNREAD = ">&- 2>&- <&-", "2>&1 | true"
STREAMS = (">&-", "2>&-", "<&-", CLOSED, "| true", UNREAD)
CASES = [
    *(("status --exit-code", 2, streams) for streams in STREAMS),
    *(("check", 2, streams) for streams in STREAMS),
    *(("--help", 0, streams) for streams in (">&-", "| true")),
    *(("nonsense", 2, streams) for streams in ("2>&-", UNREAD)),
    ("--version", 0, CLOSED),
    ("config check", 0, CLOSED),
    ("config show", 0, ">&-"),
    ("status --json", 0, ">&-"),
    ("sources", 0, UNREAD),
    ("alerts", 0, CLOSED),
    ("silence --help", 0, UNREAD),
    ("db upgrade", 0, CLOSED),
    ("test-alert", 1, CLOSED),
    ("test-alert", 1, "<&-"),
    ("report-failure down", 1, CLOSED),
    ("history nothing-of-this-name", 1, UNREAD),
]
"""Commands with their exit status where all streams work, and what is wrong with their streams."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration beside a store that holds something."""
    write_config(tmp_path)
    with Store(f"sqlite:///{tmp_path / 'monitor.db'}") as store:
        store.upgrade()
        make_world(store, real_now())
    return tmp_path


@pytest.mark.parametrize(("command", "status", "streams"), CASES)
def test_P40_a_command_ends_as_usual_without_its_streams(command: str, status: int, streams: str, folder: Path) -> None:
    done, errors = run(f"{command} {streams}", folder)
    assert (done, "Traceback" in errors, "nexpected" in errors) == (status, False, False), errors


@pytest.mark.parametrize("command", ["--help", "status"])
def test_P40_a_full_disk_behind_stdout_is_one_sentence(command: str, folder: Path) -> None:
    assert run(f"{command} >/dev/full", folder) == (
        1,
        "token-monitor: The output could not be written: No space left on device.\n",
    )


def test_P40_no_file_takes_the_place_of_a_closed_stream(folder: Path) -> None:
    """Text for a closed stream would otherwise be written into the database, the first file that is opened."""
    run("check >&- 2>&- <&-", folder)
    with Store(f"sqlite:///{folder / 'monitor.db'}") as store:
        store.require_current()
    assert b"agency:" not in (folder / "monitor.db").read_bytes()[:100]
    assert run("status", folder)[0] == 0


@pytest.mark.parametrize("command", ["run", "check", "test-alert"])
@pytest.mark.parametrize("limit", [10, 20])
def test_N30_too_few_open_files_are_one_sentence(command: str, limit: int, folder: Path) -> None:
    """The daemon would otherwise start with a list of tracebacks, or fail later."""
    status, errors = run(command, folder, before=f"ulimit -n {limit}; ")
    assert status == (3 if command == "check" else 1)
    assert errors == (
        f"token-monitor: This process may open {limit} files at a time, but needs at least 64: raise `ulimit -n`, or "
        "LimitNOFILE= in the unit.\n"
    )


def test_N30_the_limit_of_open_files_is_raised_where_that_is_allowed(folder: Path) -> None:
    assert run("check --no-probe", folder, before="ulimit -S -n 20; ")[0] == 2


def run(line: str, folder: Path, *, before: str = "") -> tuple[int, str]:
    """Return the exit status of the program in a shell line, and what the shell and the program wrote on stderr."""
    script = f"set -o pipefail; {before}{sys.executable} -m monitor {line}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr
