"""The `report` command."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

import typer

from monitor.cli import session
from monitor.cli.options import LabelFilter, PlatformFilter, SourceFilter, complete_channel, nearest_known, select
from monitor.cli.output import echo
from monitor.cli.startup import allow_open_files
from monitor.cli.values import one_of, shown, whole_number
from monitor.config import ChannelConfig, Config
from monitor.domain.filters import ConnectionFilter
from monitor.domain.timefmt import zone
from monitor.store import Connection, channel_states, connection_queries, sources
from monitor.store.channel_states import ChannelState
from monitor.views.label_filter import resolve_labels

if TYPE_CHECKING:
    from monitor.notify.report_data import ReportScope

Format = Literal["text", "html", "csv"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
LONGEST = 366
"""The most days that a report may look back on."""


def report(
    ctx: typer.Context,
    *,
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel",
            metavar="NAME",
            help="The report that this channel gets, with its filters and period.",
            autocompletion=complete_channel,
        ),
    ] = None,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    label: LabelFilter = None,
    days: Annotated[
        int | None,
        typer.Option(
            "--days",
            metavar="DAYS",
            help="Number of days that uptime and recoveries cover, at most 366. Default: that of the channel, else 7.",
            parser=whole_number(1, LONGEST),
        ),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="text (default), html (a page to print), or csv (one row for each connection).",
            parser=one_of("format", FORMATS),
            autocompletion=lambda: list(FORMATS),
        ),
    ] = None,
    send: Annotated[bool, typer.Option("--send", help="Send the report to the channel now instead of printing it.")] = False,
) -> int:
    """Report the connections to act on, recoveries and uptime. Uptime is by client, for any filter or for a channel."""
    if send and channel is None:
        raise typer.BadParameter("--send needs --channel: the report is sent there.")
    if send and form is not None:
        raise typer.BadParameter("--send uses the format of the channel: omit --format.")
    config = session.loaded(ctx).config if send else session.local(ctx)
    chosen = None if channel is None else _channel(config, channel)
    now = session.now()
    with session.reading(config) as conn:
        filters = _filters(conn, config, source, platform, label)
        scope = _scope(conn, config, chosen, filters, days)
        if not send:
            echo(_text(conn, config, scope, form or "text", now))
            return 0
    assert chosen is not None  # noqa: S101 - refused above
    from monitor.cli.config import echo_findings
    from monitor.daemon import app, oneshot

    allow_open_files(1)
    return echo_findings(app.run_async(oneshot.send_report(config, chosen, scope=scope)))


def _channel(config: Config, name: str) -> ChannelConfig:
    for channel in config.channels:
        if channel.name == name:
            return channel
    raise typer.BadParameter(f"Unknown channel {shown(name)}; {nearest_known(name, [each.name for each in config.channels])}")


def _filters(
    conn: Connection, config: Config, source: list[str] | None, platform: list[str] | None, label: list[str] | None
) -> ConnectionFilter:
    found = select(
        config,
        conn=conn,
        known=[row.name for row in sources.all_sources(conn)],
        sources=source,
        platforms=platform,
        labels=label,
        listed=lambda: connection_queries.platforms(conn),
    )
    return resolve_labels(conn, found, config)


def _scope(
    conn: Connection, config: Config, channel: ChannelConfig | None, filters: ConnectionFilter, days: int | None
) -> ReportScope:
    from monitor.notify.report_data import ReportScope, scope_of

    if channel is None:
        scope = ReportScope(filters=filters, group_by=config.group_by)
    else:
        scope = scope_of(conn, channel, config.sources, also=filters)
    return scope if days is None else replace(scope, days=days)


def _text(conn: Connection, config: Config, scope: ReportScope, form: Format, now: datetime) -> str:
    from monitor.notify.messages.report import report_lines
    from monitor.notify.messages.report_files import report_csv, report_html
    from monitor.notify.report_data import read_report

    found = read_report(conn, scope, config.sources, now=now, with_lines=form == "csv")
    if form == "csv":
        return report_csv(found).rstrip("\r\n")
    if form == "html":
        return report_html(found, zone=zone(config.timezone)).rstrip("\n")
    states = channel_states.all_states(conn)
    channels = [states.get(each.name, ChannelState(name=each.name)) for each in config.channels]
    return "\n".join(report_lines(found, channels, zone=zone(config.timezone)))


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(report)
