"""The `status` command, with its headline and `--watch`."""

from __future__ import annotations

import io
import queue
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from monitor.cli.output import console
from monitor.domain import Severity, Status
from monitor.domain.errors import StoreError
from monitor.domain.text import clean
from monitor.domain.timefmt import Times
from monitor.views.daemon import DaemonStatus
from monitor.views.status import Overview, how_they_are, nobody_can_tell

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import session
from monitor.cli.options import AsJson, LabelFilter, PlatformFilter, SourceFilter, StatusFilter, select
from monitor.cli.output import echo, echo_json, on_terminal
from monitor.cli.tables import Block, Row, StyledStatus, show_rows, table_or_blocks
from monitor.config import Config
from monitor.domain.timefmt import span
from monitor.store import connection_queries, sources
from monitor.views.connections import ConnectionView
from monitor.views.daemon import keeping
from monitor.views.status import PluginState, overview

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def headline(found: Overview, *, unread: Collection[str] = ()) -> str:
    """One line that answers: do I have to do something?"""
    doubts = [sentence for sentence in (_unread(found, unread), _old(found)) if sentence]
    return " ".join([_need(found, certain=not doubts), *_quiet(found), *doubts])


def _need(found: Overview, *, certain: bool) -> str:
    now, soon = found.count(Severity.CRITICAL), found.count(Severity.WARNING)
    if not found.total:
        return _none(found)
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
    if not certain:
        return f"As far as is known, {how_they_are(found.summary)}."
    known = "Nothing to do that anyone knows of" if nobody_can_tell(found.summary) else "Nothing to do"
    return f"{known}: {how_they_are(found.summary)}."


def _none(found: Overview) -> str:
    """Nothing is selected: because there is nothing, or because of the filters."""
    if not found.left_out:
        return "No connection is known here."
    of = f"None of {found.left_out:,} connection{'' if found.left_out == 1 else 's'}"
    statuses = [status for status in reversed(Status) if status.value in (found.filters.statuses or ())]
    others = found.filters.sources or found.filters.platforms or found.filters.labels
    return f"{of} is {' or '.join(statuses)}." if statuses and not others else f"{of} fits these filters."


def _quiet(found: Overview) -> Iterator[str]:
    """What nothing is said about, although it needs somebody."""
    counted = [(found.acked, "acknowledged"), (found.silenced, "silenced")]
    words = [f"{number:,} {'is' if number == 1 else 'are'} {word}" for number, word in counted if number]
    if words:
        yield f"{' and '.join(words)}."


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


def notes(kept: DaemonStatus, found: Overview, times: Times) -> Iterator[str]:
    """What stands in the way of hearing from the monitor: no daemon, or messages that do not get out."""
    if not kept.watched:
        read = max((source.last_poll_at for source in found.sources if source.last_poll_at), default=None)
        last = f"; the last poll was {times.near(read)}" if read else ""
        yield f"No daemon keeps watch{last}: `token-monitor run` does."
    if kept.refused is not None:
        problem = clean(kept.refused.problem, limit=600)
        yield f"The reload {times.near(kept.refused.at)} was refused, the configuration before it is in force: {problem}"
    for each in kept.waiting:
        counted = "1 delivery waits" if each.number == 1 else f"{each.number:,} deliveries wait"
        yield f"{counted} for {clean(each.channel)} since {times.both(each.since)} (see `token-monitor alerts`)."


def counts(found: Overview) -> str:
    """How many connections have each status."""
    return ", ".join(f"{number:,} {word}" for word, number in found.summary.items() if number)


EVERY = 3.0
"""Seconds between two looks."""
SHARE = 10.0
"""A look that takes long comes seldom: watching costs no more than a tenth of a core."""


def keep_showing(look: Callable[[Console], RenderableType], *, every: float = EVERY) -> None:
    """Draw what `look` gives for the screen, again and again, until Ctrl-C. A database that is away is waited for."""
    from rich.live import Live

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    on = console()
    with _until_ctrl_c() as ended, suppress(KeyboardInterrupt), Live(console=on, screen=True, auto_refresh=False) as live:
        pause = 0.0
        while not ended(pause):
            started = time.monotonic()
            live.update(_drawn(look, on), refresh=True)
            pause = max(every, SHARE * (time.monotonic() - started))


@contextmanager
def _until_ctrl_c() -> Iterator[Callable[[float], bool]]:
    """Yield a wait of some seconds that returns True as soon as Ctrl-C was pressed. A second Ctrl-C interrupts.

    KeyboardInterrupt may be raised where Python discards exceptions. threading.Event.set() in a signal handler deadlocks
    when the signal arrives just as wait() begins; SimpleQueue.put() may be called there.
    """
    pressed: queue.SimpleQueue[None] = queue.SimpleQueue()

    def end(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        pressed.put(None)

    def ended(seconds: float) -> bool:
        try:
            pressed.get(timeout=seconds)
        except queue.Empty:
            return False
        return True

    before = signal.signal(signal.SIGINT, end)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGINT, before)


def _drawn(look: Callable[[Console], RenderableType], on: Console) -> RenderableType:
    from rich.text import Text

    try:
        return look(on)
    except StoreError as error:
        return Text(clean(str(error), limit=500), style="bold red")


ON_A_SCREEN = 100
"""Connections that a terminal shows unless asked for all."""

_HEADINGS = ("STATUS", "NAME", "PLATFORM", "SOURCE", "WHEN", "DATE", "ID", "WHY")
_WORD_WIDTH = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReading:
    """What one look at the store showed."""

    found: Overview
    kept: DaemonStatus
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

    def look(limit: int | None) -> StatusReading:
        with session.reading(config) as conn:
            now = session.now()
            known = [row.name for row in sources.all_sources(conn)]
            filters = select(
                config,
                known=known,
                sources=source,
                platforms=platform,
                statuses=status_,
                labels=label,
                listed=lambda: connection_queries.platforms(conn),
            )
            found = overview(conn, config, now=now, filters=filters, limit=limit)
            kept = keeping(conn, config.database.url.reveal(), now=now)
            return StatusReading(found=found, kept=kept, times=Times(config.timezone, now))

    if watch:
        keep_showing(lambda on: _screen(look(on.height), on))
        return 0
    seen = look(ON_A_SCREEN if on_terminal() and not (everything or as_json) else None)
    standing = seen.found.standing()
    if as_json:
        echo_json(seen.found.json())
    else:
        echo_status(seen.found, config, kept=seen.kept, standing=standing if exit_code else None)
    return standing if exit_code else 0


def _require_watchable(*, everything: bool, exit_code: bool, as_json: bool) -> None:
    for given, name in ((everything, "--all"), (exit_code, "--exit-code"), (as_json, "--json")):
        if given:
            raise typer.BadParameter(f"--watch shows a screen until it is ended: it does not go with {name}.")
    if not on_terminal():
        raise typer.BadParameter("--watch needs a terminal; `status --json` is for programs.")


def echo_status(
    found: Overview,
    config: Config,
    *,
    kept: DaemonStatus | None = None,
    standing: PluginState | None = None,
    unread: Collection[str] = (),
) -> None:
    """The answer first, then the connections, worst first, and the counts. `unread`: sources that failed just now."""
    times = Times(config.timezone, found.now)
    answer = headline(found, unread=unread)
    echo(answer if standing is None else f"{standing.name}: {answer}")
    for note in notes(kept, found, times) if kept else ():
        echo(note)
    shown = found.connections
    if shown:
        echo("")
        show_rows(_HEADINGS, [_row(view, times) for view in shown], lambda: _blocks(shown, times), width=_WORD_WIDTH)
        echo("")
        echo(counts(found))
    if len(shown) < found.total:
        echo(f"The {len(shown)} worst of {found.total:,} are shown: --all shows every one.")


def _screen(seen: StatusReading, on: Console) -> RenderableType:
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
        table_or_blocks(_HEADINGS, rows, lambda: _blocks(shown, times), width=_WORD_WIDTH, on=on),
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


def _word(view: ConnectionView) -> StyledStatus:
    marks = [("stale", view.stale), ("acked", view.acked), ("silenced", view.silenced_until is not None)]
    return StyledStatus.of(view.status, *(mark for mark, there in marks if there))


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
