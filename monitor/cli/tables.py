"""Tables that fit: columns where there is room, a block of lines for each row where there is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from monitor.cli.layout import StyledWord

LEAST = 32
"""Columns that the last column of a table needs, or else it is no pleasure to read."""
NARROW = 60
"""Columns below which nothing stands beside anything."""
_COLUMN_GAP = 2
_INDENT = 3

_STYLES = {
    "valid": "green",
    "ok": "green",
    "sent": "green",
    "recovered": "green",
    "source_recovered": "green",
    "expiring_soon": "yellow",
    "pending": "yellow",
    "sending": "yellow",
    "unknown": "dim",
    "failing": "bold red",
    "source_failing": "bold red",
    "unauthorized": "bold red",
    "expired": "bold red",
    "revoked": "bold red",
    "disconnected": "bold red",
    "dead": "bold red",
}


def coloured(word: str, *, more: str = "") -> Text:
    """A status word in its colour, with what follows it."""
    return Text.assemble((word, _STYLES.get(word, "")), more)


def styled(cell: str | Text) -> Text:
    """A cell as it is drawn: a status word in its colour, anything else as it is. Nothing in it is read as markup."""
    if isinstance(cell, StyledWord):
        return coloured(cell.status, more=cell[len(cell.status) :])
    return cell if isinstance(cell, Text) else Text(cell)


def fits(headings: Sequence[str], rows: Sequence[Sequence[str | Text]], *, on: Console) -> bool:
    """Whether a table leaves its last column enough room; without a terminal it always does."""
    if not on.is_terminal:
        return True
    cells = [headings, *rows]
    taken = sum(max(cell_len(str(row[number])) for row in cells) + _COLUMN_GAP for number in range(len(headings) - 1))
    last = max(cell_len(str(row[-1])) for row in cells)
    return on.width - taken >= min(last, LEAST)


def table(headings: Sequence[str], rows: Iterable[Sequence[str | Text]], *, on: Console) -> RenderableType:
    """Rows under headings. The last column may wrap on a terminal; elsewhere every row is one line.

    Cells are plain or styled text: nothing in them is read as markup.
    """
    body = Table(box=None, pad_edge=False, padding=(0, _COLUMN_GAP, 0, 0), header_style="bold")
    for number, heading in enumerate(headings):
        last = number == len(headings) - 1
        body.add_column(Text(heading), no_wrap=not (last and on.is_terminal), overflow="fold" if last else "ellipsis")
    for row in rows:
        body.add_row(*map(styled, row))
    return body


def columns(rows: Iterable[Sequence[str | Text]], *, widths: Sequence[int], indent: int) -> RenderableType:
    """Rows without headings, in columns of these widths, so that several lists stand below each other as one."""
    body = Table.grid(padding=(0, _COLUMN_GAP, 0, 0))
    body.add_column(width=max(indent - _COLUMN_GAP, 0))
    for width in widths:
        body.add_column(width=width, no_wrap=True, overflow="ellipsis")
    for row in rows:
        body.add_row("", *map(styled, row))
    return body


class _Beside:
    """Texts beside their heads; on a narrow screen below them, because little would be left beside."""

    def __init__(self, rows: Iterable[tuple[Text, Text]], *, width: int = 0) -> None:
        self._rows = list(rows)
        self._width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width < NARROW:
            for head, text in self._rows:
                yield Text.assemble(head, overflow="fold")
                yield Padding(Text.assemble(text, overflow="fold"), (0, 0, 0, _INDENT))
            return
        body = Table.grid(padding=(0, 2, 0, 0))
        body.add_column(no_wrap=True, min_width=self._width)
        body.add_column(overflow="fold")
        for row in self._rows:
            body.add_row(*row)
        yield body


def blocks(rows: Iterable[tuple[str | Text, Sequence[str]]], *, width: int) -> RenderableType:
    """A word at the left and lines beside it for each row; long lines wrap between words."""

    def text(lines: Sequence[str]) -> Text:
        first, *more = [line for line in lines if line] or [""]
        return Text.assemble(first, *((f"\n{line}", "dim") for line in more))

    return _Beside(((styled(word), text(lines)) for word, lines in rows), width=width)


def facts(pairs: Iterable[tuple[str, str | Text]]) -> RenderableType:
    """Names and what is known under each, one below the other."""
    return _Beside((Text(name, style="bold"), styled(fact)) for name, fact in pairs)
