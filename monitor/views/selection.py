"""Connections that a change for many covers: the same for the command line, the API and the pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from monitor.config import Config
from monitor.domain import utc_text
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules import globs
from monitor.domain.rules import silences as rules
from monitor.domain.rules.silences import Silence
from monitor.engine.bulk_changes import BulkOutcome, BulkTarget
from monitor.store import Connection, connection_queries, silences, sources
from monitor.store.connection_queries import ConnectionRow
from monitor.views.connections import ConnectionView, Reader, Suppressions
from monitor.views.json_types import BulkChangeJson, SkippedConnectionJson
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
    keys: Collection[int] | None = None,
    limit: int | None = None,
    retired: bool = False,
) -> list[ConnectionView]:
    """Return the monitored connections that match all filters, the worst first; with `limit`, the first ones found.

    With `patterns` or `keys` they must also match one of the patterns, or have one of these row ids. With `retired`, retired ones
    are included. Statuses are compared with the clock applied.
    """
    chosen = resolve_labels(conn, filters, config)
    reader = reader_at(conn, config, now)
    found: list[ConnectionView] = []
    any_status = replace(chosen, statuses=None)
    if keys is not None and not patterns:
        rows = connection_queries.list_among(conn, sorted(keys), any_status)
    else:
        rows = connection_queries.list_connections(conn, any_status, worst_first=False, include_retired=retired)
    named = patterns is not None or keys is not None
    for row in rows:
        if named and row.id not in (keys or ()) and not matches_pattern(row, patterns or ()):
            continue
        if len(found) == limit:
            continue  # PostgreSQL's cursor has to be read to its end
        view = reader.view(row)
        if chosen.matches_status(view.status):
            found.append(view)
    return sorted(found, key=worst_first)


def matches_pattern(row: ConnectionRow, patterns: Iterable[str]) -> bool:
    """Return True if one of these patterns matches the id, the user name or the display name of a connection."""
    snapshot = row.state.snapshot
    names = [name for name in (row.public_id, snapshot.external_id, snapshot.username, snapshot.display_name) if name]
    return any(globs.matches(name, pattern) for pattern in patterns for name in names)


def targets_of(views: Iterable[ConnectionView]) -> list[BulkTarget]:
    """Return the connections as targets of a change."""
    return [BulkTarget(view.row.id, view.id) for view in views]


def current_rows(conn: Connection, config: Config, keys: Iterable[int], now: datetime) -> Mapping[int, ConnectionRow]:
    """Return the connections with these row ids by row id, with the clock applied."""
    reader = reader_at(conn, config, now)
    return {row.id: reader.view(row).row for row in connection_queries.get_connections(conn, keys)}


def views_silenced(
    conn: Connection, config: Config, silence: Silence, *, now: datetime, selection: ConnectionFilter = EVERY
) -> list[ConnectionView]:
    """Return the selected connections that a silence matches, active or not, the worst first."""
    [silence] = silences.with_reconnected(conn, [silence])
    within = replace(selection, sources=silence.sources or None, platforms=silence.platforms or None)
    filters = resolve_labels(conn, within, config)
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


def outcome_json(outcome: BulkOutcome, *, now: datetime, dry_run: bool = False) -> BulkChangeJson:
    """Return the JSON form of the outcome of a change."""
    skipped = [SkippedConnectionJson(id=each.id, reason=each.reason) for each in outcome.skipped]
    return BulkChangeJson(generated_at=utc_text(now), dry_run=dry_run, connections=outcome.changed, skipped=skipped)
