"""ack: somebody knows."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli import session
from monitor.cli.finding import WhichConnection, one_connection
from monitor.cli.output import say
from monitor.cli.when import HELP, later_when
from monitor.cli.who import who
from monitor.domain.text import clean
from monitor.domain.times import Times
from monitor.engine import acknowledgements
from monitor.store import sources
from monitor.views.connections import Reader


def ack(
    ctx: typer.Context,
    connection: WhichConnection,
    *,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help=f"Only until then. {HELP}")] = None,
    comment: Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why, or who cares for it.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take the acknowledgement back.")] = False,
) -> None:
    """Say that somebody knows. Quiet until it gets worse, recovers, or WHEN."""
    config = session.local(ctx)
    now = session.now()
    ends = None if until is None else later_when(until, now=now, timezone=config.timezone, option="--until")
    with session.opened(config) as store, store.write() as conn:
        row = one_connection(conn, config, connection, retired=False)
        view = Reader(config, {each.name: each for each in sources.all_sources(conn)}, now=now).view(row)
        name = clean(row.public_id, limit=400)
        if remove:
            acknowledgements.take_back(conn, view.row, now=now, by=who())
        else:
            acknowledgements.acknowledge(conn, view.row, now=now, until=ends, comment=comment, by=who())
    if remove:
        say(f"{name} is no longer acknowledged: it is said again when there is something to say.")
        return
    end = f", or {Times(config.timezone, now).exact(ends)}" if ends else ""
    say(f"{name} is acknowledged ({view.status}): quiet until it gets worse or recovers{end}.")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(ack)
