"""Pages of alerts: the list with deliveries, and one alert with the reason why it was or was not sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain import AlertEvent, DeliveryState
from monitor.domain.errors import StoreError
from monitor.domain.filters import ConnectionFilter
from monitor.domain.text import clean
from monitor.store import Connection, outbox, sources
from monitor.store import alerts as alert_pages
from monitor.store.alerts import WantedAlerts
from monitor.views.alerts import AlertView, explain, limited
from monitor.views.label_filter import resolve_labels
from monitor.web.auth import visit_of
from monitor.web.pages import show
from monitor.web.query_params import platform_names, source_names
from monitor.web.site import Site

PER_PAGE = 50
REASONS = {
    "first": "The first alert of an incident.",
    "worse": "The status is more severe than in the previous alert.",
    "changed": "The status is less severe than in the previous alert and still needs attention.",
    "stage": "Still expiring soon, and the next warning stage is reached.",
    "reminder": "Still broken, and remind_every has passed since the previous alert.",
    "recovered": "The connection has recovered.",
    "renewed": "The connection has recovered because the token was renewed.",
    "reconnected": "The connection has recovered because its account was reconnected under a new id.",
}


def routes(site: Site) -> list[Route]:
    """Return the routes of the list and of one alert."""

    async def alerts(request: Request) -> Response:
        return await show(site, request, "alerts.html", lambda conn, config: _list(conn, config, request))

    async def alert(request: Request) -> Response:
        alert_id = str(request.path_params["id"])
        return await show(
            site,
            request,
            "alert.html",
            lambda conn, config: _explained(conn, config, site, alert_id, visit_of(request).selection),
            missing={"noun": "alert", "id": alert_id},
        )

    return [Route("/alerts", alerts, methods=["GET"]), Route("/alerts/{id}", alert, methods=["GET"])]


def _list(conn: Connection, config: Config, request: Request) -> dict[str, Any]:
    params = request.query_params
    visible = resolve_labels(conn, visit_of(request).selection, config)
    if visible.bound_to:
        known, platforms = sorted(source_names(conn, config, visible)), sorted(platform_names(conn, config, visible))
    else:
        stored = (row.name for row in sources.all_sources(conn, include_removed=True))
        known, platforms = sorted({*stored, *(each.name for each in config.sources)}), alert_pages.known_platforms(conn)
    choices: dict[str, Sequence[str]] = {
        "event": list(AlertEvent),
        "source": known,
        "platform": platforms,
        "state": list(DeliveryState),
    }
    chosen = {key: params.get(key, "").strip() for key in choices}
    problems = [
        f"Unknown {key} {clean(value)}: no alert matches." for key, value in chosen.items() if value and value not in choices[key]
    ]
    wanted = WantedAlerts(
        sources=[chosen["source"]] if chosen["source"] else None,
        platforms=[chosen["platform"]] if chosen["platform"] else None,
        events=[chosen["event"]] if chosen["event"] else None,
        states=[state for state in DeliveryState if state == chosen["state"]] if chosen["state"] else None,
        stored_labels=visible.stored_labels,
    )
    total = alert_pages.count_matching(conn, wanted)
    pages = max(1, -(-total // PER_PAGE))
    number = params.get("page", "1")
    page = min(int(number), pages) if number.isascii() and number.isdigit() and len(number) < 9 and int(number) else 1
    rows = alert_pages.list_page(conn, wanted, limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
    deliveries = outbox.deliveries_of_many(conn, [row.alert.id for row in rows])
    filters = {key: value for key, value in chosen.items() if value}
    views = [AlertView(alert=row.alert, note=row.note, deliveries=tuple(deliveries.get(row.alert.id, ()))) for row in rows]
    return {
        "views": [limited(view) for view in views] if visible.bound_to else views,
        "total": total,
        "page": page,
        "pages": pages,
        "choices": choices,
        "chosen": chosen,
        "problems": problems,
        "link": lambda number: f"?{urlencode({**filters, 'page': number})}",
        "first": (page - 1) * PER_PAGE,
    }


def _explained(conn: Connection, config: Config, site: Site, alert_id: str, selection: ConnectionFilter) -> dict[str, Any] | None:
    try:
        found = explain(conn, config, alert_id, now=site.clock.now(), selection=selection)
    except StoreError:  # the text is part of several IDs
        return None
    if found is None:
        return None
    return {"found": found, "view": found.view, "alert": found.view.alert, "why": REASONS.get(found.view.alert.reason, "")}
