"""The simulated Postbreeze and PostPeer answer as their documents say: names, types, examples, errors, paging."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.demo.payloads import Shape, SimConnection
from monitor.demo.source import POSTBREEZE_LIMITS
from monitor.demo.world import World
from tests.support.fakes import ManualClock
from tests.support.world_client import NOW, POSTBREEZE, POSTPEER, Caller, calling, four_sources


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def world(clock: ManualClock) -> World:
    return four_sources(clock)


@pytest.fixture
async def caller(world: World) -> AsyncIterator[Caller]:
    async with calling(world) as called:
        yield called


# --- Postbreeze ----------------------------------------------------------------------------------------------

POSTBREEZE_FIELDS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "workspaceId": str,
    "platform": str,
    "externalId": str,
    "handle": str,
    "displayName": (str, type(None)),
    "avatarUrl": (str, type(None)),
    "status": str,
    "scopes": list,
    "connectedAt": str,
    "lastRefreshedAt": (str, type(None)),
    "tokenExpiresAt": (str, type(None)),
    "lastRefreshAttemptAt": (str, type(None)),
    "lastRefreshError": (str, type(None)),
    "lastRefreshErrorStatus": (int, type(None)),
    "meta": dict,
    "defaultBoardId": (str, type(None)),
}


async def test_postbreeze_list_is_a_bare_array_of_the_documented_fields_newest_first(world: World, caller: Caller) -> None:
    first = world.connect("postbreeze", "linkedin", lifetime=timedelta(days=60))
    second = world.connect("postbreeze", "twitter")
    rows: list[dict[str, Any]] = (await caller.get(POSTBREEZE, "/social-accounts")).json()
    assert [row["id"] for row in rows] == [second.external_id, first.external_id]
    assert [row["platform"] for row in rows] == ["X", "LINKEDIN_PERSON"]
    for row in rows:
        assert set(row) == set(POSTBREEZE_FIELDS)
        assert all(isinstance(row[name], kinds) for name, kinds in POSTBREEZE_FIELDS.items())


async def test_postbreeze_statuses(world: World, caller: Caller, clock: ManualClock) -> None:
    """What is DISCONNECTED is excluded from the list, as documented."""
    ids = [world.connect("postbreeze", "threads", lifetime=timedelta(days=1)).external_id for _ in range(4)]
    world.revoke("postbreeze", ids[1])
    world.state_word("postbreeze", ids[2], "DISCONNECTED")
    world.state_word("postbreeze", ids[3], "ACTIVE")
    clock.advance(timedelta(days=1))
    rows = (await caller.get(POSTBREEZE, "/social-accounts")).json()
    assert {row["id"]: row["status"] for row in rows} == {ids[0]: "TOKEN_EXPIRED", ids[1]: "REVOKED", ids[3]: "ACTIVE"}


async def test_postbreeze_failed_refresh_and_the_examples_missing_enums(world: World, caller: Caller) -> None:
    row_id = world.connect("postbreeze", "instagram", lifetime=timedelta(days=60)).external_id
    world.fail_refresh("postbreeze", row_id)
    world.change("postbreeze", row_id, omitted=frozenset({"platform", "status"}))
    row = (await caller.get(POSTBREEZE, f"/social-accounts/{row_id}")).json()
    assert (row["lastRefreshError"], row["lastRefreshErrorStatus"]) == ("invalid_grant", 401)
    assert set(POSTBREEZE_FIELDS) - set(row) == {"platform", "status"}


async def test_postbreeze_workspaces_filter_the_list(world: World, caller: Caller) -> None:
    world.sources["postbreeze"].workspaces["ws_2"] = "Second"
    world.connect("postbreeze", "twitter")
    inside = world.connect("postbreeze", "twitter", scope="ws_2").external_id
    assert len((await caller.get(POSTBREEZE, "/social-accounts")).json()) == 2
    rows = (await caller.get(POSTBREEZE, "/social-accounts?workspaceId=ws_2")).json()
    assert [(row["id"], row["workspaceId"]) for row in rows] == [(inside, "ws_2")]
    assert [each["id"] for each in (await caller.get(POSTBREEZE, "/workspaces")).json()] == ["ws_1", "ws_2"]
    missing = await caller.get(POSTBREEZE, "/social-accounts?workspaceId=ws_9")
    assert (missing.status_code, missing.json()["code"]) == (404, "NOT_FOUND")


async def test_postbreeze_errors_have_code_message_and_request_id(caller: Caller) -> None:
    answer = await caller.get(POSTBREEZE, "/social-accounts", key="wrong")
    body = answer.json()
    assert (answer.status_code, body["statusCode"], body["code"], body["message"]) == (
        401,
        401,
        "UNAUTHORIZED",
        "Invalid API key",
    )
    assert isinstance(body["requestId"], str)


async def test_postbreeze_limits_its_requests_per_minute(clock: ManualClock) -> None:
    """60 a minute per key; the 61st is told how long to wait, and the next minute is open again."""
    world = World(clock=clock)
    world.add_source("p", POSTBREEZE, key="k", limits=POSTBREEZE_LIMITS)
    async with calling(world) as caller:
        statuses = [(await caller.get(POSTBREEZE, "/social-accounts")).status_code for _ in range(60)]
        clock.advance(timedelta(seconds=20))
        refused = await caller.get(POSTBREEZE, "/social-accounts")
        clock.advance(timedelta(seconds=40))
        again = await caller.get(POSTBREEZE, "/social-accounts")
    assert (set(statuses), refused.status_code, again.status_code) == ({200}, 429, 200)
    assert refused.headers["Retry-After"] == "40"
    assert refused.json() | {"statusCode": 429, "code": "RATE_LIMITED", "retryAfterMs": 40_000} == refused.json()


# --- PostPeer ------------------------------------------------------------------------------------------------


async def test_postpeer_legacy_row_is_the_documents_example(world: World, caller: Caller) -> None:
    world.sources["postpeer"].shape = Shape.LEGACY
    row = SimConnection(
        external_id="abc123",
        platform="twitter",
        account="123456789",
        display_name="@yourhandle",
        image_url="https://pbs.twimg.com/profile_images/.../photo.jpg",
        connected_at=datetime(2026, 3, 28, 10, 0, tzinfo=UTC),
    )
    world.add("postpeer", row)
    answer = await caller.get(POSTPEER, "/connect/integrations?platform=twitter&limit=10")
    assert answer.json() == {
        "success": True,
        "total": 1,
        "integrations": [
            {
                "id": "abc123",
                "platform": "twitter",
                "platformUserId": "123456789",
                "displayName": "@yourhandle",
                "imageUrl": "https://pbs.twimg.com/profile_images/.../photo.jpg",
                "profileId": None,
                "createdAt": "2026-03-28T10:00:00.000Z",
            }
        ],
    }


@pytest.mark.parametrize("sort", ["asc", "desc"])
async def test_postpeer_pages_hold_every_row_once(world: World, caller: Caller, sort: str) -> None:
    ids = [world.connect("postpeer", "twitter").external_id for _ in range(45)]
    walked: list[str] = []
    for offset in range(0, 60, 20):
        page = (await caller.get(POSTPEER, f"/connect/integrations?limit=20&offset={offset}&sort={sort}")).json()
        assert page["total"] == 45
        walked += [row["id"] for row in page["integrations"]]
    assert walked == (ids if sort == "asc" else ids[::-1])


async def test_postpeer_defaults_and_filters(world: World, caller: Caller) -> None:
    for number in range(25):
        world.connect(
            "postpeer", "twitter" if number % 5 else "youtube", display_name=f"Name {number}", scope="p1" if number == 7 else None
        )

    async def ask(query: str) -> dict[str, Any]:
        body: dict[str, Any] = (await caller.get(POSTPEER, "/connect/integrations" + query)).json()
        return body

    assert len((await ask(""))["integrations"]) == 20
    assert (await ask("?platform=youtube"))["total"] == 5
    assert (await ask("?profileId=p1"))["total"] == 1
    assert (await ask("?profileId=null"))["total"] == 24
    assert [row["displayName"] for row in (await ask("?q=nAME%2024"))["integrations"]] == ["Name 24"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=many", "offset=-1", "sort=up"])
async def test_postpeer_refuses_invalid_parameters(caller: Caller, query: str) -> None:
    answer = await caller.get(POSTPEER, f"/connect/integrations?{query}")
    assert (answer.status_code, answer.json()["success"]) == (400, False)


async def test_postpeer_reports_that_the_key_is_good(caller: Caller) -> None:
    assert (await caller.get(POSTPEER, "/health/auth")).json() == {"ok": True}
