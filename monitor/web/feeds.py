"""Atom feed, iCalendar feed and badge."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.etree import ElementTree as ET  # nosec B405

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor import __version__
from monitor.config import Config
from monitor.domain import Alert, Severity, Status, provider_info, utc_text
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules.advice import advice
from monitor.domain.text import clean
from monitor.domain.timefmt import moment, span, zone
from monitor.notify.messages import Dispatch
from monitor.notify.messages.alert_text import Wording, item_of
from monitor.store import Connection, alerts, connection_pages, sources
from monitor.views import pages
from monitor.views.connections import ConnectionView, Reader
from monitor.views.forecast import MOST, Expiry, upcoming_expiries
from monitor.views.label_filter import resolve_labels
from monitor.views.pages import ConnectionPage, PageRequest
from monitor.web import query_params
from monitor.web.auth import SIGNATURE, USER
from monitor.web.origins import site_address
from monitor.web.query_params import ApiParams
from monitor.web.responses import Content, Handler, Resource, answer, etag_of, has_current, text_content
from monitor.web.site import Site

if TYPE_CHECKING:
    from icalendar import Alarm, Event

ATOM_TYPE = "application/atom+xml"
ENTRIES = 100
"""The number of alerts in the feed, the newest ones."""
_ATOM = "http://www.w3.org/2005/Atom"
_ATOM_NAMESPACE = uuid.UUID("0c0b8f55-0f0e-5c92-8f0c-2e4b3f1a9d10")


def feed(alerts: Sequence[Alert], *, site: str, begun_at: datetime, timezone: str) -> bytes:
    """Return an Atom feed of these alerts, newest first. `site` is the address of the pages, without a final slash.

    `begun_at` is the time of the last change of an empty feed.
    """
    root = ET.Element("feed", {"xmlns": _ATOM, "xml:lang": "en"})
    _add(root, "id", id_of("feed"))
    _add(root, "title", "Token expiry monitor: alerts")
    _add(root, "subtitle", "Alerts about the social accounts behind your API keys.")
    _add(root, "updated", utc_text(max((alert.at for alert in alerts), default=begun_at)) or "")
    _add(root, "generator", "token-expiry-monitor", version=__version__)
    _add(_add(root, "author"), "name", "token-expiry-monitor")
    _add(root, "link", rel="self", type=ATOM_TYPE, href=f"{site}/feed.atom")
    _add(root, "link", rel="alternate", type="text/html", href=f"{site}/")
    for alert in alerts:
        _entry(root, alert, site=site, timezone=timezone)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def id_of(alert_id: str) -> str:
    """Return an entry's ID, derived from its alert's ID alone."""
    return uuid.uuid5(_ATOM_NAMESPACE, alert_id).urn


def _entry(root: ET.Element, alert: Alert, *, site: str, timezone: str) -> None:
    item = item_of([Dispatch(alert=alert)], Wording(zone=zone(timezone), now=alert.at))
    entry = _add(root, "entry")
    _add(entry, "id", id_of(alert.id))
    _add(entry, "title", item.opening, type="text")
    _add(entry, "updated", utc_text(alert.at) or "")
    _add(entry, "published", utc_text(alert.at) or "")
    _add(entry, "category", term=str(alert.event))
    _add(entry, "category", term=str(alert.severity), scheme="urn:token-expiry-monitor:severity")
    where = f"{site}/connections/{quote(alert.connection)}" if alert.connection else f"{site}/alerts"
    _add(entry, "link", rel="alternate", type="text/html", href=where)
    lines = [
        item.opening,
        item.reach,
        item.expiry,
        item.cause,
        *item.report_lines,
        item.advice and f"What to do: {item.advice}",
        item.link or "",
    ]
    _add(entry, "content", "\n".join(line for line in lines if line), type="text")


def _add(parent: ET.Element, name: str, text: str = "", **attributes: str) -> ET.Element:
    """Add a child element. Characters that XML 1.0 does not allow are removed."""
    legal = {key: _legal(value) for key, value in attributes.items()}
    element = ET.SubElement(parent, name, legal)
    element.text = _legal(text) or None
    return element


def _legal(text: str) -> str:
    return "\n".join(clean(line, limit=2000) for line in text.split("\n"))


SVG_TYPE = "image/svg+xml"
_LONGEST = 40
_FONT = "Verdana,DejaVu Sans,Geneva,sans-serif"
# White text on each of these has a contrast of at least 4.5 to 1.
GREEN, AMBER, RED, GREY, DARK = "#1a7f37", "#8a5a00", "#b42318", "#57606a", "#3b4148"
_NARROW, _WIDE = frozenset("fijlrtI1.,:;'|!()[] "), frozenset("mwMW@%")


def colour_of(status: Status) -> str:
    """Return the colour of a connection's status."""
    if status is Status.UNKNOWN:
        return GREY
    return {"info": GREEN, "warning": AMBER}.get(str(status.severity), RED)


def badge(label: str, message: str, colour: str) -> str:
    """Return the badge as SVG. Both texts may be untrusted; the title repeats them for screen readers."""
    label, message = (clean(text, limit=_LONGEST, otherwise="?") for text in (label, message))
    left, right = escape(label), escape(message)
    wide, more = _width(label), _width(message)
    whole = wide + more
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" viewBox="0 0 {whole} 20" role="img" '
        f'aria-labelledby="t"><title id="t">{left}: {right}</title>'
        f'<rect width="{whole}" height="20" rx="3" fill="{DARK}"/>'
        f'<path fill="{colour}" d="M{wide} 0h{more - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{more - 3}z"/>'
        f'<g fill="#fff" font-family="{_FONT}" font-size="11" text-anchor="middle" aria-hidden="true">'
        f'<text x="{wide / 2:g}" y="14" textLength="{wide - 12}" lengthAdjust="spacingAndGlyphs">{left}</text>'
        f'<text x="{wide + more / 2:g}" y="14" textLength="{more - 12}" lengthAdjust="spacingAndGlyphs">{right}</text>'
        "</g></svg>\n"
    )


def _width(text: str) -> int:
    """Return a text's approximate width in pixels with its margins; `textLength` then stretches it to this width."""
    units = sum(4 if each in _NARROW else 10 if each in _WIDE else 7 if ord(each) < 0x2E80 else 12 for each in text)
    return units + 12


CALENDAR_TYPE = "text/calendar; charset=utf-8; method=PUBLISH"
FORMAT = f"{__version__} 3"
"""Part of the ETag: the version, and a number for changes of the format within one version."""
NAME = "Social accounts to reconnect"
AHEAD = timedelta(days=400)
"""The period that the calendar covers."""
_LASTS = timedelta(minutes=30)
"""The length of an entry: some programs draw one without a length as a hairline."""
_MOST_ALARMS = 5
_END = b"END:VCALENDAR\r\n"
_UTC = (
    b"BEGIN:VTIMEZONE\r\nTZID:Etc/UTC\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0000\r\nTZOFFSETTO:+0000\r\n"
    b"TZNAME:UTC\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
)
"""The component of a calendar without entries: RFC 5545, 3.4 and 3.6, require one, and calendars show nothing for this one."""
_REFRESH = timedelta(hours=1)
_CALENDAR_NAMESPACE = uuid.UUID("5f1d1d1c-54a4-5c7c-9d2c-6b1a0c1f3e77")


def calendar(expiries: Iterable[Expiry], *, timezone: str) -> bytes:
    """Return the calendar. `timezone` is used in texts; the start and end of entries are UTC."""
    from icalendar import Calendar

    found = Calendar()
    found.add("prodid", f"-//token-expiry-monitor//{__version__.partition('.')[0]}//EN")
    found.add("version", "2.0")
    found.add("calscale", "GREGORIAN")
    found.add("method", "PUBLISH")
    found.add("x-wr-calname", NAME)
    found.add("x-wr-caldesc", "Expiry dates of the tokens of social accounts.")
    found.add("x-wr-timezone", "UTC")
    found.add("name", NAME)
    found.add("refresh-interval", _REFRESH, parameters={"VALUE": "DURATION"})
    found.add("x-published-ttl", "PT1H")
    # Entries are serialized one by one: a thousand of them in memory would lengthen the garbage collector's pauses.
    entries = b"".join(_entry_of(expiry, timezone) for expiry in expiries) or _UTC
    return bytes(found.to_ical()).removesuffix(_END) + entries + _END


@lru_cache(maxsize=MOST)
def _entry_of(expiry: Expiry, timezone: str) -> bytes:
    """Return the text of an entry: writing it takes far longer than reading its data, and few of them change."""
    return bytes(_event(expiry, timezone).to_ical())


def uid_of(connection: str) -> str:
    """Return the UID of a connection's entry, derived from its public ID alone."""
    return f"{uuid.uuid5(_CALENDAR_NAMESPACE, connection)}@token-expiry-monitor"


def _event(expiry: Expiry, timezone: str) -> Event:
    from icalendar import Event

    name = clean(expiry.label, otherwise=clean(expiry.external_id, otherwise="?"))
    platform, group = clean(expiry.platform, limit=40), clean(expiry.group, limit=40)
    event = Event()
    event.add("uid", uid_of(expiry.connection))
    event.add("dtstamp", expiry.known_at)
    event.add("created", expiry.known_at)
    event.add("last-modified", expiry.known_at)
    event.add("sequence", expiry.revision)
    event.add("dtstart", expiry.at.astimezone(UTC))
    event.add("dtend", (expiry.at + _LASTS).astimezone(UTC))
    event.add("summary", f"Reconnect {name} ({f'{group}, ' if group else ''}{platform}): its token expires")
    event.add("description", _description(expiry, name=name, platform=platform, timezone=timezone))
    event.add("categories", [platform or "social", *([group] if group else [])])
    event.add("status", "CONFIRMED")
    event.add("transp", "TRANSPARENT")
    event.add("x-microsoft-cdo-busystatus", "FREE")
    if expiry.link:
        event.add("url", expiry.link)
    for stage in expiry.stages[:_MOST_ALARMS]:
        event.add_component(_alarm(name, platform, stage))
    return event


def _description(expiry: Expiry, *, name: str, platform: str, timezone: str) -> str:
    service = provider_info(expiry.provider).label
    lines = [
        f"The token of {name} ({platform}) expires on {moment(expiry.at, zone(timezone))}.",
        advice(expiry.platform, Status.EXPIRING_SOON, expiry.provider),
        f"Link: {expiry.link}" if expiry.link else "",
        f"{clean(expiry.connection, limit=600)} at {service}",
    ]
    return "\n".join(line for line in lines if line)


def _alarm(name: str, platform: str, before: timedelta) -> Alarm:
    from icalendar import Alarm

    alarm = Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("trigger", -before)
    alarm.add("description", f"The token of {name} ({platform}) expires in {span(before)}.")
    return alarm


_FILTERS = (query_params.SOURCE, query_params.PLATFORM, query_params.LABEL)


def routes(site: Site) -> list[Route]:
    """Return the routes of the feeds."""
    return [
        Route("/calendar.ics", Resource(get=_calendar(site))),
        Route("/feed.atom", Resource(get=_feed(site))),
        Route("/badge.svg", Resource(get=_badge(site))),
    ]


def _calendar(site: Site) -> Handler:
    def read(conn: Connection, params: ApiParams, request: Request) -> Content:
        config, now = site.config(), site.clock.now()
        filters = params.filters(conn, config)
        found = upcoming_expiries(conn, config, now=now, within=AHEAD, filters=filters)
        etag = etag_of(repr((FORMAT, config.timezone, found)).encode("utf-8", "replace"))
        # Writing a large calendar takes far longer than reading its data, and it hardly ever changes.
        text = b"" if has_current(request, etag) else calendar(found, timezone=config.timezone)
        headers = {"content-disposition": 'inline; filename="token-expiry.ics"'}
        return Content(body=text, media_type=CALENDAR_TYPE, etag=etag, headers=headers)

    async def respond(request: Request) -> Response:
        params = ApiParams.read(request, _FILTERS, ignored=(SIGNATURE, USER))
        return answer(request, await site.read(lambda conn: read(conn, params, request)))

    return respond


def _feed(site: Site) -> Handler:
    def read(conn: Connection, params: ApiParams, base: str) -> Content:
        config = site.config()
        filters = resolve_labels(conn, params.filters(conn, config), config)
        rows = alerts.alerts_before(conn, filters, before=None, limit=ENTRIES)
        begun = min((row.added_at for row in sources.all_sources(conn)), default=alerts.EPOCH)
        text = feed([row.alert for row in rows], site=base, begun_at=begun, timezone=config.timezone)
        return text_content(text, ATOM_TYPE)

    async def respond(request: Request) -> Response:
        params = ApiParams.read(request, _FILTERS, ignored=(SIGNATURE, USER))
        base = site_address(request, site.config())
        return answer(request, await site.read(lambda conn: read(conn, params, base)))

    return respond


def _badge(site: Site) -> Handler:
    def read(conn: Connection, params: ApiParams) -> tuple[Content, int]:
        config, now = site.config(), site.clock.now()
        public_id = params.one(query_params.CONNECTION.name)
        if public_id is not None:
            view = _exactly(conn, config, replace(params.selection, connection=public_id), now)
            return _badge_content(*_connection_badge(view)), 404 if view is None else 200
        page = PageRequest(filters=params.filters(conn, config), limit=1)
        found = pages.connection_page(conn, config, page, now=now)
        return _badge_content("social accounts", *_summary_badge(found)), 200

    async def respond(request: Request) -> Response:
        params = ApiParams.read(request, (*_FILTERS, query_params.CONNECTION), ignored=(SIGNATURE, USER))
        content, status = await site.read(lambda conn: read(conn, params))
        return answer(request, content, status=status)

    return respond


def _badge_content(label: str, message: str, colour: str) -> Content:
    # Badges are embedded in pages of other sites.
    shown = {"cross-origin-resource-policy": "cross-origin"}
    return text_content(badge(label, message, colour).encode(), SVG_TYPE, **shown)


def _exactly(conn: Connection, config: Config, wanted: ConnectionFilter, now: datetime) -> ConnectionView | None:
    found = connection_pages.connections_after(conn, resolve_labels(conn, wanted, config), now=now, limit=1)
    known = {row.name: row for row in sources.all_sources(conn)}
    return Reader(config, known, now=now).view(found[0]) if found else None


def _connection_badge(view: ConnectionView | None) -> tuple[str, str, str]:
    """Return the label, message and colour for one connection; stale data is grey."""
    if view is None:
        return "connection", "not found", GREY
    message = str(view.status).replace("_", " ")
    if view.stale:
        return view.snapshot.label, f"{message}, stale data", GREY
    return view.snapshot.label, message, colour_of(view.status)


def _summary_badge(found: ConnectionPage) -> tuple[str, str]:
    """Return the message and colour for all connections: broken ones first, then unread data, then those expiring soon."""
    total = sum(found.summary.values())
    broken = sum(number for status, number in found.summary.items() if status.severity is Severity.CRITICAL)
    soon, unknown = found.summary[Status.EXPIRING_SOON], found.summary[Status.UNKNOWN]
    unread = sum(1 for source in found.sources if source.unread or source.stale)
    stale = found.stale.total
    if broken:
        return f"{broken:,} of {total:,} broken", RED
    if unread:
        return f"{unread:,} source{'' if unread == 1 else 's'} unread", GREY
    if stale:
        return f"{stale:,} of {total:,} stale", GREY
    if soon:
        return f"{soon:,} expiring soon", AMBER
    if not total or unknown == total:
        return (f"{total:,} unknown" if total else "none yet"), GREY
    return f"{total:,} ok", GREEN
