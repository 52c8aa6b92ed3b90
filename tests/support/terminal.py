"""A terminal of a given size with the program running in it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support import launcher
from tests.support.command_line import environment
from tests.support.launcher import Process


class Terminal:
    """What a running program writes to its terminal."""

    def __init__(self, process: Process, handle: int) -> None:
        self.process = process
        self._handle = handle
        self._received = b""

    def until(self, text: str) -> str:
        """Everything so far, as soon as this is in it. The test's own timeout bounds the wait."""
        while text not in self.text:
            if not self.read():
                raise AssertionError(f"{text!r} never came; there was:\n{self.text}")
        return self.text

    def rest(self) -> str:
        """Everything, to the end of the program."""
        while self.read():
            pass
        return self.text

    def type(self, keys: bytes) -> None:
        """Type these keys."""
        os.write(self._handle, keys)

    @property
    def text(self) -> str:
        """Everything so far."""
        return self._received.decode(errors="replace")

    def read(self) -> bool:
        """Wait for more; False when the program has ended."""
        try:
            part = os.read(self._handle, 65536)
        except OSError:  # the other side is closed
            return False
        self._received += part
        return bool(part)


@contextmanager
def terminal(
    folder: Path, *arguments: str, width: int, height: int = 50, env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """The program in a terminal of this size; it is ended with the block where it has not ended by itself."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    try:
        process = launcher.launch(
            *arguments,
            env=environment({"TERM": "xterm-256color", **(env or {})}),
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
    finally:
        os.close(theirs)
    try:
        yield Terminal(process, mine)
    finally:
        process.kill()
        process.wait()
        os.close(mine)


def in_terminal(folder: Path, *arguments: str, width: int, env: dict[str, str] | None = None) -> str:
    """What a terminal of this width receives from a command that ends well."""
    with terminal(folder, *arguments, width=width, env=env) as shown:
        received = shown.rest()
        assert shown.process.wait(30) == 0, received
    return received
