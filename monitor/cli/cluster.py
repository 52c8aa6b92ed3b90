"""The `cluster` command."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import typer

from monitor.cli import session
from monitor.cli.options import AsJson
from monitor.cli.output import Row, StyledStatus, echo, echo_json, echo_rows, show_rows
from monitor.config import Config
from monitor.domain.errors import StoreError
from monitor.domain.text import clean
from monitor.domain.timefmt import Times
from monitor.store import cluster_tables
from monitor.store.cluster_tables import DaemonRow
from monitor.store.lock import DaemonLock, Holder
from monitor.views.cluster import DEAD, ClusterView, state_of


def cluster(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Show the daemons that share the work. Includes which one plans, which ones work or wait and why, and what is queued."""
    config = session.local(ctx)
    now = session.now()
    with session.reading(config, any_revision=True) as conn:
        view = ClusterView.of(cluster_tables.read_state(conn), now=now)
        on_postgres = conn.dialect.name == "postgresql"
    if as_json:
        echo_json(view.json())
        return
    if not view.has_run:
        why = "no daemon with cluster.workers above 0 has used this database." if on_postgres else "a cluster needs PostgreSQL."
        echo(f"One daemon does all the work: {why}")
        return
    times = Times(config.timezone, now)
    for line in _headlines(view, config):
        echo(line)
    if view.daemons:
        echo("")
        _show_daemons(view, times)
    echo("")
    _show_queues(view, times)


def _headlines(view: ClusterView, config: Config) -> Iterator[str]:
    """Yield the summary, and one line for each daemon that takes no work."""
    present, counted = view.present, view.count_states()
    if present:
        states = ", ".join(f"{number} {state}" for state, number in counted.items() if state != DEAD)
        yield f"{len(present)} daemon{'' if len(present) == 1 else 's'}: {states}. {_planner(view, config)}"
    else:
        yield f"No daemon of the cluster is running. {_outsider(_holder(config), present)}".rstrip()
    for daemon in present:
        if daemon.detail:
            yield f"! {_named(daemon)}: {clean(daemon.detail, limit=300)}"


def _planner(view: ClusterView, config: Config) -> str:
    planner = view.planner
    if planner is not None:
        return f"{_named(planner)} plans.".capitalize()
    return _outsider(_holder(config), view.present) or "No daemon plans: one of them takes over within seconds."


def _outsider(holder: Holder | None, present: list[DaemonRow]) -> str:
    """Return a sentence about a daemon outside the cluster that holds the database's lock; empty if there is none."""
    if holder is None or any((each.pid, each.host) == (holder.pid, holder.host) for each in present):
        return ""
    return f"A daemon with cluster.workers = 0 does the work: {clean(str(holder))}."


def _holder(config: Config) -> Holder | None:
    try:
        return DaemonLock(config.database.url.reveal()).holder()
    except StoreError:  # not readable by this user
        return None


def _named(daemon: DaemonRow) -> str:
    return f"process {daemon.pid} on {clean(daemon.host)}"


_HEADINGS = ("STATE", "HOST", "PID", "VERSION", "WORKERS", "IN WORK", "CONFIGURATION", "SINCE", "LAST SEEN", "NOTES")


def _show_daemons(view: ClusterView, times: Times) -> None:
    rows = [_row(daemon, view, times) for daemon in view.daemons]
    show_rows(_HEADINGS, rows, lambda: ((row[0], _lines(row)) for row in rows), width=9)


def _row(daemon: DaemonRow, view: ClusterView, times: Times) -> Row:
    def near(at: datetime) -> str:
        return times.near(min(at, view.now))  # the database server's clock may be ahead

    return (
        StyledStatus.of(state_of(daemon)),
        clean(daemon.host),
        str(daemon.pid),
        clean(daemon.version),
        str(daemon.workers),
        str(daemon.units) if daemon.present else "",
        clean(daemon.configuration),
        near(daemon.state_since) if daemon.present else "",
        near(daemon.seen_at),
        _notes(daemon, view),
    )


def _notes(daemon: DaemonRow, view: ClusterView) -> str:
    if not daemon.present:
        return "it no longer reports"
    return "plans" if daemon is view.planner else clean(daemon.detail or "", limit=300)


def _lines(row: Row) -> list[str]:
    _, host, pid, version, workers, units, configuration, since, seen, notes = row
    return [
        f"process {pid} on {host}{f' · {notes}' if notes else ''}",
        f"version {version}, {workers} workers, {units or 'nothing'} in work",
        f"configuration {configuration}" if configuration else "",
        f"since {since}, last seen {seen}" if since else f"last seen {seen}",
    ]


def _show_queues(view: ClusterView, times: Times) -> None:
    rows = [
        (
            queue.kind,
            f"{queue.waiting:,}",
            f"{queue.running:,}",
            times.near(min(queue.waiting_since, view.now)) if queue.waiting_since else "",
        )
        for queue in view.queues
    ]
    echo_rows(("QUEUE", "WAITING", "RUNNING", "OLDEST"), rows)
    counted = "1 source or channel is" if view.leases == 1 else f"{view.leases:,} sources and channels are"
    echo(f"{counted} in work (leases).")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(cluster)
