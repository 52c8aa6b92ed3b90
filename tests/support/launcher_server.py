"""The forking interpreter behind tests/support/launcher.py: `python -m tests.support.launcher_server DESCRIPTOR`.

It imports the program, then forks for each request, reports the child's pid, and its exit status when it has ended. It ends
with its client, and kills what is left.
"""

from __future__ import annotations

import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from tests.support.launcher import MESSAGE


def _import_program() -> None:
    """Import what the program imports at first use, too: Apprise's plugins, Alembic, the database drivers, all commands."""
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # as monitor.cli.startup does before the same imports
    import alembic.command  # noqa: F401
    import apprise
    import psycopg  # noqa: F401
    import uvloop  # noqa: F401

    import monitor.daemon.app  # noqa: F401
    from monitor.cli.commands import command_line

    command_line()
    apprise.Apprise().add("json://127.0.0.1:9/")


class Server:
    """Serves one client. `children` are those that run: pid and status socket by pidfd."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._children: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> Callable[[], int | None] | None:
        """Return None when the client has gone; in each forked child, what is to run there."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._report(key.fd)
                    continue
                data, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE, 4)
                if not data:
                    self._kill_children()
                    return None
                pid = os.fork()
                if pid == 0:
                    self._forget()
                    os.close(descriptors[3])
                    return partial(_become, json.loads(data), descriptors[:3])
                self._add(pid, descriptors)

    def _add(self, pid: int, descriptors: list[int]) -> None:
        for each in descriptors[:3]:
            os.close(each)
        status = socket.socket(fileno=descriptors[3])
        status.send(str(pid).encode())
        process = os.pidfd_open(pid)
        self._children[process] = pid, status
        self._selector.register(process, selectors.EVENT_READ)

    def _report(self, process: int) -> None:
        pid, status = self._children.pop(process)
        self._selector.unregister(process)
        os.close(process)
        _, code = os.waitpid(pid, 0)
        with status, suppress(OSError):  # the client need not wait for it
            status.send(str(os.waitstatus_to_exitcode(code)).encode())

    def _kill_children(self) -> None:
        for pid, _ in self._children.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _forget(self) -> None:
        """Close, in a child, what belongs to the server."""
        self._selector.close()
        self._control.close()
        for process, (_, status) in self._children.items():
            os.close(process)
            status.close()


def _become(request: dict[str, Any], streams: list[int]) -> int | None:
    """Be the program that was asked for. The arguments, streams and environment are those of a fresh interpreter."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored here, if the tests run in the background
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    _open_streams()
    module = importlib.import_module("monitor.cli" if request["module"] == "monitor" else request["module"])
    sys.argv = [str(module.__file__), *request["arguments"]]
    status: int | None = module.main(request["arguments"])
    return status


def _open_streams() -> None:
    """Open the streams as an interpreter in UTF-8 mode does; the server's own objects remember what /dev/null can do."""
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115 - for the whole process
    buffering = 1 if os.isatty(1) else -1
    sys.stdout = open(1, "w", buffering, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def main() -> int | None:
    """Serve; in a child, run its program."""
    _import_program()
    program = Server(socket.socket(fileno=int(sys.argv[1]))).serve()
    return program() if program else None


if __name__ == "__main__":
    sys.exit(main())
