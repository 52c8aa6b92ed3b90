"""status and history: what the store knows of connections."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import session
from monitor.cli.filters import AsJson, LabelFilter, PlatformFilter, SourceFilter, StatusFilter, select
from monitor.cli.finding import one_connection
from monitor.cli.output import console, on_terminal, say, say_json, show
from monitor.cli.times import Times
from monitor.config import Config
from monitor.model import Severity, Status, connection_id
from monitor.rules.wording.names import clean
from monitor.rules.wording.times import span
from monitor.store import sources
from monitor.views.connections import ConnectionView
from monitor.views.events import EventView, event_views
from monitor.views.overview import Overview, Standing, overview
from monitor.views.shapes import listing

if TYPE_CHECKING:
    from rich.text import Text

ON_A_SCREEN = 100
"""Connections that a terminal shows unless asked for all."""


def status(
    ctx: typer.Context,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status_: StatusFilter = None,
    label: LabelFilter = None,
    everything: Annotated[bool, typer.Option("--all", help="On a terminal too, show every connection.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit status 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, for monitoring programs.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """What the store knows, worst first. No network, and nothing is written."""
    config = session.loaded(ctx).config
    with session.reading(config) as conn:
        known = [row.name for row in sources.all_sources(conn)]
        selection = select(config, known=known, sources=source, platforms=platform, statuses=status_, labels=label)
        limit = ON_A_SCREEN if on_terminal() and not (everything or as_json) else None
        found = overview(conn, config, now=session.now(), selection=selection, limit=limit)
    standing = found.standing()
    if as_json:
        say_json(found.json())
    else:
        tell(found, config, standing=standing if exit_code else None)
    return standing if exit_code else 0


def tell(
    found: Overview,
    config: Config,
    *,
    standing: Standing | None = None,
    unread: Collection[str] = (),
) -> None:
    """The answer first, then the connections, worst first, and the counts. `unread`: sources that failed just now."""
    answer = headline(found, unread=unread)
    say(answer if standing is None else f"{standing.name}: {answer}")
    shown = found.connections
    if shown:
        say("")
        _show_connections(shown, Times(config.timezone, found.now))
        say("")
        say(_counts(found))
    if len(shown) < found.total:
        say(f"The {len(shown)} worst of {found.total:,} are shown: --all shows every one.")


def headline(found: Overview, *, unread: Collection[str] = ()) -> str:
    """One line that answers: do I have to do something?"""
    doubts = [sentence for sentence in (_unread(found, unread), _old(found)) if sentence]
    return " ".join([_need(found, certain=not doubts), *_quiet(found), *doubts])


def _need(found: Overview, *, certain: bool) -> str:
    now, soon = found.count(Severity.CRITICAL), found.count(Severity.WARNING)
    if not found.total:
        return "No connection is known here."
    of = f"of {found.total:,} connection{'' if found.total == 1 else 's'}"
    if now:
        words = ", ".join(
            f"{found.summary[word]:,} {word}"
            for word in reversed(Status)
            if word.severity is Severity.CRITICAL and found.summary[word]
        )
        later = f", and {soon:,} soon (expiring_soon)" if soon else ""
        return f"{now:,} {of} need{'s' if now == 1 else ''} you now ({words}){later}."
    if soon:
        return f"{soon:,} {of} need{'s' if soon == 1 else ''} you soon (expiring_soon)."
    return f"Nothing to do: {_all_fine(found)}." if certain else f"As far as is known, {_all_fine(found)}."


def _quiet(found: Overview) -> Iterator[str]:
    """What nothing is said about, although it needs somebody."""
    counted = [(found.acked, "acknowledged"), (found.silenced, "silenced")]
    words = [f"{number:,} {'is' if number == 1 else 'are'} {word}" for number, word in counted if number]
    if words:
        yield f"{' and '.join(words)}."


def _all_fine(found: Overview) -> str:
    unknown = found.summary[Status.UNKNOWN]
    doubt = f", {unknown:,} of them without evidence either way" if unknown else ""
    return f"{found.total:,} connection{' is' if found.total == 1 else 's are'} fine{doubt}"


def _unread(found: Overview, unread: Collection[str]) -> str:
    names = [clean(source.name) for source in found.sources if source.unread or source.name in unread]
    if not names:
        return ""
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    of = f"{len(names)} of {len(found.sources)} source{'' if len(found.sources) == 1 else 's'}"
    return f"{of} {'is' if len(names) == 1 else 'are'} not being read: {listed} (see `token-monitor sources`)."


def _old(found: Overview) -> str:
    if not found.stale:
        return ""
    return f"{found.stale:,} {'is' if found.stale == 1 else 'are'} shown from old data (marked stale)."


def _counts(found: Overview) -> str:
    return ", ".join(f"{number:,} {word}" for word, number in found.summary.items() if number)


def _show_connections(views: list[ConnectionView], times: Times) -> None:
    from monitor.cli.tables import blocks, fits, table

    on = console()
    headings = ("STATUS", "NAME", "PLATFORM", "SOURCE", "WHEN", "DATE", "ID", "WHY")
    rows = [_row(view, times) for view in views]
    if fits(headings, rows, on=on):
        show(table(headings, rows, on=on), on=on)
    else:
        show(blocks(((_word(view), list(_lines(view, times))) for view in views), width=13), on=on)


def _row(view: ConnectionView, times: Times) -> tuple[str | Text, ...]:
    when, date = _when(view, times)
    return _word(view), _name(view), clean(view.snapshot.platform), clean(view.row.source), when, date, _id(view), _why(view)


def _lines(view: ConnectionView, times: Times) -> Iterator[str]:
    when, date = _when(view, times)
    about = f"{_name(view)} · {clean(view.snapshot.platform)} · {clean(view.row.source)}"
    yield f"{about} · {when}" if when else about
    if view.status.needs_attention or view.stale:
        yield _why(view) + (f" ({date})" if date else "")
    yield _id(view)


def _word(view: ConnectionView) -> Text:
    from monitor.cli.tables import coloured

    marks = [("stale", view.stale), ("acked", view.acked), ("silenced", view.silenced_until is not None)]
    return coloured(view.status, more="".join(f" {mark}" for mark, there in marks if there))


def _name(view: ConnectionView) -> str:
    return clean(view.snapshot.label, limit=40, otherwise="(no name)")


def _id(view: ConnectionView) -> str:
    return clean(view.id, limit=400)


def _why(view: ConnectionView) -> str:
    return clean(view.row.state.verdict.message, limit=256)


def _when(view: ConnectionView, times: Times) -> tuple[str, str]:
    """The instant that matters for this status: the expiry, or since when it is broken."""
    expires_at, since = view.expires_at, view.row.state.verdict.since
    if view.status is Status.EXPIRED:
        passed = expires_at if expires_at is not None and expires_at <= view.now else since
        return f"expired {times.near(passed)}", times.exact(passed)
    if view.status in (Status.FAILING, Status.REVOKED, Status.DISCONNECTED):
        return f"for {span(view.now - since)}", times.exact(since)
    if expires_at is None:
        return "", ""
    return f"expire{'s' if expires_at > view.now else 'd'} {times.near(expires_at)}", times.exact(expires_at)


def history(
    ctx: typer.Context,
    connection: Annotated[str, typer.Argument(metavar="CONNECTION", help="A connection's id, or any unique part of it.")],
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status_: StatusFilter = None,
    label: LabelFilter = None,
    as_json: AsJson = False,
) -> None:
    """Everything that happened to one connection. The filters narrow down which one is meant."""
    config = session.loaded(ctx).config
    now = session.now()
    with session.reading(config) as conn:
        known = [row.name for row in sources.all_sources(conn, include_removed=True)]
        selection = select(config, known=known, sources=source, platforms=platform, statuses=status_, labels=label)
        row = one_connection(conn, config, connection, selection=selection)
        events = event_views(conn, row)
    if as_json:
        say_json(listing("events", events, now=now))
        return
    snapshot = row.state.snapshot
    public = connection_id(row.source, row.provider, snapshot.scope, snapshot.external_id)
    retired = ", retired" if row.retired_at is not None else ""
    say(f"{clean(snapshot.label)} ({clean(snapshot.platform)}), {clean(public, limit=400)}: {row.state.verdict.status}{retired}")
    _show_events(events, Times(config.timezone, now))


def _show_events(events: list[EventView], times: Times) -> None:
    from monitor.cli.tables import blocks, fits, table

    if not events:
        say("Nothing is recorded.")
        return
    on = console()
    rows = [(times.exact(event.entry.at), _what(event), clean(event.entry.message, limit=256)) for event in events]
    say("")
    headings = ("WHEN", "WHAT", "WHY")
    if fits(headings, rows, on=on):
        show(table(headings, rows, on=on), on=on)
    else:
        from rich.text import Text

        show(blocks(((Text(when), (what, why)) for when, what, why in rows), width=26), on=on)


def _what(event: EventView) -> str:
    """The kind of entry and what changed, such as: status changed, valid → expired."""
    words = event.entry.kind.replace("_", " ")
    change = " → ".join(clean(value, limit=120) for value in (event.entry.old, event.entry.new) if value)
    return f"{words}: {change}" if change else words


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(status)
    app.command()(history)
