"""Every alert with its deliveries, and why one was or was not sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain import AlertEvent, DeliveryState
from monitor.domain.errors import MonitorError, StoreError
from monitor.domain.text import clean
from monitor.store import Connection, outbox, sources
from monitor.store import alerts as alert_pages
from monitor.store.alerts import WantedAlerts
from monitor.views.alerts import AlertView, explain
from monitor.web.pages import show
from monitor.web.site import Site

PER_PAGE = 50
WHY = {
    "first": "The first notice of an incident.",
    "worse": "A more severe status than the one said before.",
    "changed": "A less severe status than the one said before, which still needs a person.",
    "stage": "Still expiring soon, and a tighter stage was crossed.",
    "reminder": "Still broken, and remind_every has passed since the last word.",
    "recovered": "Good again.",
    "renewed": "Good again, because the token was renewed.",
}


class NoSuchAlert(MonitorError):
    """There is no alert with this id."""


def routes(site: Site) -> list[Route]:
    """The list, and one alert explained."""

    async def alerts(request: Request) -> Response:
        return await show(site, request, "alerts.html", lambda conn, config: _list(conn, config, request))

    async def alert(request: Request) -> Response:
        wanted = str(request.path_params["id"])
        try:
            return await show(site, request, "alert.html", lambda conn, config: _explained(conn, config, site, wanted))
        except NoSuchAlert:
            return await show(site, request, "missing_alert.html", lambda _conn, _config: {"wanted": wanted}, status=404)

    return [Route("/alerts", alerts, methods=["GET"]), Route("/alerts/{id}", alert, methods=["GET"])]


def _list(conn: Connection, config: Config, request: Request) -> dict[str, Any]:
    params = request.query_params
    known = sorted({*(row.name for row in sources.all_sources(conn, include_removed=True)), *(s.name for s in config.sources)})
    platforms = alert_pages.known_platforms(conn)
    choices: dict[str, Sequence[str]] = {
        "event": list(AlertEvent),
        "source": known,
        "platform": platforms,
        "state": list(DeliveryState),
    }
    chosen = {key: params.get(key, "").strip() for key in choices}
    problems = [
        f"There is no {key} {clean(value)}: nothing matches it."
        for key, value in chosen.items()
        if value and value not in choices[key]
    ]
    wanted = WantedAlerts(
        sources=[chosen["source"]] if chosen["source"] else None,
        platforms=[chosen["platform"]] if chosen["platform"] else None,
        events=[chosen["event"]] if chosen["event"] else None,
        states=[state for state in DeliveryState if state == chosen["state"]] if chosen["state"] else None,
    )
    total = alert_pages.count_matching(conn, wanted)
    pages = max(1, -(-total // PER_PAGE))
    number = params.get("page", "1")
    page = min(int(number), pages) if number.isascii() and number.isdigit() and len(number) < 9 and int(number) else 1
    rows = alert_pages.list_page(conn, wanted, limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
    deliveries = outbox.deliveries_of_many(conn, [row.alert.id for row in rows])
    kept = {key: value for key, value in chosen.items() if value}
    return {
        "views": [AlertView(alert=row.alert, note=row.note, deliveries=tuple(deliveries.get(row.alert.id, ()))) for row in rows],
        "total": total,
        "page": page,
        "pages": pages,
        "choices": choices,
        "chosen": chosen,
        "problems": problems,
        "link": lambda number: f"?{urlencode({**kept, 'page': number})}",
        "first": (page - 1) * PER_PAGE,
    }


def _explained(conn: Connection, config: Config, site: Site, wanted: str) -> dict[str, Any]:
    try:
        found = explain(conn, config, wanted, now=site.clock.now())
    except StoreError:
        raise NoSuchAlert from None  # several have it in their ids: a page has one
    if found is None:
        raise NoSuchAlert
    return {"found": found, "view": found.view, "alert": found.view.alert, "why": WHY.get(found.view.alert.reason, "")}
