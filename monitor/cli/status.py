"""status: what the store knows of connections, once or again and again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import session
from monitor.cli.headline import counts, headline, notes
from monitor.cli.layout import Block, Row, Word, arranged, show_rows
from monitor.cli.options import AsJson, LabelFilter, PlatformFilter, SourceFilter, StatusFilter, select
from monitor.cli.output import on_terminal, say, say_json
from monitor.config import Config
from monitor.domain import Status
from monitor.domain.text import clean
from monitor.domain.timefmt import span
from monitor.domain.times import Times
from monitor.store import connection_queries, sources
from monitor.views.connections import ConnectionView
from monitor.views.daemon import Keeping, keeping
from monitor.views.filters import Selection
from monitor.views.status import Overview, Standing, overview

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

ON_A_SCREEN = 100
"""Connections that a terminal shows unless asked for all."""

_HEADINGS = ("STATUS", "NAME", "PLATFORM", "SOURCE", "WHEN", "DATE", "ID", "WHY")
_WORD_WIDTH = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at the store showed."""

    found: Overview
    kept: Keeping
    times: Times


def status(
    ctx: typer.Context,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status_: StatusFilter = None,
    label: LabelFilter = None,
    everything: Annotated[bool, typer.Option("--all", help="On a terminal too, show every connection.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing the worst until Ctrl-C; needs a terminal.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit status 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, for monitoring programs.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """What the store knows, worst first. No network, and nothing is written."""
    if watch:
        _require_watchable(everything=everything, exit_code=exit_code, as_json=as_json)
    config = session.local(ctx)

    def look(limit: int | None) -> Look:
        with session.reading(config) as conn:
            now = session.now()
            known = [row.name for row in sources.all_sources(conn)]
            selection: Selection = select(
                config,
                known=known,
                sources=source,
                platforms=platform,
                statuses=status_,
                labels=label,
                listed=lambda: connection_queries.platforms(conn),
            )
            found = overview(conn, config, now=now, selection=selection, limit=limit)
            kept = keeping(conn, config.database.url.reveal(), now=now)
            return Look(found=found, kept=kept, times=Times(config.timezone, now))

    if watch:
        from monitor.cli.watching import keep_showing

        keep_showing(lambda on: _screen(look(on.height), on))
        return 0
    seen = look(ON_A_SCREEN if on_terminal() and not (everything or as_json) else None)
    standing = seen.found.standing()
    if as_json:
        say_json(seen.found.json())
    else:
        tell(seen.found, config, kept=seen.kept, standing=standing if exit_code else None)
    return standing if exit_code else 0


def _require_watchable(*, everything: bool, exit_code: bool, as_json: bool) -> None:
    for given, name in ((everything, "--all"), (exit_code, "--exit-code"), (as_json, "--json")):
        if given:
            raise typer.BadParameter(f"--watch shows a screen until it is ended: it does not go with {name}.")
    if not on_terminal():
        raise typer.BadParameter("--watch needs a terminal; `status --json` is for programs.")


def tell(
    found: Overview,
    config: Config,
    *,
    kept: Keeping | None = None,
    standing: Standing | None = None,
    unread: Collection[str] = (),
) -> None:
    """The answer first, then the connections, worst first, and the counts. `unread`: sources that failed just now."""
    times = Times(config.timezone, found.now)
    answer = headline(found, unread=unread)
    say(answer if standing is None else f"{standing.name}: {answer}")
    for note in notes(kept, found, times) if kept else ():
        say(note)
    shown = found.connections
    if shown:
        say("")
        show_rows(_HEADINGS, [_row(view, times) for view in shown], lambda: _blocks(shown, times), width=_WORD_WIDTH)
        say("")
        say(counts(found))
    if len(shown) < found.total:
        say(f"The {len(shown)} worst of {found.total:,} are shown: --all shows every one.")


def _screen(seen: Look, on: Console) -> RenderableType:
    """The same for a screen that is drawn anew: what comes last may not fit."""
    from rich.console import Group
    from rich.text import Text

    found, times = seen.found, seen.times
    shown = found.connections
    rows = [_row(view, times) for view in shown]
    lines = [headline(found), *notes(seen.kept, found, times), counts(found)]
    return Group(
        *(Text(line, style="" if number else "bold") for number, line in enumerate(lines)),
        Text(f"{times.exact(found.now)}, every few seconds; Ctrl-C ends it.", style="dim"),
        Text(),
        arranged(_HEADINGS, rows, lambda: _blocks(shown, times), width=_WORD_WIDTH, on=on),
    )


def _row(view: ConnectionView, times: Times) -> Row:
    when, date = _when(view, times)
    return _word(view), _name(view), clean(view.snapshot.platform), clean(view.row.source), when, date, _id(view), _why(view)


def _blocks(views: list[ConnectionView], times: Times) -> Iterator[Block]:
    for view in views:
        yield _word(view), list(_lines(view, times))


def _lines(view: ConnectionView, times: Times) -> Iterator[str]:
    when, date = _when(view, times)
    about = f"{_name(view)} · {clean(view.snapshot.platform)} · {clean(view.row.source)}"
    yield f"{about} · {when} ({date})" if when else about
    if view.status.needs_attention or view.stale:
        yield _why(view)
    yield _id(view)


def _word(view: ConnectionView) -> Word:
    marks = [("stale", view.stale), ("acked", view.acked), ("silenced", view.silenced_until is not None)]
    return Word.of(view.status, *(mark for mark, there in marks if there))


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


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(status)
