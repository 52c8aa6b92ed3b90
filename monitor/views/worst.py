"""The worst connections and the counts of all, without reading a hundred thousand rows for the hundred on a screen."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from sqlalchemy import Connection

from monitor.config import Config
from monitor.domain import Status
from monitor.store import connection_pages, connection_queries
from monitor.store.connection_pages import Order, Wanted
from monitor.store.connections import ConnectionRow
from monitor.views.connections import ConnectionView, Reader
from monitor.views.filters import Selection

MANY_MOVED = 2_000
"""Rows that time has moved and nobody has written down, above which reading every row is the quicker way."""
MANY_SOURCES = 20_000
"""Names in one query, well below what either database takes."""

NEVER = datetime.max.replace(tzinfo=UTC)
"""Where what has no date stands among dates."""


class Counts:
    """Counts of connections."""

    def __init__(self) -> None:
        self.summary = dict.fromkeys(Status, 0)
        self.stale = self.acked = self.silenced = 0

    def counted(self, views: Iterable[ConnectionView]) -> Iterator[ConnectionView]:
        """The same views, counted as they pass by: a hundred thousand need not be held for that."""
        for view in views:
            self.add(view)
            yield view

    def add(self, view: ConnectionView) -> None:
        """Count one connection."""
        self.summary[view.status] += 1
        self.stale += view.stale
        self.acked += view.acked
        self.silenced += view.silenced_until is not None and view.status.needs_attention


def worst_first(view: ConnectionView) -> tuple[int, datetime]:
    """The order in which people are shown connections: by status, then by the nearest expiry."""
    return -view.status.rank, view.expires_at or NEVER


def find(
    conn: Connection,
    config: Config,
    reader: Reader,
    chosen: Selection,
    *,
    limit: int,
) -> tuple[list[ConnectionView], Counts] | None:
    """The worst of the selected connections and the counts of all of them; None where the database cannot help.

    The database knows the states as they are stored; those that time has moved since are read and counted one by one.
    """
    names = chosen.source_names(config)
    wanted = Wanted(
        sources=[name for name in reader.sources if names is None or name in names],
        platforms=chosen.platforms,
        statuses=None if chosen.statuses is None else [status for status in Status if status.value in chosen.statuses],
    )
    rows = connection_queries.list_connections(
        conn,
        source=names,
        platform=chosen.platforms,
        worst_first=False,
        only=connection_queries.moved_by(reader.now),
        limit=MANY_MOVED + 1,
    )
    moved = list(rows)
    if len(moved) > MANY_MOVED or len(wanted.sources) > MANY_SOURCES:
        return None
    counts = _count_stored(conn, reader, wanted, chosen, moved=moved)
    _count_quiet(conn, reader, wanted, chosen, counts=counts, moved={row.id for row in moved})
    views = list(counts.counted(view for view in map(reader.view, moved) if chosen.takes_status(view.status)))
    stored = connection_pages.list_page(conn, wanted, order=Order.WORST, limit=limit + len(moved))
    there = {row.id for row in moved}
    views += [reader.view(row) for row in stored if row.id not in there]
    return heapq.nsmallest(limit, views, key=worst_first), counts


def _count_stored(
    conn: Connection, reader: Reader, wanted: Wanted, chosen: Selection, *, moved: Iterable[ConnectionRow]
) -> Counts:
    """What is stored, without what time has moved."""
    counts = Counts()
    for each in connection_pages.count_all(conn, wanted.sources):
        if chosen.takes_status(each.status) and (wanted.platforms is None or each.platform in wanted.platforms):
            counts.summary[each.status] += each.number
    told = connection_queries.count_told(conn, source=wanted.sources, platform=wanted.platforms, status=wanted.statuses)
    counts.stale = sum(each.number for each in told if reader.is_stale(each.source, missing=each.missing, told_at=each.at))
    for row in moved:
        stored = row.state.verdict.status
        if chosen.takes_status(stored):
            counts.summary[stored] -= 1
            counts.stale -= reader.is_stale(row.source, missing=row.state.missing > 0, told_at=row.last_seen_at)
    return counts


def _count_quiet(
    conn: Connection,
    reader: Reader,
    wanted: Wanted,
    chosen: Selection,
    *,
    counts: Counts,
    moved: set[int],
) -> None:
    """The acknowledged, and the silenced where there is a silence: only among what needs attention."""
    if not reader.quieted.acks and not reader.quieted.silences:
        return
    bad = [status for status in Status if status.needs_attention]
    for row in connection_queries.list_connections(
        conn, source=wanted.sources, platform=wanted.platforms, status=bad, worst_first=False
    ):
        if row.id not in moved and chosen.takes_status(row.state.verdict.status):
            view = reader.view(row)
            counts.acked += view.acked
            counts.silenced += view.silenced_until is not None
