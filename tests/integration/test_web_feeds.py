"""Calendar, feed and badge: read back by their reference libraries, checked for what calendars and readers need of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import feedparser  # type: ignore[import-untyped]  # it ships no types
import httpx
import icalendar
import pytest
from sqlalchemy import update

from monitor.config import Config, Secret, load
from monitor.domain import Status, TokenState
from monitor.domain.records import replace
from monitor.store import Store, alerts, connections, sources
from monitor.store import schema as tables
from monitor.store.connections import ChangedConnection
from monitor.views.forecast import MOST
from tests.support.command_line import add_source, make_world, write_config
from tests.support.factories import make_alert, make_state
from tests.support.fakes import ManualClock
from tests.support.hostile_names import HOSTILE
from tests.support.web_client import Served, serving

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(write_config(tmp_path), {}).config


@pytest.fixture
async def site(store: Store, config: Config, clock: ManualClock) -> AsyncIterator[Served]:
    async with serving(store, config, clock) as served:
        yield served


async def read_calendar(site: Served, query: str = "") -> tuple[httpx.Response, Any, list[Any]]:
    """The calendar as it came and as the library reads it, and its entries."""
    answer = await site.get(f"/calendar.ics{query}")
    assert answer.status_code == 200
    found = icalendar.Calendar.from_ical(answer.content)
    assert isinstance(found, icalendar.Calendar)
    return answer, found, list(found.walk("VEVENT"))


# --- calendar


async def test_there_is_one_entry_for_each_coming_expiry(site: Served, store: Store, now: datetime) -> None:
    """What is broken already is no coming expiry, and a date that renews itself needs nobody."""
    make_world(store, now)
    renewing = make_state(external_id="youtube-1", platform="youtube", expires_at=now + timedelta(hours=1))
    add_source(store, "agency", [renewing], now=now)
    _, _, entries = await read_calendar(site)
    assert [str(entry["summary"]) for entry in entries] == [
        "Reconnect Person 1 (acme, linkedin): its token expires",
        "Reconnect Person 0 (acme, linkedin): its token expires",
    ]
    assert [entry.start for entry in entries] == [now + timedelta(days=5), now + timedelta(days=60)]


async def test_the_calendar_is_what_google_apple_and_outlook_need(site: Served, store: Store, now: datetime) -> None:
    make_world(store, now)
    answer, found, entries = await read_calendar(site)
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8; method=PUBLISH"
    assert answer.headers["content-disposition"] == 'inline; filename="token-expiry.ics"'
    text = answer.content.decode()
    # RFC 5545: CRLF everywhere, lines of at most 75 octets, an object that begins and ends as it must.
    assert text.startswith("BEGIN:VCALENDAR\r\n")
    assert text.endswith("END:VCALENDAR\r\n")
    assert "\n" not in text.replace("\r\n", "")
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    # Google names a subscription by X-WR-CALNAME, Outlook by NAME; both look how often to come back.
    assert str(found["version"]) == "2.0"
    assert str(found["prodid"]).startswith("-//")
    assert str(found["method"]) == "PUBLISH"
    assert str(found["calscale"]) == "GREGORIAN"
    assert str(found["x-wr-calname"]) == str(found["name"]) == "Social accounts to reconnect"
    assert found["refresh-interval"].dt == timedelta(hours=1)
    assert "REFRESH-INTERVAL;VALUE=DURATION:PT1H\r\n" in text
    assert str(found["x-published-ttl"]) == "PT1H"
    assert found.errors == []
    for entry in entries:
        _require_entry(entry)


def _require_entry(entry: Any) -> None:
    """Property by property."""
    assert entry.errors == []
    for name in ("uid", "dtstamp", "dtstart", "dtend", "summary", "description", "sequence", "last-modified", "created"):
        assert name in entry, name
        assert not isinstance(entry[name], list), f"{name} is there twice"
    for name in ("dtstamp", "dtstart", "dtend", "last-modified", "created"):
        assert entry[name].dt.utcoffset() == timedelta(0), f"{name} is not UTC: it would need a VTIMEZONE"
        assert re.fullmatch(rb"\d{8}T\d{6}Z", entry[name].to_ical())
    assert entry["dtstart"].dt < entry["dtend"].dt
    assert re.fullmatch(r"[0-9a-f-]{36}@token-expiry-monitor", str(entry["uid"]))
    assert 0 <= int(entry["sequence"]) < 2**31
    assert str(entry["status"]) == "CONFIRMED"
    # A reminder blocks nobody's day: Google and Apple look at TRANSP, Outlook at its own property.
    assert (str(entry["transp"]), str(entry["x-microsoft-cdo-busystatus"])) == ("TRANSPARENT", "FREE")
    assert str(entry["url"]).startswith("https://")
    assert "organizer" not in entry
    assert "attendee" not in entry
    alarms = list(entry.walk("VALARM"))
    assert [alarm["trigger"].dt for alarm in alarms] == [-timedelta(days=days) for days in (7, 3, 1)]
    for alarm in alarms:
        assert str(alarm["action"]) == "DISPLAY"
        assert str(alarm["description"])


async def test_nothing_in_the_calendar_changes_until_a_date_moves(
    site: Served, store: Store, now: datetime, clock: ManualClock
) -> None:
    """Time passing, a poll, another status: the same bytes, so that no importer sees a change where there is none."""
    ids = make_world(store, now)
    answer, _, entries = await read_calendar(site)
    clock.advance(timedelta(days=1, seconds=17))
    worse = make_state(
        status=Status.EXPIRING_SOON, external_id="linkedin-valid", display_name="Person 0", expires_at=now + timedelta(days=60)
    )
    with store.begin_write() as conn:
        connections.update(conn, [ChangedConnection(id=ids[Status.VALID], state=worse, fingerprint="new")])
    again, _, _ = await read_calendar(site)
    assert again.content == answer.content
    unchanged = await site.get("/calendar.ics", headers={"if-none-match": answer.headers["etag"]})
    assert unchanged.status_code == 304
    moved_at = clock.now()
    token = TokenState(status=Status.VALID, reason="stated", message="", expires_at=now + timedelta(days=90), issued_at=moved_at)
    renewed = make_state(external_id="linkedin-valid", display_name="Person 0", expires_at=now + timedelta(days=90), token=token)
    with store.begin_write() as conn:
        connections.update(conn, [ChangedConnection(id=ids[Status.VALID], state=renewed, fingerprint="newer")])
    _, _, after = await read_calendar(site)
    assert {str(entry["uid"]) for entry in after} == {str(entry["uid"]) for entry in entries}
    before, moved = entries[1], after[1]
    assert moved["uid"] == before["uid"]
    assert moved.start == now + timedelta(days=90)
    assert int(moved["sequence"]) > int(before["sequence"])
    assert moved["dtstamp"].dt == moved_at.replace(microsecond=0) > before["dtstamp"].dt
    assert after[0].to_ical() == entries[0].to_ical()


async def test_hostile_names_stay_inside_their_entries(site: Served, store: Store, now: datetime) -> None:
    """No name begins a line, a property or an entry of its own."""
    states = [make_state(external_id=f"linkedin-{n}", display_name=name, username=name) for n, name in enumerate(HOSTILE)]
    add_source(store, "agency", states, now=now)
    answer, _, entries = await read_calendar(site)
    assert len(entries) == len(HOSTILE) == answer.content.count(b"\r\nBEGIN:VEVENT\r\n")
    assert len({str(entry["uid"]) for entry in entries}) == len(HOSTILE)
    known = {
        "SUMMARY", "DTSTART", "DTEND", "DTSTAMP", "UID", "SEQUENCE", "CATEGORIES", "CREATED", "DESCRIPTION", "LAST-MODIFIED",
        "STATUS", "TRANSP", "URL", "X-MICROSOFT-CDO-BUSYSTATUS",
    }  # fmt: skip
    text = answer.content.decode()
    assert "\n" not in text.replace("\r\n", "")
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    for entry in entries:
        assert set(entry) == known
        _require_entry(entry)
        assert str(entry["summary"]).replace("\u200d", "").isprintable()  # emoji families are made with it
        assert len(str(entry["summary"])) < 200


async def test_the_calendar_takes_filters_and_refuses_unknown_values(site: Served, store: Store, now: datetime) -> None:
    make_world(store, now)
    assert len((await read_calendar(site, "?source=agency&sig=anything"))[2]) == 2
    assert (await read_calendar(site, "?source=studio"))[2] == []
    assert (await read_calendar(site, "?label=client=globex"))[2] == []
    assert (await site.get("/calendar.ics?source=nobody")).status_code == 404
    assert (await site.get("/calendar.ics?when=now")).status_code == 400


GRAMMAR = {
    "VCALENDAR": ({"PRODID", "VERSION"}, {"VEVENT", "VTIMEZONE"}),
    "VEVENT": ({"UID", "DTSTAMP", "DTSTART"}, {"VALARM"}),
    "VALARM": ({"ACTION", "TRIGGER", "DESCRIPTION"}, set()),
    "VTIMEZONE": ({"TZID"}, {"STANDARD"}),
    "STANDARD": ({"DTSTART", "TZOFFSETFROM", "TZOFFSETTO"}, set()),
}
"""RFC 5545, 3.6: the properties that a component must have exactly once, and the components that may be in it here."""
NOT_EMPTY = ("VCALENDAR", "VTIMEZONE")
"""The components that need another one inside them (RFC 5545, 3.4 and 3.6.5)."""


def strictly(text: bytes) -> list[str]:
    """Return the names of a calendar's components, read by the grammar alone; fail where a strict reader would refuse."""
    found: list[str] = []
    open_components: list[tuple[str, list[str], int]] = []
    for line in text.decode().replace("\r\n ", "").split("\r\n")[:-1]:
        name, mark, value = line.partition(":")
        assert mark, line
        if name == "BEGIN":
            assert value in (GRAMMAR[open_components[-1][0]][1] if open_components else {"VCALENDAR"})
            found.append(value)
            open_components.append((value, [], len(found)))
        elif name == "END":
            component, properties, before = open_components.pop()
            assert component == value
            assert all(properties.count(required) == 1 for required in GRAMMAR[component][0]), properties
            assert len(found) > before or component not in NOT_EMPTY, f"{component} is empty"
        else:
            open_components[-1][1].append(name.partition(";")[0])
    assert open_components == []
    return found


async def test_A21_a_calendar_is_never_empty_and_fills_later(site: Served, store: Store, now: datetime) -> None:
    """Strict readers refuse to subscribe to one without a component, and a fresh installation has nothing to show."""
    empty, found, entries = await read_calendar(site)
    assert strictly(empty.content) == ["VCALENDAR", "VTIMEZONE", "STANDARD"]
    assert entries == []
    [zone] = found.walk("VTIMEZONE")
    assert zone.to_tz().utcoffset(now.replace(tzinfo=None)) == timedelta(0)
    make_world(store, now)
    filled = await site.get("/calendar.ics", headers={"if-none-match": empty.headers["etag"]})
    assert filled.status_code == 200
    assert strictly(filled.content).count("VEVENT") == 2
    assert strictly((await site.get("/calendar.ics?source=studio")).content) == ["VCALENDAR", "VTIMEZONE", "STANDARD"]


async def test_a_calendar_has_a_maximum_number_of_entries(site: Served, store: Store, now: datetime) -> None:
    states = [make_state(external_id=f"linkedin-{n}", expires_at=now + timedelta(days=1, minutes=n)) for n in range(MOST + 5)]
    add_source(store, "agency", states, now=now)
    _, _, entries = await read_calendar(site)
    assert len(entries) == MOST
    assert entries[0].start == now + timedelta(days=1)


# --- feed


async def read_feed(site: Served, query: str = "") -> tuple[httpx.Response, Any]:
    answer = await site.get(f"/feed.atom{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/atom+xml")
    found = feedparser.parse(answer.content)
    assert not found.bozo, found.get("bozo_exception")
    assert found.version == "atom10"
    return answer, found


async def test_the_feed_is_read_by_the_reference_parser(site: Served, store: Store, now: datetime) -> None:
    ids = make_world(store, now)
    old = make_alert(id="alert-0", at=now - timedelta(days=3), event="expiring_soon", status="expiring_soon", severity="warning")
    about_source = make_alert(
        id="alert-2", event="source_failing", connection=None, external_id=None, platform=None, label=None, status="failing"
    )
    with store.begin_write() as conn:
        alerts.add_alerts(
            conn, [(make_alert(), ids[Status.EXPIRED], None), (old, ids[Status.EXPIRED], None), (about_source, None, None)]
        )
    answer, found = await read_feed(site)
    assert found.feed.id.startswith("urn:uuid:")
    assert found.feed.title
    assert found.feed.updated == "2026-03-10T12:00:00Z"
    assert found.feed.author == "token-expiry-monitor"
    assert [link.href for link in found.feed.links if link.rel == "self"] == [f"{site.url}/feed.atom"]
    assert len({entry.id for entry in found.entries}) == 3
    for entry in found.entries:
        assert entry.id.startswith("urn:uuid:")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.updated)
        assert entry.title
        assert entry.content[0].type == "text/plain"
        assert entry.link.startswith(f"{site.url}/")
    assert found.entries[-1].updated == "2026-03-07T12:00:00Z"
    assert f"{site.url}/connections/agency/linkedin-123" in [entry.link for entry in found.entries]
    again = await site.get("/feed.atom", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_entries_of_the_feed_never_change(site: Served, store: Store, now: datetime, clock: ManualClock) -> None:
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(expires_at=now + timedelta(days=3)), None, None)])
    before, _ = await read_feed(site)
    clock.advance(timedelta(days=9))
    after, _ = await read_feed(site)
    assert after.content == before.content


async def test_an_empty_feed_is_a_feed(site: Served, store: Store, now: datetime) -> None:
    _, nothing = await read_feed(site)
    assert nothing.entries == []
    assert nothing.feed.updated == "1970-01-01T00:00:00Z"
    make_world(store, now)
    assert (await read_feed(site))[1].feed.updated == "2026-03-10T12:00:00Z"


async def test_hostile_names_stay_inside_the_feed(site: Served, store: Store, now: datetime) -> None:
    with store.begin_write() as conn:
        hostile = [
            make_alert(
                id=f"alert-{n}", label=name, message=name, external_id=name, connection=f"agency/{name}", platform=name,
                link=name, at=now + timedelta(seconds=n),
            )
            for n, name in enumerate(HOSTILE)
        ]  # fmt: skip
        alerts.add_alerts(conn, [(alert, None, None) for alert in hostile])
    answer, found = await read_feed(site)
    root = ET.fromstring(answer.content)  # noqa: S314 - our own answer
    tags = {element.tag.partition("}")[2] for element in root.iter()}
    known = "feed id title subtitle updated generator author name link entry published category content"
    assert tags == set(known.split())
    assert len(found.entries) == 100
    for entry in found.entries:
        assert entry.link.startswith(f"{site.url}/connections/agency/")
        assert entry.link.isascii()
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", answer.text)


async def test_the_feed_takes_filters(site: Served, store: Store, now: datetime) -> None:
    make_world(store, now)
    with store.begin_write() as conn:
        alerts.add_alerts(
            conn, [(make_alert(), None, None), (make_alert(id="b", source="studio", platform="youtube"), None, None)]
        )
    assert len((await read_feed(site, "?source=studio"))[1].entries) == 1
    assert len((await read_feed(site, "?platform=linkedin"))[1].entries) == 1
    assert (await site.get("/feed.atom?source=nobody")).status_code == 404


# --- badge


def picture(answer: httpx.Response) -> tuple[ET.Element, str]:
    """The badge as XML, and its title: what those hear who do not see it."""
    assert answer.headers["content-type"] == "image/svg+xml"
    root = ET.fromstring(answer.content)  # noqa: S314 - our own answer
    title = root.find(f"{SVG}title")
    assert title is not None
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == title.get("id")
    return root, title.text or ""


async def test_the_badge_shows_the_overall_status(site: Served, store: Store, config: Config, now: datetime) -> None:
    assert picture(await site.get("/badge.svg"))[1] == "social accounts: 2 sources unread"
    ids = make_world(store, now)
    assert picture(await site.get("/badge.svg"))[1] == "social accounts: 2 of 5 broken"
    assert picture(await site.get("/badge.svg?source=studio"))[1] == "social accounts: 1 ok"
    with store.begin_write() as conn:
        connections.retire(conn, ids[Status.EXPIRED], now)
        connections.retire(conn, ids[Status.REVOKED], now)
    assert picture(await site.get("/badge.svg"))[1] == "social accounts: 1 expiring soon"


async def test_the_badge_is_not_green_for_what_is_not_known(
    site: Served, store: Store, now: datetime, clock: ManualClock
) -> None:
    def colours(answer: httpx.Response) -> set[str | None]:
        return {each.get("fill") for each in picture(answer)[0].iter()}

    from monitor.web.feeds import GREEN, GREY

    for name in ("agency", "studio"):
        add_source(store, name, [], now=now)
    assert picture(await site.get("/badge.svg"))[1] == "social accounts: none yet"
    assert GREEN not in colours(await site.get("/badge.svg"))
    add_source(store, "agency", [make_state(external_id="1", status=Status.UNKNOWN)], now=now)
    assert picture(await site.get("/badge.svg"))[1] == "social accounts: 1 unknown"
    assert GREEN not in colours(await site.get("/badge.svg"))
    add_source(store, "studio", [make_state(external_id="2")], now=now)
    assert picture(await site.get("/badge.svg"))[1] == "social accounts: 2 ok"
    with store.begin_write() as conn:
        sources.save_readings(conn, sources.readings("studio", [("late", now, None, 0)]))
        conn.execute(
            update(tables.scopes).where(tables.scopes.c.source == "studio").values(last_complete_at=now - timedelta(hours=1))
        )
    answer = await site.get("/badge.svg")
    assert picture(answer)[1] == "social accounts: 1 of 2 stale"
    assert GREY in colours(answer)
    assert GREEN not in colours(answer)


async def test_the_badge_of_one_connection(site: Served, store: Store, now: datetime, clock: ManualClock) -> None:
    make_world(store, now)
    answer = await site.get("/badge.svg?connection=agency/linkedin-expiring_soon")
    assert picture(answer)[1] == "Person 1: expiring soon"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    missing = await site.get("/badge.svg?connection=agency/nobody")
    assert (missing.status_code, picture(missing)[1]) == (404, "connection: not found")
    clock.advance(timedelta(hours=2))
    assert picture(await site.get("/badge.svg?connection=agency/linkedin-valid"))[1] == "Person 0: valid, stale data"


async def test_hostile_names_stay_inside_the_badge(site: Served, store: Store, now: datetime) -> None:
    """Text and nothing else, in a picture of a bearable size."""
    states = [make_state(external_id=f"linkedin-{n}", display_name=name, username=None) for n, name in enumerate(HOSTILE)]
    add_source(store, "agency", states, now=now)
    for number in range(0, len(HOSTILE), 3):
        root, title = picture(await site.get(f"/badge.svg?connection=agency/linkedin-{number}"))
        assert {element.tag.removeprefix(SVG) for element in root.iter()} == {"svg", "title", "rect", "path", "g", "text"}
        assert title.endswith(": valid")
        assert 40 < int(root.get("width") or 0) < 700
        for element in root.iter():
            assert not any(name.lower().startswith("on") or name in ("style", "href") for name in element.attrib)


def test_the_colours_of_badges_have_enough_contrast() -> None:
    """White text has a contrast of at least 4.5 to 1 on each (WCAG AA)."""
    from monitor.web import feeds

    for colour in (feeds.GREEN, feeds.AMBER, feeds.RED, feeds.GREY, feeds.DARK):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        light = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        luminance = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]
        assert 1.05 / (luminance + 0.05) >= 4.5, colour


# --- links that are signed


async def test_feeds_require_a_signed_link(store: Store, config: Config, clock: ManualClock, now: datetime) -> None:
    make_world(store, now)
    async with serving(store, config, clock, token="t0ken-of-the-web") as site:
        from monitor.web.auth import Access, User

        access = Access.of(site.config, site.site.signing_key)
        operator = User(name="token", token="t0ken-of-the-web")
        for path in ("/calendar.ics", "/feed.atom", "/badge.svg"):
            assert (await site.get(path)).status_code == 401
            assert (await site.get(f"{path}?sig=v2.{'0' * 32}")).status_code == 401
            answer = await site.get(f"{path}?source=agency&sig={access.sign(operator, path, [('source', 'agency')])}")
            assert answer.status_code == 200
            assert "t0ken" not in answer.text
        other = access.sign(operator, "/calendar.ics")
        assert (await site.get(f"/feed.atom?sig={other}")).status_code == 401
        site.config = replace(site.config, web=replace(site.config.web, token=Secret("another")))
        assert (await site.get(f"/calendar.ics?sig={other}")).status_code == 401
