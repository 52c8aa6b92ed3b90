"""The stream of changes over real connections: what it sends, to whom, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from monitor.config import Config
from monitor.domain import Event, EventKind, SourceStatus, Status
from monitor.domain.records import replace
from monitor.store import Store, channel_states, connection_queries, history, rechecks, sources
from monitor.web import open_streams, security, stream
from monitor.web.connections import MOST_PER_CLIENT
from tests.support.clients_world import BRAVA, CASA_VIEWER, OWN, OWNER, clients_world
from tests.support.command_line import make_world
from tests.support.factories import NOW
from tests.support.fakes import ManualClock
from tests.support.web_client import Served, serving
from tests.support.web_world import web_config

SOON = 30.0
"""Seconds: a change is found within one, on a busy machine somewhat later."""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return web_config(tmp_path)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def keys(store: Store, now: datetime) -> dict[str, int]:
    return make_world(store, now)


@pytest.fixture
async def site(store: Store, config: Config, clock: ManualClock, keys: dict[str, int]) -> AsyncIterator[Served]:
    async with serving(store, config, clock) as served:
        yield served


class Reader:
    """The reader of one stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._events: asyncio.Queue[str | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for line in self.answer.aiter_lines():
            if line.startswith("event: "):
                self._events.put_nowait(line.removeprefix("event: "))
        self._events.put_nowait(None)

    def close(self) -> None:
        """Stop reading."""
        self._task.cancel()

    async def next_event(self, within: float = SOON) -> str | None:
        """The name of the next event; None when the stream has ended."""
        return await asyncio.wait_for(self._events.get(), within)

    async def is_quiet(self, seconds: float = 2.5) -> bool:
        """True if no event comes."""
        try:
            await self.next_event(seconds)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def reading(site: Served, query: str = "") -> AsyncIterator[Reader]:
    """A stream that is ready. The site's own client would read it to its end."""
    headers = {name: value for name, value in site.client.headers.items() if name == "authorization"}
    async with (
        httpx.AsyncClient(trust_env=False, timeout=30, headers=headers) as client,
        client.stream("GET", f"{site.url}/api/v1/stream{query}") as answer,
    ):
        assert answer.status_code == 200
        reader = Reader(answer)
        assert await reader.next_event() == "ready"
        try:
            yield reader
        finally:
            reader.close()


def change(store: Store, source: str, key: int | None) -> None:
    entry = Event(kind=EventKind.STATUS_CHANGED, at=NOW, old=Status.VALID, new=Status.FAILING)
    with store.begin_write() as conn:
        history.append(conn, source, key, [entry])


async def test_a_change_is_announced_without_its_contents(site: Served, store: Store, keys: dict[str, int]) -> None:
    async with reading(site) as reader:
        headers = reader.answer.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["x-accel-buffering"] == "no"
        assert "no-store" in headers["cache-control"]
        assert "content-security-policy" in headers
        change(store, "agency", keys["valid"])
        assert await reader.next_event() == "change"
        assert await reader.is_quiet(), "once"
        change(store, "agency", keys["valid"])
        assert await reader.next_event() == "change"


@pytest.mark.parametrize(
    ("query", "changed", "seen"),
    [
        ("?label=client%3Dacme", "agency/valid", True),
        ("?label=client%3Dacme", "studio/studio", False),
        ("?source=studio", "studio/studio", True),
        ("?source=studio", "agency/valid", False),
        ("?platform=youtube", "studio/studio", True),
        ("?platform=youtube", "agency/valid", False),
        ("?q=linkedin-valid", "agency/valid", True),
        ("?q=linkedin-valid", "agency/expired", False),
    ],
)
async def test_a_stream_announces_only_what_its_filters_select(
    site: Served, keys: dict[str, int], query: str, changed: str, seen: bool
) -> None:
    source, name = changed.split("/")
    async with reading(site, query) as reader:
        change(site.site.store, source, keys[name])
        if seen:
            assert await reader.next_event() == "change"
        else:
            assert await reader.is_quiet()


async def test_the_health_of_sources_and_rechecks_are_announced(
    site: Served, store: Store, keys: dict[str, int], now: datetime
) -> None:
    async with reading(site) as everything, reading(site, "?source=studio") as studio:
        with store.begin_write() as conn:
            row = sources.find_source(conn, "agency")
            assert row is not None
            sources.save_source(conn, replace(row, status=SourceStatus.FAILING, message="It cannot be read."))
        assert await everything.next_event() == "change"
        assert await studio.is_quiet()
        with store.begin_write() as conn:
            rechecks.request(conn, [keys["studio"]], author="somebody", now=now)
        assert await everything.next_event() == "change"
        assert await studio.next_event() == "change"


async def test_what_does_not_exist_is_refused(site: Served) -> None:
    assert (await site.get("/api/v1/stream?source=nowhere")).status_code == 404
    assert (await site.get("/api/v1/stream?label=client%3Dnobody")).status_code == 404
    assert (await site.get("/api/v1/stream?nonsense=1")).status_code == 400
    assert (await site.post("/api/v1/stream", {})).status_code == 405
    head = await site.client.head(f"{site.url}/api/v1/stream")
    assert (head.status_code, head.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert site.site.streams.number == 0


async def test_a_stream_needs_the_token(store: Store, config: Config, clock: ManualClock, keys: dict[str, int]) -> None:
    token = "a-token-of-many-characters-0123456789"
    async with serving(store, config, clock, token=token) as site:
        assert (await site.get("/api/v1/stream")).status_code == 401
        site.client.headers["authorization"] = f"Bearer {token}"
        async with reading(site):
            assert site.site.streams.number == 1


async def test_a_stream_of_a_bound_user_announces_only_the_users_own_connections(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    async with clients_world(store, clock, tmp_path) as config, serving(store, config, clock) as site:
        with store.begin_read() as conn:
            found = {row.public_id: row.id for row in connection_queries.list_connections(conn)}
        site.client.headers["authorization"] = f"Bearer {CASA_VIEWER}"
        async with reading(site) as reader:
            for word in (*BRAVA, *OWNER):
                change(store, "agency", next(key for name, key in found.items() if word in name))
            change(store, "agency", None)
            with store.begin_write() as conn:
                row = sources.find_source(conn, "agency")
                assert row is not None
                sources.save_source(conn, replace(row, status=SourceStatus.FAILING, message="Another error."))
                channel_states.record_failure(conn, "ops", NOW, problem="410 Gone", broken=True)
            assert await reader.is_quiet()
            change(store, "agency", next(key for name, key in found.items() if OWN[0] in name))
            assert await reader.next_event() == "change"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.01)


async def test_streams_are_limited_and_leave_room_when_they_end(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_streams, "MOST_STREAMS", 2)
    async with reading(site), reading(site):
        refused = await site.get("/api/v1/stream")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
    await until(lambda: site.site.streams.number == 0)
    async with reading(site):
        pass


async def test_open_streams_leave_room_for_pages(site: Served) -> None:
    """Behind a proxy all come from one address."""
    limits = httpx.Limits(max_connections=None)
    async with AsyncExitStack() as stack, httpx.AsyncClient(limits=limits, trust_env=False) as client:
        for _ in range(MOST_PER_CLIENT + 6):
            answer = await stack.enter_async_context(client.stream("GET", f"{site.url}/api/v1/stream", timeout=30))
            assert answer.status_code == 200
        assert (await site.get("/api/v1/sources")).status_code == 200
        assert site.site.streams.number == MOST_PER_CLIENT + 6


async def test_a_stream_lasts_longer_than_other_responses_may(
    site: Served, store: Store, keys: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "ANSWER_WITHIN", 1.0)
    monkeypatch.setattr(stream, "BEAT_EVERY", 0.2)
    async with reading(site) as reader:
        await asyncio.sleep(1.5)
        change(store, "agency", keys["valid"])
        assert await reader.next_event() == "change"


async def test_a_stream_ends_after_a_while(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LASTS", 0.5)
    monkeypatch.setattr(stream, "BEAT_EVERY", 0.1)
    async with reading(site) as reader:
        assert await reader.next_event() is None


async def test_other_settings_end_every_stream(site: Served) -> None:
    async with reading(site) as reader:
        site.site.streams.end_all()
        assert await reader.next_event() is None
    async with reading(site):
        pass


async def test_open_streams_do_not_delay_a_stop(store: Store, config: Config, clock: ManualClock, keys: dict[str, int]) -> None:
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(serving(store, config, clock))
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        answers = [
            await stack.enter_async_context(client.stream("GET", f"{site.url}/api/v1/stream", timeout=30)) for _ in range(5)
        ]
        began = time.monotonic()
        site.site.streams.close()
        for answer in answers:
            async for _ in answer.aiter_lines():
                pass
        assert time.monotonic() - began < 2
        assert (await site.get("/api/v1/stream")).status_code == 503


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SEND_WITHIN", 0.1)

    async def never(_: Message) -> None:
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        await stream._send(never, {"type": "http.response.body"})


async def test_nothing_is_queried_without_a_stream(site: Served) -> None:
    async with reading(site):
        pass
    await until(lambda: site.site.streams.number == 0)
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert "web-streams" not in names
