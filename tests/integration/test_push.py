"""Pushed reports, by real HTTP into the real store: what is answered is recorded, and what stops coming is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from monitor.demo.world import World
from monitor.domain import SourceStatus
from monitor.domain.records import replace
from monitor.engine.intake import Intake
from monitor.engine.recording import pushes
from monitor.store import Store
from monitor.web.openapi import document
from monitor.web.push import MOST_REPORTS, PushedReport
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import CHANNEL, Cycle, running
from tests.support.web_client import Served, serving

HOUR = timedelta(hours=1)
TOKEN = "t0ken-of-the-cron-jobs-27-characters"
SOURCE = f"""
[[sources]]
name = "cron"
provider = "push"
token = "{TOKEN}"
stale_after = "26h"
labels = {{ client = "acme" }}
requests_per_minute = 50
"""


@dataclass(kw_only=True)
class Pushing:
    """A site that takes reports, and what follows from them."""

    served: Served
    cycle: Cycle
    intake: Intake
    woken: set[str] = field(default_factory=set)

    async def push(self, body: object, *, source: str = "cron", token: str = TOKEN) -> httpx.Response:
        return await self.served.client.post(
            f"{self.served.url}/api/v1/push/{source}", json=body, headers={"authorization": f"Bearer {token}"}
        )

    async def retire(self, key: str) -> httpx.Response:
        return await self.served.client.delete(
            f"{self.served.url}/api/v1/push/cron", params={"id": key}, headers={"authorization": f"Bearer {TOKEN}"}
        )

    async def connection(self, key: str) -> dict[str, Any]:
        found = (await self.served.json("/api/v1/connections"))["connections"]
        return next(each for each in found if each["external_id"] == key)

    def new_alerts(self) -> list[tuple[str, str]]:
        found = [(alert.event.value, alert.external_id or alert.source) for alert in self.cycle.alerts]
        self.cycle.alerts.clear()
        return found


@asynccontextmanager
async def started(store: Store, clock: ManualClock, folder: Path, *, source: str = SOURCE) -> AsyncIterator[Pushing]:
    async with running(store, clock, World(clock=clock), folder, extra=CHANNEL + source) as cycle:
        intake = Intake(store=store, clock=clock)
        intake.open(cycle.config, recorded=lambda recorded: cycle.alerts.extend(recorded.alerts))
        async with serving(store, cycle.config, clock, intake=intake) as served:
            yield Pushing(served=served, cycle=cycle, intake=intake)


@pytest.fixture
async def site(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Pushing]:
    async with started(store, clock, tmp_path) as found:
        yield found


async def test_a_report_is_recorded_alerts_once_and_recovers(site: Pushing) -> None:
    first = await site.push({"id": "backup", "name": "Nightly backup", "status": "valid", "platform": "AWS"})
    assert first.status_code == 200
    assert first.json() | {"generated_at": ""} == {"generated_at": "", "reports": 1, "changed": 1}
    schema = {"$ref": "#/components/schemas/PushResult", "components": document()["components"]}
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(first.json())
    assert site.new_alerts() == [], "a healthy connection is silent when it is first seen"
    assert (await site.push({"id": "backup", "name": "Nightly backup", "status": "valid", "platform": "AWS"})).json()[
        "changed"
    ] == 0

    failing = {"id": "backup", "name": "Nightly backup", "status": "failing", "message": "Access denied", "platform": "AWS"}
    await site.push(failing)
    assert site.new_alerts() == [("failing", "backup")], "a pushed problem needs no confirmation"
    await site.push(failing)
    assert site.new_alerts() == []
    found = await site.connection("backup")
    assert (found["id"], found["status"], found["platform"], found["display_name"]) == (
        "cron/backup",
        "failing",
        "aws",
        "Nightly backup",
    )
    assert "Access denied" in found["message"]
    await site.push({"id": "backup", "status": "valid"})
    assert site.new_alerts() == [("recovered", "backup")]


@pytest.mark.parametrize("status", ["expired", "revoked", "failing", "expiring_soon"])
async def test_each_status_counts_immediately(site: Pushing, status: str) -> None:
    await site.push({"id": "a", "status": status})
    assert site.cycle.statuses() == {"cron/a": status}
    assert site.new_alerts() == [(status, "a")]


async def test_a_pushed_date_expires_the_connection_and_a_later_one_renews_it(site: Pushing, clock: ManualClock) -> None:
    await site.push({"id": "cert", "expires_at": (clock.now() + 3 * HOUR).isoformat()})
    assert site.new_alerts() == [("expiring_soon", "cert")]
    await site.cycle.pass_time(4 * HOUR)
    assert site.new_alerts() == [("expired", "cert")]
    await site.push({"id": "cert", "expires_at": (clock.now() + 2000 * HOUR).isoformat()})
    assert site.new_alerts() == [("recovered", "cert")]


async def test_a_date_without_a_time_ends_at_the_end_of_that_day(site: Pushing) -> None:
    site.served.config = replace(site.served.config, timezone="Europe/Madrid")
    await site.push({"id": "cert", "expires_at": "2027-07-15"})
    assert (await site.connection("cert"))["expires_at"] == "2027-07-15T22:00:00Z"


async def test_labels_of_a_report_never_override_those_of_the_configuration(site: Pushing) -> None:
    await site.push({"id": "a", "status": "valid", "labels": {"client": "someone-else", "team": "red"}})
    assert (await site.connection("a"))["labels"] == {"client": "acme", "team": "red"}


async def test_a_report_that_stops_makes_the_source_fail_once_and_the_next_one_ends_it(site: Pushing, clock: ManualClock) -> None:
    await site.push([{"id": "a", "status": "valid"}, {"id": "b", "status": "expired"}])
    await site.cycle.poll()
    assert site.cycle.source("cron").status is SourceStatus.OK
    site.new_alerts()
    clock.advance(20 * HOUR)
    await site.push({"id": "a", "status": "valid"})
    await site.cycle.poll(after=7 * HOUR)
    row = site.cycle.source("cron")
    assert (row.status, row.reason, row.connections) == (SourceStatus.FAILING, "push_stale", 2)
    assert row.message == "No report about 1 connection for more than 1 day 2 hours: b."
    assert site.new_alerts() == [("source_failing", "cron")]
    assert ((await site.connection("b"))["stale"], (await site.connection("b"))["status"]) == (True, "expired")
    assert not (await site.connection("a"))["stale"]
    assert [each["reason"] for each in (await site.served.json("/api/v1/sources"))["sources"]] == ["push_stale"]

    await site.cycle.poll(after=HOUR)
    await site.cycle.pass_time(15 * HOUR)
    await site.cycle.poll(after=15 * HOUR)
    assert [each for each in site.new_alerts() if each[0].startswith("source")] == [], "notified once"
    await site.push({"id": "a", "status": "valid"})
    assert site.cycle.source("cron").status is SourceStatus.FAILING, "the other one is still stale"
    await site.push({"id": "b", "status": "expired"})
    assert site.cycle.source("cron").status is SourceStatus.OK
    assert ("source_recovered", "cron") in site.new_alerts()


async def test_the_next_poll_is_due_when_the_first_connection_becomes_stale(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    async with started(store, clock, tmp_path, source=SOURCE.replace('"26h"', '"2m"')) as site:
        await site.cycle.poll()
        await site.push({"id": "a", "status": "valid"})
        assert site.cycle.source("cron").next_poll_at == clock.now() + timedelta(minutes=2)
        clock.advance(timedelta(minutes=1))
        await site.push({"id": "b", "status": "valid"})
        await site.cycle.poll(after=timedelta(seconds=30))
        assert site.cycle.source("cron").next_poll_at == clock.now() + timedelta(seconds=30)


async def test_without_stale_after_nothing_is_ever_stale(store: Store, clock: ManualClock, tmp_path: Path) -> None:
    async with started(store, clock, tmp_path, source=SOURCE.replace('stale_after = "26h"', "")) as site:
        await site.push({"id": "a", "status": "valid"})
        await site.cycle.poll(after=2000 * HOUR)
        assert not (await site.connection("a"))["stale"]
        assert (await site.served.json("/api/v1/connections"))["stale"] == 0
        assert site.cycle.source("cron").status is SourceStatus.OK


async def test_delete_retires_a_connection_and_ends_staleness_and_a_push_brings_it_back(site: Pushing) -> None:
    await site.push([{"id": "a/b c", "status": "expired"}, {"id": "b", "status": "valid"}])
    assert (await site.retire("missing")).status_code == 404
    await site.cycle.poll(after=27 * HOUR)
    await site.push({"id": "b", "status": "valid"})
    site.new_alerts()
    answer = await site.retire("a/b c")
    assert (answer.status_code, answer.content) == (204, b"")
    assert site.new_alerts() == [("source_recovered", "cron")]
    assert site.cycle.statuses() == {"cron/b": "valid"}
    assert site.cycle.source("cron").connections == 1
    assert (await site.retire("a/b c")).status_code == 404
    await site.push({"id": "a/b c", "status": "valid"})
    assert site.cycle.statuses() == {"cron/b": "valid", "cron/a/b c": "valid"}


MISTAKES = [
    ([{"id": "a"}, {"id": "b", "expires_at": 5}], "Report 2, expires_at: must be a time such as 2027-01-15T00:00:00Z, or a date"),
    ([{"id": "a"}, {"id": "b", "expires_at": "soon"}], "Report 2, expires_at: is not a time"),
    ({"id": "a", "expires_at": "2027-01-15T00:00:00"}, "Report 1, expires_at: has no offset"),
    ({"id": "a", "expires_at": "2027-02-30"}, "Report 1, expires_at: is not a time"),
    ({"id": "a", "expires_at": "0001-01-01T00:00:00+10:00"}, "Report 1, expires_at: is not a time"),
    ({"id": "a", "expires_at": "1970-01-01T00:00:00Z"}, "Report 1, expires_at: is before 2015: omit it if the date is unknown."),
    ({"id": "a", "expires_at": "0001-01-02"}, "Report 1, expires_at: is before 2015"),
    ({"id": "a", "expires_at": "9999-12-31"}, "Report 1, expires_at: is not a time"),
    ([{"id": "a"}, {"name": "b"}], "Report 2, id: is missing."),
    ({}, "Report 1, id: is missing."),
    ([{"id": "a"}, "b"], "Report 2: must be an object."),
    ([{"id": "a"}, {"id": "b", "state": "valid"}], "Report 2: unknown key state; allowed are id, name, platform, expires_at"),
    ({"id": "a", "\u001b`x`" + "y" * 100: 1}, f"Report 1: unknown key \ufffd`x`{'y' * 60}; allowed are id, name,"),
    ([{"id": "a"}, {"id": "a"}], "Report 2, id: is the same as that of report 1"),
    ({"id": ""}, "Report 1, id: must be a text of 1 to 256 characters, without control characters."),
    ({"id": "x" * 257}, "Report 1, id: must be a text of 1 to 256 characters"),
    ({"id": "a\nb"}, "Report 1, id: must be a text of 1 to 256 characters, without control characters."),
    ({"id": " a"}, "Report 1, id: has white space"),
    ({"id": "a\u202eb"}, "Report 1, id: has white space at an end, or invisible characters"),
    ({"id": "a", "status": "ok"}, "Report 1, status: must be one of valid, expiring_soon, failing, expired, revoked."),
    ({"id": "a", "labels": {"client": 5}}, "Report 1, labels: must be an object of at most 20 texts"),
    ({"id": "a", "labels": {"": "x"}}, "Report 1, labels: must be an object of at most 20 texts"),
    ({"id": "a", "name": 5}, "Report 1, name: must be a text of at most 256 characters"),
    ({"id": "a", "message": "x" * 1001}, "Report 1, message: must be a text of at most 1000 characters."),
    ({"id": "a", "platform": "a b"}, "Report 1, platform: must be a text of 1 to 64 letters, digits, "),
    ([], "a list of 1 to 1000 reports."),
    ([{"id": str(number)} for number in range(MOST_REPORTS + 1)], "a list of 1 to 1000 reports."),
    (5, "The body must be one report, or a list of 1 to 1000 reports."),
]


@pytest.mark.parametrize(("body", "text"), MISTAKES, ids=range(len(MISTAKES)))
async def test_a_mistake_names_the_report_and_the_key_and_nothing_is_recorded(site: Pushing, body: object, text: str) -> None:
    answer = await site.push(body)
    assert answer.status_code == 422
    assert text in answer.json()["detail"]
    assert answer.json()["detail"].endswith("Nothing was recorded.")
    assert site.cycle.states() == {}


async def test_a_mistake_in_any_key_states_what_the_key_allows(site: Pushing) -> None:
    for key in PushedReport.__struct_fields__:
        answer = await site.push({"id": "a", key: [1]})
        assert f"Report 1, {key}: must be " in answer.json()["detail"]


async def test_an_unknown_source_is_answered_like_a_wrong_token(site: Pushing) -> None:
    body = {"id": "a", "status": "valid"}
    answers = [
        await site.push(body, token="wrong"),
        await site.push(body, source="nothing", token=TOKEN),
        await site.push(body, source="nothing", token="-"),
        await site.push("not even a report", token="x" * len(TOKEN)),
    ]
    assert {(each.status_code, each.text, each.headers["www-authenticate"]) for each in answers} == {
        (401, answers[0].text, "Bearer")
    }
    assert site.cycle.states() == {}
    for _ in range(20):
        last = await site.push(body, token="wrong")
    assert last.status_code == 429
    assert (await site.push(body)).status_code == 200, "the right token is accepted nevertheless"


async def test_the_limit_of_requests_holds_and_more_follow_with_time(site: Pushing, clock: ManualClock) -> None:
    answers = [(await site.push({"id": str(number), "status": "valid"})).status_code for number in range(51)]
    assert answers == [200] * 50 + [429]
    clock.advance(timedelta(seconds=2))
    answer = await site.push({"id": "a", "status": "valid"})
    assert answer.status_code == 200


async def test_more_connections_than_allowed_are_refused_as_a_whole(site: Pushing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushes, "MOST_IDS", 3)
    assert (await site.push([{"id": "a"}, {"id": "b"}])).status_code == 200
    refused = await site.push([{"id": "c"}, {"id": "d"}])
    assert refused.status_code == 409
    assert "more than 3 connections" in refused.json()["detail"]
    assert (await site.push([{"id": "a", "status": "valid"}, {"id": "c"}])).status_code == 200
    assert len(site.cycle.states()) == 3


async def test_a_daemon_that_does_not_have_the_database_answers_503(site: Pushing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.engine.intake.OPEN_WITHIN", timedelta(milliseconds=50))
    site.intake.close()
    refused = await site.push({"id": "a", "status": "valid"})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert site.cycle.states() == {}
    site.intake.open(site.cycle.config, recorded=lambda _: None)
    assert (await site.push({"id": "a", "status": "valid"})).status_code == 200


async def test_pushes_that_arrive_together_are_all_recorded(site: Pushing) -> None:
    answers = await asyncio.gather(*(site.push({"id": str(number), "status": "expired"}) for number in range(40)))
    assert {each.status_code for each in answers} == {200}
    assert len(site.cycle.states()) == 40
    assert len(site.new_alerts()) == 40


async def test_other_methods_and_types_are_refused(site: Pushing) -> None:
    url, headers = f"{site.served.url}/api/v1/push/cron", {"authorization": f"Bearer {TOKEN}"}
    client = site.served.client
    assert (await client.get(url, headers=headers)).status_code == 405
    assert (await client.post(url, headers=headers, content=b"{}")).status_code == 415
    bad = await client.post(url, headers={**headers, "content-type": "application/json"}, content=b"{")
    assert bad.status_code == 400
    assert (await client.delete(url, headers=headers)).status_code == 400
    large = await client.post(url, headers={**headers, "content-type": "application/json"}, content=b" " * (2 * 1024 * 1024 + 1))
    assert large.status_code == 413
