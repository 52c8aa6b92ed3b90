"""Connections that a change for many covers: the same for the command line, the API and the pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from monitor.config import Config
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.rules import globs
from monitor.domain.rules import silences as rules
from monitor.domain.rules.silences import Silence
from monitor.store import Connection, connection_queries, silences, sources
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import ConnectionView, Reader, Suppressions
from monitor.views.label_filter import resolve_labels
from monitor.views.status import worst_first


def reader_at(conn: Connection, config: Config, now: datetime) -> Reader:
    """Return the reader of connections at this time, with the acknowledgements and silences in force."""
    known = {row.name: row for row in sources.all_sources(conn, include_removed=True)}
    return Reader(config, known, now=now, suppressions=Suppressions.read(conn, now))


def select_connections(
    conn: Connection,
    config: Config,
    *,
    now: datetime,
    filters: ConnectionFilter = EVERY,
    patterns: Collection[str] | None = None,
    limit: int | None = None,
    retired: bool = False,
) -> list[ConnectionView]:
    """Return the monitored connections that match all filters, the worst first; with `limit`, the first ones found.

    With `patterns` they must match one of them, too; with `retired`, retired ones are included. Statuses are compared with the
    clock applied.
    """
    chosen = resolve_labels(conn, filters, config)
    reader = reader_at(conn, config, now)
    found: list[ConnectionView] = []
    rows = connection_queries.list_connections(conn, replace(chosen, statuses=None), worst_first=False, include_retired=retired)
    for row in rows:
        if patterns is not None and not matches_pattern(row, patterns):
            continue
        view = reader.view(row)
        if chosen.matches_status(view.status):
            found.append(view)
            if len(found) == limit:
                break
    return sorted(found, key=worst_first)


def matches_pattern(row: ConnectionRow, patterns: Iterable[str]) -> bool:
    """Return True if one of these patterns matches the id, the user name or the display name of a connection."""
    snapshot = row.state.snapshot
    names = [name for name in (row.public_id, snapshot.external_id, snapshot.username, snapshot.display_name) if name]
    return any(globs.matches(name, pattern) for pattern in patterns for name in names)


def current_rows(conn: Connection, config: Config, keys: Iterable[int], now: datetime) -> Mapping[int, ConnectionRow]:
    """Return the connections with these row ids by row id, with the clock applied."""
    reader = reader_at(conn, config, now)
    return {row.id: reader.view(row).row for row in connection_queries.get_connections(conn, keys)}


def views_silenced(conn: Connection, config: Config, silence: Silence, *, now: datetime) -> list[ConnectionView]:
    """Return the monitored connections that a silence matches, active or not, the worst first."""
    [silence] = silences.with_reconnected(conn, [silence])
    filters = ConnectionFilter(sources=silence.sources or None, platforms=silence.platforms or None)
    reader = reader_at(conn, config, now)
    views = map(reader.view, connection_queries.list_connections(conn, filters, worst_first=False))
    return sorted((view for view in views if _is_silenced(view, silence)), key=worst_first)


def _is_silenced(view: ConnectionView, silence: Silence) -> bool:
    return rules.matches(
        silence,
        source=view.row.source,
        platform=view.snapshot.platform,
        connection=view.id,
        external_id=view.snapshot.external_id,
        labels=view.labels,
    )
