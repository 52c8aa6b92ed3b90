"""Pages of lists for the API, in the JSON form of the command line, with `next`: the cursor of the next page.

A page can have fewer rows than requested and still have a next one; only the last page has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

from monitor.config import Config
from monitor.domain import Status, utc_text
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.forecast import ReconnectBatch, reconnect_batches
from monitor.store import Connection, alerts, connection_conditions, connection_pages, history, outbox, sources
from monitor.views.alerts import AlertView, limited
from monitor.views.connections import ConnectionView, Reader, Suppressions
from monitor.views.forecast import Needed, batch_views, forecast_reader, needs
from monitor.views.history import EventView
from monitor.views.json_types import Shaped, listing
from monitor.views.label_filter import resolve_labels
from monitor.views.sources import ChannelView, SourceView, channel_views, source_views
from monitor.views.staleness import Stale, stale_groups
from monitor.views.staleness import count as count_stale

MOST_IN_BATCH = 1000
"""Most connections of one batch on a page of the forecast; `count` is the number of all."""
MOST_IN_PAGE = 500
"""Connections of a page of the forecast from which it takes no further batch: each is read and written in full."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """A page of a list."""

    filters: ConnectionFilter
    cursor: str | None = None
    """The `next` of the previous page, in the list's own form; None for the first page."""
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list."""

    name: str
    items: Sequence[Shaped]
    next: str | None
    now: datetime

    def json(self) -> dict[str, Any]:
        """Return the JSON form of the list, with `next`."""
        return {**listing(self.name, self.items, now=self.now), "next": self.next}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPage:
    """One page of the connections that match; the counts are of all that match."""

    now: datetime
    summary: dict[Status, int]
    stale: Stale
    """Counts of those whose data is stale."""
    sources: Sequence[SourceView]
    """Those that match; only on the first page."""
    connections: Sequence[ConnectionView]
    """In the order of their creation."""
    next: str | None

    def json(self) -> dict[str, Any]:
        """Return the JSON form of `status --json`, with `next`."""
        return {
            "generated_at": utc_text(self.now),
            "summary": {status.value: self.summary[status] for status in Status},
            "stale": self.stale.total,
            "sources": [source.json() for source in self.sources],
            "connections": [connection.json() for connection in self.connections],
            "next": self.next,
        }


def connection_page(conn: Connection, config: Config, request: PageRequest, *, now: datetime) -> ConnectionPage:
    """Return connections with the clock applied. The cursor is a number."""
    known = {row.name: row for row in sources.all_sources(conn)}
    reader = Reader(config, known, now=now, suppressions=Suppressions.read(conn, now))
    filters = connection_conditions.resolve_text(conn, resolve_labels(conn, request.filters, config))
    rows = connection_pages.connections_after(conn, filters, after=int(request.cursor or 0), now=now, limit=request.limit)
    views = [view for view in map(reader.view, rows) if filters.matches_status(view.status)]
    first = request.cursor is None
    return ConnectionPage(
        now=now,
        summary=_summary(conn, reader, filters, now),
        stale=count_stale(stale_groups(conn, reader, filters)),
        sources=source_views(conn, config, now=now, filters=filters, by_status=False) if first else (),
        connections=views,
        next=str(rows[-1].id) if len(rows) == request.limit else None,
    )


def _summary(conn: Connection, reader: Reader, filters: ConnectionFilter, now: datetime) -> dict[Status, int]:
    """Return the database's counts, corrected for the few connections that time has changed since they were written."""
    counted = connection_pages.count_connections(conn, filters, now=now)
    found = dict(counted.by_status)
    for row in counted.due:
        found[row.state.verdict.status] -= 1
        found[reader.view(row).status] += 1
    return {status: number if filters.matches_status(status) else 0 for status, number in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePage:
    """One page of the sources that match, and the state of every channel."""

    page: Page
    channels: Sequence[ChannelView]

    def json(self) -> dict[str, Any]:
        """Return the JSON form of `sources --json`, with `next`."""
        return {**self.page.json(), "channels": [channel.json() for channel in self.channels]}


def source_page(conn: Connection, config: Config, request: PageRequest, *, now: datetime) -> SourcePage:
    """Return sources ordered by name. The cursor is a name."""
    found = source_views(conn, config, now=now, filters=request.filters)
    if text := request.filters.text:
        found = [view for view in found if text.casefold() in view.name.casefold()]
    views = [view for view in found if request.cursor is None or view.name > request.cursor]
    page = views[: request.limit]
    following = page[-1].name if len(views) > request.limit else None
    return SourcePage(page=Page(name="sources", items=page, next=following, now=now), channels=channel_views(conn, config))


def event_page(conn: Connection, config: Config, request: PageRequest, *, now: datetime) -> Page:
    """Return events, newest first. The cursor is a number."""
    before = None if request.cursor is None else int(request.cursor)
    rows = history.events_before(conn, resolve_labels(conn, request.filters, config), before=before, limit=request.limit)
    views = [EventView(connection=public, source=row.source, entry=row.entry) for row, public in rows]
    return Page(name="events", items=views, next=str(rows[-1][0].id) if len(rows) == request.limit else None, now=now)


def alert_page(conn: Connection, config: Config, request: PageRequest, *, now: datetime) -> Page:
    """Return alerts with deliveries, newest first. The cursor is microseconds since 1970, a dot, and an alert's id."""
    before = None
    if request.cursor is not None:
        at, _, last = request.cursor.partition(".")
        before = int(at), last
    rows = alerts.alerts_before(conn, resolve_labels(conn, request.filters, config), before=before, limit=request.limit)
    sent = outbox.deliveries_of_many(conn, [row.alert.id for row in rows])
    views = [AlertView(alert=row.alert, note=row.note, deliveries=tuple(sent.get(row.alert.id, ()))) for row in rows]
    if request.filters.bound_to:
        views = [limited(view) for view in views]
    following = "{}.{}".format(*alerts.position_of(rows[-1])) if len(rows) == request.limit else None
    return Page(name="alerts", items=views, next=following, now=now)


def forecast_page(conn: Connection, config: Config, request: PageRequest, *, now: datetime, within: timedelta) -> Page:
    """Return the reconnects that are or will be needed, as batches, the most urgent first.

    The cursor is a severity, microseconds since 1970, a source and a quoted platform, with dots in between; then a slash and the
    quoted group.
    """
    filters, reader = connection_conditions.with_current_id(conn, request.filters), forecast_reader(conn, config, now)
    needed = {each.need.connection: each for each in needs(conn, config, reader, within=within, filters=filters)}
    found: Sequence[ReconnectBatch] = reconnect_batches(each.need for each in needed.values())
    if filters.text or filters.connection is not None:
        found = [batch for batch in found if any(_matches(needed[need.connection], filters) for need in batch.needs)]
    if request.cursor is not None:
        behind = _parse_place(request.cursor)
        found = [batch for batch in found if _place(batch) > behind]
    page = _limited(found[: request.limit])
    rows = {key: each.row_id for key, each in needed.items()}
    views = batch_views(conn, config, reader, page, rows=rows, most=MOST_IN_BATCH)
    following = _place_text(_place(page[-1])) if len(found) > len(page) else None
    return Page(name="forecast", items=views, next=following, now=now)


def _limited(batches: Sequence[ReconnectBatch]) -> Sequence[ReconnectBatch]:
    """Return the first batches that have at most MOST_IN_PAGE connections together, but at least one batch."""
    total = 0
    for place, batch in enumerate(batches):
        total += min(len(batch.needs), MOST_IN_BATCH)
        if place > 0 and total > MOST_IN_PAGE:
            return batches[:place]
    return batches


Place = tuple[int, int, str, str, str]
"""The sort key of a batch, in the order of rules.forecast.reconnect_batches."""


def _place(batch: ReconnectBatch) -> Place:
    severity = -batch.worst.rank if batch.overdue else 0
    return severity, (batch.first - _EPOCH) // timedelta(microseconds=1), batch.source, batch.platform, batch.group


def _place_text(place: Place) -> str:
    return f"{-place[0]}.{place[1]}.{place[2]}.{quote(place[3], safe='')}/{quote(place[4], safe='')}"


def _parse_place(text: str) -> Place:
    severity, at, source, rest = text.split(".", 3)
    platform, _, group = rest.partition("/")
    return -int(severity), int(at), source, unquote(platform), unquote(group)


def _matches(needed: Needed, filters: ConnectionFilter) -> bool:
    return filters.connection in (None, needed.need.connection) and needed.has_text(filters.text)
