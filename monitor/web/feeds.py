"""/calendar.ics, /feed.atom and /badge.svg: for programs that fetch again and again. With a token set their links are signed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.config import Config
from monitor.domain import Severity, Status
from monitor.store import keyset, sources
from monitor.store.keyset import Wanted
from monitor.views import pages
from monitor.views.calendar import coming_expiries
from monitor.views.connections import ConnectionView, Reader
from monitor.views.pages import ConnectionPage, Query
from monitor.views.status import Standing
from monitor.web import api_params, atom, badge
from monitor.web.api_params import Given
from monitor.web.responses import Content, Handling, Resource, answer, has_it, tag_of, text_content
from monitor.web.site import Site

SIGNATURE = "sig"
"""The parameter that opens a feed without a login; the gate looks at it."""
_PLACES = (api_params.SOURCE, api_params.PLATFORM, api_params.LABEL)


def routes(site: Site) -> list[Route]:
    """The feeds' addresses."""
    return [
        Route("/calendar.ics", Resource(get=_calendar(site))),
        Route("/feed.atom", Resource(get=_feed(site))),
        Route("/badge.svg", Resource(get=_badge(site))),
    ]


def _calendar(site: Site) -> Handling:
    from monitor.web import calendar

    def read(given: Given, request: Request) -> Content:
        config, now = site.config(), site.clock.now()
        with site.store.read() as conn:
            selection = given.selection(conn, config)
            found = coming_expiries(conn, config, now=now, within=calendar.AHEAD, selection=selection)
        etag = tag_of(repr((calendar.FORM, config.timezone, found)).encode("utf-8", "replace"))
        # Writing a large calendar takes far longer than reading what it is made of, and it hardly ever changes.
        text = b"" if has_it(request, etag) else calendar.calendar(found, timezone=config.timezone)
        headers = {"content-disposition": 'inline; filename="token-expiry.ics"'}
        return Content(body=text, media_type=calendar.MEDIA_TYPE, etag=etag, headers=headers)

    async def respond(request: Request) -> Response:
        given = Given.read(request.query_params, _PLACES, ignored=(SIGNATURE,))
        return answer(request, await site.read(read, given, request))

    return respond


def _feed(site: Site) -> Handling:
    def read(given: Given, base: str) -> Content:
        config = site.config()
        with site.store.read() as conn:
            chosen = given.selection(conn, config)
            wanted = Wanted(sources=chosen.source_names(config), platforms=chosen.platforms)
            rows = keyset.alerts_before(conn, None, wanted=wanted, limit=atom.ENTRIES)
            begun = min((row.added_at for row in sources.all_sources(conn)), default=keyset.EPOCH)
        text = atom.feed([row.alert for row in rows], site=base, begun_at=begun, timezone=config.timezone)
        return text_content(text, atom.MEDIA_TYPE)

    async def respond(request: Request) -> Response:
        given = Given.read(request.query_params, _PLACES, ignored=(SIGNATURE,))
        return answer(request, await site.read(read, given, str(request.base_url).rstrip("/")))

    return respond


def _badge(site: Site) -> Handling:
    def read(given: Given) -> tuple[Content, int]:
        config, now = site.config(), site.clock.now()
        wanted = given.one(api_params.CONNECTION.name)
        with site.store.read() as conn:
            if wanted is not None:
                view = _exactly(conn, config, wanted, now)
                label, word, colour = _one(view)
                return _picture(label, word, colour), 404 if view is None else 200
            asked = Query(selection=given.selection(conn, config), limit=1)
            found = pages.connection_page(conn, config, asked, now=now)
        word, standing = _all(found)
        return _picture("social accounts", word, badge.standing_colour(standing)), 200

    async def respond(request: Request) -> Response:
        given = Given.read(request.query_params, (*_PLACES, api_params.CONNECTION), ignored=(SIGNATURE,))
        content, status = await site.read(read, given)
        response = answer(request, content)
        response.status_code = response.status_code if status == 200 else status
        return response

    return respond


def _picture(label: str, word: str, colour: str) -> Content:
    # A badge is made to be shown on other sites' pages.
    shown = {"cross-origin-resource-policy": "cross-origin"}
    return text_content(badge.badge(label, word, colour).encode(), badge.MEDIA_TYPE, **shown)


def _exactly(conn: Connection, config: Config, public_id: str, now: datetime) -> ConnectionView | None:
    found = keyset.connections_after(conn, 0, wanted=Wanted(connection=public_id), now=now, limit=1)
    known = {row.name: row for row in sources.all_sources(conn)}
    return Reader(config, known, now=now).view(found[0]) if found else None


def _one(view: ConnectionView | None) -> tuple[str, str, str]:
    """What is said of one connection, and in which colour; old news is grey."""
    if view is None:
        return "connection", "not found", badge.GREY
    word = str(view.status).replace("_", " ")
    if view.stale:
        return view.snapshot.label, f"{word}, old data", badge.GREY
    return view.snapshot.label, word, badge.colour_of(view.status)


def _all(found: ConnectionPage) -> tuple[str, Standing]:
    """What is said of all of them: what does not work comes before what cannot be read, that before what runs out."""
    total = sum(found.summary.values())
    broken = sum(number for status, number in found.summary.items() if status.severity is Severity.CRITICAL)
    soon = found.summary[Status.EXPIRING_SOON]
    unread = sum(1 for source in found.sources if source.unread or source.stale)
    if broken:
        return f"{broken:,} of {total:,} broken", Standing.CRITICAL
    if unread:
        return f"{unread:,} source{'' if unread == 1 else 's'} unread", Standing.UNKNOWN
    if soon:
        return f"{soon:,} expiring soon", Standing.WARNING
    return (f"{total:,} ok" if total else "none yet"), Standing.OK
