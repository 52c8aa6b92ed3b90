"""The program as a process, forked from an interpreter that has imported it already: it costs its work, not its imports.

`launch` gives a process with the arguments, environment, folder and streams that it is given, as `subprocess.Popen` does;
`run` waits for its end. What an interpreter or the dynamic loader reads from the environment when it starts (PYTHON…, LD_…)
takes a fresh interpreter, and so does a program that is not this one's command line.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO, Protocol

ROOT = Path(__file__).resolve().parents[2]
_OWN = {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
_READ_AT_START = ("PYTHON", "LD_")
_HARMLESS = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
"""Often set in containers, and without effect on what the program does."""
MESSAGE = 1 << 18
"""The most bytes of a request."""


class Process(Protocol):
    """A started program: a `subprocess.Popen`, or a `Forked` one."""

    @property
    def pid(self) -> int:
        """Its number."""

    def poll(self) -> int | None:
        """Return its exit status (negative: the signal that ended it), or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status when it has ended. Raises subprocess.TimeoutExpired."""

    def send_signal(self, sig: int, /) -> None:
        """Send a signal, unless it has ended."""

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""


class Forked:
    """A process forked by the launcher. Its end of `status` carries the exit status, which is what `poll` and `wait` read."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Return its exit status (negative: the signal that ended it), or None while it runs."""
        self._await(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status when it has ended. Raises subprocess.TimeoutExpired."""
        self._await(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("token-monitor", timeout or 0)
        return self.returncode

    def send_signal(self, sig: int, /) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def _await(self, timeout: float | None) -> None:
        if self.returncode is not None or not select.select([self._status], [], [], timeout)[0]:
            return
        received = self._status.recv(64)
        assert received, "the launcher has ended"
        self.returncode = int(received)
        self._status.close()


class Launcher:
    """The connection to the forking interpreter (tests/support/launcher_server.py); threads may share it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE)
        self._control = ours
        self._lock = threading.Lock()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.support.launcher_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **_OWN},
                start_new_session=True,
            )
        atexit.register(self.close)

    def fork(self, request: Mapping[str, object], streams: Sequence[int]) -> Forked:
        """Start a process with these three streams."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            socket.send_fds(self._control, [json.dumps(request).encode()], [*streams, theirs.fileno()])
        return Forked(int(ours.recv(64)), ours)

    def close(self) -> None:
        """End it, and with it every process that is left."""
        self._control.close()
        self._server.wait(timeout=30)


@cache
def _launcher() -> Launcher:
    return Launcher()


def launch(
    *arguments: str,
    env: Mapping[str, str],
    cwd: Path,
    stdout: BinaryIO | int,
    stderr: BinaryIO | int,
    stdin: BinaryIO | int = subprocess.DEVNULL,
    module: str = "monitor",
) -> Process:
    """Start `python -m monitor` (or another module with a `main(arguments)`) in a session of its own."""
    if _is_own(env):
        with Path(os.devnull).open("rb") as nothing:
            streams = [_number(each, nothing) for each in (stdin, stdout, stderr)]
            request = {"module": module, "arguments": arguments, "env": dict(env), "cwd": str(cwd)}
            return _launcher().fork(request, streams)
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)


def _is_own(environment: Mapping[str, str]) -> bool:
    read = {name: value for name, value in environment.items() if name.startswith(_READ_AT_START) and name not in _HARMLESS}
    return read == _OWN


def _number(stream: BinaryIO | int, nothing: BinaryIO) -> int:
    if isinstance(stream, int):
        return nothing.fileno() if stream == subprocess.DEVNULL else stream
    return stream.fileno()


def run(
    *arguments: str, env: Mapping[str, str], cwd: Path, timeout: float = 60, module: str = "monitor"
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end. Raises subprocess.TimeoutExpired, the process killed."""
    with _memory("stdout") as out, _memory("stderr") as err:
        process = launch(*arguments, env=env, cwd=cwd, stdout=out, stderr=err, module=module)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "strict").replace("\r\n", "\n"))
    return subprocess.CompletedProcess(["token-monitor", *arguments], status, *texts)


def _memory(name: str) -> BinaryIO:
    return os.fdopen(os.memfd_create(name), "w+b")
