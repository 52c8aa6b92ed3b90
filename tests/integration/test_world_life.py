"""What happens in the simulated world, the troubles of its server, the story, and the receivers of alerts."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import httpx
import pytest
from httpx_aiohttp import AiohttpTransport

from monitor.demo import scenario
from monitor.demo.receivers import Post, WebhookReceiver, WebhookReply
from monitor.demo.scenario import Action, Verb, perform
from monitor.demo.server import ThreadedWorld
from monitor.demo.source import Trouble
from monitor.demo.world import World, many_sources, populate
from monitor.domain.providers import coded_names
from tests.support.fakes import ManualClock
from tests.support.sim_world import state_word_of_all
from tests.support.world_client import NOW, POSTBREEZE, POSTPEER, POSTPOST, Caller, calling, four_sources


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


# --- What happens to connections and sources -----------------------------------------------------------------


async def test_what_vanishes_is_not_listed_probes_404_and_can_come_back(world: World, caller: Caller) -> None:
    row_id = world.connect("postpost", "facebook").external_id
    world.vanish("postpost", row_id)
    assert (await caller.get(POSTPOST, "/platform-connections")).json()["connections"] == []
    assert (await caller.probe(POSTPOST, row_id)).status_code == 404
    world.restore("postpost", row_id)
    assert (await caller.probe(POSTPOST, row_id)).json()["status"] == "ok"
    world.remove("postpost", row_id)
    with pytest.raises(KeyError):
        world.restore("postpost", row_id)


async def test_a_reconnect_keeps_the_account_and_changes_the_id(world: World, caller: Caller) -> None:
    row_id = world.connect("postbreeze", "threads", account="178", lifetime=timedelta(days=1)).external_id
    world.reconnect("postbreeze", row_id, new_id="soc_new")
    rows = (await caller.get(POSTBREEZE, "/social-accounts")).json()
    assert [(row["id"], row["externalId"]) for row in rows] == [("soc_new", "178")]


@pytest.mark.parametrize("kind", coded_names())
@pytest.mark.parametrize(
    ("trouble", "status"),
    [(Trouble.SERVER_ERROR, 503), (Trouble.UNAUTHORIZED, 401), (Trouble.FORBIDDEN, 403), (Trouble.RATE_LIMITED, 429)],
)
async def test_a_broken_source_answers_errors_until_it_recovers(
    world: World, caller: Caller, kind: str, trouble: Trouble, status: int
) -> None:
    path = {POSTBREEZE: "/social-accounts", POSTPEER: "/connect/integrations"}.get(kind, "/platform-connections")
    world.break_source(kind, trouble, status=503, retry_after="7")
    broken = await caller.get(kind, path)
    assert broken.status_code == status
    assert isinstance(broken.json(), dict)
    assert broken.headers.get("Retry-After") == ("7" if status in (429, 503) else None)
    world.recover_source(kind)
    assert (await caller.get(kind, path)).status_code == 200


async def test_other_troubles_spoil_the_answer_itself(world: World, caller: Caller) -> None:
    """N4, N11, N12, N7: a reset, somebody's HTML, a cut body, a redirect elsewhere."""
    path = "/platform-connections"
    for trouble in (Trouble.CUT, Trouble.TRUNCATED):
        world.break_source("postpost", trouble)
        with pytest.raises(httpx.TransportError):
            await caller.get(POSTPOST, path)
    world.break_source("postpost", Trouble.HTML)
    assert (await caller.get(POSTPOST, path)).headers["Content-Type"].startswith("text/html")
    world.break_source("postpost", Trouble.ENVELOPE)
    assert (await caller.get(POSTPOST, path)).json()["success"] is False
    world.break_source("postpost", Trouble.REDIRECT, location="http://127.0.0.1:1/elsewhere")
    moved = await caller.get(POSTPOST, path)
    assert (moved.status_code, moved.headers["Location"]) == (302, "http://127.0.0.1:1/elsewhere")


async def test_a_server_that_refuses_comes_back_on_the_same_port(world: World) -> None:
    async with calling(world) as caller:
        port = caller.server.port
        await caller.server.refuse()
        with pytest.raises(httpx.TransportError):
            await caller.get(POSTPEER, "/health/auth")
        await caller.server.listen()
        assert (await caller.get(POSTPEER, "/health/auth")).status_code == 200
        assert caller.server.port == port


async def test_the_date_header_follows_the_worlds_clock_and_the_sources_skew(world: World, caller: Caller) -> None:
    straight = await caller.get(POSTPEER, "/health/auth")
    world.sources["postpeer"].clock_skew = timedelta(hours=1)
    skewed = await caller.get(POSTPEER, "/health/auth")
    dates = [parsedate_to_datetime(answer.headers["Date"]) for answer in (straight, skewed)]
    assert dates == [NOW, NOW + timedelta(hours=1)]


async def test_long_answers_are_gzipped_only_when_asked_for(world: World, caller: Caller) -> None:
    populate(world, 50, source="many")
    url = caller.server.base_url(POSTPOST) + "/platform-connections"
    seen = {}
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for accepted in ("gzip, deflate", "identity"):
            headers = {"x-api-key": "demo-key-many", "Accept-Encoding": accepted}
            async with session.get(url, headers=headers) as answer:
                seen[accepted] = (answer.headers.get("Content-Encoding"), len(await answer.read()))
    (zipped, short), (plain, full) = seen.values()
    assert (zipped, plain) == ("gzip", None)
    assert full > 3 * short


async def test_requests_are_counted_and_remembered(world: World, caller: Caller) -> None:
    row_id = world.connect("postpost", "twitter", account="1").external_id
    await caller.get(POSTPOST, "/platform-connections")
    await caller.probe(POSTPOST, row_id)
    assert world.sources["postpost"].calls == {"list": 1, "probe": 1}
    assert world.requests["POST /postpost/api/v1/test-connection/twitter-1"] == 1
    assert world.seen[-1].headers["X-API-Key"] == "k"


async def test_what_is_nowhere_is_404(caller: Caller) -> None:
    for kind in coded_names():
        assert (await caller.get(kind, "/nowhere")).status_code == 404
        assert (await caller.get(kind, "/test-connection/linkedin-a")).status_code == 404
    assert (await caller.client.get(caller.server.address + "/")).status_code == 404


# --- Crowds, the story, the process --------------------------------------------------------------------------


async def test_a_population_is_listed_whole_at_every_provider(clock: ManualClock) -> None:
    world = World(clock=clock)
    paths = {POSTBREEZE: "/social-accounts", POSTPEER: "/connect/integrations?limit=100"}
    async with calling(world) as caller:
        for kind in coded_names():
            populate(world, 120, source=f"c-{kind}", kind=kind)
            answer = await caller.get(kind, paths.get(kind, "/platform-connections"), key=f"demo-key-c-{kind}")
            assert answer.content.count(b"Person ") == (100 if kind == POSTPEER else 120)
        assert state_word_of_all(world, "c-postpost", "expired") == 120
        answer = await caller.get(POSTPOST, "/platform-connections", key="demo-key-c-postpost")
        assert {row["tokenStatus"] for row in answer.json()["connections"]} == {"expired"}
    made = many_sources(world, 30, 10)
    assert [len(source) for source in made] == [10] * 30


def test_the_story_is_in_order_short_and_about_its_own_cast() -> None:
    """Every deed can be done at its place in the story; within 30 seconds; on all four providers."""
    clock = ManualClock(NOW)
    world = scenario.build_world(clock=clock)
    seconds = [step.second for step in scenario.STORY]
    assert seconds == sorted(seconds)
    assert seconds[-1] <= 25
    assert {source.kind for source in world.sources.values()} == set(coded_names())
    assert len(scenario.CAST) >= 20
    for step in scenario.STORY:
        clock.set(NOW + timedelta(seconds=step.second))
        perform(world, step.action)
        assert step.caption.endswith(".")


async def test_within_half_a_minute_the_story_shows_every_kind_of_change() -> None:
    """Walked through on a clock of its own: the words that PostPost's list has said of Northwind are all of them."""
    clock = ManualClock(NOW)
    world = scenario.build_world(clock=clock)
    steps = list(scenario.STORY)
    words: list[str] = []
    async with calling(world) as caller:
        for second in range(30):
            clock.set(NOW + timedelta(seconds=second))
            while steps and steps[0].second <= second:
                perform(world, steps.pop(0).action)
            body = await caller.get(POSTPOST, "/platform-connections", key="demo-key-agency")
            row = body.json()["connections"][0]
            assert row["displayName"] == "Northwind Coffee Roasters"
            if words[-1:] != [row["tokenStatus"]]:
                words.append(row["tokenStatus"])
    assert words == ["valid", "expiring_soon", "expired", "valid"]


async def test_the_story_plays_by_itself() -> None:
    world = scenario.build_world()
    caption: list[scenario.Step] = []
    await scenario.play(world, on_step=caption.append, speed=200)
    assert caption == list(scenario.STORY)


def test_synchronous_code_can_use_the_world_from_another_thread(world: World) -> None:
    world.connect("postpost", "twitter")
    with ThreadedWorld(world) as server:
        url = server.base_url(POSTPOST) + "/platform-connections"
        assert len(httpx.get(url, headers={"x-api-key": "k"}).json()["connections"]) == 1


async def test_the_world_runs_as_a_process_and_obeys_its_control_path() -> None:
    """Benchmarks and the daemon's own tests use it from outside."""
    command = [sys.executable, "-m", "monitor.demo.server", "--connections", "10", "--sources", "2"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        caption = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        headers = {"x-api-key": caption["keys"]["source-0"]}
        async with httpx.AsyncClient(transport=AiohttpTransport()) as client:
            url = caption["urls"]["postpost"] + "/platform-connections"
            assert len((await client.get(url, headers=headers)).json()["connections"]) == 10
            action = {"verb": "expire", "source": "source-0", "connection": "linkedin-1000000"}
            assert (await client.post(caption["control"], json=action)).json()["done"] == "expire"
            assert (await client.get(url, headers=headers)).json()["connections"][0]["tokenStatus"] == "expired"
            assert (await client.post(caption["control"], json=action | {"connection": "nobody"})).status_code == 400
            assert (await client.get(caption["address"] + "/world/requests")).json()["source-0"] == {"list": 2}
    finally:
        process.terminate()
        await process.communicate()


def test_an_action_for_a_connection_cannot_be_applied_to_a_source(world: World) -> None:
    with pytest.raises(ValueError, match="needs a connection"):
        perform(world, Action(verb=Verb.EXPIRE, source="postpost"))


# --- Receivers -----------------------------------------------------------------------------------------------


async def test_the_webhook_keeps_what_it_gets_and_answers_as_configured() -> None:
    caption: list[Post] = []
    async with WebhookReceiver(on_post=caption.append) as hook, aiohttp.ClientSession() as session:
        hook.script.extend([WebhookReply(status=503, headers={"Retry-After": "2"}), WebhookReply(cut=True)])
        async with session.post(hook.url, json={"n": 1}) as first:
            assert (first.status, first.headers["Retry-After"]) == (503, "2")
        with pytest.raises(aiohttp.ClientError):
            await session.post(hook.url, json={"n": 2})
        async with session.post(hook.url, json={"n": 3}) as third:
            assert third.status == 200
        posts = await hook.wait_for(3)
    assert [post.document["n"] for post in posts] == [1, 2, 3]
    assert posts == caption
    assert posts[0].headers["content-type"] == "application/json"
