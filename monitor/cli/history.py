"""The `history` command: one connection's events, on a terminal as a timeline."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from monitor.cli import session
from monitor.cli.options import (
    AsJson,
    LabelFilter,
    PlatformFilter,
    SourceFilter,
    StatusFilter,
    WhichConnection,
    one_connection,
    select,
)
from monitor.cli.output import console, echo, echo_json, echo_rows, on_terminal, show
from monitor.domain.text import clean, clean_id
from monitor.domain.timefmt import Times, span
from monitor.store import connection_queries, sources
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import ConnectionView, Reader
from monitor.views.history import EventView, event_views
from monitor.views.json_types import listing

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_PAUSE = timedelta(hours=1)
"""Time between two events from which the timeline shows it."""
_WIDE = 70
"""Terminal width from which times are shown in a separate column."""


def history(
    ctx: typer.Context,
    connection: WhichConnection,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status: StatusFilter = None,
    label: LabelFilter = None,
    as_json: AsJson = False,
) -> None:
    """Show the history of one connection. Filters narrow down what CONNECTION may match."""
    config = session.local(ctx)
    now = session.now()
    with session.reading(config) as conn:
        known = {row.name: row for row in sources.all_sources(conn, include_removed=True)}
        filters = select(
            config,
            conn=conn,
            known=list(known),
            sources=source,
            platforms=platform,
            statuses=status,
            labels=label,
            listed=lambda: connection_queries.platforms(conn),
        )
        row = one_connection(conn, config, connection, filters=filters)
        own = next((each for each in config.sources if each.name == row.source), None)
        labels = row.labels if row.labels is not None else own.labels if own else None
        events = event_views(conn, row, labels=labels, now=now, poll_every=own.poll_every if own else None)
    if as_json:
        echo_json(listing("events", events, now=now))
        return
    _echo(Reader(config, known, now=now).view(row), events, Times(config.timezone, now))


def _echo(view: ConnectionView, events: Sequence[EventView], times: Times) -> None:
    row, snapshot = view.row, view.snapshot
    retired = ", retired" if row.retired_at is not None else ""
    public = clean(row.public_id, limit=400)
    echo(f"{clean(snapshot.label)} ({clean(snapshot.platform)}), {public}: {row.state.verdict.status}{retired}")
    for line in _details(view, times):
        echo(line)
    if not events:
        echo("No events are recorded.")
        return
    echo("")
    if on_terminal():
        on = console()
        show(_timeline(row, events, times, wide=on.width >= _WIDE), on=on)
        return
    echo_rows(
        ("WHEN", "AGO", "EVENT", "REASON"),
        [
            (times.exact(event.entry.at), times.near(event.entry.at), _what(event), clean(event.entry.message, limit=256))
            for event in events
        ],
    )


def _details(view: ConnectionView, times: Times) -> Iterator[str]:
    """Yield what is known of the token's renewals and of lost permissions."""
    if view.renewal is not None and view.renewal.words is not None:
        over = "" if view.renewal.overdue_at is None else f" The next one is overdue at {times.both(view.renewal.overdue_at)}."
        yield f"{view.renewal.words} The last renewal: {times.both(view.renewal.last_at)}.{over}"
    if view.row.state.lost_permissions:
        yield f"Lost permissions that publishing needs: {', '.join(clean_id(each) for each in view.row.state.lost_permissions)}."


def _timeline(row: ConnectionRow, events: Sequence[EventView], times: Times, *, wide: bool) -> RenderableType:
    """Return the events, oldest first, with the time between them, and the present status at the end."""
    from rich.table import Table
    from rich.text import Text

    point, line, end = "●│◆" if (sys.stdout.encoding or "").lower().startswith("utf") else "*|*"
    body = Table.grid(padding=(0, 1, 0, 0))
    if wide:
        body.add_column(no_wrap=True)
    body.add_column(no_wrap=True)
    body.add_column(overflow="fold")

    def add(when: str, mark: str, *lines: Text) -> None:
        shown = list(lines)
        if when and not wide:
            shown.insert(1, Text(when, style="dim"))
        marks = Text("\n".join([mark, *[line] * (len(shown) - 1)]))
        cells = (marks, Text("\n").join(shown))
        body.add_row(*((Text(when), *cells) if wide else cells))

    before = events[0].entry.at
    for event in events:
        at = event.entry.at
        if at - before >= _PAUSE:
            add("", line, Text(f"{span(at - before)} later", style="dim"))
        why = clean(event.entry.message, limit=256)
        add(f"{times.exact(at)}, {times.near(at)}", point, _change(event), *([Text(why, style="dim")] if why else []))
        before = at
    add("now" if wide else "", end, _now(row, times))
    return body


def _change(event: EventView) -> Text:
    """Return the event, with statuses in their colour."""
    from rich.text import Text

    from monitor.cli.output import coloured

    entry = event.entry
    what = Text(entry.kind.replace("_", " "), style="bold")
    values = [clean(value, limit=120) for value in (entry.old, entry.new) if value]
    for number, value in enumerate(values):
        what.append(" → " if number else ": ")
        what.append_text(coloured(value))
    return what


def _now(row: ConnectionRow, times: Times) -> Text:
    from monitor.cli.output import coloured

    verdict = row.state.verdict
    if row.retired_at is not None:
        return coloured(verdict.status, more=f", retired since {times.both(row.retired_at)}")
    return coloured(verdict.status, more=f" since {times.both(verdict.since)}")


def _what(event: EventView) -> str:
    """Return the kind of event and the change, such as: status changed: valid → expired."""
    return "".join(_what_parts(event))


def _what_parts(event: EventView) -> Iterator[str]:
    yield event.entry.kind.replace("_", " ")
    change = " → ".join(clean(value, limit=120) for value in (event.entry.old, event.new) if value)
    if change:
        yield f": {change}"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(history)
