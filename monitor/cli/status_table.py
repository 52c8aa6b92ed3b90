"""The connections of `status` on a terminal: one line each, under the client that they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from monitor.cli.output import StyledStatus, cell_width, styled
from monitor.domain.records import Record
from monitor.domain.text import clean
from monitor.views.connections import ConnectionView

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

LEAST_WIDTH = 100
"""Width of a terminal, in columns, from which every connection is one line."""

_GAP = 2
_LEAST_ID = 12
_LEAST_MESSAGE = 30
_ELLIPSIS = "…"
_CLIENT_LENGTH = 80


class StatusLine(Record, frozen=True):
    """The texts of one connection's line."""

    client: str
    """Empty if it has none."""
    status: StyledStatus
    name: str
    platform: str
    when: str
    id: str
    message: str


class StatusTable:
    """Lines as wide as the terminal. Names, ids and messages are shortened to fit; an id keeps its beginning and its end."""

    def __init__(self, lines: Sequence[StatusLine]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        widths = _widths(self._lines, options.max_width)
        grouped = any(line.client for line in self._lines)
        groups: dict[str, list[StatusLine]] = {}
        for line in self._lines:
            groups.setdefault(line.client, []).append(line)
        for number, (client, lines) in enumerate(groups.items()):
            if grouped:
                yield Text(f"{'' if number == 0 else chr(10)}{client or '(no client)'}", style="bold")
            for line in lines:
                yield _line(line, widths)


def client_of(view: ConnectionView, group_by: str) -> str:
    """Return what a connection is grouped under; empty if it has no such label."""
    value = view.row.source if group_by == "source" else view.labels.get(group_by, "")
    return clean(value, limit=_CLIENT_LENGTH) if value else ""


def _widths(lines: Sequence[StatusLine], width: int) -> tuple[int, ...]:
    """Return the widths of status, name, platform, time, id and message; 0 leaves a column out."""
    status, name, platform, when, whole_id, message = (
        max((cell_width(text) for text in texts), default=0) for texts in zip(*map(_cells, lines), strict=True)
    )
    left = width - status - platform - when - 3 * _GAP
    name = max(min(name, left // 2), 1)
    left -= name + _GAP
    shown_id = min(whole_id, left) if left >= _LEAST_ID else 0
    left -= shown_id + _GAP
    return status, name, platform, when, shown_id, min(message, left) if left >= _LEAST_MESSAGE else 0


def _cells(line: StatusLine) -> tuple[str, ...]:
    return str(line.status), line.name, line.platform, line.when, line.id, line.message


def _line(line: StatusLine, widths: Sequence[int]) -> Text:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    for number, (cell, width) in enumerate(_fitted(line, widths)):
        if number:
            text.append(" " * _GAP)
        text.append_text(styled(cell) if number == 0 else Text(cell, style="dim" if number > 3 else ""))
        text.append(" " * (width - cell_width(cell)))
    text.rstrip()
    return text


def _fitted(line: StatusLine, widths: Sequence[int]) -> Iterator[tuple[str, int]]:
    status, name, platform, when, shown_id, message = widths
    yield line.status, status
    yield shorten(line.name, name), name
    yield line.platform, platform
    yield line.when, when
    if shown_id:
        yield shorten_middle(line.id, shown_id), shown_id
    if message:
        yield shorten(line.message, message), message


def shorten(text: str, width: int) -> str:
    """Return a text that is at most this many columns wide; the end of a longer one is replaced by an ellipsis."""
    if cell_width(text) <= width:
        return text
    while text and cell_width(text) > width - 1:
        text = text[:-1]
    return text + _ELLIPSIS


def shorten_middle(text: str, width: int) -> str:
    """Return a text that is at most this many columns wide; the middle of a longer one is replaced by an ellipsis."""
    if cell_width(text) <= width:
        return text
    head = shorten(text, max((width + 1) // 2, 1)).removesuffix(_ELLIPSIS)
    tail = text[len(head) :]
    while tail and cell_width(head) + 1 + cell_width(tail) > width:
        tail = tail[1:]
    return f"{head}{_ELLIPSIS}{tail}"
