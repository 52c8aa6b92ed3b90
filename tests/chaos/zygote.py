"""A process that has imported everything and forks a monitor on demand: a life costs its work, not its imports.

Speaks lines. "start" forks a daemon and answers with its pid, "run" the same by the command line, with its sentences and
exit statuses; "end PID SIGNAL" ends it and answers with its exit status, "wait PID" waits for that.
"check" runs one cycle and answers with its exit status; "check NAME" kills it at the step of that name (see steps.py).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from monitor.config import load
from monitor.daemon import app, oneshot
from tests.chaos import steps


def main() -> None:
    """Serve until standard input ends; every child that is left is killed then."""
    config, log = Path(sys.argv[1]), Path(sys.argv[2])
    _import_what_a_daemon_imports_late()
    alive: set[int] = set()
    _answer("ready")
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "start":
            pid = _fork(partial(_live, config), log)
            alive.add(pid)
            _answer(pid)
        elif word == "run":
            pid = _fork(partial(_run, config), log)
            alive.add(pid)
            _answer(pid)
        elif word == "wait":
            alive.discard(int(rest[0]))
            _answer(_status(int(rest[0])))
        elif word == "end":
            pid = int(rest[0])
            os.kill(pid, int(rest[1]))
            alive.discard(pid)
            _answer(_status(pid))
        else:
            _answer(_status(_fork(partial(_check, config, rest), log)))
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _live(config: Path) -> None:
    """The daemon, exactly as `run` starts it."""
    environment = dict(os.environ)
    app.run_async(app.run(load(config, environment), reload=lambda: load(config, environment)))


def _run(config: Path) -> None:
    """`token-monitor run`, to its exit status."""
    from monitor import cli

    status = cli.main(["--config", str(config), "run"])
    sys.stderr.flush()
    os._exit(status)


def _check(config: Path, words: list[str]) -> None:
    """One cycle, as `check` runs it; with a word it is killed at that step, or its steps are written into a file."""
    if words:
        steps.watch(words[0])
    app.run_async(oneshot.check_once(load(config, dict(os.environ)).config, only=None, probe=True))


def _fork(work: Callable[[], None], log: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        work()
        status = 0
    finally:
        os._exit(status)


def _status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _answer(text: object) -> None:
    print(text, flush=True)  # noqa: T201 - the protocol


def _import_what_a_daemon_imports_late() -> None:
    """Apprise's plugins, Alembic and the database drivers: imported at first use, which here would be every life."""
    import alembic.command  # noqa: F401
    import apprise
    import psycopg  # noqa: F401
    import uvloop  # noqa: F401

    import monitor.cli.commands  # noqa: F401

    apprise.Apprise().add("json://127.0.0.1:9/")


if __name__ == "__main__":
    main()
