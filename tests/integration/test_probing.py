"""Probing many connections, on both databases: bursts, lanes, and what is and is not written."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from monitor.demo.world import World, populate
from monitor.domain import PollReport, ProbeAnswer, ProbeState, ProbeStatus
from monitor.domain.errors import ProviderRateLimited, ProviderUnreachable
from monitor.domain.rules.schedule import LEAD
from monitor.engine.probe_runner import ProbeLane
from monitor.engine.prober import Prober
from monitor.store import Store, probes
from monitor.store.probes import Target
from monitor.store.schema import connections
from monitor.telemetry.metrics import Metrics
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import CHANNEL, Cycle, count_rows, running

EVERY = timedelta(hours=6)
CROWD = 60
OK = ProbeAnswer(http_status=200, status="ok", message="Connection is valid")
REFUSED = ProbeAnswer(http_status=200, status="error", message="Access token expired")


class Platform:
    """A provider whose probes the test answers; it remembers who was asked and how many at once."""

    kind = "postpost"
    probes = True

    def __init__(self, answer: Callable[[str], Awaitable[ProbeAnswer]]) -> None:
        self._answer = answer
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0

    async def poll(self) -> PollReport:
        raise AssertionError("nothing here polls")

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        raise AssertionError("nothing here is rechecked")

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        assert scope is None
        self.asked.append(external_id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(external_id)
        finally:
            self.at_once -= 1


async def at_once_ok(_: str) -> ProbeAnswer:
    return OK


@pytest.fixture
async def crowd(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """One source with a crowd of healthy connections, each listed and probed once."""
    world = World(clock=clock)
    populate(world, CROWD, source="agency")
    settings = CHANNEL + "[schedule]\nrequests_per_minute = 60000\n"
    async with running(store, clock, world, tmp_path, extra=settings) as cycle:
        await cycle.poll()
        await cycle.probe(due=True)
        yield cycle


def prober_of(cycle: Cycle, **over: Any) -> Prober:
    return Prober(store=cycle.store, clock=cycle.clock, channels=cycle.config.channels, **{"metrics": Metrics(), **over})


async def probe_due(cycle: Cycle, platform: Platform, **over: Any) -> int:
    """Probe what is due now; how many connections changed."""
    source = cycle.work["agency"].source
    return (await prober_of(cycle, **over).probe_due(source, platform)).changed


def table(cycle: Cycle) -> list[Any]:
    with cycle.store.begin_read() as conn:
        return list(conn.execute(select(connections).order_by(connections.c.id)))


async def test_a_newcomer_is_probed_at_once_and_then_with_its_cohort(crowd: Cycle) -> None:
    assert {state.probe.status for state in crowd.states().values()} == {ProbeStatus.OK}
    assert crowd.world.sources["agency"].calls["probe"] == CROWD
    platform = Platform(at_once_ok)
    await probe_due(crowd, platform)
    assert platform.asked == []


async def test_unchanged_answers_write_no_connection_and_add_no_row(crowd: Cycle) -> None:
    before, rows = table(crowd), count_rows(crowd.store)
    for _ in range(4):
        crowd.clock.advance(EVERY / 2)
        assert (await crowd.probe(due=True)).changed == 0
    assert crowd.world.sources["agency"].calls["probe"] >= 2 * CROWD
    assert table(crowd) == before
    assert count_rows(crowd.store) - rows <= 4, "the hourly counts, and nothing else"


async def test_each_is_probed_once_in_every_interval_in_a_few_bursts(crowd: Cycle) -> None:
    """Also right after a long stop: what is overdue is probed at once, and nothing is left out."""
    platform = Platform(at_once_ok)
    crowd.clock.advance(3 * EVERY)
    await probe_due(crowd, platform)
    assert sorted(platform.asked) == sorted(set(platform.asked))
    assert len(platform.asked) == CROWD
    for _ in range(2):  # the first turns may come early; from then on it is steady
        platform.asked.clear()
        bursts = 0
        for _ in range(120):
            crowd.clock.advance(EVERY / 120)
            before = len(platform.asked)
            await probe_due(crowd, platform)
            bursts += len(platform.asked) > before
    counts = Counter(platform.asked)
    assert len(counts) == CROWD
    assert max(counts.values()) <= 2
    assert bursts <= 1 / LEAD + 2


async def test_one_refusal_among_many_is_the_only_row_written_and_is_asked_again_soon(crowd: Cycle) -> None:
    crowd.clock.advance(3 * EVERY)
    before = {row.id: row for row in table(crowd)}
    unlucky = sorted(row.external_id for row in before.values())[7]

    async def answer(external_id: str) -> ProbeAnswer:
        return REFUSED if external_id == unlucky else OK

    platform = Platform(answer)
    assert await probe_due(crowd, platform) == 1
    changed = [row for row in table(crowd) if row != before[row.id]]
    assert [(row.external_id, row.probe_status, row.probe_refusals) for row in changed] == [(unlucky, "failing", 1)]
    assert timedelta(0) < changed[0].next_probe_at - crowd.clock.now() <= timedelta(seconds=60)
    platform.asked.clear()
    crowd.clock.advance(timedelta(seconds=60))
    assert await probe_due(crowd, platform) == 1
    assert platform.asked == [unlucky]
    assert crowd.statuses()[f"agency/{unlucky}"] == "expired"


async def test_news_does_not_wait_for_the_slowest_of_its_batch(crowd: Cycle) -> None:
    crowd.clock.advance(3 * EVERY)
    slowest, ended = asyncio.Event(), asyncio.Event()
    first: list[str] = []

    async def answer(external_id: str) -> ProbeAnswer:
        first.append(external_id)
        if len(first) == 1:
            return REFUSED
        ended.set()
        await slowest.wait()
        return OK

    probing = asyncio.create_task(probe_due(crowd, Platform(answer), news_within=0.01))
    async with asyncio.timeout(30):
        while not any(row.probe_status == "failing" for row in table(crowd)):
            await asyncio.sleep(0.01)
    assert ended.is_set()
    assert not probing.done()
    slowest.set()
    await probing
    assert [row.external_id for row in table(crowd) if row.probe_refusals] == first[:1]
    with crowd.store.begin_read() as conn:
        counted = {row.finding: row.count for row in probes.rollups(conn, since=crowd.clock.now() - timedelta(hours=1))}
    assert counted == {"expired": 1, "ok": CROWD - 1}


async def test_an_api_that_asks_for_a_pause_gets_it_and_no_probe_is_lost(crowd: Cycle) -> None:
    crowd.clock.advance(3 * EVERY)

    async def answer(external_id: str) -> ProbeAnswer:
        if len(platform.asked) > 5:
            raise ProviderRateLimited("slow down", retry_after=40.0)
        return OK

    platform = Platform(answer)
    await probe_due(crowd, platform)
    assert len(platform.asked) == 6
    again = Platform(at_once_ok)
    await probe_due(crowd, again)
    assert again.asked == []
    crowd.clock.advance(timedelta(seconds=40))
    await probe_due(crowd, again)
    assert sorted(platform.asked[:5] + again.asked) == sorted(row.external_id for row in table(crowd))


async def test_what_is_not_answered_is_asked_again_within_the_hour_and_counted_as_such(crowd: Cycle) -> None:
    crowd.clock.advance(3 * EVERY)
    metrics = Metrics()

    async def answer(_: str) -> ProbeAnswer:
        raise ProviderUnreachable("away")

    assert await probe_due(crowd, Platform(answer), metrics=metrics) == 0
    assert metrics.probes() == {("agency", "unanswered"): CROWD}
    crowd.clock.advance(timedelta(hours=1))
    again = Platform(at_once_ok)
    assert await probe_due(crowd, again) == 0
    assert len(again.asked) == CROWD


async def test_a_defect_ends_the_batch_and_leaves_it_due(crowd: Cycle) -> None:
    crowd.clock.advance(3 * EVERY)

    async def answer(_: str) -> ProbeAnswer:
        raise LookupError("a defect")

    with pytest.raises(ExceptionGroup) as caught:
        await probe_due(crowd, Platform(answer))
    assert caught.group_contains(LookupError)
    again = Platform(at_once_ok)
    await probe_due(crowd, again)
    assert len(again.asked) == CROWD


async def test_a_stop_lets_what_is_under_way_finish_and_starts_nothing_more(crowd: Cycle) -> None:
    crowd.clock.advance(3 * EVERY)
    prober = prober_of(crowd)

    async def answer(_: str) -> ProbeAnswer:
        prober.stop()
        return OK

    platform = Platform(answer)
    await prober.probe_due(crowd.work["agency"].source, platform)
    assert len(platform.asked) == 1
    again = Platform(at_once_ok)
    await probe_due(crowd, again)
    assert len(again.asked) == CROWD - 1


def targets(count: int) -> list[Target]:
    return [Target(number, f"x-{number}", None, "linkedin", ProbeState()) for number in range(count)]


async def lane(crowd: Cycle, answer: Callable[[str], Awaitable[ProbeAnswer]], count: int, *, per_second: float) -> Platform:
    platform = Platform(answer)
    source = crowd.work["agency"].source
    asked = ProbeLane(source, platform, targets(count), per_second=per_second, fastest=None, stopping=lambda: False)
    await asked.run()
    assert sorted(result.target.id for result in asked.results) == list(range(count))
    return platform


async def test_a_quick_api_is_asked_one_by_one(crowd: Cycle) -> None:
    assert (await lane(crowd, at_once_ok, 90, per_second=50)).most_at_once == 1


async def test_a_large_burst_goes_side_by_side_but_opens_few_connections(crowd: Cycle) -> None:
    async def soon(_: str) -> ProbeAnswer:
        await asyncio.sleep(0)
        return OK

    assert (await lane(crowd, soon, 400, per_second=50)).most_at_once == 4


async def test_a_lane_widens_where_each_answer_takes_its_time(crowd: Cycle) -> None:
    async def later(_: str) -> ProbeAnswer:
        await asyncio.sleep(0.05)
        return OK

    assert 10 <= (await lane(crowd, later, 90, per_second=200)).most_at_once <= 90
