"""The `forget` command."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import typer

from monitor.cli import session
from monitor.cli.options import AsJson, LabelFilter, PlatformFilter, SourceFilter, StatusFilter
from monitor.cli.output import echo
from monitor.cli.selection import (
    Change,
    Connections,
    DryRun,
    Selection,
    Yes,
    change_all,
    confirm,
    counted,
    echo_outcome_json,
    echo_skipped,
    list_only,
)
from monitor.config import Config
from monitor.domain.errors import MonitorError, StoreError
from monitor.domain.text import clean
from monitor.engine import acknowledgements
from monitor.engine.bulk_changes import BulkOutcome
from monitor.store import Connection, Store
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import ConnectionView


def forget(
    ctx: typer.Context,
    connection: Connections = None,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status: StatusFilter = None,
    label: LabelFilter = None,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Also erase names, history and alerts. Only for connections that are no longer listed."),
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Stop monitoring connections that were removed on purpose. They cause no further alerts; their history is kept."""
    config = session.local(ctx)
    now = session.now()
    wanted = Selection(connections=connection, sources=source, platforms=platform, statuses=status, labels=label)
    configured = {each.name for each in config.sources}

    def check(_: Connection, row: ConnectionRow) -> None:
        if purge:
            acknowledgements.require_unlisted(row, configured)
        else:
            acknowledgements.require_monitored(row)

    with session.opened(config) as store:
        with store.begin_read() as conn:
            views = wanted.views(conn, config, now=now, retired=True, every_retired=purge)
        if dry_run:
            list_only(store, config, views, check, summary=f"would be {'erased' if purge else 'retired'}.", as_json=as_json)
            return
        confirm("Erase" if purge else "Retire", views, config, yes=yes, as_json=as_json)
        if purge:
            outcome = _purge(store, config, views, check)
        else:
            retire = partial(acknowledgements.retire, now=now, author=session.author())
            outcome = change_all(store, config, views, retire)
    if as_json:
        echo_outcome_json(outcome, now=now)
        return
    if purge:
        echo(
            f"{counted(len(outcome.changed))} erased, with names, history and alerts. Copies of the database still contain them."
        )
    else:
        _show([view for view in views if view.row.id in set(outcome.rows)])
    echo_skipped(outcome)


def _purge(store: Store, config: Config, views: Sequence[ConnectionView], check: Change) -> BulkOutcome:
    """Erase the connections, and then their bytes in the file of a SQLite database."""
    outcome = change_all(store, config, views, check, finish=partial(acknowledgements.purge, author=session.author()))
    advice = "Run `token-monitor db prune --shrink` later to overwrite what is left of them in the file."
    try:
        emptied = store.shrink()
    except StoreError as error:
        raise MonitorError(
            f"{counted(len(outcome.changed))} erased, but the file could not be rewritten: {error}\n{advice}"
        ) from error
    if not emptied:
        typer.echo(f"Another process reads the database. {advice}", err=True)
    return outcome


def _show(views: Sequence[ConnectionView]) -> None:
    listed = sum(not view.row.state.missing for view in views)
    one = len(views) == 1
    name = clean(views[0].id, limit=400) if one else counted(len(views))
    kept = "is retired and its history is kept." if one else "are retired and their history is kept."
    if not listed:
        again = (
            "If its source lists it again, it is monitored again." if one else "Those that are listed again are monitored again."
        )
        echo(f"{name} {kept} {again}")
        return
    if one:
        echo(f"{name} {kept} Its source still lists it: the next poll adds it again unless it is")
        echo("removed there. To suppress alerts about a connection that stays listed: `token-monitor silence add --connection`.")
        return
    echo(f"{name} {kept} The sources still list {listed:,} of them: the next poll adds these again unless they are")
    echo("removed there. To suppress alerts about connections that stay listed: `token-monitor silence add`.")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(forget)
