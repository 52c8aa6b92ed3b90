"""The database is unavailable when the daemon starts: it waits in the process, notifies the outage, and starts automatically."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from monitor.daemon.database_outage import HANDED_OVER, RECOVERED
from monitor.store import Store
from tests.acceptance.daemon import Setting, eventually
from tests.failures.conftest import count_messages
from tests.support import launcher, postgres
from tests.support.launcher import Process

pytestmark = pytest.mark.slow

OUTAGE = "The database has been unavailable"
WAITING = "daemon.waiting_for_database"


def stop_in_time(made: Setting, process: Process) -> None:
    begun = time.monotonic()
    assert made.stop(process) == 0, made.log()
    assert time.monotonic() - begun < 10


def test_P18_P43_a_server_that_is_unavailable_at_the_start_is_waited_for_and_notified(
    on_postgres: Setting, server: postgres.PrivateServer
) -> None:
    server.stop()
    process = on_postgres.launch("run")
    eventually(lambda: count_messages(on_postgres, OUTAGE), within=60)
    assert process.poll() is None
    assert on_postgres.world.sources["agency"].calls["list"] == 0
    since = time.monotonic()
    server.start()
    on_postgres.await_polls(1)
    assert time.monotonic() - since < 30
    eventually(lambda: count_messages(on_postgres, RECOVERED), within=30)
    stop_in_time(on_postgres, process)
    assert (count_messages(on_postgres, OUTAGE), count_messages(on_postgres, RECOVERED)) == (1, 1)
    assert on_postgres.log().count(WAITING) <= 2, "it is logged when its cause changes, not with every attempt"
    assert "Traceback" not in on_postgres.log()


def test_P18_of_two_daemons_that_waited_one_hands_over(on_postgres: Setting, server: postgres.PrivateServer) -> None:
    server.stop()
    daemons = [on_postgres.launch("run") for _ in range(2)]
    eventually(lambda: count_messages(on_postgres, OUTAGE) == 2, within=60)
    server.start()
    eventually(lambda: count_messages(on_postgres, RECOVERED) and count_messages(on_postgres, HANDED_OVER), within=60)
    on_postgres.await_polls(6)  # as long as the first outage lasted before it was notified
    assert count_messages(on_postgres, OUTAGE) == 2
    assert len(re.findall(r" daemon\.standby\b", on_postgres.log())) == 1
    for process in daemons:
        stop_in_time(on_postgres, process)


def test_P05_P19_a_server_that_does_not_respond_delays_no_stop(on_postgres: Setting, server: postgres.PrivateServer) -> None:
    process = on_postgres.start()
    on_postgres.await_polls(2)
    server.signal(signal.SIGSTOP)
    for pid in backends(server):
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(2.5)  # polls and the check of the lock are waiting
        stop_in_time(on_postgres, process)
        process = on_postgres.launch("run")
        time.sleep(1.5)
        stop_in_time(on_postgres, process)
    finally:
        for pid in (*backends(server), 0):
            if pid:
                os.kill(pid, signal.SIGCONT)
        server.signal(signal.SIGCONT)


def backends(server: postgres.PrivateServer) -> list[int]:
    """Return the server's other processes."""
    parent = int((server.data / "postmaster.pid").read_text("utf-8").split()[0])
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text("utf-8").split()]


def test_a_database_that_does_not_exist_is_refused(on_postgres: Setting) -> None:
    text = on_postgres.config.read_text("utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("url = ") and "postgresql" in line)
    missing = line.replace("tm_test_", "missing_")
    assert missing != line
    on_postgres.config.write_text(text.replace(line, missing), "utf-8")
    done = on_postgres.call("run")
    assert done.returncode == 1
    assert "does not exist" in done.stderr
    assert WAITING not in done.stderr


def test_P11_P43_a_disk_that_is_full_at_the_start_is_waited_for(one: Setting) -> None:
    """The limit of a file's size does to the database what a full disk does; the log cannot be written either."""
    assert one.stop(one.start()) == 0
    polls = one.world.sources["agency"].calls["list"]
    limit = ["prlimit", "--fsize=4096:", *one.command("run")]
    environment = {**os.environ, "PYTHONPATH": str(launcher.ROOT), "PYTHONUTF8": "1"}
    process = subprocess.Popen(limit, cwd=one.folder, env=environment, stderr=subprocess.DEVNULL)
    one.processes.append(process)
    eventually(lambda: count_messages(one, OUTAGE), within=60)
    assert process.poll() is None
    assert one.world.sources["agency"].calls["list"] == polls
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    one.await_polls(1)
    eventually(lambda: count_messages(one, RECOVERED), within=30)
    stop_in_time(one, process)


def test_P14_another_program_that_holds_the_file_at_the_start_delays_no_stop(one: Setting) -> None:
    assert one.stop(one.start()) == 0
    with closing(sqlite3.connect(one.folder / "monitor.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        process = one.launch("run")
        time.sleep(2)
        assert process.poll() is None
        stop_in_time(one, process)
    with Store(f"sqlite:///{one.folder / 'monitor.db'}") as store:
        store.require_current()


def test_P31_the_unit_counts_as_started_while_it_waits_and_feeds_the_watchdog(
    on_postgres: Setting, server: postgres.PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    path = on_postgres.folder / "notify"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "3000000")
        process = on_postgres.launch("run")
        text = ""
        while "READY=1" not in text:
            text = systemd.recv(4096).decode()
        assert "STATUS=waiting for the database: The PostgreSQL database" in text
        pings, last, longest = 0, time.monotonic(), 0.0
        while pings < 12:
            text = systemd.recv(4096).decode()
            if "WATCHDOG=1" in text:
                now = time.monotonic()
                longest, last, pings = max(longest, now - last), now, pings + 1
        assert longest < 3
        stop_in_time(on_postgres, process)


def test_check_does_not_wait(on_postgres: Setting, server: postgres.PrivateServer) -> None:
    server.stop()
    done = on_postgres.call("check")
    assert done.returncode == 3
    assert "PostgreSQL" in done.stderr
