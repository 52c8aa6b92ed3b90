"""The `db` commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli import session
from monitor.cli.output import echo
from monitor.config.database_urls import database_url, holds_password
from monitor.config.secrets import ResolveContext, UnusableError
from monitor.store import Store, maintenance, revisions
from monitor.store.copying import copy_store
from monitor.store.lock import DaemonLock
from monitor.telemetry import logs


def upgrade(
    ctx: typer.Context,
    no_backup: Annotated[bool, typer.Option("--no-backup", help="SQLite: do not copy the file first.")] = False,
) -> None:
    """Create the database, or migrate its schema to this version's. SQLite: the file is copied first."""
    with Store(session.local(ctx).database.url.reveal()) as store:
        changed = store.upgrade(copy_first=not no_backup)
        echo(f"{store.name} {'was migrated to' if changed else 'is at'} revision {revisions.HEAD}.")


def current(ctx: typer.Context) -> int:
    """Show the schema's revision. Exit status 2 if this version cannot use it."""
    with Store(session.local(ctx).database.url.reveal()) as store:
        found = store.current()
        if found == revisions.HEAD:
            echo(f"{store.name} is at revision {found}, which this version uses.")
            return 0
        store.require_current()
    return 2


def prune(
    ctx: typer.Context,
    shrink: Annotated[
        bool,
        typer.Option(
            "--shrink", help="SQLite: also return free space to the disk; needs the file's size in free space while it runs."
        ),
    ] = False,
) -> None:
    """Delete data older than [retention]. Open incidents and unsent deliveries are kept."""
    config = session.local(ctx)
    keep = config.retention
    with session.opened(config) as store:
        with store.begin_write() as conn:
            gone = maintenance.prune(conn, session.now(), history=keep.history, polls_kept=keep.polls)
        if shrink:
            store.shrink()
    echo(
        f"Deleted: {gone.events:,} events, {gone.alerts:,} alerts, {gone.incidents:,} incidents, "
        f"{gone.connections:,} retired connections, {gone.polls:,} polls, {gone.rollups:,} hourly probe counts."
    )


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to create; it must not exist.")],
) -> None:
    """Copy the database to a file. The daemon may be running."""
    config = session.local(ctx)
    with session.opened(config) as store:
        store.backup(file)
    echo(f"Wrote {file}, readable only by its owner.")


def copy(
    ctx: typer.Context,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The new database: sqlite:///FILE or postgresql://USER@HOST/DATABASE.")
    ],
) -> None:
    """Copy the database into a new one: SQLite to PostgreSQL, or back. The daemon must be stopped."""
    config = session.local(ctx)
    try:
        address = database_url(url, ResolveContext(os.environ, Path.cwd()))
    except UnusableError as error:
        raise typer.BadParameter(f"The URL {error}") from error
    logs.register_secret(address)
    with session.opened(config) as source, Store(address) as target:
        if source.target == target.target:
            raise typer.BadParameter(f"{source.name} is the configured database: name a new one.")
        with DaemonLock(config.database.url.reveal()), DaemonLock(address):
            target.upgrade(copy_first=False)
            counts = copy_store(source, target)
    echo(
        f"Copied {sum(counts.values()):,} rows (sources: {counts['sources']:,}, connections: {counts['connections']:,}, "
        f"events: {counts['events']:,}, alerts: {counts['alerts']:,}). {target.name} is complete."
    )
    if holds_password(address):
        echo("The password in the URL was visible in the process list. Next time, use PGPASSWORD or a password file.")
    echo("Set database.url to the new URL and start the daemon. Keep the old database until that works.")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Migrate, prune, back up or copy the database.", no_args_is_help=True, rich_markup_mode=None)
    for command in (upgrade, current, prune, backup, copy):
        group.command()(command)
    app.add_typer(group, name="db")
