"""Writing of the log's lines: a bounded queue and a daemon thread, so that a log that nothing reads never stops the daemon.

A pipe, a terminal (Ctrl-S) and a container's log driver block their writer while nothing reads. Only the thread waits.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from monitor.domain.threads import DaemonThread, NoThread

QUEUED_CHARACTERS = 1_000_000
"""Maximum length of the queued text, some thousands of lines; further lines are dropped and counted."""
FLUSH_WITHIN = timedelta(seconds=1)
"""Longest wait for a reader at the end of the process."""
WITHOUT_MEMORY = timedelta(seconds=1)
"""Pause after lines could not be written for lack of memory."""


class LogWriter:
    """Writes lines to a file descriptor, in order."""

    def __init__(self, file: int) -> None:
        self._file = file
        self.describe_dropped: Callable[[int], str] = "{} lines of the log were dropped.\n".format
        """Returns the line that reports a number of dropped lines, in their place."""
        self._lines: list[str] = []
        self._size = self._dropped = 0
        self._changed = threading.Condition()
        self._thread: DaemonThread | None = None
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
        if self._thread is None or self._thread.abandon_if_late():
            try:
                self._thread = DaemonThread(self._run, name="log")
            except NoThread:
                return False
            atexit.register(self.flush)
        return True

    def _run(self) -> None:
        while True:
            try:
                self._write_queued()
            except MemoryError:
                time.sleep(WITHOUT_MEMORY.total_seconds())

    def _write_queued(self) -> None:
        """Wait for lines and write them. Without memory they are dropped."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._lines or self._dropped)
            # Lines are dropped while the queue is full, so those dropped until now follow those in the queue.
            lines, self._lines, self._size = self._lines, [], 0
            dropped, self._dropped = self._dropped, 0
            self._writing = True
        queued = len(lines)
        try:
            if dropped:
                lines.append(self.describe_dropped(dropped))
            data = "".join(lines).encode("utf-8", "backslashreplace")
        except MemoryError:
            with self._changed:
                self._dropped += dropped + queued
            raise
        _write(self._file, data)


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
