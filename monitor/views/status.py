"""Everything at one instant, worst first: what `status`, `check` and the API's list of connections show."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from sqlalchemy import Connection

from monitor.config import Config
from monitor.domain import Severity, Status, utc_text
from monitor.store import connections, sources
from monitor.views import worst
from monitor.views.connections import ConnectionView, Reader
from monitor.views.filters import Selection
from monitor.views.quieted import Quieted
from monitor.views.sources import SourceView, source_views
from monitor.views.worst import Counts, worst_first


class Standing(IntEnum):
    """The answer in the words and numbers of the monitoring-plugin convention."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The selected connections and their sources."""

    now: datetime
    summary: dict[Status, int]
    """How many of the selected connections have each status; every status is there."""
    sources: list[SourceView]
    connections: list[ConnectionView]
    """Worst first: by status, then by the nearest expiry; no more than were asked for."""
    stale: int
    """How many of the selected connections are shown from old data."""
    acked: int = 0
    """How many of them are acknowledged."""
    silenced: int = 0
    """How many of those that need attention are silenced now."""
    asked: Selection = field(default_factory=Selection)
    """The filters that selected them."""
    left_out: int = 0
    """Where none is selected: how many there are without the filters."""

    @property
    def total(self) -> int:
        """How many connections are selected."""
        return sum(self.summary.values())

    def count(self, severity: Severity) -> int:
        """How many selected connections have a status of this severity."""
        return sum(number for status, number in self.summary.items() if status.severity is severity)

    def standing(self, *, unread: Collection[str] = ()) -> Standing:
        """CRITICAL before UNKNOWN before WARNING (INTERFACE: Exit status); `unread` names sources that just failed."""
        if self.count(Severity.CRITICAL):
            return Standing.CRITICAL
        if unread or self.stale or any(source.unread or source.stale for source in self.sources):
            return Standing.UNKNOWN
        return Standing.WARNING if self.count(Severity.WARNING) else Standing.OK

    def json(self) -> dict[str, Any]:
        """The shape of `status --json`."""
        return {
            "generated_at": utc_text(self.now),
            "summary": {status.value: self.summary[status] for status in Status},
            "sources": [source.json() for source in self.sources],
            "connections": [connection.json() for connection in self.connections],
        }


def overview(
    conn: Connection, config: Config, *, now: datetime, selection: Selection | None = None, limit: int | None = None
) -> Overview:
    """What the store knows, with the clock applied: a trusted date that has passed shows, also if nobody wrote it down.

    With a limit only that many connections are kept, the worst; the counts are of all.
    """
    chosen = selection or Selection()
    known = {row.name: row for row in sources.all_sources(conn)}
    reader = Reader(config, known, now=now, quieted=Quieted.read(conn, now))
    found = None if limit is None else worst.find(conn, config, reader, chosen, limit=limit)
    kept, counts = found or _read_all(conn, reader, config, chosen, limit=limit)
    return Overview(
        now=now,
        connections=kept,
        sources=source_views(conn, config, now=now, selection=chosen, by_status=False),
        summary=counts.summary,
        stale=counts.stale,
        acked=counts.acked,
        silenced=counts.silenced,
        asked=chosen,
        left_out=0 if any(counts.summary.values()) else sum(connections.count_by_status(conn).values()),
    )


def _read_all(
    conn: Connection, reader: Reader, config: Config, chosen: Selection, *, limit: int | None
) -> tuple[list[ConnectionView], Counts]:
    rows = connections.list_connections(conn, source=chosen.source_names(config), platform=chosen.platforms, worst_first=False)
    counts = Counts()
    views = counts.counted(view for view in map(reader.view, rows) if chosen.takes_status(view.status))
    kept = sorted(views, key=worst_first) if limit is None else heapq.nsmallest(limit, views, key=worst_first)
    return kept, counts
