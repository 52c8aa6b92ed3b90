"""The page of upcoming expiries by client, with a layout for printing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain.rules.forecast import Need
from monitor.domain.rules.labels import CLIENT
from monitor.store import Connection
from monitor.views.connections import ConnectionView, Reader
from monitor.views.forecast import Needed, first_needs, forecast_reader, views_of
from monitor.views.label_filter import labels_in_use
from monitor.web.auth import visit_of
from monitor.web.clients_page import label_of
from monitor.web.pages import show
from monitor.web.query_params import platform_names, read_query, source_names
from monitor.web.site import Site

DAYS = (7, 30, 90)
"""The periods ahead that the page offers."""
MOST = 200
"""Connections on the page, the most urgent ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One connection that needs to be reconnected."""

    view: ConnectionView
    need: Need
    link: str | None
    """The address for reconnecting it, None if the source is no longer configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The connections of one client, or of another value of `group_by`."""

    name: str
    """Empty: the connections without one."""
    entries: tuple[Entry, ...]
    """Those that no longer work first, then by date."""


def routes(site: Site) -> list[Route]:
    """Return the route of the forecast."""

    async def page(request: Request) -> Response:
        now = site.clock.now()
        return await show(site, request, "forecast.html", lambda conn, config: _context(conn, config, now, request))

    return [Route("/forecast", page, methods=["GET"])]


def _context(conn: Connection, config: Config, now: datetime, request: Request) -> dict[str, Any]:
    selection = visit_of(request).selection
    names, platforms = (sorted(found(conn, config, selection)) for found in (source_names, platform_names))
    query = read_query(conn, request, config, sources=names, platforms=platforms)
    days = next((each for each in DAYS if str(each) == request.query_params.get("days")), DAYS[1])
    reader = forecast_reader(conn, config, now)
    found = first_needs(conn, config, reader, within=timedelta(days=days), filters=query.filters, most=MOST)
    return {
        "query": query,
        "days": days,
        "all_days": DAYS,
        "groups": _groups(_entries(conn, config, reader, found.needs)),
        "number": found.number,
        "overdue": found.overdue,
        "more": max(0, found.number - MOST),
        "group_by": config.group_by,
        "label_of": label_of if config.group_by == CLIENT else None,
        "source_names": names,
        "platforms": platforms,
        "labels": [f"{key}={value}" for key, value in labels_in_use(conn, config, selection)],
    }


def _entries(conn: Connection, config: Config, reader: Reader, first: Sequence[Needed]) -> list[Entry]:
    views = views_of(conn, reader, [each.row_id for each in first])
    links = {source.name: source.dashboard_url for source in config.sources}
    return [Entry(view=views[each.need.connection], need=each.need, link=links.get(each.need.source)) for each in first]


def _groups(entries: list[Entry]) -> list[Group]:
    """Return the groups, the one with the most urgent connection first, and the one without a name last."""
    by_name = sorted(entries, key=lambda entry: entry.need.group)  # stable: each group keeps the order
    groups = [Group(name=name, entries=tuple(part)) for name, part in groupby(by_name, key=lambda entry: entry.need.group)]

    def urgency(group: Group) -> tuple[bool, bool, datetime, str]:
        first = group.entries[0].need
        return not group.name, not first.overdue, first.by, group.name.casefold()

    return sorted(groups, key=urgency)
