"""The `forecast` command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Annotated

import typer

from monitor.cli import session
from monitor.cli.options import AsJson, LabelFilter, PlatformFilter, SourceFilter, StatusFilter, select
from monitor.cli.output import Row, StyledStatus, column_widths, console, echo, echo_json, on_terminal, plain_line, show
from monitor.cli.values import whole_number
from monitor.domain.rules.forecast import Need
from monitor.domain.text import clean
from monitor.domain.timefmt import Times
from monitor.store import connection_queries, sources
from monitor.views.connections import ConnectionView
from monitor.views.forecast import ReconnectBatchView
from monitor.views.forecast import forecast as foreseen
from monitor.views.json_types import listing

ON_A_SCREEN = 10
"""Connections of one batch that a terminal shows without --all."""
BATCHES_ON_A_SCREEN = 40
_INDENT = "  "


def forecast(
    ctx: typer.Context,
    *,
    days: Annotated[
        int,
        typer.Option("--days", metavar="DAYS", parser=whole_number(1, 3650), help="Number of days to look ahead, at most 3650."),
    ] = 30,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status_: StatusFilter = None,
    label: LabelFilter = None,
    everything: Annotated[bool, typer.Option("--all", help="Show all connections, even on a terminal.")] = False,
    as_json: AsJson = False,
) -> None:
    """List upcoming expiries. Those of one client, source and platform within three days form one batch to reconnect together."""
    config = session.local(ctx)
    now = session.now()
    with session.reading(config) as conn:
        known = [row.name for row in sources.all_sources(conn)]
        filters = select(
            config,
            conn=conn,
            known=known,
            sources=source,
            platforms=platform,
            statuses=status_,
            labels=label,
            listed=lambda: connection_queries.platforms(conn),
        )
        batches = foreseen(conn, config, now=now, within=timedelta(days=days), filters=filters)
    if as_json:
        echo_json(listing("forecast", batches, now=now))
        return
    echo(_headline(batches, days))
    if batches:
        _echo(batches, Times(config.timezone, now), short=on_terminal() and not everything)


def _headline(views: list[ReconnectBatchView], days: int) -> str:
    within = f"within {days} day{'' if days == 1 else 's'}"
    if not views:
        return f"No known expiry {within}."
    count = sum(len(view.connections) for view in views)
    overdue = sum(len(view.connections) for view in views if view.batch.overdue)
    now = f", {overdue:,} of them now" if overdue else ""
    need = f"{count:,} connection{'' if count == 1 else 's'} to reconnect {within}{now}"
    return f"{need}, in {len(views):,} batch{'' if len(views) == 1 else 'es'}."


def _echo(batches: list[ReconnectBatchView], times: Times, *, short: bool) -> None:
    shown = batches[:BATCHES_ON_A_SCREEN] if short else batches
    most = ON_A_SCREEN if short else None
    lists = [[_row(*each, times) for each in _needs(batch, most)] for batch in shown]
    show_rows = _drawn(lists) if on_terminal() else _plain(lists)
    for batch, rows in zip(shown, lists, strict=True):
        echo("")
        _echo_title(_title(batch, times))
        show_rows(rows)
        if len(rows) < len(batch.connections):
            echo(f"{_INDENT}and {len(batch.connections) - len(rows):,} more (--all shows all)")
    if len(shown) < len(batches):
        echo("")
        echo(f"and {len(batches) - len(shown):,} more batches (--all shows all)")


def _needs(view: ReconnectBatchView, most: int | None) -> Iterator[tuple[ConnectionView, Need]]:
    return islice(zip(view.connections, view.batch.needs, strict=True), most)


def _title(view: ReconnectBatchView, times: Times) -> str:
    batch = view.batch
    link = f" ({clean(view.link)})" if view.link else ""
    when = "Now" if batch.overdue else f"By {times.both(batch.first)}"
    group = f"{clean(batch.group)}, " if batch.group else ""
    return f"{when}: {group}{len(batch.needs):,} on {clean(batch.platform)} at {clean(batch.source)}{link}"


def _echo_title(title: str) -> None:
    if not on_terminal():
        echo(title)
        return
    from rich.text import Text

    show(Text(title, style="bold"))


def _row(view: ConnectionView, need: Need, times: Times) -> Row:
    status = StyledStatus.of(view.status, *(["acked"] if view.acked else []))
    name = clean(view.snapshot.label, limit=40, otherwise="(no name)")
    if need.overdue:
        return status, name, times.near(need.by), f"since {times.exact(need.by)}", clean(view.id, limit=400)
    return status, name, times.near(need.by), times.exact(need.by), clean(view.id, limit=400)


def _plain(lists: list[list[Row]]) -> Callable[[list[Row]], None]:
    widths = column_widths(row for rows in lists for row in rows)

    def draw(rows: list[Row]) -> None:
        echo("\n".join(f"{_INDENT}{plain_line(row, widths)}" for row in rows))

    return draw


def _drawn(lists: list[list[Row]]) -> Callable[[list[Row]], None]:
    from monitor.cli import output

    on = console()
    widths = column_widths(row for rows in lists for row in rows)
    wide = on.width >= len(_INDENT) + sum(width + 2 for width in widths)

    def draw(rows: list[Row]) -> None:
        if wide:
            show(output.columns(rows, widths=widths, indent=len(_INDENT)), on=on)
        else:
            texts = ((status, (f"{name} · {near}", exact, public)) for status, name, near, exact, public in rows)
            show(output.blocks(texts, width=13), on=on)

    return draw


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(forecast)
