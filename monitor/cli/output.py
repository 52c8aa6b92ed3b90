"""Writing answers: text, tables and JSON on stdout. Colour only on a terminal, nothing a stranger wrote is ever obeyed."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from monitor.domain.errors import MonitorError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_PIPE_WIDTH = 4096
"""Without a terminal a row is one line, whatever its length: programs read it."""
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def on_terminal() -> bool:
    """Whether a person reads the answer directly."""
    return sys.stdout.isatty()


def console(*, terminal: bool | None = None, width: int | None = None) -> Console:
    """Where tables are laid out. NO_COLOR is respected; without a terminal there is no escape sequence at all."""
    from rich.console import Console

    terminal = on_terminal() if terminal is None else terminal
    return Console(
        file=sys.stdout,
        force_terminal=terminal,
        color_system="auto" if terminal else None,
        width=width if terminal else _PIPE_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )


def show(*items: RenderableType, on: Console | None = None) -> None:
    """Lay out and write, without blanks at line ends."""
    target = on or console()
    with target.capture() as capture:
        for item in items:
            target.print(item)
    echo(re.sub(r"[ \t]+$", "", capture.get(), flags=re.MULTILINE).rstrip("\n"))


def echo(text: str) -> None:
    """Write lines. A reader that has left is no error; a full disk is."""
    encoding = sys.stdout.encoding or "utf-8"
    line = f"{text}\n".encode(encoding, "replace").decode(encoding)
    try:
        sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        raise MonitorError(f"The answer could not be written: {error.strerror or type(error).__name__}.") from error


def echo_json(answer: dict[str, Any]) -> None:
    """Write one JSON object. What could steer a terminal is escaped, which any reader of JSON takes back."""
    from msgspec import to_builtins

    wide = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(answer, ensure_ascii=not wide, indent=2 if on_terminal() else None, default=to_builtins)
    echo(_UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text))


def _discard_stdout() -> None:
    """Let nothing complain again when the interpreter flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
