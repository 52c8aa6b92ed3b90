"""The connections that `ack`, `silence add`, `forget` and `recheck` select, and the confirmation for more than one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated

import typer

from monitor.cli.options import complete_connection, one_connection, select
from monitor.cli.output import echo, echo_json, on_terminal
from monitor.config import Config
from monitor.domain import Status
from monitor.domain.errors import MonitorError
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.globs import is_glob
from monitor.domain.text import clean
from monitor.domain.timefmt import Times
from monitor.engine.bulk_changes import BATCH, BulkOutcome, change_batch
from monitor.store import Connection, Store, connection_queries, sources
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import ConnectionView
from monitor.views.selection import current_rows, outcome_json, reader_at, select_connections, targets_of

HELP = "Id of a connection, a unique part of its id or name, or a pattern such as 'agency/*'."
Connections = Annotated[
    list[str] | None,
    typer.Argument(metavar="CONNECTION", help=HELP, autocompletion=complete_connection),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List the connections that match, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than one connection is changed.")]

_LISTED = 20
"""Connections that are listed before a question, and skipped ones after a change."""

Change = Callable[[Connection, ConnectionRow], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The arguments of a command that select connections: all filters must match, and one of `connections` if given."""

    connections: Sequence[str] | None = None
    sources: Sequence[str] | None = None
    platforms: Sequence[str] | None = None
    statuses: Sequence[Status] | None = None
    labels: Sequence[str] | None = None

    def filters(self, conn: Connection, config: Config) -> ConnectionFilter:
        """Return the filters. Raise a usage error if nothing is given, or a source, platform or label is not known."""
        if not (self.connections or self.sources or self.platforms or self.statuses or self.labels):
            raise typer.BadParameter("Give at least one CONNECTION, --source, --platform, --status or --label.")
        return select(
            config,
            conn=conn,
            known=[row.name for row in sources.all_sources(conn)],
            sources=self.sources,
            platforms=self.platforms,
            statuses=self.statuses,
            labels=self.labels,
            listed=lambda: connection_queries.platforms(conn),
        )

    def views(
        self, conn: Connection, config: Config, *, now: datetime, retired: bool = False, every_retired: bool = False
    ) -> list[ConnectionView]:
        """Return the selected connections, the worst first. Raise MonitorError if there are none.

        A pattern selects all that it matches; any other text must name one connection. With `retired`, a text may name a retired
        connection if no monitored one has it in its id or name; with `every_retired`, filters and patterns match retired
        connections as well.
        """
        filters = self.filters(conn, config)
        if not self.connections:
            found = select_connections(conn, config, now=now, filters=filters, retired=every_retired)
        else:
            reader = reader_at(conn, config, now)
            matching = partial(select_connections, conn, config, now=now, filters=filters, retired=every_retired)
            rows = [row for text in self.connections for row in _named(conn, config, text, filters, matching, retired=retired)]
            found = [reader.view(row) for row in {row.id: row for row in rows}.values()]
        if not found:
            raise MonitorError("No connection matches the filters. `token-monitor status --all` lists all connections.")
        return found


def _named(
    conn: Connection,
    config: Config,
    text: str,
    filters: ConnectionFilter,
    matching: Callable[..., list[ConnectionView]],
    *,
    retired: bool,
) -> list[ConnectionRow]:
    """Return the connections that a pattern matches, else the one that the text names."""
    if is_glob(text):
        found = matching(patterns=[text])
        if found:
            return [view.row for view in found]
        if not connection_queries.find_connections(conn, text):
            raise MonitorError(f"No connection matches {clean(text)}; `token-monitor status --all` lists all connections.")
    return [one_connection(conn, config, text, filters=filters, retired=retired)]


def confirm(verb: str, views: Sequence[ConnectionView], config: Config, *, yes: bool, as_json: bool = False) -> None:
    """Ask before a change of more than one connection; raise typer.Abort if the answer is no.

    Raise a usage error where no question can be asked.
    """
    if yes or len(views) == 1:
        return
    question = f"{verb} {len(views):,} connections?"
    if not asks():
        raise typer.BadParameter(f"{question} Add --yes to confirm, or --dry-run to list them.")
    if not as_json and on_terminal():
        show_selected(views[:_LISTED], config)
        if len(views) > _LISTED:
            echo(f"and {len(views) - _LISTED:,} more; --dry-run lists all.")
    typer.confirm(question, abort=True, err=True)


def asks() -> bool:
    """Return True if a question can be asked: standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def show_selected(views: Sequence[ConnectionView], config: Config) -> None:
    """Write the connections in the columns of `status`."""
    from monitor.cli.status import show_connections

    show_connections(views, config, Times(config.timezone, views[0].now))


def list_only(
    store: Store, config: Config, views: Sequence[ConnectionView], check: Change, *, summary: str, as_json: bool
) -> None:
    """Write which connections a change would cover, and which it would skip, without changing anything.

    `check` raises NotPossible where the change does not apply. The summary follows the number of connections.
    """
    now = views[0].now
    with store.begin_read() as conn:
        rows = {view.row.id: view.row for view in views}
        outcome = change_batch(targets_of(views), rows, lambda row: check(conn, row))
    if as_json:
        echo_outcome_json(outcome, now=now, dry_run=True)
        return
    covered = set(outcome.changed)
    echo(f"{counted(len(covered))} {summary}")
    shown = [view for view in views if view.id in covered]
    if shown:
        echo("")
        show_selected(shown, config)
    echo_skipped(outcome, "would be skipped", limit=None)


def change_all(
    store: Store,
    config: Config,
    views: Sequence[ConnectionView],
    change: Change,
    *,
    finish: Callable[[Connection, Sequence[int]], object] | None = None,
) -> BulkOutcome:
    """Change the connections, a batch to a transaction, and return the outcome. Raise MonitorError if none was changed.

    `finish` is called at the end of each transaction with the row ids of the connections that were changed.
    """
    outcome = BulkOutcome()
    targets = targets_of(views)
    for start in range(0, len(targets), BATCH):
        some = targets[start : start + BATCH]
        with store.begin_write() as conn:
            rows = current_rows(conn, config, [target.row for target in some], views[0].now)
            done = change_batch(some, rows, partial(change, conn))
            if finish is not None:
                finish(conn, done.rows)
        outcome.add(done)
    if not outcome.changed:
        raise MonitorError(_nothing_changed(outcome))
    return outcome


def _nothing_changed(outcome: BulkOutcome) -> str:
    reasons = [each.reason for each in outcome.skipped]
    if len(reasons) == 1:
        return reasons[0]
    more = [f"and {len(reasons) - _LISTED:,} more"] if len(reasons) > _LISTED else []
    return "\n".join([f"None of the {len(reasons):,} connections was changed:", *reasons[:_LISTED], *more])


def counted(number: int) -> str:
    """Return such as: 1 connection; 17 connections."""
    return f"{number:,} connection{'' if number == 1 else 's'}"


def echo_skipped(outcome: BulkOutcome, verb: str = "skipped", *, limit: int | None = _LISTED) -> None:
    """Write which connections were skipped, and why."""
    if not outcome.skipped:
        return
    echo(f"{counted(len(outcome.skipped))} {verb}:")
    for each in outcome.skipped[:limit]:
        echo(f"  {clean(each.reason, limit=600)}")
    if limit is not None and len(outcome.skipped) > limit:
        echo(f"  and {len(outcome.skipped) - limit:,} more")


def echo_outcome_json(outcome: BulkOutcome, *, now: datetime, dry_run: bool = False) -> None:
    """Write the outcome as one JSON object."""
    found = outcome_json(outcome, now=now, dry_run=dry_run)
    echo_json({name: getattr(found, name) for name in found.__struct_fields__})
