"""Changes of many connections by a request: selected in a reader thread, then made in batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial

from starlette.exceptions import HTTPException

from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.globs import is_glob
from monitor.domain.text import clean
from monitor.engine.bulk_changes import BATCH, BulkOutcome, BulkTarget, change_batch
from monitor.store import Connection, connection_queries
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import ConnectionView
from monitor.views.label_filter import includes
from monitor.views.selection import current_rows, select_connections, targets_of
from monitor.web.site import Site

MOST_SELECTED = 10_000
"""Connections that one request may change."""
_SHOWN = 120

Change = Callable[[Connection, ConnectionRow], object]
"""Changes a connection, or only checks if it can be changed. Raises NotPossible if it cannot."""


def selected(
    conn: Connection,
    site: Site,
    *,
    filters: ConnectionFilter,
    names: Collection[str] | None,
    now: datetime,
    most: int = MOST_SELECTED,
) -> list[ConnectionView]:
    """Return the connections that match the filters, and one of the IDs or patterns if there are any; the worst first.

    Raise HTTPException if there are none, more than `most`, or no connection with one of the IDs.
    """
    keys, patterns = (None, None) if names is None else _named(conn, site, filters, names)
    found = select_connections(conn, site.config(), now=now, filters=filters, keys=keys, patterns=patterns, limit=most + 1)
    if not found:
        raise HTTPException(404, "No connection matches the request.")
    if len(found) > most:
        raise HTTPException(422, f"The request matches more than {most:,} connections. Select fewer.")
    return found


def _named(conn: Connection, site: Site, selection: ConnectionFilter, names: Collection[str]) -> tuple[set[int], list[str]]:
    """Return the row ids of the connections with these IDs, and those of the names that are patterns."""
    keys, patterns, within = set(), [], ConnectionFilter(bound_to=selection.bound_to)
    for name in names:
        row = connection_queries.find_by_public_id(conn, name)
        if row is not None and row.retired_at is None and includes(conn, site.config(), within, row):
            keys.add(row.id)
        elif is_glob(name):
            patterns.append(name)
        else:
            raise HTTPException(404, f"There is no connection {clean(name, limit=_SHOWN)}: /api/v1/connections lists every ID.")
    return keys, patterns


def check_all(conn: Connection, views: Sequence[ConnectionView], check: Change) -> BulkOutcome:
    """Return the outcome that a change would have, without changing anything."""
    return change_batch(targets_of(views), {view.row.id: view.row for view in views}, partial(check, conn))


async def change_all(site: Site, views: Sequence[ConnectionView], change: Change) -> BulkOutcome:
    """Change the connections, a batch to a transaction, and return the outcome."""
    outcome = BulkOutcome()
    targets = targets_of(views)
    for start in range(0, len(targets), BATCH):
        outcome.add(await site.store.write(partial(_change_some, site, targets[start : start + BATCH], change)))
    return outcome


def _change_some(site: Site, targets: Sequence[BulkTarget], change: Change, conn: Connection) -> BulkOutcome:
    rows = current_rows(conn, site.config(), [target.row for target in targets], site.clock.now())
    return change_batch(targets, rows, partial(change, conn))
