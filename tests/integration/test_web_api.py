"""The JSON API over a real socket, on both databases: shapes, filters, pages that stay, tags, refusals, ack and silence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import to_builtins

from monitor.config import Config, load
from monitor.domain import Event, EventKind, Status, TokenState, Verdict
from monitor.domain.filters import ConnectionFilter
from monitor.store import Store, alerts, connection_queries, connections, history, outbox, rechecks
from monitor.store.connections import ChangedConnection
from monitor.views import pages
from monitor.views.alerts import alert_views
from monitor.views.json_types import listing
from monitor.views.status import overview
from tests.support.command_line import add_source, make_world, write_config
from tests.support.factories import make_alert, make_notified, make_state
from tests.support.fakes import ManualClock
from tests.support.hostile_names import HOSTILE
from tests.support.incidents import open_incident
from tests.support.web_client import Served, serving

STATUSES = [str(status) for status in Status]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Two sources, agency (labelled client=acme) and studio, and two channels."""
    return load(write_config(tmp_path), {}).config


@pytest.fixture
def world(store: Store, now: datetime) -> dict[str, int]:
    """Four connections of agency and one of studio; row ids by status."""
    return make_world(store, now)


@pytest.fixture
async def api(store: Store, config: Config, clock: ManualClock, world: dict[str, int]) -> AsyncIterator[Served]:
    """The site for that world."""
    async with serving(store, config, clock) as served:
        yield served


async def all_of(api: Served, name: str, **query: Any) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(1000):
        page = await api.json(f"/api/v1/{name}", **query, **cursor)
        rows += page[name]
        if page["next"] is None:
            return rows
        cursor = {"cursor": page["next"]}
    raise AssertionError("the list never ends")


async def test_connections_have_the_shape_of_status_json(api: Served, store: Store, now: datetime) -> None:
    """One serializer: every connection, source and count is exactly what the command line prints."""
    found = await api.json("/api/v1/connections")
    with store.begin_read() as conn:
        wanted = to_builtins(overview(conn, api.config, now=now).json())
    assert found.pop("next") is None
    assert sorted(found.pop("connections"), key=lambda row: str(row["id"])) == sorted(
        wanted.pop("connections"), key=lambda row: str(row["id"])
    )
    assert found == wanted


async def test_alerts_events_sources_and_forecast_have_the_shapes_of_the_command_line(
    api: Served, store: Store, now: datetime, world: dict[str, int]
) -> None:
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(), world[Status.EXPIRED], None)])
        outbox.add_deliveries(conn, [("alert-1", "ops", now)], now)
    with store.begin_read() as conn:
        wanted = to_builtins(listing("alerts", alert_views(conn, api.config, filters=ConnectionFilter()), now=now))
    assert await api.json("/api/v1/alerts") == {**wanted, "next": None}
    events = await api.json("/api/v1/events")
    assert events["events"][0]["connection"] == "studio/65f0"
    assert set(events["events"][0]) == {"connection", "source", "at", "kind", "old", "new", "reason", "message", "author"}
    sources = await api.json("/api/v1/sources")
    assert [row["name"] for row in sources["sources"]] == ["agency", "studio"]
    assert [row["name"] for row in sources["channels"]] == ["ops", "night"]
    forecast = await api.json("/api/v1/forecast", days=30)
    assert [(row["overdue"], row["count"]) for row in forecast["forecast"]] == [(True, 2), (False, 1)]
    assert (await api.json("/api/v1/forecast", days=90))["forecast"][-1]["connections"][0]["id"] == "agency/linkedin-valid"


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"source": "studio"}, {"studio/65f0"}),
        ({"platform": "youtube"}, {"studio/65f0"}),
        ({"status": ["expired", "revoked"]}, {"agency/linkedin-expired", "agency/linkedin-revoked"}),
        ({"label": "client=globex"}, {"studio/65f0"}),
        ({"label": "client=acme", "status": "valid"}, {"agency/linkedin-valid"}),
        ({"q": "LINKEDIN-exp"}, {"agency/linkedin-expired", "agency/linkedin-expiring_soon"}),
        ({"q": "person 3"}, {"agency/linkedin-revoked"}),
        ({"q": "%"}, set()),
        ({"connection": "agency/linkedin-expired"}, {"agency/linkedin-expired"}),
        ({"connection": "agency/linkedin-exp"}, set()),
    ],
)
async def test_filters_narrow_connections_and_their_counts(api: Served, query: dict[str, Any], ids: set[str]) -> None:
    found = await api.json("/api/v1/connections", **query)
    assert {row["id"] for row in found["connections"]} == ids
    assert sum(found["summary"].values()) == len(ids)
    assert set(found["summary"]) == set(STATUSES)


async def test_filters_narrow_events_alerts_sources_and_the_forecast(
    api: Served, store: Store, now: datetime, world: dict[str, int]
) -> None:
    with store.begin_write() as conn:
        other = make_alert(id="alert-2", status="revoked", event="revoked", at=now - timedelta(hours=1))
        alerts.add_alerts(conn, [(make_alert(), world[Status.EXPIRED], None), (other, world[Status.REVOKED], None)])
    assert [row["id"] for row in await all_of(api, "alerts", status="expired")] == ["alert-1"]
    assert [row["id"] for row in await all_of(api, "alerts", q="linkedin-revoked")] == ["alert-2"]
    assert [row["id"] for row in await all_of(api, "alerts", platform="linkedin")] == ["alert-1", "alert-2"]
    assert await all_of(api, "alerts", label="client=globex") == []
    assert [row["connection"] for row in await all_of(api, "events", platform="youtube")] == ["studio/65f0"]
    assert [row["new"] for row in await all_of(api, "events", status="revoked")] == ["revoked"]
    assert len(await all_of(api, "events", connection="agency/linkedin-valid")) == 1
    assert [row["name"] for row in await all_of(api, "sources", platform="linkedin")] == ["agency"]
    assert [row["name"] for row in await all_of(api, "sources", q="TUD")] == ["studio"]
    assert await all_of(api, "sources", status="failing") == []
    assert [row["count"] for row in await all_of(api, "forecast", q="linkedin-expiring")] == [1]
    assert await all_of(api, "forecast", source="studio") == []


async def test_time_moves_status_filters_and_counts_without_a_write(
    api: Served, store: Store, now: datetime, clock: ManualClock
) -> None:
    """A trusted date that has passed shows in the row, in the filter and in the counts, also before it is written down."""
    token = TokenState(status=Status.VALID, reason="stated", message="Fine.", expires_at=now + timedelta(days=1))
    verdict = Verdict(status=Status.VALID, reason="stated", message="Fine.", since=now)
    state = make_state(
        external_id="linkedin-late", expires_at=now + timedelta(days=1), token=token, verdict=verdict, next_change_at=now
    )
    add_source(store, "agency", [state], now=now)
    clock.advance(timedelta(days=2))
    found = await api.json("/api/v1/connections", q="linkedin-late", status="expired")
    assert [row["status"] for row in found["connections"]] == ["expired"]
    assert found["summary"]["expired"] == 1
    assert (await api.json("/api/v1/connections", q="linkedin-late", status="valid"))["connections"] == []


async def test_pages_stay_while_rows_change_come_and_go(api: Served, store: Store, now: datetime) -> None:
    """Rows that exist from the first page to the last are listed exactly once, whatever changes in between."""
    states = [make_state(external_id=f"linkedin-{number}") for number in range(40)]
    ids = add_source(store, "agency", states, now=now)
    listed: list[str] = []
    cursor: dict[str, str] = {}
    step = 0
    while True:
        page = await api.json("/api/v1/connections", limit=7, **cursor)
        listed += [row["id"] for row in page["connections"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
        step += 1
        with store.begin_write() as conn:
            changed = make_state(external_id=f"linkedin-{step}", status=Status.EXPIRED)
            connections.update(conn, [ChangedConnection(id=ids[step], state=changed, fingerprint="")])
            connections.retire(conn, ids[39 - step], now)
        add_source(store, "agency", [make_state(external_id=f"linkedin-new{step}")], now=now)
    assert len(listed) == len(set(listed))
    assert {f"agency/linkedin-{number}" for number in range(30)} <= set(listed)


async def test_pages_of_every_list_join_to_the_whole(api: Served, store: Store, now: datetime, world: dict[str, int]) -> None:
    many = [make_alert(id=f"alert-{number}", at=now - timedelta(minutes=number // 3)) for number in range(20)]
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(alert, world[Status.EXPIRED], None) for alert in many])
    for name in ("connections", "sources", "events", "alerts", "forecast"):
        whole = (await api.json(f"/api/v1/{name}", limit=1000))[name]
        for limit in (1, 2, 3):
            assert await all_of(api, name, limit=limit) == whole, name


async def test_a_page_of_the_forecast_ends_before_it_has_too_many_connections(
    api: Served, store: Store, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [make_state(external_id=f"tiktok-{number}", platform="tiktok", status=Status.REVOKED) for number in range(5)]
    add_source(store, "agency", late, now=now)
    whole = (await api.json("/api/v1/forecast"))["forecast"]
    monkeypatch.setattr(pages, "MOST_IN_PAGE", 3)
    first = await api.json("/api/v1/forecast")
    assert len(first["forecast"]) == 1
    assert first["next"] is not None
    assert await all_of(api, "forecast") == whole
    assert len(whole) > 1


async def test_new_alerts_and_events_do_not_shift_a_page(api: Served, store: Store, now: datetime, world: dict[str, int]) -> None:
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(id=f"a{n}", at=now - timedelta(hours=n)), None, None) for n in range(4)])
    alert_page, event_page = await api.json("/api/v1/alerts", limit=2), await api.json("/api/v1/events", limit=2)
    with store.begin_write() as conn:
        alerts.add_alerts(conn, [(make_alert(id="newest", at=now + timedelta(hours=1)), None, None)])
        history.append(conn, "agency", world[Status.VALID], [Event(kind=EventKind.RENAMED, at=now)])
    following = await api.json("/api/v1/alerts", limit=2, cursor=alert_page["next"])
    assert [row["id"] for row in following["alerts"]] == ["a2", "a3"]
    rest = await api.json("/api/v1/events", cursor=event_page["next"])
    listed = [row["connection"] for row in [*event_page["events"], *rest["events"]]]
    assert len(listed) == len(set(listed)) == 5


async def test_the_next_page_is_linked_with_the_same_filters(api: Served) -> None:
    answer = await api.get("/api/v1/connections?status=expired&status=revoked&limit=1")
    following = answer.links["next"]["url"]
    assert following.startswith("/api/v1/connections?status=expired&status=revoked&limit=1&cursor=")
    assert (await api.get(following)).json()["connections"][0]["status"] in ("expired", "revoked")


async def test_what_has_not_changed_is_not_sent_again(api: Served, store: Store, now: datetime, clock: ManualClock) -> None:
    """The tag leaves out what the clock alone changes, and nothing else."""
    first = await api.get("/api/v1/connections")
    clock.advance(timedelta(seconds=30))
    for given in (first.headers["etag"], f'"other", {first.headers["etag"]}', "*", first.headers["etag"].removeprefix("W/")):
        again = await api.get("/api/v1/connections", headers={"if-none-match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["cache-control"] == "no-cache"
    add_source(store, "agency", [make_state(external_id="linkedin-new")], now=now)
    changed = await api.get("/api/v1/connections", headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


async def test_no_name_can_pass_for_the_clock(api: Served, store: Store, now: datetime) -> None:
    """The tag leaves out two members, and no text that looks like them."""
    tags = set()
    for number in range(2):
        odd = make_state(external_id="linkedin-odd", display_name=f'x","seconds_left":{number},"generated_at":"{number}"')
        with store.begin_write() as conn:
            for row in list(connection_queries.list_connections(conn, ConnectionFilter(sources=["studio"]))):
                connections.retire(conn, row.id, now)
        add_source(store, "studio", [odd], now=now)
        tags.add((await api.get("/api/v1/connections?connection=studio/linkedin-odd")).headers["etag"])
    assert len(tags) == 2


async def test_a_reconnect_batch_of_thousands_is_cut_and_counted(api: Served, store: Store, now: datetime) -> None:
    states = [make_state(external_id=f"linkedin-{n}", status=Status.EXPIRED) for n in range(1005)]
    add_source(store, "agency", states, now=now)
    batch = (await api.json("/api/v1/forecast"))["forecast"][0]
    assert (batch["count"], len(batch["connections"])) == (1007, 1000)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("connections?sourc=agency", 400, "Did you mean source?"),
        ("connections?source=agenci", 404, "Did you mean agency?"),
        ("connections?platform=linkedinn", 404, "Did you mean linkedin?"),
        ("connections?status=expird", 400, "did you mean expired?"),
        ("connections?label=client", 400, "label"),
        ("connections?label=client=nobody", 404, "No connection has these labels."),
        ("connections?limit=0", 400, "from 1 to 1000"),
        ("connections?limit=1001", 400, "from 1 to 1000"),
        ("connections?limit=1&limit=2", 400, "once"),
        ("connections?cursor=abc", 400, "cursor"),
        ("connections?q=%00", 400, "q"),
        ("connections?q=", 400, "1 to 200"),
        ("alerts?cursor=12", 400, "cursor"),
        ("forecast?days=4000", 400, "3650"),
        ("sources?status=expired", 400, "pending"),
        ("nothing", 404, "openapi.json"),
        ("openapi.json?x=1", 400, "parameter"),
    ],
)
async def test_typos_in_parameters_are_refused_with_the_nearest_name(api: Served, path: str, status: int, says: str) -> None:
    answer = await api.get(f"/api/v1/{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == status
    assert says in found["detail"]
    assert found["title"]


async def test_refusals_do_not_repeat_what_was_sent(api: Served) -> None:
    """Untrusted text in a response would end up in a page or log."""
    for name in HOSTILE[5:60]:
        for parameter in ("q", "source", "status", "cursor", "platform", "label"):
            answer = await api.client.get(f"{api.url}/api/v1/connections", params={parameter: name})
            assert answer.status_code in (200, 400, 404)
            assert "<script" not in answer.text
            assert "evil" not in answer.text


async def test_other_methods_are_named(api: Served) -> None:
    answer = await api.client.put(f"{api.url}/api/v1/connections", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    head = await api.client.head(f"{api.url}/api/v1/connections")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 100


@pytest.mark.parametrize("backend", ["sqlite"])  # a file can be moved away, a server cannot
async def test_an_unavailable_store_is_answered_with_503(api: Served, store: Store) -> None:
    assert store.path is not None
    store.path.rename(store.path.with_suffix(".gone"))
    answer = await api.get("/api/v1/connections")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "moved" in answer.json()["detail"]


async def test_the_api_requires_the_token_if_one_is_set(
    store: Store, config: Config, clock: ManualClock, world: dict[str, int]
) -> None:
    async with serving(store, config, clock, token="t0ken-of-the-web") as api:
        refused = await api.get("/api/v1/connections")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.headers["content-type"] == "application/problem+json"
        allowed = await api.get("/api/v1/connections", headers={"authorization": "Bearer t0ken-of-the-web"})
        assert allowed.status_code == 200
        assert "t0ken" not in allowed.text


async def test_hostile_names_pass_through_as_json_and_nothing_else(api: Served, store: Store, now: datetime) -> None:
    states = [make_state(external_id=f"linkedin-{n}", display_name=name, username=name) for n, name in enumerate(HOSTILE)]
    add_source(store, "agency", states, now=now)
    answer = await api.get("/api/v1/connections?limit=1000")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text.isascii()
    assert len(json.loads(answer.text)["connections"]) == len(HOSTILE) + 5


# --- ack and silence


async def begin_incident(store: Store, now: datetime, row: int) -> None:
    with store.begin_write() as conn:
        open_incident(conn, source="agency", connection_id=row, last_notified=make_notified(), now=now)


async def test_an_acknowledgement_is_made_and_withdrawn(api: Served, store: Store, now: datetime, world: dict[str, int]) -> None:
    await begin_incident(store, now, world[Status.EXPIRED])
    body = {"connection": "agency/linkedin-expired", "comment": "Ann reconnects it.", "until": "2026-03-12T08:00:00+01:00"}
    done = await api.post("/api/v1/acks", body)
    assert done.status_code == 200, done.text
    assert done.json()["connection"]["acked"] is True
    assert (await api.json("/api/v1/connections", status="expired"))["connections"][0]["acked"] is True
    events = await api.json("/api/v1/events", connection="agency/linkedin-expired", limit=1)
    assert "Ann reconnects it." in events["events"][0]["message"]
    assert "the API" in events["events"][0]["message"]
    assert events["events"][0]["author"] == "the API"
    back = await api.post("/api/v1/acks", {"connection": "agency/linkedin-expired", "remove": True})
    assert back.json()["connection"]["acked"] is False
    again = await api.post("/api/v1/acks", {"connection": "agency/linkedin-expired", "remove": True})
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"connection": "agency/linkedin-nobody"}, 404),
        ({"connection": "agency/linkedin-valid"}, 409),
        ({"connection": "agency/linkedin-expired", "until": "2020-01-01T00:00:00Z"}, 422),
        ({"connection": "agency/linkedin-expired", "until": "tomorrow"}, 400),
        ({"connection": "agency/linkedin-expired", "until": "2026-03-12T08:00:00"}, 400),
        ({"connection": "agency/linkedin-expired", "by": "me"}, 400),
        ({"connection": "agency/linkedin-expired", "remove": "yes"}, 400),
        ({"connection": 7}, 400),
        ({}, 422),
        ([], 400),
    ],
)
async def test_an_invalid_acknowledgement_changes_nothing(api: Served, body: object, status: int) -> None:
    answer = await api.post("/api/v1/acks", body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_connections_and_sources_are_named(api: Served) -> None:
    answer = await api.post("/api/v1/acks", {"connection": "agency/linkedin-nobody"})
    assert answer.json()["detail"].startswith("There is no connection agency/linkedin-nobody: ")
    answer = await api.post("/api/v1/silences", {"sources": ["agency", "studoi\u202e"], "comment": "x"})
    assert answer.json()["detail"] == "There is no source studoi; did you mean studio?"


async def test_a_silence_is_made_listed_and_removed(api: Served, now: datetime) -> None:
    body = {"sources": ["agency"], "platforms": ["LinkedIn"], "comment": "Moving house.", "ends_at": "2026-03-11T12:00:00Z"}
    made = await api.post("/api/v1/silences", body)
    assert made.status_code == 201, made.text
    silence = made.json()["silence"]
    assert (silence["state"], silence["platforms"], silence["active_until"]) == ("active", ["linkedin"], "2026-03-11T12:00:00Z")
    assert (await api.json("/api/v1/silences"))["silences"] == [silence]
    silenced = (await api.json("/api/v1/connections", connection="agency/linkedin-expired"))["connections"][0]
    assert silenced["silenced_until"] == "2026-03-11T12:00:00Z"
    removed = await api.post(f"/api/v1/silences/{silence['id']}/remove", {})
    assert removed.json()["silence"]["state"] == "removed"
    assert (await api.json("/api/v1/silences"))["silences"] == []
    assert len((await api.json("/api/v1/silences", all="true"))["silences"]) == 1
    assert (await api.post(f"/api/v1/silences/{silence['id']}/remove", {})).status_code == 409
    assert (await api.post("/api/v1/silences/99/remove", {})).status_code == 404


async def test_a_silence_recurs(api: Served) -> None:
    body = {"connections": ["*"], "comment": "Weekends.", "rrule": "RRULE:FREQ=WEEKLY;BYDAY=SA,SU", "window_seconds": 86400}
    silence = (await api.post("/api/v1/silences", body)).json()["silence"]
    assert (silence["state"], silence["next_starts_at"]) == ("coming", "2026-03-14T12:00:00Z")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"comment": "No matcher."}, 422),
        ({"sources": ["agency"]}, 400),
        ({"sources": ["agency"], "comment": "  "}, 422),
        ({"sources": ["nobody"], "comment": "x"}, 404),
        ({"sources": "agency", "comment": "x"}, 400),
        ({"sources": ["agency"], "comment": "x", "ends_at": "2026-03-01T00:00:00Z"}, 422),
        ({"sources": ["agency"], "comment": "x", "rrule": "FREQ=WEEKLY"}, 422),
        ({"sources": ["agency"], "comment": "x", "window_seconds": 60}, 422),
        ({"sources": ["agency"], "comment": "x", "rrule": "FREQ=SOMETIMES", "window_seconds": 60}, 422),
        ({"sources": ["agency"], "comment": "x", "window_seconds": 0}, 400),
        ({"sources": ["agency"], "comment": "x", "timezone": "Mars/Olympus"}, 422),
        ({"sources": ["agency"], "comment": "x", "starts_at": "0001-01-01T00:00:00+14:00"}, 400),
        ({"sources": ["agency"], "comment": "\x00"}, 400),
        ({"labels": {"a": 1}, "comment": "x"}, 400),
    ],
)
async def test_an_invalid_silence_is_refused(api: Served, body: object, status: int) -> None:
    answer = await api.post("/api/v1/silences", body)
    assert answer.status_code == status, answer.text
    assert (await api.json("/api/v1/silences", all="true"))["silences"] == []


async def test_S12_nothing_changes_by_a_page_of_another_site_a_form_or_a_get(api: Served) -> None:
    """A browser says whose page makes a call, and no form can state JSON."""
    body = json.dumps({"connections": ["*"], "comment": "from elsewhere"})
    url = f"{api.url}/api/v1/silences"
    kind = {"content-type": "application/json"}
    foreign = (
        {**kind, "origin": "https://evil.example"},
        {**kind, "sec-fetch-site": "cross-site"},
        {**kind, "sec-fetch-site": "same-site"},
        {**kind, "origin": "null"},
    )
    for headers in foreign:
        answer = await api.client.post(url, content=body, headers=headers)
        assert answer.status_code == 403, headers
    for plain in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await api.client.post(url, content=body, headers={"content-type": plain})
        assert answer.status_code == 415
    assert (await api.client.post(f"{api.url}/api/v1/silences/1/remove")).status_code == 415
    assert (await api.json("/api/v1/silences", all="true"))["silences"] == []
    own = await api.client.post(url, content=body, headers={**kind, "origin": api.url, "sec-fetch-site": "same-origin"})
    assert own.status_code == 201


async def test_a_body_that_is_too_large_or_not_json_is_refused(api: Served) -> None:
    url, kind = f"{api.url}/api/v1/silences", {"content-type": "application/json"}
    large = await api.client.post(url, content=b'{"comment": "' + b"x" * 70_000 + b'"}', headers=kind)
    assert large.status_code == 413
    for body in (b"", b"{", b"\xff\xfe", b"[" * 60_000, b"null", b"7"):
        answer: httpx.Response = await api.client.post(url, content=body, headers=kind)
        assert answer.status_code == 400, body[:20]


async def test_a_recheck_is_requested_and_read(api: Served, store: Store, now: datetime) -> None:
    answer = await api.post("/api/v1/recheck", {"connections": ["agency/linkedin-expired"]})
    assert answer.status_code == 202
    [made] = answer.json()["rechecks"]
    assert (made["connection"], made["requested_by"], made["outcome"]) == ("agency/linkedin-expired", "the API", None)
    again = await api.post("/api/v1/recheck", {"connections": ["agency/linkedin-expired"]})
    assert again.json()["rechecks"] == [made], "one that is pending is not requested again"
    assert (await api.json(f"/api/v1/recheck/{made['id']}"))["recheck"] == made
    with store.begin_write() as conn:
        [pending] = rechecks.find(conn, [made["id"]])
        rechecks.start(conn, [(pending.id, Status.EXPIRED)], now)
        done = rechecks.RecheckResult(
            id=pending.id, outcome=rechecks.RecheckOutcome.HEALTHY, message="The token is valid.", status_after=Status.VALID
        )
        rechecks.finish(conn, [done], now)
    found = (await api.json(f"/api/v1/recheck/{made['id']}"))["recheck"]
    assert (found["outcome"], found["status_before"], found["status_after"]) == ("healthy", "expired", "valid")


async def test_a_recheck_waits_for_its_result(api: Served, store: Store, now: datetime) -> None:
    asked = asyncio.create_task(api.post("/api/v1/recheck", {"labels": {"client": "glo*"}, "wait_seconds": 20}))
    for _ in range(100):
        with store.begin_write() as conn:
            pending = rechecks.pending_of(conn, "studio", now, limit=10)
            results = [
                rechecks.RecheckResult(id=each.id, outcome=rechecks.RecheckOutcome.UNREAD, message="No.") for each in pending
            ]
            rechecks.finish(conn, results, now)
        if pending:
            break
        await asyncio.sleep(0.05)
    answer = await asked
    assert (answer.status_code, [each["outcome"] for each in answer.json()["rechecks"]]) == (200, ["unread"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"connections": []}, 422),
        ({"connections": ["agency/nobody"]}, 404),
        ({"sources": ["nobody"]}, 404),
        ({"labels": {"client": "nobody"}}, 404),
        ({"sources": ["agency"], "wait_seconds": 61}, 400),
        ({"sources": ["agency"], "wait": 1}, 400),
        ({"connections": ["x"] * 101}, 400),
    ],
)
async def test_an_invalid_recheck_requests_nothing(api: Served, store: Store, body: object, status: int, now: datetime) -> None:
    assert (await api.post("/api/v1/recheck", body)).status_code == status
    with store.begin_read() as conn:
        assert rechecks.pending_sources(conn, now) == []


async def test_too_many_rechecks_within_a_minute_are_refused(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.engine.rechecks.MOST_PER_MINUTE", 3)
    answer = await api.post("/api/v1/recheck", {"sources": ["agency"]})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert "within a minute" in answer.json()["detail"]


async def test_an_unknown_recheck_is_not_found(api: Served) -> None:
    for number in ("999", "x", "0"):
        assert (await api.get(f"/api/v1/recheck/{number}")).status_code == 404
