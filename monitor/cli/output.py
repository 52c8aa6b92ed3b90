"""Output of commands: text and JSON on stdout, tables and blocks fitted to the terminal, one plain line per row in a pipe.

Colour on a terminal only; untrusted text cannot control the terminal. rich is imported inside functions only: it takes
longer to load than most commands take to run, and a pipe does not need it. Written without it, a hundred thousand rows take
a second instead of a minute.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any

from monitor.domain.errors import MonitorError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.text import Text


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
    except OSError as error:
        discard_output(error)


def echo_json(value: dict[str, Any]) -> None:
    """Write one JSON object. Characters that could control a terminal are escaped, as JSON allows."""
    from msgspec import to_builtins

    wide = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not wide, indent=2 if on_terminal() else None, default=to_builtins)
    echo(_UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text))


def discard_output(error: OSError) -> None:
    """Write nothing more to stdout, so that the interpreter's final flush does not fail again.

    A closed pipe is not an error. Raise MonitorError for any other reason why stdout cannot be written.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    if not isinstance(error, BrokenPipeError):
        raise MonitorError(f"The output could not be written: {error.strerror or type(error).__name__}.") from error


_GAP = 2
_INDENT = 3
_ROWS_PER_WRITE = 1000
LEAST_LAST_COLUMN = 32
"""Minimum width of the last column; a table that leaves it less is written as blocks."""
NARROW = 60
"""Terminal width below which a block's lines stand below its heading instead of beside it."""

_STYLES = {
    "valid": "green",
    "working": "green",
    "ok": "green",
    "sent": "green",
    "recovered": "green",
    "source_recovered": "green",
    "expiring_soon": "yellow",
    "pending": "yellow",
    "sending": "yellow",
    "waiting": "yellow",
    "draining": "yellow",
    "unknown": "dim",
    "failing": "bold red",
    "source_failing": "bold red",
    "unauthorized": "bold red",
    "expired": "bold red",
    "revoked": "bold red",
    "disconnected": "bold red",
    "dead": "bold red",
}


class StyledStatus(str):
    """A status that a terminal shows in its colour, followed by uncoloured marks."""

    __slots__ = ("status",)

    status: str

    @classmethod
    def of(cls, status: str, *marks: str) -> StyledStatus:
        """Return the status with these marks after it."""
        made = cls(" ".join([status, *marks]))
        made.status = status
        return made


Row = Sequence[str]
Block = tuple[str, Sequence[str]]


def show_rows(headings: Sequence[str], rows: Sequence[Row], blocks: Callable[[], Iterable[Block]], *, width: int) -> None:
    """Write rows under headings; on a terminal that is too narrow, write the blocks, whose first column has this width."""
    if on_terminal():
        on = console()
        show(table_or_blocks(headings, rows, blocks, width=width, on=on), on=on)
    else:
        echo_rows(headings, rows)


def table_or_blocks(
    headings: Sequence[str], rows: Sequence[Row], make_blocks: Callable[[], Iterable[Block]], *, width: int, on: Console
) -> RenderableType:
    """Return the table, or the blocks if the table is too wide."""
    return table(headings, rows, on=on) if fits(headings, rows, on=on) else blocks(make_blocks(), width=width)


def echo_rows(headings: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a plain table with aligned columns, each row on one line of any length."""
    widths = column_widths([headings, *rows])
    lines = (plain_line(row, widths) for row in (headings, *rows))
    while part := list(islice(lines, _ROWS_PER_WRITE)):
        echo("\n".join(part))


def column_widths(rows: Iterable[Row]) -> list[int]:
    """Return the width that each column needs."""
    return [max(map(cell_width, column)) for column in zip(*rows, strict=True)]


def plain_line(row: Row, widths: Sequence[int]) -> str:
    """Return one row of a plain table."""
    cells = (cell + " " * (width - cell_width(cell)) for cell, width in zip(row, widths, strict=True))
    return (" " * _GAP).join(cells).rstrip(" ")


def cell_width(text: str) -> int:
    """Return the number of terminal columns that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def coloured(status: str, *, more: str = "") -> Text:
    """Return a status in its colour, with the rest uncoloured after it."""
    from rich.text import Text

    return Text.assemble((status, _STYLES.get(status, "")), more)


def styled(cell: str | Text) -> Text:
    """Return a cell as rich draws it: a status in its colour, anything else unchanged. Nothing in it is read as markup."""
    if isinstance(cell, StyledStatus):
        return coloured(cell.status, more=cell[len(cell.status) :])
    from rich.text import Text

    return cell if isinstance(cell, Text) else Text(cell)


def fits(headings: Sequence[str], rows: Sequence[Sequence[str | Text]], *, on: Console) -> bool:
    """Return True if a table leaves its last column enough room; without a terminal it always does."""
    if not on.is_terminal:
        return True
    cells = [headings, *rows]
    taken = sum(max(cell_width(str(row[number])) for row in cells) + _GAP for number in range(len(headings) - 1))
    last = max(cell_width(str(row[-1])) for row in cells)
    return on.width - taken >= min(last, LEAST_LAST_COLUMN)


def table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, on: Console) -> RenderableType:
    """Return rows under headings. The last column may wrap on a terminal; elsewhere every row is one line."""
    from rich.table import Table
    from rich.text import Text

    body = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for number, heading in enumerate(headings):
        last = number == len(headings) - 1
        body.add_column(Text(heading), no_wrap=not (last and on.is_terminal), overflow="fold" if last else "ellipsis")
    for row in rows:
        body.add_row(*map(styled, row))
    return body


def columns(rows: Iterable[Sequence[str | Text]], *, widths: Sequence[int], indent: int) -> RenderableType:
    """Return rows without headings, in columns of these widths, so that the columns of several lists line up."""
    from rich.table import Table

    body = Table.grid(padding=(0, _GAP, 0, 0))
    body.add_column(width=max(indent - _GAP, 0))
    for width in widths:
        body.add_column(width=width, no_wrap=True, overflow="ellipsis")
    for row in rows:
        body.add_row("", *map(styled, row))
    return body


class _HeadedTexts:
    """Texts beside their headings, or below them on a narrow screen."""

    def __init__(self, rows: Iterable[tuple[Text, Text]], *, width: int = 0) -> None:
        self._rows = list(rows)
        self._width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        if options.max_width < NARROW:
            for heading, text in self._rows:
                yield Text.assemble(heading, overflow="fold")
                yield Padding(Text.assemble(text, overflow="fold"), (0, 0, 0, _INDENT))
            return
        body = Table.grid(padding=(0, _GAP, 0, 0))
        body.add_column(no_wrap=True, min_width=self._width)
        body.add_column(overflow="fold")
        for row in self._rows:
            body.add_row(*row)
        yield body


def blocks(rows: Iterable[tuple[str | Text, Sequence[str]]], *, width: int) -> RenderableType:
    """Return a heading at the left and lines beside it for each row; long lines wrap between words."""
    from rich.text import Text

    def text(lines: Sequence[str]) -> Text:
        first, *more = [line for line in lines if line] or [""]
        return Text.assemble(first, *((f"\n{line}", "dim") for line in more))

    return _HeadedTexts(((styled(heading), text(lines)) for heading, lines in rows), width=width)


def fields(pairs: Iterable[tuple[str, str | Text]]) -> RenderableType:
    """Return names with their values, one below the other."""
    from rich.text import Text

    return _HeadedTexts((Text(name, style="bold"), styled(value)) for name, value in pairs)
