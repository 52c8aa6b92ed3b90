"""Several daemons on one database: one is active, the others stand by (PostgreSQL) or exit (SQLite)."""

from __future__ import annotations

import random
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from monitor.demo.receivers import WebhookReply
from monitor.store import Store
from monitor.store.lock import DaemonLock
from tests.acceptance.daemon import PATIENCE, Setting, eventually, setting
from tests.chaos.oracle import CHANNEL, judge, settled, wrong_states
from tests.chaos.random_kills import SOURCE, TOP, new_world
from tests.support.launcher import Process
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

DAEMONS, KILLS = 8, 10
WITHIN = 30.0
"""Seconds that a takeover may take at most: the promise."""


class Ears:
    """A notification socket that knows which process says what: the last STATUS= of each."""

    def __init__(self, path: Path) -> None:
        self.path, self.status = path, dict[int, str]()
        self._ready: set[int] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(path))
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        with suppress(OSError):
            while True:
                data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
                pid = struct.unpack("3i", ancillary[0][2])[0]
                text = data.decode()
                if "READY=1" in text:
                    self._ready.add(pid)
                if (found := re.search(r"STATUS=(.*)", text)) is not None:
                    self.status[pid] = found[1]

    def reported(self, words: str) -> set[int]:
        """The processes that are ready and whose status now holds these words."""
        return {pid for pid, text in list(self.status.items()) if words in text and pid in self._ready}

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ears]:
    """Every daemon that is started meanwhile tells its state here, as it would tell systemd."""
    made = Ears(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(made.path))
    yield made
    made.close()


def holder(url: str) -> int:
    """The process at work, 0 while there is none."""
    found = DaemonLock(url).holder()
    return found.pid or 0 if found is not None else 0


def started(made: Setting, count: int) -> dict[int, Process]:
    """New daemons, by their pids."""
    return {process.pid: process for process in (made.launch("run") for _ in range(count))}


def test_P27_of_eight_daemons_one_works_and_ten_kills_are_taken_over_in_time_with_nothing_lost_or_doubled(
    tmp_path: Path, new_postgres: Callable[[], str], ears: Ears, capsys: pytest.CaptureFixture[str]
) -> None:
    url, turner = new_postgres(), new_world(random.Random(random.randrange(1_000_000)))
    with setting(tmp_path, turner.world, database=url, top=TOP, channel=CHANNEL) as made:
        daemons = started(made, DAEMONS)
        eventually(lambda: len(ears.reported("standing by: process")) == DAEMONS - 1 and holder(url) in daemons, within=40)
        active = holder(url)
        assert ears.reported("standing by") == daemons.keys() - {active}
        assert all(f"process {active} on " in ears.status[pid] for pid in daemons.keys() - {active})
        calls, took = made.world.sources[SOURCE].calls, []

        def all_stand_by(active: int) -> None:
            eventually(lambda: daemons.keys() - {active} <= ears.reported("standing by"), within=3 * PATIENCE)

        made.await_polls(1, SOURCE)
        with Store(url) as store:
            # What vanishes from the list before it was ever stored is never known.
            eventually(lambda: not wrong_states(store, turner.states))
        for _ in range(KILLS):
            all_stand_by(active)  # one that has just begun would take the free lock without standing by
            made.await_polls(1, SOURCE)
            turner.turn()
            time.sleep(random.uniform(0, 0.5))
            assert holder(url) == active
            killed_at, before = time.monotonic(), calls["list"]
            assert made.stop(daemons.pop(active), signal.SIGKILL) == -signal.SIGKILL
            eventually(lambda before=before: calls["list"] > before, within=WITHIN)  # type: ignore[misc]  # bound at once
            took.append(time.monotonic() - killed_at)
            active = eventually(lambda: holder(url))
            assert active in daemons
            daemons |= started(made, 1)
        with Store(url) as store:
            with suppress(AssertionError):  # the oracle says what is amiss, better than a wait that ran out
                eventually(lambda: settled(store, turner.states))
            all_stand_by(active)  # one that has just begun handles no signal yet
            for pid in daemons.keys() - {active}:
                assert made.stop(daemons[pid]) == 0
            assert made.stop(daemons[active]) == 0, made.log()[-4000:]
            found = judge(store, made.receiver.posts, turner.states, kills=KILLS)
    with capsys.disabled():
        print(f"\n{KILLS} takeovers among {DAEMONS} daemons: the longest took {max(took):.1f} s; {found.repeats} repeats")  # noqa: T201
    assert found.violations == []
    assert found.alerts >= KILLS // 2
    assert max(took) < WITHIN
    assert made.log().count("daemon.takeover") >= KILLS


def test_P27_of_eight_daemons_on_sqlite_seven_refuse_in_one_sentence(tmp_path: Path) -> None:
    turner = new_world(random.Random(1))
    url = f"sqlite:///{tmp_path / 'monitor.db'}"
    with setting(tmp_path, turner.world, database=url, top=TOP, channel=CHANNEL) as made:
        daemons = started(made, DAEMONS)
        made.await_polls(1, SOURCE)
        active = holder(url)
        others = daemons.keys() - {active}
        assert {pid: daemons[pid].wait(60) for pid in others} == dict.fromkeys(others, 1)
        assert active in daemons
        sentence = f"uses the database {tmp_path / 'monitor.db'}: only one daemon can use it at a time."
        assert made.log().count(sentence) == DAEMONS - 1
        assert made.log().count(f"(process {active} on ") >= DAEMONS - 2  # one may have asked before the name was written
        assert "Traceback" not in made.log()
        assert made.stop(daemons[active]) == 0


@contextmanager
def lock_taken_from(url: str, pid: int) -> Iterator[None]:
    """Somebody else holds the lock: the server dropped the connection of the one that held it, and was asked at once."""
    thief = DaemonLock(url, pid=1, host="elsewhere")
    plain = url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(plain, autocommit=True) as admin:
        name = f"token-monitor {pid} %"
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s", (name,))
        while holder(url) not in {0, 1}:
            time.sleep(0.005)
    thief.acquire()
    try:
        yield
    finally:
        thief.release()


@pytest.fixture
def pair(tmp_path: Path, new_postgres: Callable[[], str]) -> Iterator[Setting]:
    """A monitor with a page, on PostgreSQL."""
    turner = new_world(random.Random(2))
    port = free_port()
    with setting(tmp_path, turner.world, database=new_postgres(), top=TOP) as made:
        text = made.config.read_text("utf-8").replace('listen = "off"', f'listen = "127.0.0.1:{port}"')
        made.config.write_text(text, "utf-8")
        yield made


def database(made: Setting) -> str:
    found = re.search(r'url = "(postgres[^"]+)"', made.config.read_text("utf-8"))
    assert found is not None
    return found[1]


def listening(pid: int) -> list[int]:
    """The ports on which a process listens."""
    return [each.laddr.port for each in psutil.Process(pid).net_connections("inet") if each.status == psutil.CONN_LISTEN]


def test_a_standby_opens_no_port_sends_no_request_and_can_be_reloaded_and_stopped(pair: Setting, ears: Ears) -> None:
    active = pair.launch("run")
    eventually(lambda: listening(active.pid))
    waiting = pair.launch("run")
    eventually(lambda: waiting.pid in ears.reported(f"standing by: process {active.pid} on "))
    assert listening(waiting.pid) == []
    good = pair.config.read_text("utf-8")
    pair.config.write_text(good + "\nnonsense = 1\n", "utf-8")
    waiting.send_signal(signal.SIGHUP)
    eventually(lambda: "config.reload_refused" in pair.log())
    pair.config.write_text(good, "utf-8")
    waiting.send_signal(signal.SIGHUP)
    assert pair.stop(active) == 0
    eventually(lambda: listening(waiting.pid), within=WITHIN)
    pair.await_polls(1, SOURCE)
    third = pair.launch("run")
    eventually(lambda: third.pid in ears.reported("standing by"))
    assert pair.stop(third) == 0
    assert pair.stop(waiting) == 0


def test_who_lost_the_lock_stops_work_at_once_stands_by_and_may_take_over_again(pair: Setting, ears: Ears) -> None:
    pair.receiver.reply = WebhookReply(after=2)  # a delivery that is under way does not hold it up
    daemon = pair.launch("run")
    pair.await_polls(2, SOURCE)
    pair.world.expire(SOURCE, "linkedin-linkedin-1")
    eventually(lambda: pair.find_post("linkedin-1"))
    with lock_taken_from(database(pair), daemon.pid):
        eventually(lambda: daemon.pid in ears.reported("standing by: process 1 on elsewhere"))
        assert listening(daemon.pid) == []
        eventually(lambda: "daemon.lost_lock" in pair.log())
        calls = pair.world.sources[SOURCE].calls["list"]
        pair.world.expire(SOURCE, "threads-threads-1")
        time.sleep(0.9)
        time.sleep(0.9)
        assert pair.world.sources[SOURCE].calls["list"] == calls
    pair.receiver.reply = WebhookReply()
    eventually(lambda: pair.find_post("threads-1", "expired"), within=WITHIN)
    eventually(lambda: listening(daemon.pid))
    assert pair.stop(daemon) == 0
    told = [message for message in pair.messages() if "linkedin-1" in str(message) and "repeat" not in str(message)]
    assert len(told) == 1


def test_a_standby_of_an_older_version_immediately_refuses_the_database(pair: Setting) -> None:
    active = pair.launch("run")
    pair.await_polls(1, SOURCE)
    with psycopg.connect(database(pair).replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute("UPDATE alembic_version SET version_num = '0999'")
    assert pair.launch("run").wait(60) == 2
    eventually(lambda: "revision 0999" in pair.log())
    assert pair.stop(active) == 0
