"""The daemon with a watch beside it: how long its event loop was blocked and by what CPU, and how many rows SQLite wrote.

`python -m benchmarks.instrumented REPORT CORE ARGUMENT…` runs the command line as it is, on that core. Each SIGUSR2 appends
a line of JSON to REPORT about the time since the one before; each PAUSE stops the watch or continues it. The product has no
such switch, and needs none.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from sqlite3 import Connection, ProgrammingError
from typing import Any, TypeVar

from benchmarks.machine import pin

T = TypeVar("T")

EVERY = 0.02
"""Seconds between checks of the clock. A block is seen up to this much shorter than it was."""

PAUSE = signal.SIGRTMIN
"""Stops the checks, or continues them: a process that mostly waits would use up to half its CPU for them."""


class LoopWatch:
    """Measures how late the loop wakes it, and the CPU that the loop's thread used in that time."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._longest = 0.0
        self._callback = 0.0
        self._expected = 0.0
        self._used = 0.0
        self._next: asyncio.TimerHandle | None = None
        """The next check; None while the watch is paused."""
        self.opened: list[Connection] = []
        """Every SQLite connection so far: each knows how many rows it changed."""

    def start(self) -> None:
        """Begin, inside the loop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, self._report_window)
        loop.add_signal_handler(PAUSE, self._pause_or_continue)
        self._schedule_check(loop)

    def _pause_or_continue(self) -> None:
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._schedule_check(loop)
            return
        self._observe(loop)
        self._next.cancel()
        self._next = None

    def _schedule_check(self, loop: asyncio.AbstractEventLoop) -> None:
        self._expected, self._used = loop.time() + EVERY, time.thread_time()
        self._next = loop.call_later(EVERY, self._check)

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        self._observe(loop)
        self._schedule_check(loop)

    def _observe(self, loop: asyncio.AbstractEventLoop) -> None:
        late = loop.time() - self._expected
        self._longest = max(self._longest, late)
        # The rest of the delay was spent waiting: for the interpreter's lock, which another thread holds, or for the core.
        self._callback = max(self._callback, min(late, time.thread_time() - self._used))

    def _report_window(self) -> None:
        if self._next is not None:
            self._observe(asyncio.get_running_loop())
        window = {
            "at": time.monotonic(),
            "cpu": time.process_time(),
            "blocked": self._longest,
            "callback": self._callback,
            "rows": self._rows(),
        }
        self._longest = self._callback = 0.0
        with self._report.open("a", encoding="utf-8") as report:
            report.write(json.dumps(window) + "\n")

    def _rows(self) -> int:
        rows = 0
        for conn in list(self.opened):
            try:
                rows += conn.total_changes
            except ProgrammingError:  # closed meanwhile
                self.opened.remove(conn)
        return rows


def main() -> None:
    """Run the command line with the watch in its loop; the exit status is its own."""
    report, core, *arguments = sys.argv[1:]
    pin(int(core))
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    from monitor import cli
    from monitor.daemon import app

    watch = LoopWatch(Path(report))
    plain = app.run_async

    def opened(conn: Any, _record: object) -> None:
        if isinstance(conn, Connection):
            watch.opened.append(conn)

    def run_watched(main: Coroutine[Any, Any, T]) -> T:
        async def both() -> T:
            watch.start()
            return await main

        return plain(both())

    event.listen(Pool, "connect", opened)
    app.run_async = run_watched
    sys.exit(cli.main(arguments))


if __name__ == "__main__":
    main()
