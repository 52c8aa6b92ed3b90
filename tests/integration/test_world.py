"""The simulated PostPost and Publora answer as their documents say: names, types, examples, errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from monitor.demo.payloads import PostError, ProbeScript, Shape
from monitor.demo.world import World
from tests.support.fakes import ManualClock
from tests.support.world_client import NOW, POSTPEER, POSTPOST, PUBLORA, Caller, calling, four_sources, handle, john


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


# --- PostPost: list ------------------------------------------------------------------------------------------


async def test_postpost_list_is_the_documents_example(world: World, caller: Caller) -> None:
    """The whole body of the guide's example, byte for byte in meaning."""
    world.add("postpost", handle())
    world.add("postpost", john())
    answer = await caller.get(POSTPOST, "/platform-connections")
    assert answer.json() == {
        "success": True,
        "connections": [
            {
                "platformId": "twitter-123456789",
                "username": "@yourhandle",
                "displayName": "Your Name",
                "profileImageUrl": "https://pbs.twimg.com/profile_images/...",
                "profileUrl": "https://twitter.com/yourhandle",
                "accessTokenExpiresAt": None,
                "tokenStatus": "unknown",
                "tokenExpiresIn": None,
                "lastSuccessfulPost": "2026-02-20T14:30:00.000Z",
                "lastError": None,
            },
            {
                "platformId": "linkedin-Tz9W5i6ZYG",
                "username": "John Doe",
                "displayName": "John Doe",
                "profileImageUrl": "https://media.licdn.com/...",
                "profileUrl": "https://linkedin.com/in/johndoe",
                "accessTokenExpiresAt": "2026-05-15T10:30:00.000Z",
                "tokenStatus": "valid",
                "tokenExpiresIn": "82d 4h",
                "lastSuccessfulPost": "2026-02-22T09:15:00.000Z",
                "lastError": None,
            },
        ],
    }
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("left", "stated"),
    [
        (timedelta(days=7), ("valid", "7d 0h")),
        (timedelta(days=7) - timedelta(seconds=1), ("expiring_soon", "6d 23h")),
        (timedelta(days=1), ("expiring_soon", "1d 0h")),
        (timedelta(hours=23, minutes=59), ("expiring_soon", "23h")),
        (timedelta(minutes=59), ("expiring_soon", "< 1h")),
        (timedelta(0), ("expired", "expired")),
        (-timedelta(days=3), ("expired", "expired")),
    ],
)
async def test_postpost_word_and_span_follow_the_clock(
    world: World, caller: Caller, clock: ManualClock, left: timedelta, stated: tuple[str, str]
) -> None:
    """Also where the list was already asked for and is kept encoded."""
    world.add("postpost", john(NOW + timedelta(days=30)))
    await caller.get(POSTPOST, "/platform-connections")
    clock.set(NOW + timedelta(days=30) - left)
    row = (await caller.get(POSTPOST, "/platform-connections")).json()["connections"][0]
    assert (row["tokenStatus"], row["tokenExpiresIn"]) == stated


async def test_the_window_of_a_demo_is_seconds(clock: ManualClock) -> None:
    world = World(clock=clock, expiring_within=timedelta(seconds=10))
    world.add_source("a", POSTPOST, key="k")
    world.connect("a", "linkedin", lifetime=timedelta(seconds=15))
    words = []
    async with calling(world) as caller:
        for _ in range(3):
            body = (await caller.get(POSTPOST, "/platform-connections")).json()
            words.append(body["connections"][0]["tokenStatus"])
            clock.advance(timedelta(seconds=7.5))
    assert words == ["valid", "expiring_soon", "expired"]


async def test_last_error_is_an_object_with_message_and_instant(world: World, caller: Caller) -> None:
    world.add("postpost", john())
    world.change("postpost", "linkedin-Tz9W5i6ZYG", last_error=PostError(message="Media upload failed", occurred_at=NOW))
    row = (await caller.get(POSTPOST, "/platform-connections")).json()["connections"][0]
    assert row["lastError"] == {"message": "Media upload failed", "occurredAt": "2026-02-22T06:00:00.000Z"}


async def test_every_platform_id_of_the_documents_can_be_listed_and_probed(world: World, caller: Caller) -> None:
    """Colons and a second dash included, escaped in the path or not."""
    ids = ["twitter-123456789", "youtube-UCxxxxxxxxxxxx", "bluesky-did:plc:abc123", "telegram--1001234567890"]
    for platform_id in ids:
        platform, _, account = platform_id.partition("-")
        world.connect("postpost", platform, account=account)
    rows = (await caller.get(POSTPOST, "/platform-connections")).json()["connections"]
    assert [row["platformId"] for row in rows] == ids
    for platform_id in [*ids, "bluesky-did%3Aplc%3Aabc123"]:
        assert (await caller.probe(POSTPOST, platform_id)).json()["status"] == "ok"


async def test_overrides_are_stated_whatever_is_true_until_renewed(world: World, caller: Caller) -> None:
    """A past date beside `valid` is what YouTube rows once carried."""
    row_id = world.connect("postpost", "youtube", lifetime=timedelta(days=9)).external_id
    world.state_word("postpost", row_id, "valid")
    world.state_date("postpost", row_id, NOW - timedelta(days=1))
    row = (await caller.get(POSTPOST, "/platform-connections")).json()["connections"][0]
    assert (row["tokenStatus"], row["accessTokenExpiresAt"]) == ("valid", "2026-02-21T06:00:00.000Z")
    world.renew("postpost", row_id)
    row = (await caller.get(POSTPOST, "/platform-connections")).json()["connections"][0]
    assert row["accessTokenExpiresAt"] == "2026-04-23T06:00:00.000Z"


# --- PostPost: errors and users ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "call", "key", "body"),
    [
        (POSTPOST, "GET /platform-connections", "wrong", {"error": "Invalid API key"}),
        (POSTPOST, "GET /platform-connections", "", {"error": "Invalid API key"}),
        (POSTPOST, "POST /test-connection/linkedin-a", "", {"error": "API key is required"}),
        (POSTPOST, "POST /test-connection/linkedin-a", "wrong", {"error": "Invalid API key"}),
        (PUBLORA, "GET /platform-connections", "wrong", {"error": "Invalid API key"}),
        (POSTPEER, "GET /connect/integrations", "wrong", {"success": False, "message": "Invalid API key"}),
        (POSTPEER, "GET /health/auth", "wrong", {"success": False, "message": "Invalid API key"}),
    ],
)
async def test_a_wrong_key_is_401_in_the_providers_shape(
    caller: Caller, kind: str, call: str, key: str, body: dict[str, object]
) -> None:
    method, path = call.split()
    answer = await caller.get(kind, path, key=key, method=method)
    assert (answer.status_code, answer.json()) == (401, body)


async def test_a_key_opens_only_its_own_provider(world: World, caller: Caller) -> None:
    world.add_source("second", POSTPOST, key="other")
    world.connect("second", "twitter")
    mine = (await caller.get(POSTPOST, "/platform-connections")).json()
    theirs = (await caller.get(POSTPOST, "/platform-connections", key="other")).json()
    assert (len(mine["connections"]), len(theirs["connections"])) == (0, 1)
    assert (await caller.get(PUBLORA, "/platform-connections", key="other")).status_code == 401


@pytest.mark.parametrize(("kind", "brand"), [(POSTPOST, "x-postpost"), (PUBLORA, "x-publora")])
async def test_managed_users_have_lists_and_probes_of_their_own(world: World, caller: Caller, kind: str, brand: str) -> None:
    """Without the header a managed user's connection is not found."""
    user = world.add_user(kind, display_name="Client A")
    world.connect(kind, "linkedin", account="own")
    world.connect(kind, "linkedin", account="theirs", scope=user.id)
    listed = (await caller.get(kind, "/workspace/users")).json()["users"]
    assert listed[0] | {"_id": user.id, "displayName": "Client A", "role": "managed"} == listed[0]
    assert set(listed[0]) >= {"username", "dailyPostsLeft", "connectionsPageUrl", "connectionsPageTokenExpiresAt"}
    own = (await caller.get(kind, "/platform-connections")).json()["connections"]
    theirs = (await caller.get(kind, "/platform-connections", **{f"{brand}-user-id": user.id})).json()["connections"]
    assert [row["platformId"] for row in own + theirs] == ["linkedin-own", "linkedin-theirs"]
    assert (await caller.probe(kind, "linkedin-theirs")).status_code == 404
    assert (await caller.probe(kind, "linkedin-theirs", **{f"{brand}-user-id": user.id})).status_code == 200


async def test_user_header_errors_are_the_documented_ones(world: World, caller: Caller) -> None:
    path = "/platform-connections"
    bad = await caller.get(POSTPOST, path, x_postpost_user_id="bob")
    assert (bad.status_code, bad.json()) == (400, {"error": "Invalid x-postpost-user-id"})
    stranger = await caller.get(POSTPOST, path, x_postpost_user_id="a" * 24)
    assert (stranger.status_code, stranger.json()) == (403, {"error": "User is not managed by key"})
    mcp = await caller.get(POSTPOST, path, x_postpost_client="mcp")
    assert (mcp.status_code, mcp.json()) == (403, {"error": "MCP access is not enabled for this account"})
    world.sources["postpost"].workspace_access = False
    for asked in (await caller.get(POSTPOST, path, x_postpost_user_id="a" * 24), await caller.get(POSTPOST, "/workspace/users")):
        assert (asked.status_code, asked.json()) == (403, {"error": "Workspace access is not enabled for this key"})


async def test_a_detached_user_is_refused(world: World, caller: Caller) -> None:
    user = world.add_user("postpost").id
    assert (await caller.get(POSTPOST, "/platform-connections", x_postpost_user_id=user)).status_code == 200
    del world.sources["postpost"].users[user]
    assert (await caller.get(POSTPOST, "/platform-connections", x_postpost_user_id=user)).status_code == 403


async def test_error_text_can_come_under_message(world: World, caller: Caller) -> None:
    """The error guide of PostPost allows both."""
    world.sources["postpost"].error_field = "message"
    assert (await caller.probe(POSTPOST, "linkedin-none")).json() == {"message": "Connection not found"}


# --- PostPost and Publora: probes ----------------------------------------------------------------------------


async def test_probe_ok_is_the_documents_example(world: World, caller: Caller) -> None:
    world.add("postpost", john(NOW + timedelta(days=45, hours=3)))
    answer = await caller.probe(POSTPOST, "linkedin-Tz9W5i6ZYG")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "platform": "linkedin",
            "platformId": "linkedin-Tz9W5i6ZYG",
            "username": "John Doe",
            "status": "ok",
            "message": "Connected as John Doe",
            "permissions": list(john().permissions),
            "tokenExpiresIn": "45d 3h",
            "lastSuccessfulPost": "2026-02-22T09:15:00.000Z",
            "lastError": None,
        },
    )


async def test_probe_of_an_expired_token_is_the_documents_example(world: World, caller: Caller) -> None:
    row_id = world.connect(
        "postpost", "threads", account="17841412345678", username="yourthreads", lifetime=timedelta(days=3)
    ).external_id
    world.expire("postpost", row_id)
    answer = await caller.probe(POSTPOST, row_id)
    assert answer.status_code == 200
    assert (
        answer.json()
        | {
            "platform": "threads",
            "platformId": "threads-17841412345678",
            "username": "yourthreads",
            "status": "error",
            "message": "Error validating access token: Session has expired",
            "permissions": [],
            "tokenExpiresIn": "expired",
            "lastError": {"message": "Session has expired", "occurredAt": "2026-02-22T06:00:00.000Z"},
        }
        == answer.json()
    )


async def test_a_date_that_passes_turns_the_probe_too(world: World, caller: Caller, clock: ManualClock) -> None:
    row_id = world.connect("postpost", "linkedin", lifetime=timedelta(minutes=1)).external_id
    assert (await caller.probe(POSTPOST, row_id)).json()["status"] == "ok"
    clock.advance(timedelta(minutes=1))
    assert (await caller.probe(POSTPOST, row_id)).json()["tokenExpiresIn"] == "expired"


async def test_unknown_platform_is_the_documents_example(caller: Caller) -> None:
    answer = await caller.probe(POSTPOST, "pinterest-abc123")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "platform": "pinterest",
            "platformId": "pinterest-abc123",
            "username": "unknown",
            "status": "error",
            "message": "Unknown platform: pinterest",
            "permissions": [],
            "tokenExpiresIn": None,
            "lastSuccessfulPost": None,
            "lastError": None,
        },
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            POSTPOST,
            ["Connected as News", "Bot needs channel administrator posting rights", "Invalid bot token", "Invalid bot token"],
        ),
        (
            PUBLORA,
            [
                "Bot can post to News",
                "Bot needs channel administrator posting rights",
                "Request failed with status code 401",
                "Invalid bot connection",
            ],
        ),
    ],
)
async def test_telegram_answers_mislead_as_they_really_do(world: World, caller: Caller, kind: str, expected: list[str]) -> None:
    """In order: working, without rights, revoked, a personal session."""
    source = kind
    row_id = world.connect(source, "telegram", account="-100", username="news", display_name="News").external_id
    said = [(await caller.probe(kind, row_id)).json()["message"]]
    world.refuse(source, row_id)
    said.append((await caller.probe(kind, row_id)).json()["message"])
    world.revoke(source, row_id)
    said.append((await caller.probe(kind, row_id)).json()["message"])
    world.renew(source, row_id)
    world.change(source, row_id, mtproto=True)
    said.append((await caller.probe(kind, row_id)).json()["message"])
    assert said == expected


async def test_a_revocation_is_shown_by_the_probe_and_not_by_the_list(world: World, caller: Caller) -> None:
    """Unless the provider noticed: then its only word for it is `expired`."""
    row_id = world.connect("postpost", "twitter").external_id
    world.revoke("postpost", row_id)
    assert "revoked" in (await caller.probe(POSTPOST, row_id)).json()["message"]
    assert (await caller.get(POSTPOST, "/platform-connections")).json()["connections"][0]["tokenStatus"] == "unknown"
    world.revoke("postpost", row_id, noticed=True)
    assert (await caller.get(POSTPOST, "/platform-connections")).json()["connections"][0]["tokenStatus"] == "expired"


@pytest.mark.parametrize(
    ("kind", "platform_id", "status"),
    [
        (POSTPOST, "nodash", 400),
        (POSTPOST, "telegram-", 400),
        (POSTPOST, "Twitter-1", 404),
        (PUBLORA, "Twitter-1", 400),
        (PUBLORA, "twitter-a%20b", 400),
        (PUBLORA, "twitter-1", 404),
    ],
)
async def test_probe_path_errors(caller: Caller, kind: str, platform_id: str, status: int) -> None:
    text = {400: "Invalid platformId format", 404: "Connection not found"}[status]
    answer = await caller.probe(kind, platform_id)
    assert (answer.status_code, answer.json()) == (status, {"error": text})


async def test_a_scripted_probe_answers_as_configured(world: World, caller: Caller) -> None:
    row_id = world.connect("postpost", "linkedin").external_id
    world.change("postpost", row_id, probe=ProbeScript(message="Rate limit exceeded"))
    assert (await caller.probe(POSTPOST, row_id)).json()["message"] == "Rate limit exceeded"
    world.change("postpost", row_id, probe=ProbeScript(message="Failed to test connection", http_status=500))
    answer = await caller.probe(POSTPOST, row_id)
    assert (answer.status_code, answer.json()) == (500, {"error": "Failed to test connection"})


# --- Publora -------------------------------------------------------------------------------------------------


async def test_publora_legacy_list_is_the_documents_example(world: World, caller: Caller) -> None:
    world.sources["publora"].shape = Shape.LEGACY
    world.add("publora", john())
    assert (await caller.get(PUBLORA, "/platform-connections")).json() == {
        "success": True,
        "connections": [
            {
                "platformId": "linkedin-Tz9W5i6ZYG",
                "username": "John Doe",
                "displayName": "John Doe",
                "profileImageUrl": "https://media.licdn.com/...",
                "accessTokenExpiresAt": "2026-05-15T10:30:00.000Z",
            }
        ],
    }
    user = world.add_user("publora")
    assert (await caller.get(PUBLORA, "/workspace/users")).json() == [
        {"id": user.id, "email": user.username, "displayName": "Client"}
    ]


async def test_publora_states_todays_words(world: World, caller: Caller) -> None:
    """No date is `valid`, TikTok warns 30 days ahead, and only a nameless Bluesky row is `unknown`."""
    world.connect("publora", "twitter")
    world.connect("publora", "tiktok", lifetime=timedelta(days=20))
    world.connect("publora", "linkedin", lifetime=timedelta(days=20))
    bluesky = world.connect("publora", "bluesky").external_id
    world.change("publora", bluesky, username=None)
    rows = (await caller.get(PUBLORA, "/platform-connections")).json()["connections"]
    assert [row["tokenStatus"] for row in rows] == ["valid", "expiring_soon", "valid", "unknown"]
    assert "subscriptionType" in rows[0]
