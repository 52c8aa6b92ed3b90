"""The page that confirms a change of many connections, and the form of silences with its preview: without script."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.config import Config, load
from monitor.domain import LastNotified, Status
from monitor.store import Store, connection_queries, incidents, rechecks, silences
from tests.support.command_line import add_source, make_world, write_config
from tests.support.factories import make_state
from tests.support.fakes import ManualClock
from tests.support.incidents import open_incident
from tests.support.web_client import Served, serving

PAGE = {"accept": "text/html"}
EXPIRED, REVOKED, SOON = "agency/linkedin-expired", "agency/linkedin-revoked", "agency/linkedin-expiring_soon"
STUDIO, VALID = "studio/65f0", "agency/linkedin-valid"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(write_config(tmp_path), {}).config


@pytest.fixture
async def site(store: Store, config: Config, clock: ManualClock, now: datetime) -> AsyncIterator[Served]:
    ids = make_world(store, now)
    with store.begin_write() as conn:
        for status in (Status.EXPIRING_SOON, Status.EXPIRED, Status.REVOKED):
            notified = LastNotified(status=status, at=now)
            open_incident(conn, source="agency", connection_id=ids[status], last_notified=notified, now=now)
    async with serving(store, config, clock) as served:
        yield served


async def send(site: Served, path: str, **fields: Any) -> httpx.Response:
    """Send a form of the page as a browser does."""
    page = await site.get("/silences", headers=PAGE)
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None
    headers = {**PAGE, "sec-fetch-site": "same-origin", "origin": site.url}
    return await site.client.post(site.url + path, data={"csrf": csrf[1], **fields}, headers=headers)


def hidden(page: str) -> dict[str, Any]:
    """Return the hidden fields of the form that confirms."""
    form = page[page.index('class="form wide-form"') :]
    found: dict[str, Any] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form):
        found.setdefault(name, []).append(html.unescape(value))
    return {name: values if name == "connection" else values[0] for name, values in found.items() if name != "csrf"}


def covered(page: str) -> set[str]:
    listed = page[page.index('id="covered-title"') :].partition("</section>")[0]
    return {html.unescape(each) for each in re.findall(r'href="/connections/([^"?]+)"', listed)}


def acked(store: Store) -> set[str]:
    with store.begin_read() as conn:
        return {row.public_id for row in connection_queries.get_connections(conn, incidents.all_acks(conn))}


def monitored(store: Store) -> set[str]:
    with store.begin_read() as conn:
        return {row.public_id for row in connection_queries.list_connections(conn)}


async def test_the_list_has_a_check_box_for_each_connection(site: Served) -> None:
    page = (await site.get("/?source=agency", headers=PAGE)).text
    assert len(re.findall(r'<input type="checkbox" name="connection" value="[^"]+" form="bulk"', page)) == 4
    assert '<option value="all">all 4 that match</option>' in page
    assert 'action="/selection?source=agency"' in page


@pytest.mark.parametrize(
    ("query", "fields", "ids"),
    [
        ("", {"which": "selected", "connection": [EXPIRED, VALID]}, {EXPIRED}),
        ("?source=studio", {"which": "selected", "connection": [EXPIRED, REVOKED]}, {EXPIRED, REVOKED}),
        ("?source=agency", {"which": "all"}, {EXPIRED, REVOKED, SOON}),
        ("?status=attention", {"which": "all"}, {EXPIRED, REVOKED, SOON}),
        ("?status=expired", {"which": "all"}, {EXPIRED}),
        ("?q=revoked", {"which": "all"}, {REVOKED}),
        ("?label=client%3Dacme&platform=linkedin", {"which": "all"}, {EXPIRED, REVOKED, SOON}),
    ],
)
async def test_an_acknowledgement_covers_what_the_page_lists(
    *, site: Served, store: Store, query: str, fields: dict[str, Any], ids: set[str]
) -> None:
    asked = await send(site, f"/selection{query}", action="ack", **fields)
    assert asked.status_code == 200, asked.text[:500]
    assert (covered(asked.text), acked(store)) == (ids, set())
    assert f"<h1>Acknowledge: {len(ids)} connection{'' if len(ids) == 1 else 's'}</h1>" in asked.text
    done = await send(site, f"/selection{query}", **hidden(asked.text), comment="Ann")
    assert (done.status_code, acked(store)) == (303, ids), done.text[:500]
    assert done.headers["location"].startswith("/?")


async def test_the_page_names_what_is_skipped(site: Served) -> None:
    page = (await send(site, "/selection", action="ack", which="all")).text
    assert "Skipped: 2 connections" in page
    assert "is valid): there is nothing to acknowledge." in page


async def test_a_selection_that_changed_meanwhile_is_shown_again(site: Served, store: Store, now: datetime) -> None:
    asked = await send(site, "/selection?source=agency", action="forget", which="all")
    add_source(store, "agency", [make_state(external_id="linkedin-new")], now=now)
    again = await send(site, "/selection?source=agency", **hidden(asked.text))
    assert (again.status_code, "Something else matches by now" in again.text) == (422, True)
    assert len(covered(again.text)) == 5
    assert len(monitored(store)) == 6
    done = await send(site, "/selection?source=agency", **hidden(again.text))
    assert (done.status_code, monitored(store)) == (303, {STUDIO})


async def test_connections_are_silenced_together(site: Served, store: Store) -> None:
    asked = await send(site, "/selection", action="silence", which="selected", connection=[EXPIRED, STUDIO])
    missing = await send(site, "/selection", **hidden(asked.text), **{"for": "1d"})
    assert (missing.status_code, "Give a reason." in missing.text) == (422, True)
    done = await send(site, "/selection", **hidden(missing.text), **{"for": "1d"}, comment="moving")
    assert done.status_code == 303
    with store.begin_read() as conn:
        [silence] = silences.list_silences(conn)
    assert (set(silence.connections), silence.comment) == ({EXPIRED, STUDIO}, "moving")


async def test_connections_are_checked_together(site: Served, store: Store) -> None:
    asked = await send(site, "/selection", action="recheck", which="selected", connection=[EXPIRED, STUDIO])
    assert (await send(site, "/selection", **hidden(asked.text))).status_code == 303
    with store.begin_read() as conn:
        pending = rechecks.pending_of_connections(conn, range(1, 20))
    assert len(pending) == 2


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"action": "ack", "which": "selected"}, "No connection is selected."),
        ({"action": "ack", "which": "selected", "connection": ["agency/nobody", "*"]}, "No connection is selected."),
        ({"action": "ack", "which": "selected", "connection": [VALID]}, "The change applies to none of these connections."),
        ({"action": "erase", "which": "all"}, "The form names no action."),
        ({"action": "forget", "which": "all", "step": "confirm"}, "Something else matches by now."),
    ],
)
async def test_a_form_that_cannot_be_carried_out_changes_nothing(
    *, site: Served, store: Store, fields: dict[str, Any], reason: str
) -> None:
    answer = await send(site, "/selection", **fields)
    assert (answer.status_code, reason in answer.text) == (422, True)
    assert (len(monitored(store)), acked(store)) == (5, set())


async def test_a_page_of_another_site_changes_nothing(site: Served, store: Store) -> None:
    fields = {"action": "forget", "which": "all", "step": "confirm", "csrf": "x"}
    answer = await site.client.post(f"{site.url}/selection", data=fields, headers={**PAGE, "origin": "https://evil.example"})
    assert (answer.status_code, len(monitored(store))) == (403, 5)


# --- silences


async def test_a_silence_is_previewed_before_it_is_saved(site: Served, store: Store) -> None:
    fields = {"source": "agency", "for": "1d", "comment": "moving"}
    shown = await send(site, "/silences", step="preview", **fields)
    assert (shown.status_code, "Preview: 4 connections now" in shown.text) == (200, True)
    assert 'value="moving"' in shown.text
    with store.begin_read() as conn:
        assert silences.list_silences(conn) == []
    assert (await send(site, "/silences", step="add", **fields)).status_code == 303
    with store.begin_read() as conn:
        assert len(silences.list_silences(conn)) == 1


@pytest.mark.parametrize(
    ("fields", "rule", "lasts"),
    [
        ({"repeat": "daily", "at": "22:00", "to": "06:00"}, "FREQ=DAILY", timedelta(hours=8)),
        ({"repeat": "weekly", "day": ["SU", "SA"], "at": "00:00", "to": "00:00"}, "FREQ=WEEKLY;BYDAY=SA,SU", timedelta(days=1)),
        ({"repeat": "weekly", "day": "MO", "at": "09:30", "to": "10:15"}, "FREQ=WEEKLY;BYDAY=MO", timedelta(minutes=45)),
    ],
)
async def test_a_silence_recurs_on_days_and_times(
    *, site: Served, store: Store, fields: dict[str, Any], rule: str, lasts: timedelta, now: datetime
) -> None:
    done = await send(site, "/silences", source="agency", comment="nights", **fields)
    assert done.status_code == 303, done.text[:500]
    with store.begin_read() as conn:
        [silence] = silences.list_silences(conn)
    assert (silence.rrule, silence.lasts, silence.ends_at) == (rule, lasts, None)
    begin = datetime.combine(now.date(), datetime.strptime(fields["at"], "%H:%M").replace(tzinfo=UTC).timetz())
    assert silence.starts_at == begin


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"repeat": "weekly", "at": "09:00", "to": "10:00"}, "Choose at least one day of the week."),
        ({"repeat": "daily", "at": "09:00"}, "A recurring silence needs the times of day"),
        ({"repeat": "daily", "at": "x", "to": "10:00"}, "A recurring silence needs the times of day"),
        ({"repeat": "yearly", "at": "09:00", "to": "10:00"}, "This recurrence is not offered."),
        ({"repeat": "daily", "at": "09:00", "to": "10:00", "until": "2020-01-01T00:00"}, "The silence would never be active"),
    ],
)
async def test_a_recurrence_that_makes_no_sense_is_refused(
    *, site: Served, store: Store, fields: dict[str, Any], reason: str
) -> None:
    answer = await send(site, "/silences", source="agency", comment="nights", **fields)
    assert (answer.status_code, reason in answer.text) == (422, True)
    with store.begin_read() as conn:
        assert silences.list_silences(conn) == []
