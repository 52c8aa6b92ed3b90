"""The read-only pages: status, sources, silences. Each is built and rendered in a reader thread of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain import Severity
from monitor.store import Connection, outbox, sources
from monitor.views.label_filter import labels_in_use
from monitor.views.silences import SilenceView, is_confined, selected_silences
from monitor.views.sources import channel_views, source_views
from monitor.web import status_page
from monitor.web.auth import visit_of
from monitor.web.query_params import platform_names, source_names
from monitor.web.rendering import page
from monitor.web.silence_forms import LENGTHS, SINGLE, WEEKDAYS
from monitor.web.site import Site, notice_text

_POLLS_SHOWN = 30
UNFILLED: Mapping[str, Any] = {**dict.fromkeys(SINGLE, ""), "day": []}
"""The fields of an empty form for a silence."""

Build = Callable[[Connection, Config], Mapping[str, Any] | None]
"""Reads the template's context; None if the page's subject does not exist."""


async def show(
    site: Site,
    request: Request,
    template: str,
    build: Build,
    *,
    status: int = 200,
    problem: str | None = None,
    missing: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Read with `build` and render, off the event loop and over one consistent state of the store.

    Where `build` returns None the response is a 404 page with `missing`: the subject's noun and ID.
    """

    def work(conn: Connection) -> HTMLResponse:
        config, now = site.config(), site.clock.now()
        context = build(conn, config)
        if context is None:
            return page(request, "missing.html", config, now, {**(missing or {}), "problem": None, "notice": None}, status=404)
        notice = notice_text(request.query_params.get("said"))  # codespell:ignore said
        return page(request, template, config, now, {**context, "problem": problem, "notice": notice}, status=status)

    return await site.read(work)


def routes(site: Site) -> list[Route]:
    """Return the routes of the status, sources and silences pages."""
    cache = status_page.TimelineCache()

    async def status(request: Request) -> Response:
        now = site.clock.now()
        return await show(site, request, "status.html", lambda conn, config: status_page.build(conn, config, now, request, cache))

    async def sources(request: Request) -> Response:
        return await show(site, request, "sources.html", lambda conn, config: _sources(conn, config, site))

    async def silences(request: Request) -> Response:
        everything = request.query_params.get("all") == "yes"
        return await show(
            site,
            request,
            "silences.html",
            lambda conn, config: silences_context(conn, config, site, request, everything=everything, filled={}),
        )

    return [
        Route("/", status, methods=["GET"]),
        Route("/sources", sources, methods=["GET"]),
        Route("/silences", silences, methods=["GET"]),
    ]


def _sources(conn: Connection, config: Config, site: Site) -> dict[str, Any]:
    now = site.clock.now()
    views = source_views(conn, config, now=now)
    failing_scopes: dict[str, list[Any]] = {}
    for row in sources.all_scopes(conn):
        if row.problem:
            failing_scopes.setdefault(row.source, []).append(row)
    return {
        "views": views,
        "problems": {view.name: list(view.problems()) for view in views},
        "advice": {view.name: view.advice for view in views},
        "polls": {view.name: list(reversed(sources.last_polls(conn, view.name, limit=_POLLS_SHOWN))) for view in views[:50]},
        "failing_scopes": failing_scopes,
        "channels": channel_views(conn, config),
        "settings": {channel.name: channel for channel in config.channels},
        "pending": outbox.pending_counts(conn),
        "oldest": outbox.oldest_pending(conn),
        "info": Severity.INFO,
    }


def silences_context(
    conn: Connection, config: Config, site: Site, request: Request, *, everything: bool, filled: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the context of the silences page. `filled` holds the form's values after a refused submission."""
    selection = visit_of(request).selection
    views: list[SilenceView] = selected_silences(conn, config, selection, now=site.clock.now(), everything=everything)
    return {
        "views": views,
        "everything": everything,
        "removable": {view.silence.id for view in views if is_confined(view.silence, selection.bound_to)},
        "source_names": sorted(source_names(conn, config, selection)),
        "platforms": sorted(platform_names(conn, config, selection)),
        "labels": [f"{key}={value}" for key, value in labels_in_use(conn, config, selection)],
        "lengths": {key: text for key, (text, _) in LENGTHS.items()},
        "weekdays": WEEKDAYS,
        "preview": None,
        "filled": {"source": [], "platform": [], "label": [], "connection": "", **UNFILLED, **filled},
    }
