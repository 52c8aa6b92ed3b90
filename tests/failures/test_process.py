"""The process in trouble: signals, a frozen machine, no memory, no descriptors, a disk that fails, a clock that lies."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from monitor.demo.receivers import WebhookReceiver, WebhookReply
from monitor.demo.server import in_thread
from monitor.demo.world import populate
from monitor.store import Store, alerts
from tests.acceptance.daemon import Setting, eventually
from tests.failures.conftest import DAY
from tests.support.poll_cycle import config_text

pytestmark = pytest.mark.slow

ALERT_IDS = re.compile(r"\b[0-9a-f]{20}\b")
"""The ids of a message's alerts."""

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing: failing system calls are NOT tested")
needs_faketime = pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is missing: jumps of the clock are NOT tested")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="not root: limits and namespaces are NOT tested")


def test_P06_a_second_sigterm_ends_it_at_once_and_the_store_is_whole(one: Setting) -> None:
    process = one.start()
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li", "expired"))
    one.receiver.script.append(WebhookReply(after=10))
    one.world.renew("agency", "linkedin-li")
    eventually(lambda: one.find_post("recovered"))  # the daemon waits for the answer to this one
    process.send_signal(signal.SIGTERM)
    eventually(lambda: "daemon.stopping" in one.log())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) != 0
    process = one.start()
    eventually(lambda: any("may be a repeat" in message["message"] for message in one.messages()))
    assert one.stop(process, signal.SIGINT) == 0
    assert one.status()["agency/linkedin-li"] == "valid"


def test_P08_a_hundred_reloads_during_deliveries_lose_nothing_and_leak_nothing(one: Setting) -> None:
    """Each reload finds another file; after the last signal, the last file is in force."""
    for number in range(4):
        one.world.connect("agency", "mastodon", account=f"m{number}", username=f"@m{number}", lifetime=50 * DAY)
    one.world.add_source("studio", "publora")
    one.world.connect("studio", "mastodon", account="fern", username="Fern", lifetime=50 * DAY)
    text = one.config.read_text(encoding="utf-8")
    last = f"{text}[[sources]]{config_text(one.world, one.server).rpartition('[[sources]]')[2]}"
    process = one.start()
    one.await_polls(2)
    watched = psutil.Process(process.pid)
    one.receiver.script.extend([WebhookReply(after=0.5)] * 4)
    before = watched.num_fds(), watched.num_threads()
    for turn in range(100):
        if turn % 25 == 0:
            one.world.expire("agency", f"mastodon-m{turn // 25}")
            eventually(lambda turn=turn: one.find_post(f"mastodon-m{turn // 25}", "expired"))  # type: ignore[misc]  # bound at once
        _replace(one.config, last if turn == 99 else f'{text}labels = {{ turn = "{turn}" }}\n')
        process.send_signal(signal.SIGHUP)
        time.sleep(0.02)
    one.await_polls(1, "studio")
    assert "config.reload_refused" not in one.log()
    one.world.expire("agency", "threads-th")
    eventually(lambda: one.find_post("threads-th", "expired"))
    found = one.status()
    assert found.pop("agency/linkedin-li") == found.pop("studio/mastodon-fern") == "valid"
    assert set(found.values()) == {"expired"}
    eventually(lambda: watched.num_fds() <= before[0] + 8 and watched.num_threads() <= before[1] + 4)
    assert one.stop(process) == 0
    decided = sorted(row["id"] for row in json.loads(one.call("alerts", "--json").stdout)["alerts"])
    in_time = [message["message"] for message in one.messages() if "may be a repeat" not in message["message"]]
    assert sorted(each for text in in_time for each in ALERT_IDS.findall(text)) == decided
    assert len(decided) == 5


def _replace(file: Path, text: str) -> None:
    """Write a file in one step, as an editor does: no reload reads half of it."""
    made = file.with_suffix(".new")
    made.touch(mode=0o600)
    made.write_text(text, encoding="utf-8")
    made.replace(file)


def test_P10_P26_after_seconds_frozen_what_is_due_runs_late_once(one: Setting) -> None:
    process = one.start()
    one.await_polls(2)
    process.send_signal(signal.SIGSTOP)
    calls = one.world.sources["agency"].calls
    frozen_at = calls["list"]
    one.world.expire("agency", "linkedin-li")
    time.sleep(0.9)  # of its polls, some fall into this
    time.sleep(0.9)
    time.sleep(0.9)
    assert calls["list"] <= frozen_at + 1  # one may have been under way
    resumed = time.monotonic()
    process.send_signal(signal.SIGCONT)
    eventually(lambda: one.find_post("linkedin-li", "expired"))
    made_up = calls["list"] - frozen_at
    assert made_up <= 2 + (time.monotonic() - resumed)  # one late run, then the usual pace: no storm
    assert "was missed" not in one.log(), "APScheduler skips late jobs unless configured otherwise"
    assert one.stop(process) == 0
    assert len(one.messages()) == 1


@needs_root
def test_P04_without_memory_it_ends_or_reports_it_and_loses_nothing(one: Setting) -> None:
    process = one.start()
    one.await_polls(2)
    populate(one.world, 30_000, source="other")
    used = re.search(r"VmData:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text("ascii"))
    assert used is not None
    # Too little for the list, and for the stack of more than one thread.
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (int(used[1]) * 1024 + 9 * 2**20, resource.RLIM_INFINITY))
    one.world.expire("agency", "linkedin-li")
    for made in list(one.world.sources["other"]):
        one.world.sources["agency"].put(made)
    # SQLite calls it an I/O error; a thread cannot start, or ends at once.
    reports = ("MemoryError", "NoThread", "poll.failed", "poll.fault", "store.unavailable", "channel.failing")
    eventually(lambda: process.poll() is not None or any(word in one.log() for word in reports), within=60)
    if process.poll() is None:
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        process = one.start()
    eventually(lambda: one.find_post("linkedin-li", "expired"), within=90)
    assert one.stop(process) == 0


@needs_root
def test_N30_without_a_descriptor_left_it_stays_up_and_recovers_by_itself(one: Setting) -> None:
    process = one.start()
    one.await_polls(2)
    used = psutil.Process(process.pid).num_fds()
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used - 2, 4096))
    one.world.expire("agency", "linkedin-li")
    # The poll's connection is open already; the delivery needs a new one and cannot have it.
    eventually(lambda: "channel.failing" in one.log())
    assert one.find_post("linkedin-li") is None
    assert process.poll() is None
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    eventually(lambda: one.find_post("linkedin-li", "expired"), within=60)
    assert one.stop(process) == 0
    assert len(one.messages()) == 1


@needs_strace
def test_P12_when_fsync_fails_nothing_counts_as_written_that_is_not(one: Setting) -> None:
    """The system calls show that it failed, and that the database was opened anew before anything else was written."""
    process = one.start()
    one.await_polls(2)
    calls = one.folder / "system-calls"
    failing = ["-e", "trace=openat,fdatasync", "-e", "inject=fdatasync:error=EIO:when=1..3"]
    trace = subprocess.Popen(["strace", "-f", "-qq", "-o", calls, "-p", str(process.pid), *failing], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{process.pid}/status").read_text("utf-8"))
        one.world.expire("agency", "linkedin-li")
        eventually(lambda: "store.unavailable" in one.log())
        eventually(lambda: one.find_post("linkedin-li", "expired"), within=60)
    finally:
        trace.terminate()
        trace.wait(timeout=10)
    assert process.poll() is None
    assert one.stop(process) == 0
    assert one.status()["agency/linkedin-li"] == "expired"
    about = [message["message"] for message in one.messages() if "linkedin-li" in message["message"]]
    assert len([text for text in about if "may be a repeat" not in text]) == 1
    after_failure = calls.read_text("utf-8").rpartition("(INJECTED)")[2]
    opened, synced = after_failure.find('monitor.db-wal"'), after_failure.find("fdatasync(")
    assert -1 < opened < synced, after_failure


@contextmanager
def _lying_clock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file whose text moves the wall clock of the processes started meanwhile; the monotonic clock stays true."""
    file = folder / "clock"
    file.write_text("+0", encoding="ascii")
    monkeypatch.setenv("LD_PRELOAD", str(FAKETIME))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(file))
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    yield file


@needs_faketime
def test_P22_when_the_clock_goes_back_an_hour_polls_and_alerts_go_on(
    one: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _lying_clock(tmp_path, monkeypatch) as clock:
        process = one.start()
        one.await_idle()
        clock.write_text("-1h", encoding="ascii")
        eventually(lambda: "clock.jumped" in one.log())
        one.await_polls(3)
        one.world.expire("agency", "linkedin-li")
        eventually(lambda: one.find_post("linkedin-li", "expired"))
        assert one.stop(process) == 0


@needs_faketime
def test_P23_when_the_clock_goes_ahead_by_forty_days_nothing_is_called_expired(
    one: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _lying_clock(tmp_path, monkeypatch) as clock:
        process = one.start()
        one.await_idle()
        clock.write_text("+40d", encoding="ascii")  # threads-th has twenty days left in truth
        eventually(lambda: "clock.jumped" in one.log())
        one.await_polls(3)
        one.await_idle()
        clock.write_text("+0", encoding="ascii")
        eventually(lambda: one.log().count("clock.jumped") >= 2)
        one.await_polls(2)
        assert one.stop(process) == 0
    assert not [message for message in one.messages() if "threads-th" in str(message)]
    assert one.status() == {"agency/linkedin-li": "valid", "agency/threads-th": "valid"}


def test_P07_a_bad_file_changes_nothing_and_the_log_holds_the_reason(one: Setting) -> None:
    process = one.start()
    good = one.config.read_text(encoding="utf-8")
    one.config.write_text(good.replace('poll_every = "1s"', 'poll_every = "soon"'), encoding="utf-8")
    process.send_signal(signal.SIGHUP)
    eventually(lambda: "config.reload_refused" in one.log())
    eventually(lambda: "poll_every" in one.log())
    one.await_polls(2)
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li", "expired"))
    assert one.stop(process) == 0


def test_A11_only_the_tightest_stage_crossed_while_it_was_off_is_notified(one: Setting) -> None:
    process = one.start()
    one.await_polls(2)
    assert one.stop(process) == 0
    one.world.change("agency", "linkedin-li", expires_at=one.world.clock.now() + timedelta(hours=20))
    process = one.start()
    eventually(lambda: one.find_post("linkedin-li", "expiring_soon"))
    one.await_polls(2)
    assert one.stop(process) == 0
    assert len(one.messages()) == 1
    with Store(f"sqlite:///{one.folder / 'monitor.db'}") as store, store.begin_read() as conn:
        assert [row.alert.stage for row in alerts.list_alerts(conn)] == [DAY]


def test_A13_an_acknowledgement_and_a_silence_survive_a_kill(one: Setting) -> None:
    process = one.start()
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.find_post("linkedin-li", "expired"))
    assert one.call("ack", "linkedin-li").returncode == 0
    assert one.call("silence", "add", "--connection", "*threads-th*", "--for", "1d", "--comment", "moving house").returncode == 0
    one.stop(process, signal.SIGKILL)
    process = one.start()
    one.world.expire("agency", "threads-th")
    eventually(lambda: one.status()["agency/threads-th"] == "expired")
    one.await_polls(2)
    assert "yes" in one.call("status", "--all").stdout or "acknowledged" in one.call("status", "--all").stdout.lower()
    assert one.find_post("threads-th") is None
    assert one.stop(process) == 0


def test_A16_when_the_daemon_is_dead_its_heartbeat_stops(one: Setting) -> None:
    with in_thread(WebhookReceiver()) as healthchecks:
        text = one.config.read_text(encoding="utf-8")
        one.config.write_text(f'{text}\n[heartbeat]\nurl = "{healthchecks.url}ping"\nevery = "1s"\n', encoding="utf-8")
        process = one.start()
        eventually(lambda: len(healthchecks.posts) >= 3)
        one.stop(process, signal.SIGKILL)
        last = len(healthchecks.posts)
        time.sleep(0.9)
        time.sleep(0.9)
        time.sleep(0.9)  # more than two intervals
        assert len(healthchecks.posts) <= last + 1  # one may have been on its way


def test_A15_a_missing_channel_is_reported_everywhere(one: Setting) -> None:
    text = one.config.read_text(encoding="utf-8")
    head, _, rest = text.partition("[[channels]]")
    one.config.write_text(head + "[[sources]]" + rest.partition("[[sources]]")[2], encoding="utf-8")
    checked = one.call("config", "check")
    assert checked.returncode == 0
    assert "channel" in (checked.stdout + checked.stderr).lower()
    process = one.start()
    eventually(lambda: "config.warning" in one.log())
    eventually(lambda: "no alert will be sent" in one.log())
    one.world.expire("agency", "linkedin-li")
    eventually(lambda: one.status().get("agency/linkedin-li") == "expired")
    assert one.stop(process) == 0
    explained = one.call("alerts", "--json").stdout
    assert "No channel is configured." in explained
