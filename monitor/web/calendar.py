"""/calendar.ics: one entry per coming expiry, as Google's, Apple's and Microsoft's calendars take it.

An entry keeps its UID for as long as its connection has its id; a date that moves moves the entry. Everything in it stays as
it is until the date moves, so that no calendar sees a change where there is none.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from monitor import __version__
from monitor.domain import Status
from monitor.domain.rules.advice import PROVIDER_NAMES, advice
from monitor.domain.text import clean
from monitor.domain.timefmt import moment, span, zone
from monitor.views.calendar import Expiry

if TYPE_CHECKING:
    from icalendar import Alarm, Event

MEDIA_TYPE = "text/calendar; charset=utf-8; method=PUBLISH"
FORM = f"{__version__} 1"
"""What else than the expiries decides how it is written: the version, and a number for changes within one."""
NAME = "Social accounts to reconnect"
AHEAD = timedelta(days=400)
"""How far the calendar goes."""
_LASTS = timedelta(minutes=30)
"""How long an entry looks: one without a length is drawn as a hairline by some."""
_MOST_ALARMS = 5
_END = b"END:VCALENDAR\r\n"
_REFRESH = timedelta(hours=1)
_NAMESPACE = uuid.UUID("5f1d1d1c-54a4-5c7c-9d2c-6b1a0c1f3e77")


def calendar(expiries: Iterable[Expiry], *, timezone: str) -> bytes:
    """The whole calendar. `timezone` is for the dates in texts; the entries' own instants are UTC."""
    from icalendar import Calendar

    found = Calendar()
    found.add("prodid", f"-//token-expiry-monitor//{__version__.partition('.')[0]}//EN")
    found.add("version", "2.0")
    found.add("calscale", "GREGORIAN")
    found.add("method", "PUBLISH")
    found.add("x-wr-calname", NAME)
    found.add("x-wr-caldesc", "When the tokens of social accounts run out.")
    found.add("x-wr-timezone", "UTC")
    found.add("name", NAME)
    found.add("refresh-interval", _REFRESH, parameters={"VALUE": "DURATION"})
    found.add("x-published-ttl", "PT1H")
    # Each entry is written as it is made: a thousand of them alive at once would cost the daemon pauses to look through.
    entries = b"".join(_event(expiry, timezone).to_ical() for expiry in expiries)
    return bytes(found.to_ical()).removesuffix(_END) + entries + _END


def uid_of(connection: str) -> str:
    """The UID of a connection's entry: from its public id alone, in any process and at any time."""
    return f"{uuid.uuid5(_NAMESPACE, connection)}@token-expiry-monitor"


def _event(expiry: Expiry, timezone: str) -> Event:
    from icalendar import Event

    name = clean(expiry.label, otherwise=clean(expiry.external_id, otherwise="?"))
    platform = clean(expiry.platform, limit=40)
    event = Event()
    event.add("uid", uid_of(expiry.connection))
    event.add("dtstamp", expiry.known_at)
    event.add("created", expiry.known_at)
    event.add("last-modified", expiry.known_at)
    event.add("sequence", expiry.moved)
    event.add("dtstart", expiry.at.astimezone(UTC))
    event.add("dtend", (expiry.at + _LASTS).astimezone(UTC))
    event.add("summary", f"Reconnect {name} ({platform}): its token runs out")
    event.add("description", _description(expiry, name=name, platform=platform, timezone=timezone))
    event.add("categories", [platform or "social"])
    event.add("status", "CONFIRMED")
    event.add("transp", "TRANSPARENT")
    event.add("x-microsoft-cdo-busystatus", "FREE")
    if expiry.link:
        event.add("url", expiry.link)
    for stage in expiry.stages[:_MOST_ALARMS]:
        event.add_component(_alarm(name, platform, stage))
    return event


def _description(expiry: Expiry, *, name: str, platform: str, timezone: str) -> str:
    service = PROVIDER_NAMES[expiry.provider]
    lines = [
        f"The token of {name} ({platform}) runs out on {moment(expiry.at, zone(timezone))}.",
        advice(expiry.platform, Status.EXPIRING_SOON, expiry.provider),
        f"Where: {expiry.link}" if expiry.link else "",
        f"{clean(expiry.connection, limit=600)} at {service}",
    ]
    return "\n".join(line for line in lines if line)


def _alarm(name: str, platform: str, before: timedelta) -> Alarm:
    from icalendar import Alarm

    alarm = Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("trigger", -before)
    alarm.add("description", f"In {span(before)} the token of {name} ({platform}) runs out.")
    return alarm
