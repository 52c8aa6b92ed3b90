"""Acknowledging from a message: the link, its page, and the button, on a page that needs a login for everything else."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from monitor.config import ChannelConfig
from monitor.domain import EventKind, LastNotified, Status
from monitor.domain.records import replace
from monitor.engine import acknowledgements
from monitor.notify.links import ACKNOWLEDGE_WITHIN, AcknowledgeLink
from monitor.store import Store, connection_queries, history, incidents
from monitor.store.schema import connections
from monitor.telemetry import logs
from monitor.web import clients
from monitor.web.security import SecurityMiddleware
from tests.support import canary
from tests.support.factories import NOW
from tests.support.fakes import ManualClock
from tests.support.incidents import open_incident
from tests.support.web_client import Served, serving
from tests.support.web_world import web_config

PAGE = {"accept": "text/html"}
EXPIRED = "agency/linkedin-agency000"


@pytest.fixture
def store(filled_store: Store) -> Store:
    """One kind of database is enough here."""
    return filled_store


@dataclass(kw_only=True)
class Case:
    """A site, an expired connection, and the link in the message about it."""

    site: Served
    store: Store
    clock: ManualClock

    @property
    def row(self) -> connection_queries.ConnectionRow:
        with self.store.begin_read() as conn:
            found = connection_queries.find_by_public_id(conn, EXPIRED)
        assert found is not None
        return found

    @property
    def incident(self) -> incidents.Incident:
        with self.store.begin_read() as conn:
            return incidents.find_open(conn, [self.row.id])[self.row.id]

    def link(self, *, channel: str = "ops", incident: str | None = None) -> str:
        """The path of the link in a message that is sent now."""
        until = self.clock.now() + ACKNOWLEDGE_WITHIN
        link = AcknowledgeLink(incident=incident or self.incident.id, channel=channel, until=until)
        return f"/ack/{link.text(self.site.site.signing_key)}"

    async def press(self, path: str, *, seen: str = "expired", **headers: str) -> httpx.Response:
        """Send the form of the page."""
        form = {"link": path.removeprefix("/ack/"), "status": seen}
        return await self.site.client.post(self.site.url + path, data=form, headers={**PAGE, **headers})

    def acknowledgements(self) -> list[str]:
        """The messages of acknowledgements in the connection's history."""
        with self.store.begin_read() as conn:
            entries = history.history_of(conn, self.row.id)
        return [str(entry.message) for entry in entries if entry.kind is EventKind.ACKNOWLEDGED]

    def set(self, **values: Any) -> None:
        """Change the stored connection."""
        with self.store.begin_write() as conn:
            conn.execute(update(connections).where(connections.c.id == self.row.id).values(values))

    def close(self) -> None:
        """End the incident."""
        with self.store.begin_write() as conn:
            incidents.close(conn, self.incident.id, self.clock.now())


@pytest.fixture
async def case(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Case]:
    async with serving(store, web_config(tmp_path), clock, token=canary.WEB_TOKEN) as served:
        yield Case(site=served, store=store, clock=clock)


async def test_whoever_has_the_link_sees_what_it_is_about_and_nothing_changes(case: Case) -> None:
    link = case.link()
    answer = await case.site.get(link, headers=PAGE)
    assert answer.status_code == 200
    for expected in ("Acme Ltd", "LinkedIn", "expired", "The token has expired.", "channel ops", "<button", EXPIRED):
        assert expected in answer.text
    assert "Log out" not in answer.text
    for method in ("GET", "HEAD", "OPTIONS"):
        await case.site.client.request(method, case.site.url + link, headers=PAGE)
    assert case.incident.ack is None
    assert case.acknowledgements() == []


async def test_the_address_is_kept_from_other_sites_caches_and_search_engines(case: Case) -> None:
    for path in (case.link(), "/ack/wrong", "/ack/"):
        answer = await case.site.get(path, headers=PAGE)
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
        assert "set-cookie" not in answer.headers
    assert (await case.site.get("/login")).headers["referrer-policy"] == "same-origin"


async def test_the_button_acknowledges_in_the_name_of_the_channel(case: Case) -> None:
    link = case.link()
    answer = await case.press(link)
    assert answer.status_code == 303
    assert httpx.URL(case.site.url + link).join(answer.headers["location"]).path == link
    ack = case.incident.ack
    assert ack is not None
    assert (ack.status, ack.until, ack.author) == (Status.EXPIRED, None, "channel ops")
    assert case.acknowledgements() == ["By channel ops."]
    shown = await case.site.get(link, headers=PAGE)
    assert "Acknowledged by <bdi>channel ops</bdi>" in shown.text
    assert "<button" not in shown.text
    again = await case.press(link)
    assert again.status_code == 303
    assert len(case.acknowledgements()) == 1


async def test_what_is_acknowledged_already_names_who_did_it(case: Case) -> None:
    with case.store.begin_write() as conn:
        until = NOW + timedelta(days=2)
        acknowledgements.acknowledge(conn, case.row, now=NOW, until=until, comment="I call them", author="ann")
    shown = (await case.site.get(case.link(), headers=PAGE)).text
    assert "Acknowledged by <bdi>ann</bdi>" in shown
    assert "I call them" in shown
    assert "until <time" in shown
    assert "<button" not in shown


def recover(case: Case) -> None:
    case.set(status="valid", token_status="valid", probe_status="ok", probe_finding="ok", token_expires_at=NOW + timedelta(60))
    case.close()


def fail_again(case: Case) -> None:
    case.close()
    with case.store.begin_write() as conn:
        notified = LastNotified(status=Status.EXPIRED, at=NOW)
        open_incident(conn, source="agency", connection_id=case.row.id, last_notified=notified, now=NOW)


def retire(case: Case) -> None:
    case.set(retired_at=NOW)
    case.close()


def configure(case: Case, **ops: Any) -> None:
    """Change the channel ops, as a reload does."""
    changed = [replace(each, **ops) if each.name == "ops" else each for each in case.site.config.channels]
    case.site.config = replace(case.site.config, channels=tuple(changed))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (recover, "has already recovered"),
        (fail_again, "A later message about this connection has its own link."),
        (retire, "no longer monitored"),
        (lambda case: case.clock.advance(ACKNOWLEDGE_WITHIN), "This link has expired."),
        (lambda case: configure(case, actions=False), "channel ops no longer acknowledge"),
        (lambda case: configure(case, name="renamed"), "channel ops no longer acknowledge"),
    ],
    ids=["recovered", "newer", "retired", "expired", "no-actions", "renamed"],
)
async def test_a_link_that_has_ended_states_why_and_acknowledges_nothing(case: Case, change: Any, sentence: str) -> None:
    link = case.link()
    change(case)
    answer = await case.site.get(link, headers=PAGE)
    assert answer.status_code == 410
    assert sentence in answer.text
    assert "<button" not in answer.text
    assert EXPIRED in answer.text
    assert (await case.press(link)).status_code == 410
    assert case.acknowledgements() == []


async def test_an_incident_that_is_no_longer_stored(case: Case) -> None:
    answer = await case.site.get(case.link(incident="gone"), headers=PAGE)
    assert answer.status_code == 410
    assert "no longer stored" in answer.text


async def test_one_second_before_its_end_a_link_is_valid(case: Case) -> None:
    link = case.link()
    case.clock.advance(ACKNOWLEDGE_WITHIN - timedelta(seconds=1))
    assert (await case.press(link)).status_code == 303


async def test_a_status_that_the_page_did_not_show_is_not_acknowledged(case: Case) -> None:
    answer = await case.press(case.link(), seen="expiring_soon")
    assert answer.status_code == 409
    assert "The status has changed" in answer.text
    assert case.incident.ack is None
    assert (await case.press(case.link(), seen=re.findall(r'name="status" value="(\w+)"', answer.text)[0])).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://elsewhere.example"}],
    ids=["cross-site", "same-site", "origin"],
)
async def test_pages_of_other_sites_cannot_press_the_button(case: Case, headers: dict[str, str]) -> None:
    assert (await case.press(case.link(), **headers)).status_code == 403
    assert case.incident.ack is None


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "same-origin"}, {"origin": "null"}, {}], ids=["same-origin", "hidden", "none"]
)
async def test_browsers_that_hide_the_origin_of_the_page_can(case: Case, headers: dict[str, str]) -> None:
    assert (await case.press(case.link(), **headers)).status_code == 303


async def test_only_here_may_the_origin_be_hidden(case: Case) -> None:
    answer = await case.site.client.post(case.site.url + "/login", data={"token": "x"}, headers={"origin": "null"})
    assert answer.status_code == 403
    assert "another site" in answer.text


@pytest.mark.parametrize("form", [{}, {"link": "wrong"}], ids=["absent", "wrong"])
async def test_a_form_without_the_link_is_refused(case: Case, form: dict[str, str]) -> None:
    answer = await case.site.client.post(case.site.url + case.link(), data={**form, "status": "expired"})
    assert answer.status_code == 403
    assert case.incident.ack is None


async def test_guessing_is_limited_and_the_right_link_still_works(case: Case) -> None:
    wrong = case.link()[:-1] + "x"
    for _ in range(clients.WRONG_AT_MOST):
        assert (await case.site.get(wrong)).status_code == 404
    refused = await case.press(wrong)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert (await case.press(case.link())).status_code == 303


async def test_the_link_is_in_no_log(case: Case) -> None:
    written = io.StringIO()
    logs.configure(level="debug", format="json", stream=written)
    secret = case.link().removeprefix("/ack/")

    async def failing(*_: Any) -> None:
        raise RuntimeError("a defect")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        assert message["type"] != "http.response.start" or message["status"] == 500

    head = [(b"host", case.site.url.removeprefix("http://").encode())]
    scope = {"type": "http", "method": "GET", "path": f"/ack/{secret}", "raw_path": b"", "query_string": b"", "headers": head}
    scope |= {"http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1)}
    await SecurityMiddleware(failing, case.site.site)(scope, receive, send)
    await case.site.get(f"/ack/{secret}", headers=PAGE)
    await case.site.get(f"/ack/{secret[:-1]}x", headers=PAGE)
    await case.press(f"/ack/{secret}")
    logs.flush()
    text = written.getvalue()
    assert "/ack/<secret>" in text
    assert "channel ops" in text
    assert secret.split(".")[0] not in text
    assert secret[-12:-1] not in text


def test_channels_have_actions_unless_the_configuration_turns_them_off(tmp_path: Path) -> None:
    channels: tuple[ChannelConfig, ...] = web_config(tmp_path).channels
    assert all(channel.actions for channel in channels)


async def test_the_link_works_below_a_base_path(case: Case) -> None:
    case.site.config = replace(case.site.config, web=replace(case.site.config.web, base_path="/tokens"))
    link = case.link()
    for path in (f"/tokens{link}", link):  # the proxy passes the base path on, or strips it
        shown = await case.site.get(path, headers=PAGE)
        assert f'href="/tokens/connections/{EXPIRED}"' in shown.text
    form = {"link": link.removeprefix("/ack/"), "status": "expired"}
    answer = await case.site.client.post(f"{case.site.url}/tokens{link}", data=form, follow_redirects=True)
    assert answer.url.path == f"/tokens{link}"
    assert "Acknowledged by <bdi>channel ops</bdi>" in answer.text
