"""/api/v1: the lists of the command line's --json, a page at a time, and what can be done there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.config import Config
from monitor.store import Connection
from monitor.views import pages
from monitor.views.filters import Shaped
from monitor.views.pages import Query
from monitor.views.silences import silence_views
from monitor.web import api_params, api_writes, openapi
from monitor.web.api_params import ApiParams, Parameter
from monitor.web.openapi import ROOT
from monitor.web.responses import Content, Handling, Resource, answer, json_content, nothing_here
from monitor.web.site import Site

Build = Callable[[Connection, Config, Query, datetime, ApiParams], Shaped]


@dataclass(frozen=True, slots=True)
class ListEndpoint:
    """One list: its parameters, and how a page of it is read."""

    parameters: Sequence[Parameter]
    build: Build


def _forecast(conn: Connection, config: Config, asked: Query, now: datetime, given: ApiParams) -> Shaped:
    return pages.forecast_page(conn, config, asked, now=now, within=timedelta(days=given.number(api_params.DAYS)))


LISTS = {
    "connections": ListEndpoint(
        api_params.CONNECTIONS, lambda conn, config, asked, now, _: pages.connection_page(conn, config, asked, now=now)
    ),
    "sources": ListEndpoint(
        api_params.SOURCES, lambda conn, config, asked, now, _: pages.source_page(conn, config, asked, now=now)
    ),
    "events": ListEndpoint(api_params.EVENTS, lambda conn, config, asked, now, _: pages.event_page(conn, config, asked, now=now)),
    "alerts": ListEndpoint(api_params.ALERTS, lambda conn, config, asked, now, _: pages.alert_page(conn, config, asked, now=now)),
    "forecast": ListEndpoint(api_params.FORECAST, _forecast),
}


def routes(site: Site) -> list[Route]:
    """The addresses of the API."""
    silences = Resource(get=_silences(site), post=api_writes.silence(site))
    return [
        *(Route(f"{ROOT}/{name}", Resource(get=_lister(site, listing))) for name, listing in LISTS.items()),
        Route(f"{ROOT}/acks", Resource(post=api_writes.ack(site))),
        Route(f"{ROOT}/silences", silences),
        Route(f"{ROOT}/silences/{{number}}/remove", Resource(post=api_writes.unsilence(site))),
        Route(f"{ROOT}/openapi.json", Resource(get=_document)),
        Route("/api/{rest:path}", Resource(get=nothing_here, post=nothing_here)),
    ]


def _lister(site: Site, listing: ListEndpoint) -> Handling:
    async def respond(request: Request) -> Response:
        given = ApiParams.read(request.query_params, listing.parameters)
        return answer(request, await site.read(_page, site, listing, given, request))

    return respond


def _page(site: Site, listing: ListEndpoint, given: ApiParams, request: Request) -> Content:
    config, now = site.config(), site.clock.now()
    with site.store.begin_read() as conn:
        asked = given.query(conn, config)
        found = listing.build(conn, config, asked, now, given).json()
    headers = {}
    if found["next"] is not None:
        others = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        headers["link"] = f'<{request.url.path}?{urlencode([*others, ("cursor", found["next"])])}>; rel="next"'
    return json_content(found, **headers)


def _silences(site: Site) -> Handling:
    def read(everything: bool) -> Content:  # noqa: FBT001 - an answer's own parameter
        now = site.clock.now()
        with site.store.begin_read() as conn:
            found = silence_views(conn, now=now, everything=everything)
        return json_content(api_writes.silence_list(found, now))

    async def respond(request: Request) -> Response:
        given = ApiParams.read(request.query_params, api_params.SILENCES)
        return answer(request, await site.read(read, given.one(api_params.EVERYTHING.name) == "true"))

    return respond


async def _document(request: Request) -> Response:
    ApiParams.read(request.query_params, ())
    return answer(request, json_content(openapi.document()))
