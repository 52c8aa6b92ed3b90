"""The `ack` and `silence` commands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import session
from monitor.cli.options import (
    AsJson,
    LabelFilter,
    PlatformFilter,
    SourceFilter,
    WhichConnection,
    nearest_known,
    one_connection,
    select,
)
from monitor.cli.output import console, echo, echo_json, show
from monitor.cli.session import author
from monitor.cli.values import HELP, later_when, parse_length, parse_when
from monitor.config import Config
from monitor.config.resolve import timezone_problem
from monitor.domain.errors import MonitorError
from monitor.domain.rules import recurrence
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.rules.silences import Silence
from monitor.domain.text import clean
from monitor.domain.timefmt import Times, span, zone
from monitor.engine import acknowledgements
from monitor.store import connection_queries, sources
from monitor.views.connections import Reader
from monitor.views.json_types import listing
from monitor.views.silences import SilenceView, count_silenced, silence_views

if TYPE_CHECKING:
    from rich.text import Text


def ack(
    ctx: typer.Context,
    connection: WhichConnection,
    *,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help=f"End of the acknowledgement. {HELP}")] = None,
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Reason, or who is handling it.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the acknowledgement.")] = False,
) -> None:
    """Acknowledge an incident. No more alerts are sent until it worsens, recovers, or WHEN."""
    config = session.local(ctx)
    now = session.now()
    ends = None if until is None else later_when(until, now=now, timezone=config.timezone, option="--until")
    with session.opened(config) as store, store.begin_write() as conn:
        row = one_connection(conn, config, connection, retired=False)
        view = Reader(config, {each.name: each for each in sources.all_sources(conn)}, now=now).view(row)
        name = clean(row.public_id, limit=400)
        if remove:
            acknowledgements.unacknowledge(conn, view.row, now=now, author=author())
        else:
            acknowledgements.acknowledge(conn, view.row, now=now, until=ends, comment=comment, author=author())
    if remove:
        echo(f"{name} is no longer acknowledged. Alerts are sent again.")
        return
    end = f", or {Times(config.timezone, now).exact(ends)}" if ends else ""
    echo(f"{name} is acknowledged ({view.status}): no alerts until it worsens or recovers{end}.")


SilenceId = Annotated[str, typer.Argument(metavar="ID", help="The silence's id from `silence list`.")]
_NO_MATCHER = "Give --source, --platform, --connection or --label. `--connection '*'` silences every connection."


def add(
    ctx: typer.Context,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    connection: Annotated[
        list[str] | None,
        typer.Option("--connection", metavar="GLOB", help="Only ids that match, such as 'agency/*'. Repeatable."),
    ] = None,
    label: LabelFilter = None,
    begin: Annotated[str | None, typer.Option("--from", metavar="WHEN", help=f"Start; default: now. {HELP}")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="End; default: until it is removed.")] = None,
    length: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="Length; with --rrule, the length of each window.")
    ] = None,
    rrule: Annotated[
        str | None,
        typer.Option(
            "--rrule",
            metavar="RULE",
            help="Recurring windows, such as 'FREQ=WEEKLY;BYDAY=SA,SU', from the time of day of --from, else midnight.",
        ),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", metavar="ZONE", help="Time zone of the times given; default: the configured one.")
    ] = None,
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Reason. Required.")] = "",
) -> None:
    """Silence the connections that match all filters. When the silence ends, an alert reports the net change."""
    config = session.local(ctx)
    now = session.now()
    hours = _hours(now, timezone or config.timezone, begin=begin, until=until, length=length, rrule=rrule)
    with session.opened(config) as store, store.begin_write() as conn:
        known = [row.name for row in sources.all_sources(conn)]
        slugs = connection_queries.platforms(conn)
        chosen = select(config, conn=conn, known=known, sources=source, platforms=platform, labels=label)
        globs = tuple(dict.fromkeys(connection or ()))
        if not (source or platform or label or globs):
            raise typer.BadParameter(_NO_MATCHER)
        silence = Silence(
            sources=tuple(sorted(chosen.sources or ())),
            platforms=tuple(sorted(chosen.platforms or ())),
            connections=globs,
            labels=chosen.labels,
            comment=_comment(comment),
            **hours,
        )
        number = acknowledgements.add_silence(conn, silence, now=now, author=author())
        matching = count_silenced(conn, config, silence)
    view = SilenceView(silence=silence, now=now)
    counted = f"{matching:,} connection{'' if matching == 1 else 's'}"
    echo(f"Silence {number} matches {counted} now: {_when(view, config)}.")
    for slug in silence.platforms:
        if slug not in slugs and slug not in PLATFORM_NAMES:
            hint = nearest_known(slug, sorted(slugs | PLATFORM_NAMES.keys()))
            echo(f"warning: No connection has the platform {clean(slug, limit=80)}; {hint}")


def _hours(
    now: datetime, timezone: str, *, begin: str | None, until: str | None, length: str | None, rrule: str | None
) -> dict[str, Any]:
    """Return the times of the silence. Raises a usage error if they contradict each other."""
    problem = timezone_problem(timezone)
    if problem is not None:
        raise typer.BadParameter(f"--timezone {problem}")
    lasts = None if length is None else parse_length(length, option="--for")
    ends = None if until is None else later_when(until, now=now, timezone=timezone, option="--until")
    if rrule is not None:
        return _recurring(now, timezone, begin=begin, ends=ends, lasts=lasts, rrule=rrule)
    starts = now if begin is None else parse_when(begin, now=now, timezone=timezone, option="--from")
    if ends is not None and lasts is not None:
        raise typer.BadParameter("--until and --for cannot be combined.")
    ends = starts + lasts if lasts is not None else ends
    if ends is not None and ends <= max(starts, now):
        raise typer.BadParameter("The silence would end before it starts. Give a later --until or a longer --for.")
    return {"starts_at": starts, "ends_at": ends, "timezone": timezone}


def _recurring(
    now: datetime, timezone: str, *, begin: str | None, ends: datetime | None, lasts: timedelta | None, rrule: str
) -> dict[str, Any]:
    problem = recurrence.rule_problem(rrule)
    if problem is not None:
        raise typer.BadParameter(f"--rrule {problem}")
    if lasts is None:
        raise typer.BadParameter("--rrule needs --for, the length of each window.")
    first = parse_when(begin or "today", now=now, timezone=timezone, option="--from", today=True)
    local = first.astimezone(zone(timezone) or UTC).replace(tzinfo=None)
    rule = recurrence.bare_rule(rrule)
    silence = Silence(starts_at=first, ends_at=ends, rrule=rule, lasts=lasts, timezone=timezone)
    if not recurrence.recurs(rule, local) or SilenceView(silence=silence, now=now).window is None:
        raise typer.BadParameter("--rrule has no occurrence between --from and --until.")
    return {"starts_at": first, "ends_at": ends, "rrule": silence.rrule, "lasts": lasts, "timezone": timezone}


def _comment(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("--comment is required: give the reason.")
    return text.strip()


def list_all(
    ctx: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Include silences that ended or were removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """List active and future silences."""
    config = session.local(ctx)
    now = session.now()
    with session.reading(config) as conn:
        views = silence_views(conn, now=now, everything=everything)
    if as_json:
        echo_json(listing("silences", views, now=now))
        return
    active = sum(1 for view in views if view.active_until is not None)
    echo(f"{len(views)} silence{'' if len(views) == 1 else 's'}, {active} active now." if views else "No silences.")
    if views:
        echo("")
        _show(views, config)


def _show(views: list[SilenceView], config: Config) -> None:
    from monitor.cli.output import blocks, coloured, fits, table

    on = console()
    headings = ("ID", "STATE", "MATCHES", "WHEN", "COMMENT")
    rows: list[tuple[str | Text, ...]] = [
        (str(view.silence.id), coloured(view.state), _matchers(view), _when(view, config), _reason(view.silence))
        for view in views
    ]
    if fits(headings, rows, on=on):
        show(table(headings, rows, on=on), on=on)
        return
    from rich.text import Text

    lines = ((Text(str(view.silence.id)), (_matchers(view), _when(view, config), _reason(view.silence))) for view in views)
    show(blocks(lines, width=4), on=on)


def _reason(silence: Silence) -> str:
    """Return the comment and the author."""
    by = f" (by {clean(silence.author)})" if silence.author else ""
    return clean(silence.comment, limit=200) + by


def _matchers(view: SilenceView) -> str:
    return clean(", ".join(_each_matcher(view.silence)), limit=400)


def _each_matcher(silence: Silence) -> Iterator[str]:
    for name, values in (("source", silence.sources), ("platform", silence.platforms), ("connection", silence.connections)):
        if values:
            yield f"{name} {' or '.join(values)}"
    yield from (f"{key}={value}" for key, value in silence.labels.items())


def _when(view: SilenceView, config: Config) -> str:
    """Return such as: active until …; from … until …, with the recurrence."""
    silence, times = view.silence, Times(config.timezone, view.now)
    rule = ""
    if silence.rrule and silence.lasts:
        rule = f" ({clean(silence.rrule)}, {span(silence.lasts)} each, {clean(silence.timezone)})"
    if silence.removed_at is not None:
        return f"removed {times.exact(silence.removed_at)}"
    if view.window is None:
        return f"ended{rule}"
    begin, end = view.window
    until = "it is removed" if view.is_endless(end) else times.exact(end)
    since = "active" if begin <= view.now else f"from {times.exact(begin)}"
    return f"{since} until {until}{rule}"


def remove(ctx: typer.Context, id: SilenceId) -> None:  # noqa: A002 - the argument's name in --help
    """End a silence now. An alert reports what changed in the meantime."""
    config = session.local(ctx)
    now = session.now()
    number = int(id) if id.isascii() and id.isdigit() and len(id) < 10 else 0
    with session.opened(config) as store, store.begin_write() as conn:
        if not number:
            raise MonitorError(f"There is no silence {clean(id)}. `token-monitor silence list` lists them.")
        acknowledgements.remove_silence(conn, number, now=now, author=author())
    echo(f"Silence {number} is removed. An alert reports what changed in the meantime.")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(ack)
    group = typer.Typer(help="Silence alerts, once or on a schedule.", no_args_is_help=True, rich_markup_mode=None)
    group.command("add")(add)
    group.command("list")(list_all)
    group.command("remove")(remove)
    app.add_typer(group, name="silence")
