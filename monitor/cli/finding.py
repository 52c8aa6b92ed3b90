"""CONNECTION: a connection's id or name, or any part of either that only one has."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import Connection

from monitor.cli.completing import complete_connection
from monitor.config import Config
from monitor.domain.errors import MonitorError
from monitor.domain.text import clean
from monitor.store import connection_queries, connections
from monitor.store.connections import ConnectionRow
from monitor.views.filters import Selection

HELP = "A connection's id, any unique part of it, or of its name."
WhichConnection = Annotated[
    str,
    typer.Argument(metavar="CONNECTION", help=HELP, autocompletion=complete_connection),
]
_LISTED = 20


class NotOneConnectionError(MonitorError):
    """No connection, or more than one, has this in its id or name."""


def one_connection(
    conn: Connection, config: Config, text: str, *, selection: Selection | None = None, retired: bool = True
) -> ConnectionRow:
    """The connection that is meant, by its id, else by its name. Raises NotOneConnectionError, which lists several candidates.

    A live one wins over retired ones of the same id; without `retired` those are not looked at.
    """

    def meant(rows: list[ConnectionRow]) -> list[ConnectionRow]:
        chosen = rows if selection is None else [row for row in rows if _selected(row, config, selection)]
        live = [row for row in chosen if row.retired_at is None]
        return chosen if retired and not live else live

    by_id = meant(connections.find_connections(conn, text))
    candidates = by_id or meant(connection_queries.find_by_name(conn, text))
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        everything = "`token-monitor status --all` shows every one"
        raise NotOneConnectionError(f"No connection has {clean(text)} in its id or name: {everything}.")
    where = "ids" if by_id else "names"
    lines = [f"{len(candidates)} connections have {clean(text)} in their {where}: give more of the one you mean."]
    lines += [f"{clean(row.public_id, limit=400)} ({clean(row.state.snapshot.label)})" for row in candidates[:_LISTED]]
    if len(candidates) > _LISTED:
        lines.append(f"and {len(candidates) - _LISTED:,} more")
    raise NotOneConnectionError("\n".join(lines))


def _selected(row: ConnectionRow, config: Config, selection: Selection) -> bool:
    names = selection.source_names(config)
    if names is not None and row.source not in names:
        return False
    if selection.platforms is not None and row.state.snapshot.platform not in selection.platforms:
        return False
    return selection.takes_status(row.state.verdict.status)
