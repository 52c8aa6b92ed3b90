"""The log's queue, with a pipe whose reader stalls, continues, or ends."""

from __future__ import annotations

import _thread
import fcntl
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.telemetry import log_writer
from monitor.telemetry.log_writer import LogWriter

ROOT = Path(__file__).parents[2]
SOON, LATE = timedelta(milliseconds=50), timedelta(seconds=10)
LINE = f"{'x' * 99}\n"


@dataclass(kw_only=True)
class Pipe:
    """A pipe that holds 4 KiB."""

    reading: int
    writing: int

    def read(self) -> str:
        """Return what arrives until the writer has nothing more."""
        return os.read(self.reading, 1 << 20).decode()

    def read_until(self, end: str) -> str:
        """Return what arrives until a text does."""
        text = ""
        while end not in text:
            text += self.read()
        return text


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    yield Pipe(reading=reading, writing=writing)
    for each in (reading, writing):
        os.close(each)


def test_every_line_arrives_in_order_when_it_is_read(pipe: Pipe) -> None:
    writer = LogWriter(pipe.writing)
    reader = threading.Thread(target=lambda: texts.append(pipe.read_until("line 4999\n")))
    texts = list[str]()
    reader.start()
    for number in range(5000):
        writer.write(f"line {number}\n")
    assert writer.flush(LATE)
    reader.join()
    assert texts == ["".join(f"line {number}\n" for number in range(5000))]


def test_P34_a_reader_that_stalls_blocks_nothing_and_the_dropped_lines_are_counted_in_their_place(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_writer, "QUEUED_CHARACTERS", 100 * len(LINE))
    writer = LogWriter(pipe.writing)
    writer.describe_dropped = "{} dropped\n".format
    begun = time.monotonic()
    for _ in range(10_000):
        writer.write(LINE)
    assert time.monotonic() - begun < 5
    assert not writer.flush(SOON)
    text = ""
    while not writer.flush(SOON):
        text += pipe.read()
    writer.write("the next\n")
    text += pipe.read_until("the next\n")
    dropped = [int(count) for count in re.findall(r"^(\d+) dropped$", text, re.MULTILINE)]
    assert text.count(LINE) + sum(dropped) == 10_000
    assert text.count(LINE) <= 100 * (len(dropped) + 1)
    assert text.endswith(f"{LINE}{dropped[-1]} dropped\nthe next\n")


def test_a_pipe_that_another_process_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    writer = LogWriter(pipe.writing)
    for number in range(500):
        writer.write(f"line {number}\n")
    assert not writer.flush(SOON)
    assert pipe.read_until("line 499\n") == "".join(f"line {number}\n" for number in range(500))


def test_P34_a_reader_that_has_ended_costs_the_lines_only() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = LogWriter(writing)
    writer.write("lost\n")
    assert writer.flush(LATE)
    writer.write("lost as well\n")
    assert writer.flush(LATE)
    os.close(writing)


def test_a_process_without_free_threads_counts_its_lines(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    writer = LogWriter(pipe.writing)
    with monkeypatch.context() as patched:
        patched.setattr(_thread, "start_new_thread", refuse)
        writer.write("lost\n")
    writer.write("written\n")
    assert writer.flush(LATE)
    assert pipe.read() == "written\n1 lines of the log were dropped.\n"


def test_P04_without_memory_lines_are_dropped_and_counted_and_the_next_ones_are_written(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [MemoryError(), MemoryError()]

    def describe(count: int) -> str:
        if failures:
            raise failures.pop()
        return f"{count} dropped\n"

    monkeypatch.setattr(log_writer, "QUEUED_CHARACTERS", 100 * len(LINE))
    monkeypatch.setattr(log_writer, "WITHOUT_MEMORY", SOON)
    writer = LogWriter(pipe.writing)
    writer.describe_dropped = describe
    for _ in range(1000):
        writer.write(LINE)
    text = ""
    while not writer.flush(SOON):
        text += pipe.read()
    writer.write("the next\n")
    text += pipe.read_until("the next\n")
    assert not failures
    assert text.count(LINE) + sum(map(int, re.findall(r"^(\d+) dropped$", text, re.MULTILINE))) == 1000


CODE = """
import structlog, sys, threading, warnings
from monitor.telemetry import logs
logs.configure("info", "journal")
logs.redirect_output_of_python()
log = structlog.get_logger("monitor")

def fail():
    raise LookupError("as planned")

class Failing:
    def __del__(self):
        fail()

warnings.warn("old way", RuntimeWarning)
thread = threading.Thread(target=fail, name="worker")
thread.start()
thread.join()
Failing()
for number in range(int(sys.argv[1])):
    log.info("line", number=number)
"""


def test_the_end_of_a_process_waits_for_its_last_lines() -> None:
    done = subprocess.run([sys.executable, "-c", CODE, "3000"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=50)
    lines = done.stderr.splitlines()
    assert lines[-1].endswith("number=2999")
    assert sum(" number=" in line for line in lines) == 3000


def test_the_output_of_python_itself_goes_through_the_queue() -> None:
    done = subprocess.run([sys.executable, "-c", CODE, "0"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=50)
    assert all(line.startswith("<") for line in done.stderr.splitlines()), done.stderr
    assert "old way" in done.stderr
    assert "thread.failed" in done.stderr
    assert "python.ignored" in done.stderr
    assert done.stderr.count("LookupError: as planned") == 2


def test_P34_the_end_of_a_process_does_not_wait_for_a_stalled_reader(pipe: Pipe) -> None:
    os.write(pipe.writing, b"x" * 4096)
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", CODE, "3000"], cwd=ROOT, stderr=pipe.writing)
    assert process.wait(30) == 0
    assert time.monotonic() - begun < 10
