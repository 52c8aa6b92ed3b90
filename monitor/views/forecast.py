"""What will need a person, and when: the rules' sittings over what the store knows, with the clock applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from monitor.config import Config
from monitor.domain import utc_text
from monitor.domain.rules.forecast import Sitting, need_of, sittings_of
from monitor.store import connection_queries, sources
from monitor.views.connections import ConnectionView, Reader
from monitor.views.filters import Selection
from monitor.views.quieted import Quieted


@dataclass(frozen=True, slots=True, kw_only=True)
class SittingView:
    """A sitting, with the connections that are seen to in it."""

    sitting: Sitting
    provider: str
    link: str | None
    """Where it is done, None where the configuration does not name the source any more."""
    connections: tuple[ConnectionView, ...]
    """In the order of the sitting's needs."""

    def json(self) -> dict[str, Any]:
        """The shape of a sitting."""
        sitting = self.sitting
        return {
            "overdue": sitting.overdue,
            "first_at": utc_text(sitting.first),
            "last_at": utc_text(sitting.last),
            "source": sitting.source,
            "provider": self.provider,
            "platform": sitting.platform,
            "link": self.link,
            "count": len(sitting.needs),
            "connections": [_connection(view) for view in self.connections],
        }


def _connection(view: ConnectionView) -> dict[str, Any]:
    return {
        "id": view.id,
        "external_id": view.snapshot.external_id,
        "label": view.snapshot.label,
        "status": view.status,
        "since": utc_text(view.row.state.verdict.since),
        "expires_at": utc_text(view.expires_at),
        "seconds_left": view.seconds_left,
        "message": view.row.state.verdict.message,
        "acked": view.acked,
    }


def forecast(
    conn: Connection, config: Config, *, now: datetime, within: timedelta, selection: Selection | None = None
) -> list[SittingView]:
    """What needs a person now, and what will within this time, by sittings: the broken first, then by date."""
    chosen = selection or Selection()
    known = {row.name: row for row in sources.all_sources(conn)}
    reader = Reader(config, known, now=now, quieted=Quieted.read(conn, now))
    rows = connection_queries.list_connections(
        conn,
        source=chosen.source_names(config),
        platform=chosen.platforms,
        worst_first=False,
        only=connection_queries.needing_by(now, now + within),
    )
    views: dict[str, ConnectionView] = {}
    needs = []
    for view in map(reader.view, rows):
        need = need_of(
            view.row.state, connection=view.id, source=view.row.source, provider=view.row.provider, now=now, within=within
        )
        if need is not None and chosen.takes_status(need.status):
            needs.append(need)
            views[view.id] = view
    links = {source.name: source.dashboard_url for source in config.sources}
    return [_seen(sitting, views, links.get(sitting.source)) for sitting in sittings_of(needs)]


def _seen(sitting: Sitting, views: Mapping[str, ConnectionView], link: str | None) -> SittingView:
    there = tuple(views[need.connection] for need in sitting.needs)
    return SittingView(sitting=sitting, provider=there[0].row.provider, link=link, connections=there)
