"""The `ack` and `silence` commands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import session
from monitor.cli.options import (
    AsJson,
    LabelFilter,
    PlatformFilter,
    SourceFilter,
    StatusFilter,
    nearest_known,
    select,
)
from monitor.cli.output import console, echo, echo_json, show
from monitor.cli.selection import (
    Connections,
    DryRun,
    Selection,
    Yes,
    asks,
    change_all,
    confirm,
    counted,
    echo_outcome_json,
    echo_skipped,
    list_only,
)
from monitor.cli.session import author
from monitor.cli.values import HELP, later_when, one_of, parse_length, parse_when
from monitor.config import Config
from monitor.config.resolve import timezone_problem
from monitor.domain import Status, utc_text
from monitor.domain.errors import MonitorError
from monitor.domain.rules import recurrence
from monitor.domain.rules.advice import PLATFORM_NAMES
from monitor.domain.rules.silences import Silence, literal, matches_id
from monitor.domain.text import clean
from monitor.domain.timefmt import Times, span, zone
from monitor.engine import acknowledgements
from monitor.engine.bulk_changes import BulkOutcome
from monitor.store import Connection, Store, connection_queries, sources
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import ConnectionView
from monitor.views.json_types import listing
from monitor.views.selection import views_silenced
from monitor.views.silences import SilenceView, silence_views

if TYPE_CHECKING:
    from rich.text import Text


def ack(
    ctx: typer.Context,
    connection: Connections = None,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status: StatusFilter = None,
    label: LabelFilter = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help=f"End of the acknowledgement. {HELP}")] = None,
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Reason, or who is handling it.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Remove the acknowledgement.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Acknowledge incidents. Suppresses reminders and escalations until an incident worsens or recovers, or until WHEN."""
    config = session.local(ctx)
    now = session.now()
    ends = None if until is None else later_when(until, now=now, timezone=config.timezone, option="--until")
    wanted = Selection(connections=connection, sources=source, platforms=platform, statuses=status, labels=label)

    def change(conn: Connection, row: ConnectionRow) -> None:
        if remove:
            acknowledgements.unacknowledge(conn, row, now=now, author=author())
        else:
            acknowledgements.acknowledge(conn, row, now=now, until=ends, comment=comment, author=author())

    with session.opened(config) as store:
        with store.begin_read() as conn:
            views = wanted.views(conn, config, now=now)
        if dry_run:
            check = acknowledgements.acknowledged_incident if remove else acknowledgements.incident_to_acknowledge
            summary = "would no longer be acknowledged." if remove else "would be acknowledged."
            list_only(store, config, views, check, summary=summary, as_json=as_json)
            return
        verb = "Remove the acknowledgements of" if remove else "Acknowledge"
        confirm(verb, views, config, yes=yes, as_json=as_json)
        outcome = change_all(store, config, views, change)
    if as_json:
        echo_outcome_json(outcome, now=now)
        return
    _show_acknowledged(outcome, views, Times(config.timezone, now), remove=remove, ends=ends)


def _show_acknowledged(
    outcome: BulkOutcome, views: Sequence[ConnectionView], times: Times, *, remove: bool, ends: datetime | None
) -> None:
    end = f", or {times.exact(ends)}" if ends else ""
    if len(outcome.changed) == 1:
        [public_id] = outcome.changed
        status = next(view.status for view in views if view.id == public_id)
        subject, verb, worsens = clean(public_id, limit=400), "is", "it worsens or recovers"
        state = f"acknowledged ({status})"
    else:
        subject, verb, worsens, state = counted(len(outcome.changed)), "are", "they worsen or recover", "acknowledged"
    if remove:
        echo(f"{subject} {verb} no longer acknowledged. Alerts are sent again.")
    else:
        echo(f"{subject} {verb} {state}: no alerts until {worsens}{end}.")
    echo_skipped(outcome)


SilenceId = Annotated[str, typer.Argument(metavar="ID", help="The silence's id from `silence list`.")]
_NO_MATCHER = (
    "Give at least one CONNECTION, --source, --platform, --status, --connection or --label. `--connection '*'` silences every "
    "connection."
)
MOST_NAMED = 1000
"""Connections that one silence may name."""


_StatusNow = Annotated[
    list[Status] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="Silence the connections that have this status now. Repeatable.",
        parser=one_of("status", Status),
        autocompletion=lambda: list(Status),
    ),
]
_Globs = Annotated[
    list[str] | None,
    typer.Option("--connection", metavar="GLOB", help="Only ids that match, such as 'agency/*'. Repeatable."),
]
_From = Annotated[str | None, typer.Option("--from", metavar="WHEN", help=f"Start; default: now. {HELP}")]
_Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="End; default: until it is removed.")]
_For = Annotated[str | None, typer.Option("--for", metavar="DURATION", help="Length; with --rrule, the length of each window.")]
_Rule = Annotated[
    str | None,
    typer.Option(
        "--rrule",
        metavar="RULE",
        help="Recurring windows, such as 'FREQ=WEEKLY;BYDAY=SA,SU', from the time of day of --from, else midnight.",
    ),
]
_Zone = Annotated[
    str | None, typer.Option("--timezone", metavar="ZONE", help="Time zone of the times given; default: the configured one.")
]


def add(
    ctx: typer.Context,
    named: Connections = None,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status: _StatusNow = None,
    connection: _Globs = None,
    label: LabelFilter = None,
    begin: _From = None,
    until: _Until = None,
    length: _For = None,
    rrule: _Rule = None,
    timezone: _Zone = None,
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Reason. Required.")] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Silence connections. When the silence ends, an alert reports the net change.

    With CONNECTION or --status, the silence names the connections that match now; otherwise it covers all that match the filters
    while it lasts.
    """
    config = session.local(ctx)
    now = session.now()
    hours = _hours(now, timezone or config.timezone, begin=begin, until=until, length=length, rrule=rrule)
    wanted = Selection(connections=named, sources=source, platforms=platform, statuses=status, labels=label)
    with session.opened(config) as store:
        with store.begin_read() as conn:
            silence = Silence(**_matchers_of(conn, config, wanted, connection or (), now), comment=_comment(comment), **hours)
            views = views_silenced(conn, config, silence, now=now)
            unknown = _unknown_platforms(silence, connection_queries.platforms(conn))
        if dry_run:
            _list_silenced(store, config, views, now=now, as_json=as_json)
            return
        # Filters alone could be used without a confirmation before there was one, and scripts still do.
        confirm("Silence", views, config, yes=yes or not views or not (named or status or asks()), as_json=as_json)
        with store.begin_write() as conn:
            number = acknowledgements.add_silence(conn, silence, now=now, author=author())
    view = SilenceView(silence=replace(silence, id=number, created_at=now, author=author()), now=now)
    if as_json:
        echo_json({"generated_at": utc_text(now), "silence": view.json(), "connections": [each.id for each in views]})
        return
    echo(f"Silence {number} matches {counted(len(views))} now: {_when(view, config)}.")
    for warning in unknown:
        echo(warning)


def _matchers_of(conn: Connection, config: Config, wanted: Selection, patterns: Sequence[str], now: datetime) -> dict[str, Any]:
    """Return the matchers of a silence: the ids of connections if some are named or chosen by their status, else the filters."""
    if wanted.connections or wanted.statuses:
        views = wanted.views(conn, config, now=now)
        within = Silence(connections=tuple(patterns), starts_at=now)
        chosen = [view for view in views if not patterns or matches_id(within, view.id, view.snapshot.external_id)]
        if len(chosen) > MOST_NAMED:
            raise typer.BadParameter(f"A silence may name at most {MOST_NAMED:,} connections, not {len(chosen):,}: use filters.")
        if not chosen:
            raise MonitorError("No connection matches the filters. `token-monitor status --all` lists all connections.")
        return {"connections": tuple(literal(view.id) for view in chosen)}
    if not (wanted.sources or wanted.platforms or wanted.labels or patterns):
        raise typer.BadParameter(_NO_MATCHER)
    known = [row.name for row in sources.all_sources(conn)]
    filters = select(config, conn=conn, known=known, sources=wanted.sources, platforms=wanted.platforms, labels=wanted.labels)
    return {
        "sources": tuple(sorted(filters.sources or ())),
        "platforms": tuple(sorted(filters.platforms or ())),
        "connections": tuple(dict.fromkeys(patterns)),
        "labels": filters.labels,
    }


def _list_silenced(store: Store, config: Config, views: Sequence[ConnectionView], *, now: datetime, as_json: bool) -> None:
    if views:
        list_only(store, config, views, lambda *_: None, summary="would be silenced.", as_json=as_json)
    elif as_json:
        echo_outcome_json(BulkOutcome(), now=now, dry_run=True)
    else:
        echo("No connection matches now.")


def _unknown_platforms(silence: Silence, stored: Collection[str]) -> list[str]:
    """Return a warning for each platform of a silence that no connection has and that is not known otherwise."""
    known = sorted({*stored, *PLATFORM_NAMES})
    return [
        f"warning: No connection has the platform {clean(slug, limit=80)}; {nearest_known(slug, known)}"
        for slug in silence.platforms
        if slug not in known
    ]


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
            raise MonitorError(f"There is no silence {clean(id)}. `token-monitor silence list` lists all silences.")
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
