"""What the daemon tells systemd (sd_notify): ready, reloading, stopping, what it does, and that it is alive.

Without a NOTIFY_SOCKET every call does nothing. A message that cannot be sent is dropped: systemd draws its own
conclusions from silence, and the monitor has better to do than to wait for it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from datetime import timedelta

_LONGEST_STATUS = 500
"""Characters; systemd takes a whole datagram, `systemctl status` shows one line."""


class Notify:
    """The notification socket of this service, given by its environment."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        env = os.environ if env is None else env
        self._address = _address(env.get("NOTIFY_SOCKET", ""))
        self.listens = self._address is not None
        """Whether anybody hears what is told here."""
        self.watchdog: timedelta | None = _watchdog(env) if self._address else None
        """Without a sign of life for this long systemd restarts the service; None: it does not watch this process."""

    def ready(self, status: str) -> None:
        """The start, or a reload, is done."""
        self._send("READY=1", _status(status))

    def status(self, text: str) -> None:
        """What `systemctl status` shows to people."""
        self._send(_status(text))

    def alive(self) -> None:
        """A sign of life. Only for who makes progress."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """A reload begins; ready() ends it."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}", _status("Reading the configuration again"))

    def stopping(self) -> None:
        """A stop begins."""
        self._send("STOPPING=1", _status("Stopping"))

    def extend_timeout(self, by: timedelta, status: str) -> None:
        """The start or the stop needs up to this long from now, whatever the unit allows."""
        self._send(f"EXTEND_TIMEOUT_USEC={by // timedelta(microseconds=1)}", _status(status))

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as out:
            out.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)


def _address(text: str) -> str | None:
    """A path, or an abstract socket, which is written with @ and starts with NUL; nothing else is one."""
    if not text.startswith(("/", "@")) or len(text) < 2:
        return None
    return f"\0{text[1:]}" if text.startswith("@") else text


def _watchdog(env: Mapping[str, str]) -> timedelta | None:
    """How long systemd waits; None where it watches nothing, or another process (WATCHDOG_PID)."""
    text, pid = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdigit()) or int(text) == 0 or (pid and pid != str(os.getpid())):
        return None
    return timedelta(microseconds=int(text))


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:_LONGEST_STATUS]}"
