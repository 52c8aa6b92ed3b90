"""Health reports: the heartbeat against a real receiver, the watchdog and STATUS= against a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import structlog.testing

from monitor.config import Config, HeartbeatConfig, Secret, load
from monitor.config.urls import heartbeat_kind
from monitor.daemon.health_reporting import HealthReporter, HeartbeatPinger
from monitor.domain.clock import SystemClock
from monitor.domain.records import replace
from monitor.providers import HttpSessions
from monitor.store import Store, sources
from monitor.telemetry.progress import SCHEDULER, Progress
from monitor.telemetry.systemd import Notify
from tests.support.delivery import until
from tests.support.fakes import ManualClock, Passing
from tests.support.receivers import Reply, WebhookReceiver

QUICK = timedelta(milliseconds=30)
LONG = timedelta(hours=10)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as made:
        yield made


@pytest.fixture
async def sessions() -> AsyncIterator[HttpSessions]:
    async with HttpSessions() as made:
        yield made


async def describe() -> str:
    return "monitoring 2 connections"


def address(receiver: WebhookReceiver, path: str = "/ping/5f0c", *, every: timedelta = QUICK) -> HeartbeatConfig:
    url = f"http://{receiver.address}{path}"
    return HeartbeatConfig(url=Secret(url), kind=heartbeat_kind(url), every=every)


async def test_it_signals_the_start_and_then_every_interval(receiver: WebhookReceiver, sessions: HttpSessions) -> None:
    heartbeat = HeartbeatPinger(sessions=sessions, progress=Progress(), describe=describe)
    heartbeat.configure(address(receiver))
    await until(lambda: len(receiver.received) >= 3)
    heartbeat.stop()
    first, second, third = receiver.received[:3]
    assert [(each.method, each.path) for each in (first, second, third)] == [
        ("POST", "/ping/5f0c/start"),
        ("POST", "/ping/5f0c"),
        ("POST", "/ping/5f0c"),
    ]
    assert second.body == b"monitoring 2 connections"


async def test_A16_a_standstill_is_signalled_as_a_failure_with_its_reason_and_nothing_else(
    receiver: WebhookReceiver, sessions: HttpSessions
) -> None:
    passing = Passing()
    progress = Progress(monotonic=passing)
    progress.note(SCHEDULER)
    passing.now += 600
    heartbeat = HeartbeatPinger(sessions=sessions, progress=progress, describe=describe)
    heartbeat.configure(address(receiver))
    await until(lambda: len(receiver.received) >= 3)
    assert {each.path for each in receiver.received[1:]} == {"/ping/5f0c/fail"}
    assert receiver.received[1].body == b"The scheduler has not checked for due work for 10 minutes."
    progress.note(SCHEDULER)
    await until(lambda: receiver.received[-1].path == "/ping/5f0c")
    heartbeat.stop()


async def test_a_query_stays_behind_the_path(receiver: WebhookReceiver, sessions: HttpSessions) -> None:
    heartbeat = HeartbeatPinger(sessions=sessions, progress=Progress(), describe=describe)
    heartbeat.configure(address(receiver, "/ping/?rid=1", every=LONG))
    await until(lambda: len(receiver.received) >= 1)
    heartbeat.stop()
    assert receiver.received[0].path == "/ping/start?rid=1"


async def test_a_failing_heartbeat_service_is_reported_once(receiver: WebhookReceiver, sessions: HttpSessions) -> None:
    """Refused, broken off, sent elsewhere: it goes on, and follows nobody."""
    receiver.script(Reply(status=503), Reply(reset=True), Reply(status=302, headers={"Location": "/elsewhere"}))
    heartbeat = HeartbeatPinger(sessions=sessions, progress=Progress(), describe=describe)
    with structlog.testing.capture_logs() as told:
        heartbeat.configure(address(receiver))
        await until(lambda: len(receiver.received) >= 6)
        heartbeat.stop()
    assert "/elsewhere" not in [each.path for each in receiver.received]
    assert [line["event"] for line in told] == ["heartbeat.failing", "heartbeat.back"]
    assert "5f0c" not in str(told)


async def test_a_reload_goes_over_to_the_new_address_and_leaves_an_unchanged_one_alone(
    receiver: WebhookReceiver, sessions: HttpSessions
) -> None:
    heartbeat = HeartbeatPinger(sessions=sessions, progress=Progress(), describe=describe)
    heartbeat.configure(address(receiver, every=LONG))
    await until(lambda: len(receiver.received) == 1)
    heartbeat.configure(address(receiver, every=LONG))
    heartbeat.configure(address(receiver, "/other", every=LONG))
    await until(lambda: len(receiver.received) == 2)
    heartbeat.configure(None)
    assert [each.path for each in receiver.received] == ["/ping/5f0c/start", "/other/start"]


# --- systemd


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.setblocking(False)
        yield server


class Heard:
    """Everything that arrived at a socket, message by message."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.messages: list[list[str]] = []

    def __call__(self, line: str) -> int:
        while True:
            try:
                self.messages.append(self._listener.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return sum(line in message for message in self.messages)


def a_config(tmp_path: Path) -> Config:
    path = tmp_path / "config.toml"
    path.write_text('[[sources]]\nname = "agency"\nprovider = "postpost"\napi_key = "key"\n', "utf-8")
    path.chmod(0o600)
    return load(path, {"HOME": str(tmp_path)}).config


async def test_P09_the_watchdog_is_fed_while_there_is_progress_and_starves_without(
    store: Store, clock: ManualClock, sessions: HttpSessions, listener: socket.socket, tmp_path: Path
) -> None:
    passing, heard = Passing(), Heard(listener)
    progress = Progress(monotonic=passing)
    notify = Notify({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000"})
    reporter = HealthReporter(store=store, sessions=sessions, clock=clock, progress=progress, notify=notify)
    async with reporter:
        progress.note(SCHEDULER)
        await reporter.ready(a_config(tmp_path))
        await until(lambda: heard("WATCHDOG=1") >= 3)
        passing.now += 600
        await asyncio.sleep(0.05)  # what was on its way
        fed = heard("WATCHDOG=1")
        await asyncio.sleep(0.2)
        assert heard("WATCHDOG=1") == fed
        progress.note(SCHEDULER)
        await until(lambda: heard("WATCHDOG=1") > fed)


async def test_ready_and_a_refused_reload_are_signalled_with_a_readable_line(
    store: Store, clock: ManualClock, sessions: HttpSessions, listener: socket.socket, tmp_path: Path
) -> None:
    with store.begin_write() as conn:
        sources.sync_sources(conn, [("agency", "postpost", "127.0.0.1")], clock.now())
        row = sources.find_source(conn, "agency")
        assert row is not None
        sources.save_source(conn, replace(row, connections=312, next_poll_at=clock.now() + timedelta(seconds=40)))
    heard = Heard(listener)
    notify = Notify({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    async with HealthReporter(store=store, sessions=sessions, clock=clock, progress=Progress(), notify=notify) as reporter:
        line = "STATUS=monitoring 312 connections from 1 source; next poll in 40 seconds"
        await reporter.ready(a_config(tmp_path))
        await until(lambda: heard(line) == 1)
        reporter.reloading()
        reporter.reload_rejected("config.toml: timezone is wrong.")
        await reporter.ready(a_config(tmp_path))
        why = "the last reload was rejected and the previous configuration stays in force: config.toml: timezone is wrong."
        await until(lambda: heard(f"{line} ({why})") == 1)
        reporter.reloading()
        await reporter.ready(a_config(tmp_path))
        await until(lambda: heard(line) == 2)
        reporter.stopping()
        await until(lambda: heard("STOPPING=1") == 1)
        assert heard("READY=1") == 3


async def test_a_member_of_a_cluster_that_does_not_plan_shows_its_state_and_calls_no_heartbeat(
    store: Store, sessions: HttpSessions, listener: socket.socket, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    """The planner's calls would otherwise not be missed."""
    heard, state = Heard(listener), ["working: 3 sources and channels in work"]
    notify, progress = Notify({"NOTIFY_SOCKET": str(tmp_path / "notify")}), Progress()
    config = replace(a_config(tmp_path), heartbeat=address(receiver))
    async with HealthReporter(store=store, sessions=sessions, clock=SystemClock(), progress=progress, notify=notify) as reporter:
        progress.status = lambda: state[0]
        await reporter.ready(config)
        await until(lambda: heard(f"STATUS={state[0]}") == 1)
        state[0] = "waiting: Its clock is 5 minutes ahead of the planner's: correct the clock."
        await until(lambda: heard(f"STATUS={state[0]}") == 1)
        assert receiver.received == []
        progress.status = None  # it plans now
        await reporter.ready(config)
        await until(lambda: len(receiver.received) >= 1)
