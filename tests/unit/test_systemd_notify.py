"""What is told to systemd, as a socket hears it: by path and in the abstract namespace."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.daemon.health_reporting import DaemonHealth, describe
from monitor.telemetry.systemd import Notify

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        server.settimeout(5)
        yield server


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@token-monitor-test-{os.getpid()}-{time.monotonic_ns()}"


def heard(server: socket.socket) -> list[str]:
    return server.recv(4096).decode("utf-8").split("\n")


def test_every_state_is_sent_in_the_format_of_systemd(address: str) -> None:
    with listening(address) as server:
        notify = Notify({"NOTIFY_SOCKET": address})
        notify.ready("watching")
        assert heard(server) == ["READY=1", "STATUS=watching"]
        notify.status("two\nlines … and all of Unicode")
        assert heard(server) == ["STATUS=two lines … and all of Unicode"]
        notify.ping_watchdog()
        assert heard(server) == ["WATCHDOG=1"]
        notify.stopping()
        assert heard(server)[0] == "STOPPING=1"
        notify.extend_timeout(timedelta(minutes=2), "migrating")
        assert heard(server) == ["EXTEND_TIMEOUT_USEC=120000000", "STATUS=migrating"]


def test_a_reload_carries_the_monotonic_clock_that_systemd_compares(address: str) -> None:
    with listening(address) as server:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        Notify({"NOTIFY_SOCKET": address}).reloading()
        state, stamp, _ = heard(server)
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert state == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= after


@pytest.mark.parametrize("wrong", ["", "relative/path", "@", "/"])
def test_without_a_usable_socket_nothing_is_sent_and_nothing_fails(wrong: str) -> None:
    notify = Notify({"NOTIFY_SOCKET": wrong, "WATCHDOG_USEC": "1000000"})
    notify.ready("anything")
    assert (notify.enabled, notify.watchdog) == (False, None)


def test_a_socket_that_is_gone_or_full_costs_the_message_and_never_waits(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    notify = Notify({"NOTIFY_SOCKET": address})
    notify.ping_watchdog()
    with listening(address):
        for _ in range(5000):  # nobody reads: the queue is full long before
            notify.ping_watchdog()


@pytest.mark.parametrize(
    ("given", "watchdog"),
    [
        ({"WATCHDOG_USEC": "60000000"}, timedelta(seconds=60)),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, timedelta(seconds=60)),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),  # another process of the service is meant
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_only_where_systemd_watches_this_process(given: dict[str, str], watchdog: timedelta | None) -> None:
    assert Notify({"NOTIFY_SOCKET": "/somewhere", **given}).watchdog == watchdog


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        ((3, 312, 40, 1), "monitoring 312 connections from 3 sources; next poll in 40 seconds; 1 delivery pending"),
        ((1, 1, 90, 0), "monitoring 1 connection from 1 source; next poll in 1 minute"),
        ((2, 12_345, 0, 2), "monitoring 12,345 connections from 2 sources; polling now; 2 deliveries pending"),
        ((0, 0, None, 0), "monitoring 0 connections from 0 sources"),
    ],
)
def test_the_status_line_is_one_that_people_can_read(standing: tuple[int, int, int | None, int], said: str) -> None:
    sources, connections, seconds, waiting = standing
    at = None if seconds is None else NOW + timedelta(seconds=seconds)
    found = DaemonHealth(sources=sources, connections=connections, next_poll_at=at, waiting=waiting)
    assert describe(found, NOW) == said
