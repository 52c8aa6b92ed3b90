"""Output on stdout: text, rich renderables and JSON. Colour on a terminal only; untrusted text cannot control the terminal."""

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
"""Without a terminal a row is one line of any length, because programs read it."""
_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def on_terminal() -> bool:
    """Return True if stdout is a terminal."""
    return sys.stdout.isatty()


def console(*, terminal: bool | None = None, width: int | None = None) -> Console:
    """Return a rich console on stdout. NO_COLOR is respected; without a terminal no escape sequence is written."""
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
    """Render and write, without spaces at line ends."""
    target = on or console()
    with target.capture() as capture:
        for item in items:
            target.print(item)
    echo(re.sub(r"[ \t]+$", "", capture.get(), flags=re.MULTILINE).rstrip("\n"))


def echo(text: str) -> None:
    """Write lines. A closed pipe is not an error; a full disk is, and raises MonitorError."""
    encoding = sys.stdout.encoding or "utf-8"
    line = f"{text}\n".encode(encoding, "replace").decode(encoding)
    try:
        sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        raise MonitorError(f"The output could not be written: {error.strerror or type(error).__name__}.") from error


def echo_json(value: dict[str, Any]) -> None:
    """Write one JSON object. Characters that could control a terminal are escaped, as JSON allows."""
    from msgspec import to_builtins

    wide = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not wide, indent=2 if on_terminal() else None, default=to_builtins)
    echo(_UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text))


def _discard_stdout() -> None:
    """Redirect stdout to nowhere, so that the interpreter's final flush does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
