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
from monitor.cli.session import who
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
from monitor.views.filters import listing
from monitor.views.silences import SilenceView, count_silenced, silence_views

if TYPE_CHECKING:
    from rich.text import Text


def ack(
    ctx: typer.Context,
    connection: WhichConnection,
    *,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help=f"Only until then. {HELP}")] = None,
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why, or who cares for it.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take the acknowledgement back.")] = False,
) -> None:
    """Say that somebody knows. Quiet until it gets worse, recovers, or WHEN."""
    config = session.local(ctx)
    now = session.now()
    ends = None if until is None else later_when(until, now=now, timezone=config.timezone, option="--until")
    with session.opened(config) as store, store.begin_write() as conn:
        row = one_connection(conn, config, connection, retired=False)
        view = Reader(config, {each.name: each for each in sources.all_sources(conn)}, now=now).view(row)
        name = clean(row.public_id, limit=400)
        if remove:
            acknowledgements.unacknowledge(conn, view.row, now=now, by=who())
        else:
            acknowledgements.acknowledge(conn, view.row, now=now, until=ends, comment=comment, by=who())
    if remove:
        echo(f"{name} is no longer acknowledged: it is said again when there is something to say.")
        return
    end = f", or {Times(config.timezone, now).exact(ends)}" if ends else ""
    echo(f"{name} is acknowledged ({view.status}): quiet until it gets worse or recovers{end}.")


SilenceId = Annotated[str, typer.Argument(metavar="ID", help="The silence's number, as `silence list` shows it.")]
_NO_MATCHER = "Say what to silence: --source, --platform, --connection or --label. `--connection '*'` silences every connection."


def add(
    ctx: typer.Context,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    connection: Annotated[
        list[str] | None,
        typer.Option("--connection", metavar="GLOB", help="Only ids that fit, such as 'agency/*'; may be given several times."),
    ] = None,
    label: LabelFilter = None,
    begin: Annotated[str | None, typer.Option("--from", metavar="WHEN", help=f"Not before; now by default. {HELP}")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="The end; by default its removal.")] = None,
    length: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="How long; with --rrule the length of each window.")
    ] = None,
    rrule: Annotated[
        str | None,
        typer.Option(
            "--rrule",
            metavar="RULE",
            help="Recurring windows, such as 'FREQ=WEEKLY;BYDAY=SA,SU', at the time of day of --from, else at midnight.",
        ),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option("--timezone", metavar="ZONE", help="Whose wall clock counts; the configured one by default.")
    ] = None,
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why, for those who wonder later; needed.")] = "",
) -> None:
    """Keep quiet about what matches all of the filters. State is recorded; at the end the net change is said."""
    config = session.local(ctx)
    now = session.now()
    hours = _hours(now, timezone or config.timezone, begin=begin, until=until, length=length, rrule=rrule)
    with session.opened(config) as store, store.begin_write() as conn:
        known = [row.name for row in sources.all_sources(conn)]
        slugs = connection_queries.platforms(conn)
        chosen = select(config, known=known, sources=source, platforms=platform, labels=label)
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
        number = acknowledgements.add_silence(conn, silence, now=now, by=who())
        matching = count_silenced(conn, config, silence)
    view = SilenceView(silence=silence, now=now)
    counted = f"{matching:,} connection{'' if matching == 1 else 's'}"
    echo(f"Silence {number} matches {counted} that {'is' if matching == 1 else 'are'} known now: {_when(view, config)}.")
    for slug in silence.platforms:
        if slug not in slugs and slug not in PLATFORM_NAMES:
            hint = nearest_known(slug, sorted(slugs | PLATFORM_NAMES.keys()))
            echo(f"warning: No connection is on a platform {clean(slug, limit=80)}; {hint}")


def _hours(
    now: datetime, timezone: str, *, begin: str | None, until: str | None, length: str | None, rrule: str | None
) -> dict[str, Any]:
    """The silence's times. Raises a usage error where they contradict each other."""
    problem = timezone_problem(timezone)
    if problem is not None:
        raise typer.BadParameter(f"--timezone {problem}")
    lasts = None if length is None else parse_length(length, option="--for")
    ends = None if until is None else later_when(until, now=now, timezone=timezone, option="--until")
    if rrule is not None:
        return _recurring(now, timezone, begin=begin, ends=ends, lasts=lasts, rrule=rrule)
    starts = now if begin is None else parse_when(begin, now=now, timezone=timezone, option="--from")
    if ends is not None and lasts is not None:
        raise typer.BadParameter("--until and --for say the same thing twice: give one of them.")
    ends = starts + lasts if lasts is not None else ends
    if ends is not None and ends <= max(starts, now):
        raise typer.BadParameter("It would be over before it begins: give a later --until or a longer --for.")
    return {"starts_at": starts, "ends_at": ends, "timezone": timezone}


def _recurring(
    now: datetime, timezone: str, *, begin: str | None, ends: datetime | None, lasts: timedelta | None, rrule: str
) -> dict[str, Any]:
    problem = recurrence.rule_problem(rrule)
    if problem is not None:
        raise typer.BadParameter(f"--rrule {problem}")
    if lasts is None:
        raise typer.BadParameter("--rrule needs --for: how long is each window?")
    first = parse_when(begin or "today", now=now, timezone=timezone, option="--from", today=True)
    local = first.astimezone(zone(timezone) or UTC).replace(tzinfo=None)
    silence = Silence(starts_at=first, ends_at=ends, rrule=rrule.strip(), lasts=lasts, timezone=timezone)
    if not recurrence.recurs(rrule.strip(), local) or SilenceView(silence=silence, now=now).window is None:
        raise typer.BadParameter("--rrule never comes due between --from and --until.")
    return {"starts_at": first, "ends_at": ends, "rrule": silence.rrule, "lasts": lasts, "timezone": timezone}


def _comment(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("--comment is missing: say why, for those who wonder later.")
    return text.strip()


def list_all(
    ctx: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over or were removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Silences that are in force or will be."""
    config = session.local(ctx)
    now = session.now()
    with session.reading(config) as conn:
        views = silence_views(conn, now=now, everything=everything)
    if as_json:
        echo_json(listing("silences", views, now=now))
        return
    active = sum(1 for view in views if view.active_until is not None)
    echo(f"{len(views)} silence{'' if len(views) == 1 else 's'}, {active} in force now." if views else "No silence is set.")
    if views:
        echo("")
        _show(views, config)


def _show(views: list[SilenceView], config: Config) -> None:
    from monitor.cli.tables import blocks, coloured, fits, table

    on = console()
    headings = ("ID", "STATE", "MATCHES", "WHEN", "COMMENT")
    rows: list[tuple[str | Text, ...]] = [
        (str(view.silence.id), coloured(view.state), _matchers(view), _when(view, config), clean(view.silence.comment, limit=200))
        for view in views
    ]
    if fits(headings, rows, on=on):
        show(table(headings, rows, on=on), on=on)
        return
    from rich.text import Text

    lines = (
        (Text(str(view.silence.id)), (_matchers(view), _when(view, config), clean(view.silence.comment, limit=200)))
        for view in views
    )
    show(blocks(lines, width=4), on=on)


def _matchers(view: SilenceView) -> str:
    return clean(", ".join(_each_matcher(view.silence)), limit=400)


def _each_matcher(silence: Silence) -> Iterator[str]:
    for name, values in (("source", silence.sources), ("platform", silence.platforms), ("connection", silence.connections)):
        if values:
            yield f"{name} {' or '.join(values)}"
    yield from (f"{key}={value}" for key, value in silence.labels.items())


def _when(view: SilenceView, config: Config) -> str:
    """In force until …; from … until …, and how it recurs."""
    silence, times = view.silence, Times(config.timezone, view.now)
    rule = ""
    if silence.rrule and silence.lasts:
        rule = f" ({clean(silence.rrule)}, {span(silence.lasts)} each, {clean(silence.timezone)})"
    if silence.removed_at is not None:
        return f"removed {times.exact(silence.removed_at)}"
    if view.window is None:
        return f"over{rule}"
    begin, end = view.window
    until = "it is removed" if view.is_endless(end) else times.exact(end)
    since = "in force" if begin <= view.now else f"from {times.exact(begin)}"
    return f"{since} until {until}{rule}"


def remove(ctx: typer.Context, id: SilenceId) -> None:  # noqa: A002 - the command line's own word
    """End a silence now. What changed meanwhile is said."""
    config = session.local(ctx)
    now = session.now()
    number = int(id) if id.isascii() and id.isdigit() and len(id) < 10 else 0
    with session.opened(config) as store, store.begin_write() as conn:
        if not number:
            raise MonitorError(f"There is no silence {clean(id)}: `token-monitor silence list` shows them.")
        acknowledgements.remove_silence(conn, number, now=now, by=who())
    echo(f"Silence {number} is removed: what changed meanwhile is said now.")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    about = "Keep quiet about some connections, once or again and again."
    app.command()(ack)
    group = typer.Typer(help=about, no_args_is_help=True, rich_markup_mode=None)
    group.command("add")(add)
    group.command("list")(list_all)
    group.command("remove")(remove)
    app.add_typer(group, name="silence")
