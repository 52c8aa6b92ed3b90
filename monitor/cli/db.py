"""forget, and the care of the store: db upgrade, current, prune, backup."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import session
from monitor.cli.options import WhichConnection, one_connection
from monitor.cli.output import echo
from monitor.domain import Event, EventKind
from monitor.domain.errors import MonitorError
from monitor.domain.text import clean
from monitor.store import Store, connections, history, incidents, maintenance, revisions

_FOR_EVER = timedelta(days=36500)
"""What a retention of "off" means."""


def forget(
    ctx: typer.Context,
    connection: WhichConnection,
) -> None:
    """Retire a connection that was removed on purpose. Nothing more is said about it, and its history stays."""
    config = session.local(ctx)
    now = session.now()
    with session.opened(config) as store, store.begin_write() as conn:
        row = one_connection(conn, config, connection)
        if not connections.retire(conn, row.id, now):
            raise MonitorError(f"{clean(row.public_id, limit=400)} is retired already.")
        incidents.close_many(conn, [incident.id for incident in incidents.find_open(conn, [row.id]).values()], now)
        entry = Event(
            kind=EventKind.RETIRED, at=now, old=row.state.verdict.status, message="Removed on purpose (`token-monitor forget`)."
        )
        history.append(conn, row.source, row.id, [entry])
    name = clean(row.public_id, limit=400)
    if row.state.missing:
        echo(f"{name} is retired and its history is kept. If its source lists it again, it is monitored again.")
        return
    echo(f"{name} is retired and its history is kept. Its source still lists it: the next poll adds it again unless it is")
    echo("removed there. To suppress alerts about a connection that stays listed: `token-monitor silence add --connection`.")


def upgrade(
    ctx: typer.Context,
    no_backup: Annotated[bool, typer.Option("--no-backup", help="SQLite: make no copy beside the file first.")] = False,
) -> None:
    """Make the database, or bring its schema to this version's. SQLite: a copy of the file is made first."""
    with Store(session.local(ctx).database.url.reveal()) as store:
        changed = store.upgrade(backup=not no_backup)
        echo(f"{store.name} {'was brought to' if changed else 'is at'} revision {revisions.HEAD}.")


def current(ctx: typer.Context) -> int:
    """Show the schema's revision. Exit status 2 where this version cannot use it."""
    with Store(session.local(ctx).database.url.reveal()) as store:
        found = store.current()
        if found == revisions.HEAD:
            echo(f"{store.name} is at revision {found}, which is this version's.")
            return 0
        store.require_current()
    return 2


def prune(
    ctx: typer.Context,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="SQLite: also give the room back to the disk; takes as much again meanwhile.")
    ] = False,
) -> None:
    """Forget what is older than [retention] allows: never an open incident, never an unsent delivery."""
    config = session.local(ctx)
    keep = config.retention
    with session.opened(config) as store:
        with store.begin_write() as conn:
            gone = maintenance.prune(conn, session.now(), history=keep.history or _FOR_EVER, polls_kept=keep.polls or _FOR_EVER)
        if shrink:
            store.shrink()
    echo(
        f"Forgotten: {gone.events:,} events, {gone.alerts:,} alerts, {gone.incidents:,} incidents, "
        f"{gone.connections:,} retired connections, {gone.polls:,} polls, {gone.rollups:,} hourly probe counts."
    )


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that does not exist yet.")],
) -> None:
    """Copy the database to a file, also while the daemon runs."""
    config = session.local(ctx)
    from monitor.store.backup import backup as copy

    with session.opened(config) as store:
        copy(store, file)
    echo(f"Wrote {file}, which only you can read.")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(forget)
    group = typer.Typer(help="The database's schema and care.", no_args_is_help=True, rich_markup_mode=None)
    for command in (upgrade, current, prune, backup):
        group.command()(command)
    app.add_typer(group, name="db")
