"""forecast: what will need a person, and when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

import typer

from monitor.cli import session
from monitor.cli.filters import AsJson, LabelFilter, PlatformFilter, SourceFilter, StatusFilter, select
from monitor.cli.output import say, say_json
from monitor.cli.times import Times
from monitor.rules.wording.names import clean
from monitor.store import sources
from monitor.views.forecast import SittingView
from monitor.views.forecast import forecast as foreseen
from monitor.views.shapes import listing


def forecast(
    ctx: typer.Context,
    *,
    days: Annotated[
        int, typer.Option("--days", metavar="DAYS", min=1, max=3650, help="How far to look ahead; 30 by default.")
    ] = 30,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status_: StatusFilter = None,
    label: LabelFilter = None,
    as_json: AsJson = False,
) -> None:
    """What will need a person, and when. What falls due within three days at one source and platform is one sitting."""
    config = session.loaded(ctx).config
    now = session.now()
    with session.reading(config) as conn:
        known = [row.name for row in sources.all_sources(conn)]
        selection = select(config, known=known, sources=source, platforms=platform, statuses=status_, labels=label)
        sittings = foreseen(conn, config, now=now, within=timedelta(days=days), selection=selection)
    if as_json:
        say_json(listing("forecast", sittings, now=now))
        return
    say(_headline(sittings, days))
    times = Times(config.timezone, now)
    for sitting in sittings:
        say("")
        for line in _lines(sitting, times):
            say(line)


def _headline(views: list[SittingView], days: int) -> str:
    within = f"within {days} day{'' if days == 1 else 's'}"
    if not views:
        return f"Nothing will need you {within}, as far as dates tell."
    count = sum(len(view.connections) for view in views)
    overdue = sum(len(view.connections) for view in views if view.sitting.overdue)
    now = f", {overdue:,} of them now" if overdue else ""
    need = f"{count:,} connection{' needs' if count == 1 else 's need'} you {within}{now}"
    return f"{need}: {len(views):,} sitting{'' if len(views) == 1 else 's'}."


def _lines(view: SittingView, times: Times) -> Iterator[str]:
    sitting = view.sitting
    link = f" ({clean(view.link)})" if view.link else ""
    when = "Now" if sitting.overdue else f"By {times.both(sitting.first)}"
    yield f"{when}: {len(sitting.needs):,} on {clean(sitting.platform)} at {clean(sitting.source)}{link}"
    for each, need in zip(view.connections, sitting.needs, strict=True):
        name = clean(each.snapshot.label, limit=40, otherwise="(no name)")
        known = " acked" if each.acked else ""
        at = f"since {times.exact(need.by)}" if need.overdue else f"until {times.exact(need.by)}"
        yield f"  {each.status}{known}, {at}: {name}, {clean(each.id, limit=400)}"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(forecast)
