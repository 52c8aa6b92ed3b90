"""P34: the pipe of the log stays open, and nothing reads it."""

from __future__ import annotations

import fcntl
import os
import signal
import time

from tests.acceptance.daemon import Setting, eventually
from tests.support import launcher

PIPE = 4096


def test_P34_a_stalled_reader_stops_neither_the_monitoring_nor_the_end(one: Setting) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
    os.write(writing, b"x" * PIPE)
    environment = {**os.environ, "PYTHONPATH": str(launcher.ROOT), "PYTHONUTF8": "1"}
    arguments = ("--config", str(one.config), "run")
    process = launcher.launch(*arguments, stdout=writing, stderr=writing, env=environment, cwd=one.folder)
    one.processes.append(process)
    os.close(writing)
    one.await_polls(3)
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li", "expired"))
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert time.monotonic() - begun < 10
    os.close(reading)


def test_P34_a_reader_that_continues_gets_every_line_that_was_kept(one: Setting) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE)
    os.write(writing, b"x" * PIPE)
    process = launcher.launch(
        "--config",
        str(one.config),
        "run",
        stdout=writing,
        stderr=writing,
        env={**os.environ, "PYTHONPATH": str(launcher.ROOT), "PYTHONUTF8": "1"},
        cwd=one.folder,
    )
    one.processes.append(process)
    os.close(writing)
    one.await_polls(3)
    text = ""
    with os.fdopen(reading, encoding="utf-8") as log:
        process.send_signal(signal.SIGTERM)
        text = log.read()
    assert process.wait(timeout=60) == 0
    events = [text.find(event) for event in ("daemon.started", "poll.done", "daemon.stopping", "daemon.stopped")]
    assert -1 not in events
    assert events == sorted(events)
    assert text.count("poll.done") >= 3
    assert "log.dropped" not in text
