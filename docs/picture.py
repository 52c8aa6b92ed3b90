"""Renders docs/demo.svg, the picture of the README, from the demo's real output. Run it with: python -m docs.picture

It starts the demo, runs `token-monitor status` on its database in a terminal, and draws the output of both.
"""
# ruff: noqa: INP001 - a folder of documents is no package

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

PICTURE = Path(__file__).resolve().parent / "demo.svg"
COLUMNS, ROWS = 119, 60
UNTIL = 22.0
"""The second of the demo at which the picture is taken."""
_EVENT = re.compile(r" *(\d+\.\d) s  (?:world|alert) ")
_CONTROL = re.compile(r"\x1b\[[0-9;]*m")
_GREY, _RED, _GREEN, _YELLOW = (110, 118, 129), (255, 123, 114), (63, 185, 80), (210, 153, 34)
_BLUE, _MAGENTA, _CYAN, _WHITE = (88, 166, 255), (188, 140, 255), (57, 197, 207), (201, 209, 217)
_THEME = TerminalTheme((22, 27, 34), _WHITE, [_GREY, _RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN, _WHITE])
# As rich's own, without the font that it loads from elsewhere and without the window around it.
_SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="The demo in a terminal">
<style>
.{unique_id}-matrix {{
font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: {char_height}px; line-height: {line_height}px;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
<rect width="100%" height="100%" rx="8" fill="#161b22"/>
<g transform="translate({terminal_x}, 22)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""


def main() -> None:
    """Run the demo, read its status, and draw both."""
    command = [sys.executable, "-m", "monitor", "demo"]
    shaped = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=shaped) as demo:  # noqa: S603 - ourselves
        try:
            lines, folder = _watch(demo)
            status = _in_a_terminal([sys.executable, "-m", "monitor", "--config", f"{folder}/config.toml", "status"])
        finally:
            demo.terminate()
    PICTURE.write_text(draw(["$ make demo", *lines, "", "$ token-monitor status", *_shortened(status)]), "utf-8")


def _watch(demo: subprocess.Popen[str]) -> tuple[list[str], str]:
    """Return the demo's lines about its world and its alerts, and the folder of its configuration."""
    lines: list[str] = []
    everything = ""
    for line in demo.stdout or ():
        plain = _CONTROL.sub("", line)
        everything += plain
        if (event := _EVENT.match(plain)) is not None:
            lines.append(line.rstrip("\n"))
            if float(event[1]) >= UNTIL:
                break
    folder = re.search(r"\bdatabase are in\s+(\S+)\.\s", everything)
    if folder is None:
        raise SystemExit(f"The demo did not print the folder of its configuration:\n{everything}")
    return lines, folder[1]


def _in_a_terminal(command: list[str]) -> str:
    """Return the output of a command that runs in a pseudo-terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=theirs, env=environment):  # noqa: S603 - ourselves
        os.close(theirs)
        chunks = []
        while chunk := _read(ours):
            chunks.append(chunk)
    os.close(ours)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux reports that the other end was closed
        return b""


def _shortened(status: str, most: int = 19) -> list[str]:
    """Return the lines about connections that need attention; the picture omits healthy ones."""
    lines = status.rstrip("\n").split("\n")
    return [*lines[:most], "…", *lines[-1:]]


def draw(lines: list[str]) -> str:
    """Return the lines of a terminal as a self-contained SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    return console.export_svg(theme=_THEME, code_format=_SVG, unique_id="demo")


if __name__ == "__main__":
    main()
