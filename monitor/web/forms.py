"""Forms of the pages: acknowledge, silence and recheck, through the same functions as the command line.

The daemon checks the store twice a second, so it notices these writes as it notices those of the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain.errors import MonitorError
from monitor.domain.rules.platforms import canonical
from monitor.domain.rules.silences import Silence, literal
from monitor.engine import acknowledgements, rechecks
from monitor.store import Connection, silences
from monitor.views.label_filter import labels_in_use
from monitor.views.selection import views_silenced
from monitor.views.silences import SilenceView, confined, is_confined
from monitor.web.auth import Visit, visit_of
from monitor.web.connection_page import id_of, read_one, show_connection
from monitor.web.pages import show, silences_context
from monitor.web.query_params import list_parameters, source_names
from monitor.web.rendering import connection_link
from monitor.web.silence_forms import ENDLESS, InvalidForm, comment_of, filled_in, length_of, times_of
from monitor.web.site import Site

BY = "the status page"
MOST_LISTED = 200
"""Connections that a page lists before a change."""


def routes(site: Site) -> list[Route]:
    """Return the routes that acknowledge, silence and recheck a connection, and add and remove silences.

    A form that cannot be carried out is shown again with the reason; transient errors go to the error handler.
    """

    async def connection(request: Request) -> Response:
        visit, public_id = visit_of(request), id_of(request)
        try:
            notice = await site.store.write(lambda conn: _change_connection(conn, site, visit, public_id))
        except MonitorError as error:
            if error.transient:
                raise
            return await show_connection(site, request, public_id, status=422, problem=str(error))
        shown: dict[str, Any] = {} if notice is None else {"said": notice}  # codespell:ignore said
        within = list_parameters(request.query_params.multi_items())
        return RedirectResponse(connection_link(public_id, **within, **shown), 303)

    async def add(request: Request) -> Response:
        visit = visit_of(request)
        try:
            if visit.field("step") == "preview":
                return await _preview(site, request, visit)
            await site.store.write(lambda conn: _add(conn, site, visit))
        except MonitorError as error:
            if error.transient:
                raise
            return await _silences_again(site, request, _filled(visit), str(error))
        return RedirectResponse("/silences?said=silenced", 303)  # codespell:ignore said

    async def remove(request: Request) -> Response:
        number, visit = int(request.path_params["number"]), visit_of(request)
        try:
            await site.store.write(lambda conn: _remove(conn, site, visit, number))
        except MonitorError as error:
            if error.transient:
                raise
            return await _silences_again(site, request, {}, str(error))
        return RedirectResponse("/silences?said=lifted", 303)  # codespell:ignore said

    return [
        Route("/connections/{id:path}", connection, methods=["POST"]),
        Route("/silences", add, methods=["POST"]),
        Route("/silences/{number:int}/remove", remove, methods=["POST"]),
    ]


async def _silences_again(site: Site, request: Request, filled: Mapping[str, Any], problem: str) -> Response:
    """Return the silences page with the form's values and the reason why they were refused."""
    return await show(
        site,
        request,
        "silences.html",
        lambda conn, config: silences_context(conn, config, site, request, everything=False, filled=filled),
        status=422,
        problem=problem,
    )


def _change_connection(conn: Connection, site: Site, visit: Visit, public_id: str) -> str | None:
    """Carry out a form of a connection's page and return the notice's code, if it has a notice. Raise InvalidForm."""
    config, now = site.config(), site.clock.now()
    view = read_one(conn, config, now, public_id, visit.selection)
    if view is None:
        raise InvalidForm("There is no connection with this ID.")
    if view.row.retired_at is not None:
        raise InvalidForm("This connection is no longer monitored, so it can be neither checked, acknowledged nor silenced.")
    author = visit.author(BY)
    match visit.field("action"):
        case "recheck":
            rechecks.request(conn, [view.row], now=now, author=author)
            return None
        case "ack":
            length = visit.field("for")
            until = None if length in ("", ENDLESS) else now + length_of(length)
            acknowledgements.acknowledge(conn, view.row, now=now, until=until, comment=comment_of(visit), author=author)
            return "acknowledged"
        case "unack":
            acknowledgements.unacknowledge(conn, view.row, now=now, author=author)
            return "unacknowledged"
        case "silence":
            silence = Silence(
                connections=(literal(view.id),), comment=comment_of(visit, required=True), **times_of(visit, config, now)
            )
            silence = confined(silence, visit.selection.bound_to)
            acknowledgements.add_silence(conn, silence, now=now, author=author)
            return "silenced"
        case _:
            raise InvalidForm("The form names no action.")


def _add(conn: Connection, site: Site, visit: Visit) -> None:
    """Add the silence of the form. Raise InvalidForm."""
    now = site.clock.now()
    acknowledgements.add_silence(conn, _silence_of(conn, site.config(), visit, now), now=now, author=visit.author(BY))


async def _preview(site: Site, request: Request, visit: Visit) -> Response:
    """Return the silences page with the connections that the silence of the form matches now. Raise InvalidForm."""

    def build(conn: Connection, config: Config) -> Mapping[str, Any]:
        now = site.clock.now()
        silence = _silence_of(conn, config, visit, now)
        views = views_silenced(conn, config, silence, now=now, selection=visit.selection)
        found = {"view": SilenceView(silence=silence, now=now), "views": views[:MOST_LISTED], "number": len(views)}
        return {**silences_context(conn, config, site, request, everything=False, filled=_filled(visit)), "preview": found}

    return await show(site, request, "silences.html", build)


def _filled(visit: Visit) -> dict[str, Any]:
    matchers: dict[str, Any] = {key: visit.form.get(key, []) for key in ("source", "platform", "label")}
    return {**matchers, "connection": visit.field("connection"), **filled_in(visit)}


def _silence_of(conn: Connection, config: Config, visit: Visit, now: datetime) -> Silence:
    """Return the silence of the form. Raise InvalidForm."""
    times = times_of(visit, config, now)
    globs = tuple(dict.fromkeys(visit.field("connection").split()))
    matchers = _matchers(conn, config, visit)
    if not any(matchers.values()) and not globs:
        raise InvalidForm("Choose a source, a platform, a label or connections to silence. * silences every connection.")
    silence = Silence(
        sources=tuple(sorted(matchers["source"])),
        platforms=tuple(sorted(matchers["platform"])),
        connections=globs,
        labels=dict(each.split("=", 1) for each in matchers["label"]),
        comment=comment_of(visit, required=True),
        **times,
    )
    return confined(silence, visit.selection.bound_to)


def _remove(conn: Connection, site: Site, visit: Visit, number: int) -> None:
    """Remove a silence. Raise MonitorError if there is none that the user may remove."""
    known = silences.find_silence(conn, number)
    if known is not None and not is_confined(known, visit.selection.bound_to):
        raise InvalidForm("This silence covers other connections too, so you cannot remove it.")
    acknowledgements.remove_silence(conn, number, now=site.clock.now(), author=visit.author(BY))


def _matchers(conn: Connection, config: Config, visit: Visit) -> dict[str, list[str]]:
    """Return the sources, platforms and labels of the form. Raise InvalidForm for an unknown source or label."""
    given = {key: [value for value in visit.form.get(key, []) if value] for key in ("source", "platform", "label")}
    names = source_names(conn, config, visit.selection)
    labels = {f"{key}={value}" for key, value in labels_in_use(conn, config, visit.selection)}
    for noun, known in (("source", names), ("label", labels)):
        if not set(given[noun]) <= known:
            raise InvalidForm(f"There is no such {noun}.")
    given["platform"] = [canonical(slug.lower()) for slug in given["platform"]]
    return given
