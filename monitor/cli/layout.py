"""Rows of an answer: a table or blocks of lines on a terminal, one plain line for each row in a pipe.

A pipe needs nothing of rich, so that a hundred thousand lines cost a second and not a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from monitor.cli.output import console, on_terminal, say, show

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_GAP = "  "
_AT_ONCE = 1000


class StyledWord(str):
    """A status word, which a terminal shows in its colour, with what follows it."""

    __slots__ = ("status",)

    status: str

    @classmethod
    def of(cls, status: str, *more: str) -> StyledWord:
        """The status with further marks behind it."""
        made = cls(" ".join([status, *more]))
        made.status = status
        return made


Row = Sequence[str]
Block = tuple[str, Sequence[str]]


def show_rows(headings: Sequence[str], rows: Sequence[Row], blocks: Callable[[], Iterable[Block]], *, width: int) -> None:
    """Write rows under headings; where a terminal is too narrow for them, blocks whose first column has this width."""
    if on_terminal():
        on = console()
        show(arranged(headings, rows, blocks, width=width, on=on), on=on)
    else:
        say_rows(headings, rows)


def arranged(
    headings: Sequence[str], rows: Sequence[Row], blocks: Callable[[], Iterable[Block]], *, width: int, on: Console
) -> RenderableType:
    """The table or, where it is too wide, the blocks."""
    from monitor.cli import tables

    if tables.fits(headings, rows, on=on):
        return tables.table(headings, rows, on=on)
    return tables.blocks(blocks(), width=width)


def say_rows(headings: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a plain table: columns below each other, each row one line however long it is."""
    widths = widths_of([headings, *rows])
    lines = (line(row, widths) for row in (headings, *rows))
    while part := list(islice(lines, _AT_ONCE)):
        say("\n".join(part))


def widths_of(rows: Iterable[Row]) -> list[int]:
    """How wide each column must be."""
    return [max(map(_width, column)) for column in zip(*rows, strict=True)]


def line(row: Row, widths: Sequence[int]) -> str:
    """One row of a plain table."""
    cells = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
    return _GAP.join(cells).rstrip(" ")


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
