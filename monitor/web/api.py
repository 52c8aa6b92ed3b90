"""The routes of /api/v1: lists in the shapes of the command line's --json, one page at a time, and the writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain import utc_text
from monitor.store import Connection
from monitor.views import pages
from monitor.views.json_types import listing
from monitor.views.pages import ConnectionPage, Page, PageRequest, SourcePage
from monitor.views.rechecks import selected_rechecks
from monitor.views.silences import selected_silences
from monitor.web import api_writes, openapi, push, query_params
from monitor.web.base_path import address_for
from monitor.web.openapi import ROOT
from monitor.web.query_params import ApiParams, Parameter
from monitor.web.responses import Content, Handler, Resource, answer, json_content, not_found
from monitor.web.site import Site

AnyPage = Page | ConnectionPage | SourcePage
Build = Callable[[Connection, Config, PageRequest, datetime, ApiParams], AnyPage]


@dataclass(frozen=True, slots=True)
class ListEndpoint:
    """One list: its parameters, and the function that reads a page of it."""

    parameters: Sequence[Parameter]
    build: Build


def _forecast(conn: Connection, config: Config, request: PageRequest, now: datetime, params: ApiParams) -> Page:
    return pages.forecast_page(conn, config, request, now=now, within=timedelta(days=params.number(query_params.DAYS)))


LISTS = {
    "connections": ListEndpoint(
        query_params.CONNECTIONS, lambda conn, config, query, now, _: pages.connection_page(conn, config, query, now=now)
    ),
    "sources": ListEndpoint(
        query_params.SOURCES, lambda conn, config, query, now, _: pages.source_page(conn, config, query, now=now)
    ),
    "events": ListEndpoint(
        query_params.EVENTS, lambda conn, config, query, now, _: pages.event_page(conn, config, query, now=now)
    ),
    "alerts": ListEndpoint(
        query_params.ALERTS, lambda conn, config, query, now, _: pages.alert_page(conn, config, query, now=now)
    ),
    "forecast": ListEndpoint(query_params.FORECAST, _forecast),
}


def routes(site: Site) -> list[Route]:
    """Return the addresses of the API."""
    silences = Resource(get=_silences(site), post=api_writes.silence(site))
    return [
        *(Route(f"{ROOT}/{name}", Resource(get=_list_handler(site, endpoint))) for name, endpoint in LISTS.items()),
        Route(f"{ROOT}/recheck", Resource(post=api_writes.recheck(site))),
        Route(f"{ROOT}/recheck/{{number}}", Resource(get=_recheck(site))),
        Route(f"{ROOT}/acks", Resource(post=api_writes.ack(site))),
        Route(f"{ROOT}/forget", Resource(post=api_writes.forget(site))),
        Route(f"{ROOT}/silences", silences),
        Route(f"{ROOT}/silences/{{number}}/remove", Resource(post=api_writes.unsilence(site))),
        *push.routes(site),
        Route(f"{ROOT}/openapi.json", Resource(get=_document)),
        Route("/api/{rest:path}", Resource(get=not_found, post=not_found)),
    ]


def _list_handler(site: Site, endpoint: ListEndpoint) -> Handler:
    async def respond(request: Request) -> Response:
        params = ApiParams.read(request, endpoint.parameters)
        return answer(request, await site.read(lambda conn: _page(conn, site, endpoint, params, request)))

    return respond


def _page(conn: Connection, site: Site, endpoint: ListEndpoint, params: ApiParams, request: Request) -> Content:
    config, now = site.config(), site.clock.now()
    found = endpoint.build(conn, config, params.page(conn, config), now, params).json()
    headers = {}
    if found["next"] is not None:
        others = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        headers["link"] = (
            f'<{address_for(request, request.url.path)}?{urlencode([*others, ("cursor", found["next"])])}>; rel="next"'
        )
    return json_content(found, **headers)


def _silences(site: Site) -> Handler:
    async def respond(request: Request) -> Response:
        params = ApiParams.read(request, query_params.SILENCES)
        everything, now = params.one(query_params.EVERYTHING.name) == "true", site.clock.now()

        def read(conn: Connection) -> Content:
            views = selected_silences(conn, site.config(), params.selection, now=now, everything=everything)
            return json_content(listing("silences", views, now=now))

        return answer(request, await site.read(read))

    return respond


def _recheck(site: Site) -> Handler:
    async def respond(request: Request) -> Response:
        selection = ApiParams.read(request, ()).selection
        text = request.path_params["number"]
        number = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0

        def read(conn: Connection) -> Content:
            now = site.clock.now()
            found = selected_rechecks(conn, site.config(), selection, [number], now=now)
            if not found:
                raise HTTPException(404, "There is no recheck with this number.")
            return json_content({"generated_at": utc_text(now), "recheck": found[0].json()})

        return answer(request, await site.read(read))

    return respond


async def _document(request: Request) -> Response:
    ApiParams.read(request, ())
    described = {**openapi.document(), "servers": [{"url": address_for(request, "/").rstrip("/") or "/"}]}
    return answer(request, json_content(described))
