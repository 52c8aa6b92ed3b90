"""Lists a page at a time, in the shapes of the command line's --json, with `next`: where the list goes on.

A page may hold fewer than were asked for and still have a next one; the last page has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

from monitor.config import Config
from monitor.domain import Status, utc_text
from monitor.domain.filters import ConnectionFilter
from monitor.store import Connection, alerts, connection_pages, history, outbox, sources
from monitor.views.alerts import AlertView
from monitor.views.connections import ConnectionView, Reader, Suppressions
from monitor.views.filters import Shaped, listing, resolve_labels
from monitor.views.forecast import ReconnectBatchView, forecast
from monitor.views.history import EventView
from monitor.views.sources import ChannelView, SourceView, channel_views, source_views

MOST_TOGETHER = 1000
"""Connections of one sitting that a page of the forecast names; `count` says how many there are."""
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
    """Some of a list."""

    name: str
    items: Sequence[Shaped]
    next: str | None
    now: datetime

    def json(self) -> dict[str, Any]:
        """The shape of the list, and `next`."""
        return {**listing(self.name, self.items, now=self.now), "next": self.next}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPage:
    """Some of the selected connections; the counts are of all of them."""

    now: datetime
    summary: dict[Status, int]
    sources: Sequence[SourceView]
    """The selected ones, on the first page only: none on the others."""
    connections: Sequence[ConnectionView]
    """In the order in which they appeared."""
    next: str | None

    def json(self) -> dict[str, Any]:
        """The shape of `status --json`, and `next`."""
        return {
            "generated_at": utc_text(self.now),
            "summary": {status.value: self.summary[status] for status in Status},
            "sources": [source.json() for source in self.sources],
            "connections": [connection.json() for connection in self.connections],
            "next": self.next,
        }


def connection_page(conn: Connection, config: Config, request: PageRequest, *, now: datetime) -> ConnectionPage:
    """Connections with the clock applied. The cursor is a number."""
    known = {row.name: row for row in sources.all_sources(conn)}
    reader = Reader(config, known, now=now, suppressions=Suppressions.read(conn, now))
    filters = resolve_labels(request.filters, config)
    rows = connection_pages.connections_after(conn, filters, after=int(request.cursor or 0), now=now, limit=request.limit)
    views = [view for view in map(reader.view, rows) if filters.matches_status(view.status)]
    first = request.cursor is None
    return ConnectionPage(
        now=now,
        summary=_summary(conn, reader, filters, now),
        sources=source_views(conn, config, now=now, filters=filters, by_status=False) if first else (),
        connections=views,
        next=str(rows[-1].id) if len(rows) == request.limit else None,
    )


def _summary(conn: Connection, reader: Reader, filters: ConnectionFilter, now: datetime) -> dict[Status, int]:
    """Counted by the database, but for the few that time has moved since they were written."""
    counted = connection_pages.count_connections(conn, filters, now=now)
    found = dict(counted.by_status)
    for row in counted.due:
        found[row.state.verdict.status] -= 1
        found[reader.view(row).status] += 1
    return {status: number if filters.matches_status(status) else 0 for status, number in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePage:
    """Some of the selected sources, and how every channel does."""

    page: Page
    channels: Sequence[ChannelView]

    def json(self) -> dict[str, Any]:
        """The shape of `sources --json`, and `next`."""
        return {**self.page.json(), "channels": [channel.json() for channel in self.channels]}


def source_page(conn: Connection, config: Config, request: PageRequest, *, now: datetime) -> SourcePage:
    """Sources by name. The cursor is a name."""
    found = source_views(conn, config, now=now, filters=request.filters)
    if text := request.filters.text:
        found = [view for view in found if text.casefold() in view.name.casefold()]
    views = [view for view in found if request.cursor is None or view.name > request.cursor]
    page = views[: request.limit]
    following = page[-1].name if len(views) > request.limit else None
    return SourcePage(page=Page(name="sources", items=page, next=following, now=now), channels=channel_views(conn, config))


def event_page(conn: Connection, config: Config, request: PageRequest, *, now: datetime) -> Page:
    """What happened anywhere, newest first. The cursor is a number."""
    before = None if request.cursor is None else int(request.cursor)
    rows = history.events_before(conn, resolve_labels(request.filters, config), before=before, limit=request.limit)
    views = [EventView(connection=public, source=row.source, entry=row.entry) for row, public in rows]
    return Page(name="events", items=views, next=str(rows[-1][0].id) if len(rows) == request.limit else None, now=now)


def alert_page(conn: Connection, config: Config, request: PageRequest, *, now: datetime) -> Page:
    """Alerts with their deliveries, newest first. The cursor is microseconds since 1970, a dot, and an alert's id."""
    before = None
    if request.cursor is not None:
        at, _, last = request.cursor.partition(".")
        before = int(at), last
    rows = alerts.alerts_before(conn, resolve_labels(request.filters, config), before=before, limit=request.limit)
    sent = outbox.deliveries_of_many(conn, [row.alert.id for row in rows])
    views = [AlertView(alert=row.alert, note=row.note, deliveries=tuple(sent.get(row.alert.id, ()))) for row in rows]
    following = "{}.{}".format(*alerts.position_of(rows[-1])) if len(rows) == request.limit else None
    return Page(name="alerts", items=views, next=following, now=now)


def forecast_page(conn: Connection, config: Config, request: PageRequest, *, now: datetime, within: timedelta) -> Page:
    """What will need a person, by sittings, the most urgent first.

    The cursor is a severity, microseconds since 1970, a source and a quoted platform, with dots in between.
    """
    found = forecast(conn, config, now=now, within=within, filters=request.filters)
    if request.filters.text or request.filters.connection is not None:
        found = [sitting for sitting in found if any(_matches(view, request.filters) for view in sitting.connections)]
    if request.cursor is not None:
        behind = _parse_place(request.cursor)
        found = [sitting for sitting in found if _place(sitting) > behind]
    views = [replace(view, connections=view.connections[:MOST_TOGETHER]) for view in found[: request.limit]]
    following = _place_text(_place(views[-1])) if len(found) > request.limit else None
    return Page(name="forecast", items=views, next=following, now=now)


Place = tuple[int, int, str, str]
"""Where a sitting stands among the others, as reconnect_batches orders them."""


def _place(view: ReconnectBatchView) -> Place:
    sitting = view.sitting
    severity = -sitting.worst.rank if sitting.overdue else 0
    return severity, (sitting.first - _EPOCH) // timedelta(microseconds=1), sitting.source, sitting.platform


def _place_text(place: Place) -> str:
    return f"{-place[0]}.{place[1]}.{place[2]}.{quote(place[3], safe='')}"


def _parse_place(text: str) -> Place:
    severity, at, source, platform = text.split(".", 3)
    return -int(severity), int(at), source, unquote(platform)


def _matches(view: ConnectionView, filters: ConnectionFilter) -> bool:
    if filters.connection is not None and view.id != filters.connection:
        return False
    texts = (view.id, view.snapshot.display_name or "", view.snapshot.username or "")
    return not filters.text or any(filters.text.casefold() in text.casefold() for text in texts)
