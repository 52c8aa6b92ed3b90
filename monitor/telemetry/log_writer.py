"""Writing of the log's lines: a bounded queue and a daemon thread, so that a log that nothing reads never stops the daemon.

A pipe, a terminal (Ctrl-S) and a container's log driver block their writer while nothing reads. Only the thread waits.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
from collections.abc import Callable
from datetime import timedelta

QUEUED_CHARACTERS = 1_000_000
"""Maximum length of the queued text, some thousands of lines; further lines are dropped and counted."""
FLUSH_WITHIN = timedelta(seconds=1)
"""Longest wait for a reader at the end of the process."""


class LogWriter:
    """Writes lines to a file descriptor, in order."""

    def __init__(self, file: int) -> None:
        self._file = file
        self.describe_dropped: Callable[[int], str] = "{} lines of the log were dropped.\n".format
        """Returns the line that reports a number of dropped lines, in their place."""
        self._lines: list[str] = []
        self._size = self._dropped = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._writing = False

    def write(self, line: str) -> None:
        """Queue one line, with its line break. Never block: a line for which there is no room is dropped."""
        with self._changed:
            if self._size + len(line) > QUEUED_CHARACTERS or not self._started():
                self._dropped += 1
                return
            self._lines.append(line)
            self._size += len(line)
            self._changed.notify_all()

    def flush(self, within: timedelta = FLUSH_WITHIN) -> bool:
        """Wait until every queued line is written; return False if the reader takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._lines or self._dropped or self._writing), within.total_seconds())

    def _started(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the limit of threads is reached
                return False
            self._thread = thread
            atexit.register(self.flush)
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines or self._dropped)
                # Lines are dropped only while the queue is full, so those dropped until now follow those in the queue.
                lines, self._lines, self._size = self._lines, [], 0
                dropped, self._dropped = self._dropped, 0
                self._writing = True
            if dropped:
                lines.append(self.describe_dropped(dropped))
            _write(self._file, "".join(lines).encode("utf-8", "backslashreplace"))


def _write(file: int, data: bytes) -> None:
    """Write all of the data, however long the reader takes. If the target is full or closed, the rest is lost."""
    # Not through sys.stderr: its buffer stays locked while a write blocks, and Python cannot end then.
    while data:
        try:
            data = data[os.write(file, data) :]
        except BlockingIOError:  # another process made the pipe non-blocking
            select.select([], [file], [])
        except OSError:
            return
