"""One daemon per database."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.domain.errors import StoreHeld, StoreUnavailable
from monitor.store import Store
from monitor.store.lock import DaemonLock
from tests.acceptance.daemon import eventually
from tests.support.postgres import acquire_released

SINCE = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


def test_P27_the_second_daemon_gets_the_name_of_the_lock_holder(empty_database: str) -> None:
    first = DaemonLock(empty_database, pid=1234, host="alpha")
    second = DaemonLock(empty_database, pid=5678, host="beta")
    first.acquire(SINCE)
    try:
        with pytest.raises(StoreHeld, match=r"Another token-monitor \(process 1234 on alpha, since 20..-..-..T.*Z\) uses the "):
            second.acquire(SINCE)
    finally:
        first.release()
    second.acquire(SINCE)
    second.release()


def test_the_lock_file_holds_the_time_of_its_acquisition(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'monitor.db'}"
    lock = DaemonLock(url, pid=1234, host="alpha")
    lock.acquire(SINCE)
    holder = DaemonLock(url).holder()
    assert holder is not None
    assert (holder.pid, holder.host, holder.since) == (1234, "alpha", SINCE)
    assert (tmp_path / "monitor.db.lock").stat().st_mode & 0o777 == 0o600
    lock.release()


def test_holder_is_none_before_and_after(empty_database: str) -> None:
    lock = DaemonLock(empty_database)
    assert lock.holder() is None
    with lock:
        holder = lock.holder()
        assert holder is not None
        assert holder.pid is not None
        assert holder.since is not None
    assert lock.holder() is None


def test_acquire_and_release_may_be_called_twice(empty_database: str) -> None:
    lock = DaemonLock(empty_database)
    lock.acquire()
    lock.acquire()
    lock.keep()
    lock.release()
    lock.release()


def test_lock_of_a_killed_daemon_is_free_at_once(empty_database: str) -> None:
    code = f"""
import sys, time
from monitor.store.lock import DaemonLock
lock = DaemonLock({empty_database!r}, host="alpha")
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "held\n"
        lock = DaemonLock(empty_database)
        holder = lock.holder()
        assert holder is not None
        assert (holder.pid, holder.host) == (daemon.pid, "alpha")
        with pytest.raises(StoreHeld, match=str(daemon.pid)):
            lock.acquire()
        daemon.send_signal(signal.SIGKILL)
        daemon.wait(timeout=30)
    acquire_released(lock)
    lock.release()


def test_P27_five_daemons_start_at_once_and_one_holds(empty_database: str) -> None:
    code = f"""
import sys
from monitor.domain.errors import StoreHeld
from monitor.store.lock import DaemonLock
sys.stdin.readline()
lock = DaemonLock({empty_database!r})
try:
    lock.acquire()
    print("held", flush=True)
except StoreHeld:
    print("refused", flush=True)
sys.stdin.read()
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(5)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.stdout.readline().strip() for process in processes if process.stdout is not None]
    for process in processes:
        process.communicate(timeout=60)
    assert sorted(answers) == ["held"] + ["refused"] * 4


def test_lock_works_before_there_is_a_schema_and_beside_an_open_store(empty_database: str) -> None:
    """The lock comes first, then the migration."""
    with DaemonLock(empty_database), Store(empty_database) as store:
        assert store.upgrade() is True


def test_P27_lock_that_the_server_dropped_is_noticed_and_taken_again(new_postgres: object) -> None:
    import psycopg

    assert callable(new_postgres)
    url = str(new_postgres())
    lock = DaemonLock(url, pid=1, host="alpha")
    lock.acquire()
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'token-monitor 1 alpha'")
    lock.keep()
    assert DaemonLock(url).holder() is not None
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'token-monitor 1 alpha'")
    with DaemonLock(url, pid=2, host="beta"), pytest.raises(StoreHeld, match="process 2 on beta"):
        lock.keep()
    lock.release()


def test_unreachable_server_is_no_verdict_about_the_lock(tmp_path: Path) -> None:
    lock = DaemonLock(f"postgresql://postgres:hunter2@/nowhere?host={tmp_path}")
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        lock.acquire()
    assert "hunter2" not in str(caught.value)


def test_who_looks_again_and_again_keeps_one_connection(new_postgres: Callable[[], str]) -> None:
    import psycopg

    url = new_postgres()
    lock, other = DaemonLock(url, pid=1, host="alpha"), DaemonLock(url, pid=2, host="beta")
    with ExitStack() as stack:
        stack.callback(other.release)
        admin = stack.enter_context(psycopg.connect(url, autocommit=True))
        lock.acquire()
        stack.callback(lock.release)
        for _ in range(5):
            found = other.watch_holder()
            assert found is not None
            assert (found.pid, found.host) == (1, "alpha")
        names = admin.execute("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE '% beta'").fetchall()
        assert names == [("token-monitor standby 2 beta",)]
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%standby%'")
        with pytest.raises(StoreUnavailable, match="does not report the holder of its lock"):
            other.watch_holder()
        assert other.watch_holder() is not None
        lock.release()
        # The server notices that the connection went a moment after it did.
        eventually(lambda: other.watch_holder() is None)
