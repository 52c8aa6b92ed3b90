"""The page of one connection: status, history, alerts, and the forms to acknowledge and silence it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain import EventKind, Severity, Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules import expiry, silences
from monitor.domain.rules.advice import advice, with_id
from monitor.domain.text import clean_id
from monitor.store import (
    Connection,
    alerts,
    connection_pages,
    connection_queries,
    former_ids,
    incidents,
    outbox,
    rechecks,
    sources,
)
from monitor.store.connection_queries import ConnectionRow
from monitor.views.alerts import AlertView, limited
from monitor.views.connections import ConnectionView, Reader, Suppressions
from monitor.views.history import EventView, event_views
from monitor.views.label_filter import includes
from monitor.views.rechecks import RecheckView, without_source_error
from monitor.views.silences import SilenceView, as_shown, is_confined, silence_views
from monitor.web import charts
from monitor.web.auth import visit_of
from monitor.web.pages import show
from monitor.web.query_params import list_parameters, read_query
from monitor.web.rendering import REFRESH
from monitor.web.silence_forms import LENGTHS
from monitor.web.site import Site

MOST_EVENTS = 200
MOST_ALERTS = 50
RECHECK_SHOWN_FOR = timedelta(hours=1)
PENDING_REFRESH = 2
"""Seconds between refreshes of the page while a recheck is pending."""


def routes(site: Site) -> list[Route]:
    """Return the route of a connection's page."""

    async def connection(request: Request) -> Response:
        return await show_connection(site, request, id_of(request))

    return [Route("/connections/{id:path}", connection, methods=["GET"])]


def id_of(request: Request) -> str:
    """Return the ID in the request's path, or in its query if a path cannot hold the ID."""
    return str(request.path_params["id"]) or request.query_params.get("id", "")


async def show_connection(
    site: Site, request: Request, public_id: str, *, status: int = 200, problem: str | None = None
) -> Response:
    """Return the connection's page, or a 404 page."""
    return await show(
        site,
        request,
        "connection.html",
        lambda conn, config: _context(conn, config, site.clock.now(), public_id, request),
        status=status,
        problem=problem,
        missing={"noun": "connection", "id": public_id},
    )


def read_one(
    conn: Connection, config: Config, now: datetime, public_id: str, selection: ConnectionFilter
) -> ConnectionView | None:
    """Return the connection with the clock applied, None if none of the selection has this ID."""
    row = connection_queries.find_by_public_id(conn, public_id)
    if row is None or not includes(conn, config, selection, row):
        return None
    known = {each.name: each for each in sources.all_sources(conn, include_removed=True)}
    return Reader(config, known, now=now, suppressions=Suppressions.read(conn, now)).view(row)


def _context(conn: Connection, config: Config, now: datetime, public_id: str, request: Request) -> dict[str, Any] | None:
    selection = visit_of(request).selection
    view = read_one(conn, config, now, public_id, selection)
    if view is None:
        return None
    settings = next((source for source in config.sources if source.name == view.row.source), None)
    every = settings.poll_every if settings else None
    policy = Reader(config, {}, now=now).policy_of(view.row)
    events = event_views(conn, view.row, labels=view.labels, now=now, poll_every=every)
    entries = [event.entry for event in events]
    drawn = charts.band(entries, status=view.status, added_at=view.row.added_at, now=now)
    window = expiry.window_of(policy, expiry.lifetime_of(view.snapshot, view.row.state.token.issued_at))
    incident = incidents.find_open(conn, [view.row.id]).get(view.row.id)
    recheck = _latest_recheck(conn, view.row, now, selection)
    silences = _silences(conn, view, now)
    if selection.bound_to:
        events = _without_others(events, silences, selection)
    return {
        **_place(conn, config, view, request),
        "view": view,
        "tone": _tone(view),
        "settings": settings,
        "events": list(reversed(events))[:MOST_EVENTS],
        "older": max(0, len(events) - MOST_EVENTS),
        "band": drawn,
        "left": charts.time_left(entries, expires_at=view.expires_at, window=window, begin=drawn.begin, now=now),
        "window": window,
        "renewal": charts.renewal(view.renewal, expires_at=view.expires_at, now=now),
        "advice": with_id(_advice(view), view.id),
        "incident": incident,
        "recheck": recheck,
        "refresh": PENDING_REFRESH if recheck is not None and recheck.is_pending else REFRESH,
        "former": former_ids.of_connection(conn, view.row.id),
        "alerts": _alerts(conn, view.row, selection),
        "silences": [as_shown(each, selection) for each in silences],
        "lengths": {key: text for key, (text, _) in LENGTHS.items()},
        "source": None if selection.bound_to else sources.find_source(conn, view.row.source),
        "recent_changes": sum(
            entry.kind is EventKind.STATUS_CHANGED and entry.at >= now - timedelta(days=90) for entry in entries
        ),
    }


def _tone(view: ConnectionView) -> str:
    """Return the tone of a headline for the status of one connection."""
    if view.status.needs_attention:
        return "bad" if view.status.severity is Severity.CRITICAL else "soon"
    return "good" if view.status is Status.VALID and not view.stale else "unsure"


def _place(conn: Connection, config: Config, view: ConnectionView, request: Request) -> dict[str, Any]:
    """Return the list that the page was opened from, if any, and the connection's neighbours in it."""
    if not list_parameters(request.query_params.multi_items()):
        return {"within": {}, "back": "", "neighbours": connection_pages.Neighbours(None, None)}
    known = {row.name: row for row in sources.all_sources(conn)}
    limits = Reader(config, known, now=view.now).stale_limits()
    listed = read_query(conn, request, config, sources=list(known), platforms=()).for_stale_data(limits)
    found = connection_pages.neighbours(conn, listed.filters, order=listed.order, of=view.row.id)
    return {"within": listed.list_parameters, "back": listed.link(page=None, per=None), "neighbours": found}


def _latest_recheck(conn: Connection, row: ConnectionRow, now: datetime, selection: ConnectionFilter) -> RecheckView | None:
    """Return the connection's recheck if it is pending or recent."""
    latest = rechecks.latest_of(conn, row.id)
    if latest is None or now - latest.requested_at > RECHECK_SHOWN_FOR:
        return None
    if selection.bound_to:
        latest = without_source_error(latest)
    return RecheckView(recheck=latest, connection=row.public_id, label=row.state.snapshot.label, now=now)


def _alerts(conn: Connection, row: ConnectionRow, selection: ConnectionFilter) -> list[AlertView]:
    rows = alerts.list_alerts(conn, connection_id=row.id, limit=MOST_ALERTS)
    deliveries: Mapping[str, Any] = outbox.deliveries_of_many(conn, [each.alert.id for each in rows])
    views = [AlertView(alert=each.alert, note=each.note, deliveries=tuple(deliveries.get(each.alert.id, ()))) for each in rows]
    return [limited(each) for each in views] if selection.bound_to else views


def _without_others(events: list[EventView], silences: list[SilenceView], selection: ConnectionFilter) -> list[EventView]:
    """Return the events without those of silences that match other connections too: their comments may name them."""
    own = {str(each.silence.id) for each in silences if is_confined(each.silence, selection.bound_to)}
    kinds = (EventKind.SILENCED, EventKind.UNSILENCED)
    return [each for each in events if each.entry.kind not in kinds or each.entry.new in own]


def _silences(conn: Connection, view: ConnectionView, now: datetime) -> list[SilenceView]:
    """Return the active and coming silences that match the connection."""
    return [
        each
        for each in silence_views(conn, now=now)
        if silences.matches(
            each.silence,
            source=view.row.source,
            platform=view.snapshot.platform,
            connection=view.id,
            external_id=view.snapshot.external_id,
            labels=view.labels,
        )
    ]


def _advice(view: ConnectionView) -> str:
    state = view.row.state
    lost = [clean_id(each) for each in state.lost_permissions]
    return advice(view.snapshot.platform, view.status, view.row.provider, state.verdict.reason, lost=lost)
