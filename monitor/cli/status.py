"""The `status` command, with its headline and `--watch`."""

from __future__ import annotations

import io
import queue
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import session
from monitor.cli.options import AsJson, LabelFilter, PlatformFilter, SourceFilter, StatusFilter, select
from monitor.cli.output import Block, Row, StyledStatus, console, echo, echo_json, on_terminal, show, show_rows, table_or_blocks
from monitor.cli.status_table import LEAST_WIDTH, StatusLine, StatusTable, client_of
from monitor.config import Config
from monitor.domain import Status
from monitor.domain.errors import StoreError
from monitor.domain.records import Record
from monitor.domain.text import clean
from monitor.domain.timefmt import Times, span
from monitor.store import connection_queries, sources
from monitor.views.connections import ConnectionView
from monitor.views.staleness import doubts
from monitor.views.status import DaemonStatus, Overview, PluginState, daemon_status, headline, overview

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def headline_text(found: Overview, times: Times, *, unread: Collection[str] = ()) -> str:
    """Return the headline and what makes it uncertain, in one line. `unread` are sources that failed just now."""
    uncertain = doubts(found.sources, found.stale_data, times=times, failed=unread)
    see = ["See `token-monitor sources`."] if uncertain.refused else []
    if not found.total and found.left_out:
        return " ".join([_no_match(found), *uncertain.about_sources(), *see])
    return " ".join([str(headline(found.summary, uncertain, acked=found.acked, silenced=found.silenced)), *see])


def _no_match(found: Overview) -> str:
    of = f"None of {found.left_out:,} connection{'' if found.left_out == 1 else 's'}"
    statuses = [status for status in reversed(Status) if status.value in (found.filters.statuses or ())]
    others = found.filters.sources or found.filters.platforms or found.filters.labels
    return f"{of} is {' or '.join(statuses)}." if statuses and not others else f"{of} matches these filters."


def notes(daemon: DaemonStatus, found: Overview, times: Times) -> Iterator[str]:
    """Yield what keeps alerts from being sent: no daemon, a rejected reload, or deliveries that are late."""
    if not daemon.running:
        read = max((source.last_poll_at for source in found.sources if source.last_poll_at), default=None)
        last = f"; the last poll was {times.near(read)}" if read else ""
        yield f"No daemon is running{last}. Start it with `token-monitor run`."
    if daemon.rejected is not None:
        problem = clean(daemon.rejected.problem, limit=600)
        yield f"The reload {times.near(daemon.rejected.at)} was rejected; the previous configuration stays in force: {problem}"
    for each in daemon.overdue:
        counted = "1 delivery" if each.number == 1 else f"{each.number:,} deliveries"
        waits = f"pending since {times.both(each.since)} (see `token-monitor alerts`)"
        yield f"{counted} for {clean(each.channel)} {waits}."


def counts(found: Overview) -> str:
    """Return how many connections have each status."""
    return ", ".join(f"{number:,} {word}" for word, number in found.summary.items() if number)


REFRESH_EVERY = 3.0
"""Seconds between two refreshes."""
PAUSE_FACTOR = 10.0
"""Minimum pause as a multiple of the time a refresh took, so that --watch uses at most a tenth of a core."""


def show_repeatedly(render: Callable[[Console], RenderableType], *, every: float = REFRESH_EVERY) -> None:
    """Render the screen repeatedly until Ctrl-C. While the database is unavailable, its error is shown."""
    from rich.live import Live

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    on = console()
    with _until_ctrl_c() as ended, suppress(KeyboardInterrupt), Live(console=on, screen=True, auto_refresh=False) as live:
        pause = 0.0
        while not ended(pause):
            started = time.monotonic()
            live.update(_rendered(render, on), refresh=True)
            pause = max(every, PAUSE_FACTOR * (time.monotonic() - started))


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


def _rendered(render: Callable[[Console], RenderableType], on: Console) -> RenderableType:
    from rich.text import Text

    try:
        return render(on)
    except StoreError as error:
        return Text(clean(str(error), limit=500), style="bold red")


ON_A_SCREEN = 100
"""Connections that a terminal shows without --all."""

_HEADINGS = ("STATUS", "NAME", "PLATFORM", "SOURCE", "WHEN", "DATE", "ID", "WHY")
_STATUS_WIDTH = 13


class StatusReading(Record, frozen=True, kw_only=True):
    """The store's content at one time."""

    found: Overview
    daemon: DaemonStatus
    times: Times


def status(
    ctx: typer.Context,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status_: StatusFilter = None,
    label: LabelFilter = None,
    everything: Annotated[bool, typer.Option("--all", help="Show all connections, even on a terminal.")] = False,
    wide: Annotated[
        bool, typer.Option("--wide", help="On a terminal, show every column with whole ids, over several lines if necessary.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh the screen until Ctrl-C; needs a terminal.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit status 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, for monitoring systems.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Show the stored status of all connections, worst first. Uses no network and writes nothing."""
    if watch:
        _require_watchable(everything=everything, exit_code=exit_code, as_json=as_json)
    config = session.local(ctx)

    def read(limit: int | None) -> StatusReading:
        with session.reading(config) as conn:
            now = session.now()
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
            found = overview(conn, config, now=now, filters=filters, limit=limit)
            daemon = daemon_status(conn, config.database.url.reveal(), now=now)
            return StatusReading(found=found, daemon=daemon, times=Times(config.timezone, now))

    if watch:
        show_repeatedly(lambda on: _screen(read(on.height), config, on))
        return 0
    reading = read(ON_A_SCREEN if on_terminal() and not (everything or as_json) else None)
    plugin_state = reading.found.plugin_state()
    if as_json:
        echo_json(reading.found.json())
    else:
        echo_status(reading.found, config, daemon=reading.daemon, plugin_state=plugin_state if exit_code else None, wide=wide)
    return plugin_state if exit_code else 0


def _require_watchable(*, everything: bool, exit_code: bool, as_json: bool) -> None:
    for given, name in ((everything, "--all"), (exit_code, "--exit-code"), (as_json, "--json")):
        if given:
            raise typer.BadParameter(f"--watch cannot be combined with {name}.")
    if not on_terminal():
        raise typer.BadParameter("--watch needs a terminal. Programs can use `status --json`.")


def echo_status(
    found: Overview,
    config: Config,
    *,
    daemon: DaemonStatus | None = None,
    plugin_state: PluginState | None = None,
    unread: Collection[str] = (),
    wide: bool = False,
) -> None:
    """Write the headline, the connections, worst first, and the counts. `unread`: sources that just failed.

    On a terminal that is wide enough every connection is one line, grouped by client, unless `wide`.
    """
    times = Times(config.timezone, found.now)
    summary = headline_text(found, times, unread=unread)
    written = str if plugin_state is None else plugin_text
    echo(written(summary if plugin_state is None else f"{plugin_state.name}: {summary}"))
    for note in notes(daemon, found, times) if daemon else ():
        echo(written(note))
    shown = found.connections
    if shown:
        echo("")
        show_connections(shown, config, times, wide=wide, written=written)
        echo("")
        echo(counts(found))
    if len(shown) < found.total:
        echo(f"Showing the {len(shown)} worst of {found.total:,}; --all shows all.")


def show_connections(
    views: Sequence[ConnectionView], config: Config, times: Times, *, wide: bool = False, written: Callable[[str], str] = str
) -> None:
    """Write the connections as a table. `written` is applied to each text outside a terminal."""
    if on_terminal() and not wide and (on := console()).width >= LEAST_WIDTH:
        show(_table(views, config, times), on=on)
        return
    rows = [_row(view, times) for view in views]
    rows = rows if written is str else [[written(cell) for cell in row] for row in rows]
    show_rows(_HEADINGS, rows, lambda: _blocks(views, times), width=_STATUS_WIDTH)


def plugin_text(text: str) -> str:
    """Return a text of a monitoring plugin: outside a terminal without |, which begins performance data, but with ¦ instead."""
    return text if on_terminal() else text.replace("|", "¦")


def _screen(reading: StatusReading, config: Config, on: Console) -> RenderableType:
    """Return the same for --watch, most important first, because the end may not fit on the screen."""
    from rich.console import Group
    from rich.text import Text

    found, times = reading.found, reading.times
    shown = found.connections
    rows = [_row(view, times) for view in shown]
    lines = [headline_text(found, times), *notes(reading.daemon, found, times), counts(found)]
    return Group(
        *(Text(line, style="" if number else "bold") for number, line in enumerate(lines)),
        Text(f"{times.exact(found.now)}, refreshed every few seconds; Ctrl-C ends.", style="dim"),
        Text(),
        _table(shown, config, times)
        if on.width >= LEAST_WIDTH
        else table_or_blocks(_HEADINGS, rows, lambda: _blocks(shown, times), width=_STATUS_WIDTH, on=on),
    )


def _table(views: Sequence[ConnectionView], config: Config, times: Times) -> StatusTable:
    return StatusTable(
        [
            StatusLine(
                client=client_of(view, config.group_by),
                status=_status(view),
                name=_name(view),
                platform=clean(view.snapshot.platform),
                when=_when(view, times)[0],
                id=_id(view),
                message=_message(view) if view.status.needs_attention or view.stale else "",
            )
            for view in views
        ]
    )


def _row(view: ConnectionView, times: Times) -> Row:
    when, date = _when(view, times)
    return (
        _status(view),
        _name(view),
        clean(view.snapshot.platform),
        clean(view.row.source),
        when,
        date,
        _id(view),
        _message(view),
    )


def _blocks(views: Sequence[ConnectionView], times: Times) -> Iterator[Block]:
    for view in views:
        yield _status(view), list(_lines(view, times))


def _lines(view: ConnectionView, times: Times) -> Iterator[str]:
    when, date = _when(view, times)
    about = f"{_name(view)} · {clean(view.snapshot.platform)} · {clean(view.row.source)}"
    yield f"{about} · {when} ({date})" if when else about
    if view.status.needs_attention or view.stale:
        yield _message(view)
    yield _id(view)


def _status(view: ConnectionView) -> StyledStatus:
    marks = [("stale", view.stale), ("acked", view.acked), ("silenced", view.silenced_until is not None)]
    return StyledStatus.of(view.status, *(mark for mark, there in marks if there))


def _name(view: ConnectionView) -> str:
    return clean(view.snapshot.label, limit=40, otherwise="(no name)")


def _id(view: ConnectionView) -> str:
    return clean(view.id, limit=400)


def _message(view: ConnectionView) -> str:
    return clean(view.row.state.verdict.message, limit=256)


def _when(view: ConnectionView, times: Times) -> tuple[str, str]:
    """Return the time that matters for this status, relative and exact: the expiry, or the start of the problem."""
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
