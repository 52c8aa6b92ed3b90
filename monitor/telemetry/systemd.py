"""Notifications to systemd (sd_notify): ready, reloading, stopping, status, watchdog.

Without a NOTIFY_SOCKET every call does nothing. A message that cannot be sent is dropped: the daemon must not wait for
systemd, which acts on missing messages automatically.
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
    """The notification socket of this service, from its environment."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        env = os.environ if env is None else env
        self._address = _address(env.get("NOTIFY_SOCKET", ""))
        self.enabled = self._address is not None
        """True if systemd gave a notification socket."""
        self.watchdog: timedelta | None = _watchdog(env) if self._address else None
        """Interval after which systemd restarts the service without a watchdog ping; None if there is no watchdog."""

    def ready(self, status: str) -> None:
        """Report that the start or a reload is complete."""
        self._send("READY=1", _status(status))

    def status(self, text: str) -> None:
        """Set the text that `systemctl status` shows."""
        self._send(_status(text))

    def ping_watchdog(self) -> None:
        """Reset the watchdog. Call only while the daemon makes progress."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Report that a reload begins; ready() ends it."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}", _status("Reloading the configuration"))

    def stopping(self) -> None:
        """Report that the daemon is stopping."""
        self._send("STOPPING=1", _status("Stopping"))

    def extend_timeout(self, by: timedelta, status: str) -> None:
        """Extend the unit's start or stop timeout to this long from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={by // timedelta(microseconds=1)}", _status(status))

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as out:
            out.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)


def _address(text: str) -> str | None:
    """Return the address of a path or of an abstract socket (written with @, starting with NUL); None for anything else."""
    if not text.startswith(("/", "@")) or len(text) < 2:
        return None
    return f"\0{text[1:]}" if text.startswith("@") else text


def _watchdog(env: Mapping[str, str]) -> timedelta | None:
    """Return the watchdog interval; None if there is no watchdog, or it is for another process (WATCHDOG_PID)."""
    text, pid = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdigit()) or int(text) == 0 or (pid and pid != str(os.getpid())):
        return None
    return timedelta(microseconds=int(text))


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:_LONGEST_STATUS]}"
