"""The `sources` command."""

from __future__ import annotations

from datetime import timedelta

import typer

from monitor.cli import session
from monitor.cli.options import AsJson, LabelFilter, PlatformFilter, SourceFilter, SourceStatusFilter, select
from monitor.cli.output import Row, StyledStatus, echo, echo_json, show_rows
from monitor.domain.text import clean
from monitor.domain.timefmt import Times, span
from monitor.store import sources as stored_sources
from monitor.views.json_types import listing
from monitor.views.sources import ChannelView, SourceView, channel_views, source_views


def sources(
    ctx: typer.Context,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status: SourceStatusFilter = None,
    label: LabelFilter = None,
    as_json: AsJson = False,
) -> None:
    """Show the health of all sources. Includes last poll, request budget, and the channels that cannot deliver."""
    config = session.local(ctx)
    now = session.now()
    with session.reading(config) as conn:
        known = [row.name for row in stored_sources.all_sources(conn)]
        filters = select(config, conn=conn, known=known, sources=source, platforms=platform, statuses=status, labels=label)
        views = source_views(conn, config, now=now, filters=filters)
        channels = channel_views(conn, config)
    if as_json:
        echo_json({**listing("sources", views, now=now), "channels": [channel.json() for channel in channels]})
        return
    times = Times(config.timezone, now)
    troubled = [channel for channel in channels if channel.problem]
    echo(_headline(views, failing=len(troubled), channels=len(channels)))
    if views:
        echo("")
        _show_sources(views, times)
    if troubled:
        echo("")
        echo("Channels that cannot deliver:")
        for channel in troubled:
            echo(f"! {clean(channel.name)}: {channel_problem(channel, times)}")


def channel_problem(channel: ChannelView, times: Times) -> str:
    """Return why a channel cannot deliver, since when, and its last success."""
    state = "broken" if channel.broken else "failing"
    last = f"last success {times.near(channel.last_success_at)}" if channel.last_success_at else "no success yet"
    return f"{state} since {times.both(channel.failing_since)}, {last}: {clean(channel.problem, limit=300)}"


def _headline(views: list[SourceView], *, failing: int, channels: int) -> str:
    """Return the summary: sources with problems, and channels that cannot deliver."""
    troubled = [clean(view.name) for view in views if any(view.problems())]
    undelivered = f"{failing} of {channels} channel{'' if channels == 1 else 's'} cannot deliver." if failing else ""
    if not views:
        return " ".join(part for part in ("No source matches.", undelivered) if part)
    counted = f"{len(views)} source{'' if len(views) == 1 else 's'}"
    if not troubled:
        return f"{undelivered} {counted} can be read." if undelivered else f"Nothing to do: {counted} can be read."
    attention = f"{len(troubled)} of {counted} need{'s' if len(troubled) == 1 else ''} attention: {', '.join(troubled)}."
    return f"{attention} {undelivered}".rstrip()


def _show_sources(views: list[SourceView], times: Times) -> None:
    headings = ("SOURCE", "PROVIDER", "STATUS", "LAST POLL", "NEXT POLL", "CONNECTIONS", "BUDGET", "PROBLEMS")
    rows = [_row(view, times) for view in views]
    show_rows(headings, rows, lambda: ((StyledStatus.of(view.status), _lines(view, times)) for view in views), width=12)


def _row(view: SourceView, times: Times) -> Row:
    problems = " ".join(f"! {problem}" for problem in view.problems())
    return (
        clean(view.name),
        view.provider,
        StyledStatus.of(view.status),
        times.near(view.last_poll_at),
        _next(view, times),
        f"{view.connections:,}",
        _budget(view),
        clean(problems, limit=600),
    )


def _lines(view: SourceView, times: Times) -> list[str]:
    counted = f"{view.connections:,} connection{'' if view.connections == 1 else 's'}"
    return [
        f"{clean(view.name)} · {view.provider} · {counted}",
        *(f"! {clean(problem, limit=300)}" for problem in view.problems()),
        f"last poll {times.near(view.last_poll_at)}, next {_next(view, times)}",
        _budget(view),
    ]


def _next(view: SourceView, times: Times) -> str:
    if view.next_poll_at is None:
        return "when the daemon starts"
    return times.near(view.next_poll_at) if view.next_poll_at > view.now else "due"


def _budget(view: SourceView) -> str:
    """Return 600/min, all probed in 17 minutes, every 6 hours; before the first poll, the number of connections it allows."""
    pace = view.round
    if pace is None:
        return ""
    budget = f"{pace.requests_per_minute}/min"
    if pace.probed is None:
        return f"{budget}, no probes"
    if pace.probe_every is None:
        return f"{budget}, probes are off"
    if view.last_success_at is None:
        return f"{budget}, enough to probe {pace.room:,} every {span(pace.probe_every)}"
    return f"{budget}, all probed in {span(max(pace.probed, timedelta(seconds=1)))}, every {span(pace.probe_every)}"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(sources)
