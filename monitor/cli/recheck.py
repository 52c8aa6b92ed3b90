"""The `recheck` command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from monitor.cli import channels, session
from monitor.cli.options import AsJson, LabelFilter, PlatformFilter, SourceFilter, StatusFilter
from monitor.cli.output import echo, echo_json
from monitor.cli.selection import Connections, DryRun, Selection, Yes, confirm, list_only
from monitor.cli.startup import allow_open_files, loading
from monitor.cli.values import parse_wait
from monitor.config import Config
from monitor.domain.errors import StoreHeld
from monitor.domain.text import clean
from monitor.store import rechecks
from monitor.store.connection_queries import ConnectionRow
from monitor.store.lock import DaemonLock
from monitor.store.rechecks import RecheckOutcome
from monitor.views.json_types import listing
from monitor.views.rechecks import RecheckView, find_rechecks

_READ_EVERY = 0.2
"""Seconds between two reads of the database while the daemon works."""


def recheck(
    ctx: typer.Context,
    connection: Connections = None,
    *,
    source: SourceFilter = None,
    platform: PlatformFilter = None,
    status: StatusFilter = None,
    label: LabelFilter = None,
    wait: Annotated[
        timedelta,
        typer.Option(
            "--wait",
            metavar="DURATION",
            parser=parse_wait,
            show_default=False,
            help="Wait this long for the results; default: 60s.",
        ),
    ] = "60s",  # type: ignore[assignment]  # typer parses it
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> int:
    """Check connections now, ahead of the schedule. Exit status 0 healthy, 1 attention needed, 3 no result."""
    config = session.local(ctx)
    wanted = Selection(connections=connection, sources=source, platforms=platform, statuses=status, labels=label)
    with session.opened(config) as store:
        with store.begin_read() as conn:
            chosen = wanted.views(conn, config, now=session.now())
        if dry_run:
            list_only(store, config, chosen, lambda *_: None, summary="would be checked.", as_json=as_json)
            return 0
    confirm("Check", chosen, config, yes=yes, as_json=as_json)
    requested = _request(config, [view.row for view in chosen])
    lock = DaemonLock(config.database.url.reveal())
    try:
        lock.acquire()
    except StoreHeld:
        _await_daemon(config, requested, wait)
    else:
        try:
            _run_here(ctx, wait)
        finally:
            lock.release()
    with session.reading(config) as conn:
        views = find_rechecks(conn, requested, now=session.now())
    if as_json:
        echo_json(listing("rechecks", views, now=session.now()))
    else:
        _show(views, wait)
    return _exit_status(views)


def _request(config: Config, rows: Sequence[ConnectionRow]) -> list[int]:
    """Request the rechecks and return their ids."""
    with session.opened(config) as store, store.begin_write() as conn:
        made = rechecks.request(conn, [row.id for row in rows], now=session.now(), author=session.author())
    return [each.id for each in made]


def _await_daemon(config: Config, requested: Sequence[int], wait: timedelta) -> None:
    """Wait until the daemon has answered all requests, at most this long."""
    deadline = time.monotonic() + wait.total_seconds()
    with session.opened(config) as store:
        while time.monotonic() < deadline:
            with store.begin_read() as conn:
                if all(each.finished_at is not None for each in rechecks.find(conn, requested)):
                    return
            time.sleep(_READ_EVERY)


def _run_here(ctx: typer.Context, wait: timedelta) -> None:
    """Answer the requests in this process, which holds the daemon's lock."""
    config = channels.require_readable(session.loaded(ctx)).config
    allow_open_files(len(config.sources) + len(config.channels))
    with loading():
        from monitor.daemon import app, oneshot

    undelivered = app.run_async(oneshot.recheck_once(config, within=wait))
    if undelivered:
        typer.echo(f"Deliveries still queued: {undelivered}. See `token-monitor alerts`.", err=True)


def _show(views: Sequence[RecheckView], wait: timedelta) -> None:
    for view in views:
        name = f"{clean(view.label, limit=60)} ({clean(view.connection, limit=400)})"
        if view.is_pending:
            echo(f"{name}: no result within {wait.total_seconds():.0f} s.")
            continue
        before, after = view.recheck.status_before, view.recheck.status_after
        statuses = "not checked" if after is None else f"{before or 'unknown'} → {after}"
        echo(f"{name}: {statuses}. {clean(view.message, limit=300)}")


def _exit_status(views: Sequence[RecheckView]) -> int:
    """Return 3 if a connection could not be checked in time, else 1 if one needs attention, else 0."""
    outcomes = {view.outcome for view in views}
    if outcomes & {None, RecheckOutcome.UNREAD, RecheckOutcome.EXPIRED}:
        return 3
    return 1 if RecheckOutcome.NEEDS_ATTENTION in outcomes else 0


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(recheck)
