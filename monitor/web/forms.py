"""Forms of the pages: acknowledge, silence and recheck, through the same functions as the command line.

The daemon checks the store twice a second, so it notices these writes as it notices those of the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain.errors import MonitorError
from monitor.domain.rules.platforms import canonical
from monitor.domain.rules.silences import Silence, literal
from monitor.domain.timefmt import zone
from monitor.engine import acknowledgements, rechecks
from monitor.store import Connection, silences
from monitor.views.label_filter import labels_in_use
from monitor.views.silences import confined, is_confined
from monitor.web.auth import Visit, visit_of
from monitor.web.connection_page import id_of, read_one, show_connection
from monitor.web.pages import LENGTHS, show, silences_context
from monitor.web.query_params import list_parameters, source_names
from monitor.web.rendering import connection_link
from monitor.web.site import Site

BY = "the status page"
LONGEST_COMMENT = 400
_ENDLESS = "removed"
"""The length of a silence that lasts until it is removed."""
_SINGLE = ("connection", "for", "comment", "from", "until")
"""The fields of the silence form with one value."""


class InvalidForm(MonitorError):
    """The form's values are not valid."""


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
            await site.store.write(lambda conn: _add(conn, site, visit))
        except MonitorError as error:
            if error.transient:
                raise
            filled: dict[str, Any] = {key: visit.form.get(key, []) for key in ("source", "platform", "label")}
            filled |= {key: visit.field(key) for key in _SINGLE}
            return await _silences_again(site, request, filled, str(error))
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
            until = None if length in ("", _ENDLESS) else now + _length(length)
            acknowledgements.acknowledge(conn, view.row, now=now, until=until, comment=_comment(visit), author=author)
            return "acknowledged"
        case "unack":
            acknowledgements.unacknowledge(conn, view.row, now=now, author=author)
            return "unacknowledged"
        case "silence":
            starts, ends = _period(visit, config, now)
            silence = Silence(
                connections=(literal(view.id),),
                comment=_comment(visit, required=True),
                timezone=config.timezone,
                starts_at=starts,
                ends_at=ends,
            )
            silence = confined(silence, visit.selection.bound_to)
            acknowledgements.add_silence(conn, silence, now=now, author=author)
            return "silenced"
        case _:
            raise InvalidForm("The form names no action.")


def _add(conn: Connection, site: Site, visit: Visit) -> None:
    """Add the silence of the form. Raise InvalidForm."""
    config, now = site.config(), site.clock.now()
    starts, ends = _period(visit, config, now)
    globs = tuple(dict.fromkeys(visit.field("connection").split()))
    matchers = _matchers(conn, config, visit)
    if not any(matchers.values()) and not globs:
        raise InvalidForm("Choose a source, a platform, a label or connections to silence. * silences every connection.")
    silence = Silence(
        sources=tuple(sorted(matchers["source"])),
        platforms=tuple(sorted(matchers["platform"])),
        connections=globs,
        labels=dict(each.split("=", 1) for each in matchers["label"]),
        comment=_comment(visit, required=True),
        timezone=config.timezone,
        starts_at=starts,
        ends_at=ends,
    )
    silence = confined(silence, visit.selection.bound_to)
    acknowledgements.add_silence(conn, silence, now=now, author=visit.author(BY))


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


def _period(visit: Visit, config: Config, now: datetime) -> tuple[datetime, datetime | None]:
    """Return the start and end of a silence, from two dates or a length. Raise InvalidForm."""
    begin, end, length = visit.field("from"), visit.field("until"), visit.field("for")
    starts = _local(begin, config) if begin else now
    if end and length not in ("", _ENDLESS):
        raise InvalidForm("Give either an end or a length, not both.")
    if end:
        ends: datetime | None = _local(end, config)
    elif length == _ENDLESS:
        ends = None
    elif length:
        ends = starts + _length(length)
    else:
        raise InvalidForm("Give an end or a length.")
    if ends is not None and ends <= max(starts, now):
        raise InvalidForm("The end must be in the future and after the start.")
    return starts, ends


def _length(key: str) -> timedelta:
    if key not in LENGTHS:
        raise InvalidForm("This length is not offered.")
    return LENGTHS[key][1]


def _local(text: str, config: Config) -> datetime:
    """Return a browser's date and time, given in the configured time zone. Raise InvalidForm."""
    try:
        found = datetime.fromisoformat(text)
        aware = found if found.tzinfo is not None else found.replace(tzinfo=zone(config.timezone) or UTC)
        return aware.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidForm("The date and time are not valid.") from None


def _comment(visit: Visit, *, required: bool = False) -> str:
    text = visit.field("comment")
    if required and not text:
        raise InvalidForm("Give a reason.")
    if len(text) > LONGEST_COMMENT:
        raise InvalidForm(f"The comment is too long: at most {LONGEST_COMMENT} characters.")
    return text
