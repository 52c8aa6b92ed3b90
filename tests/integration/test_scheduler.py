"""The scheduler: one piece of work per source at a time, and a defect in one piece of work affects no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from monitor.daemon.scheduler import DueWork, Scheduler
from monitor.daemon.work import Work
from monitor.demo.world import World
from monitor.domain import PollOutcome, PollReport, ProbeAnswer
from monitor.store import Store
from tests.support.delivery import until
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import Cycle, build_scheduler, running

DAY = timedelta(days=1)
TICK = timedelta(milliseconds=20)


class Slow:
    """A provider whose list takes until the test lets it come; it counts how often it was asked, and how often at once."""

    kind = "postpost"
    probes = False

    def __init__(self) -> None:
        self.asked = self.at_once = self.most_at_once = 0
        self.come = asyncio.Event()

    async def poll(self) -> PollReport:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.come.wait()
        finally:
            self.at_once -= 1
        return PollReport(outcome=PollOutcome.UNREACHABLE, problem="It took its time.")

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        raise AssertionError("nothing here is rechecked")

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        raise AssertionError("nothing here is probed")


class Defective:
    """An adapter with a defect."""

    kind = "postpost"
    probes = True

    def __init__(self) -> None:
        self.probed = 0

    async def poll(self) -> PollReport:
        raise ArithmeticError("a defect")

    async def poll_scopes(self, scopes: Sequence[str | None]) -> PollReport:
        raise AssertionError("nothing here is rechecked")

    async def probe(self, external_id: str, *, scope: str | None) -> ProbeAnswer:
        self.probed += 1
        raise ArithmeticError("a defect")


@pytest.fixture
async def cycle(store: Store, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Cycle]:
    """Two sources with one connection each, both polled once."""
    world = World(clock=clock)
    for name in ("agency", "studio"):
        world.add_source(name, "postpost")
        world.connect(name, "linkedin", account=name, username="N", display_name="N", lifetime=50 * DAY)
    async with running(store, clock, world, tmp_path) as made:
        await made.poll()
        await made.probe()
        yield made


@asynccontextmanager
async def ticking(cycle: Cycle) -> AsyncIterator[Scheduler]:
    """A scheduler over the cycle's work that ticks fifty times a second."""
    scheduler, _ = build_scheduler(cycle, keep=DAY, tick=TICK)
    scheduler.start()
    try:
        yield scheduler
    finally:
        await scheduler.stop(timedelta(seconds=5))


async def test_a_source_that_takes_its_time_is_asked_by_one_poll_at_a_time(cycle: Cycle) -> None:
    slow = Slow()
    cycle.work["agency"] = Work(source=cycle.work["agency"].source, provider=slow)
    cycle.clock.advance(DAY)
    async with ticking(cycle):
        await until(lambda: slow.asked == 1)
        await until(lambda: cycle.source("studio").last_poll_at == cycle.clock.now())
        await asyncio.sleep(10 * TICK.total_seconds())
        slow.come.set()
        await until(lambda: cycle.source("agency").failures == 1)
    assert (slow.asked, slow.most_at_once) == (1, 1)


async def test_a_poll_that_ends_while_the_due_work_is_read_is_not_repeated(cycle: Cycle) -> None:
    slow = Slow()
    cycle.work["agency"] = Work(source=cycle.work["agency"].source, provider=slow)
    cycle.clock.advance(DAY)
    read = cycle.store.read
    reading, poll_recorded = asyncio.Event(), asyncio.Event()

    async def read_slowly(work: Callable[[Connection], Any]) -> Any:
        """Return what was due before the poll was recorded, as a busy machine does."""
        found = await read(work)
        if slow.asked == 1 and isinstance(found, DueWork) and "agency" in found.polls and not poll_recorded.is_set():
            reading.set()
            await poll_recorded.wait()
        return found

    cycle.store.read = read_slowly  # type: ignore[method-assign]  # the store itself, with a slower reader
    async with ticking(cycle):
        await asyncio.wait_for(reading.wait(), 30)
        slow.come.set()
        await until(lambda: cycle.source("agency").failures == 1)
        await asyncio.sleep(5 * TICK.total_seconds())  # the poll's task ends after its commit
        poll_recorded.set()
        await asyncio.sleep(5 * TICK.total_seconds())
    assert slow.asked == 1


async def test_N21_a_defect_in_reading_one_source_is_that_sources_trouble_alone(cycle: Cycle) -> None:
    cycle.work["agency"] = Work(source=cycle.work["agency"].source, provider=Defective())
    cycle.clock.advance(DAY)
    with capture_logs() as told:
        async with ticking(cycle):
            await until(lambda: cycle.source("agency").failures == 1)
            await until(lambda: cycle.source("studio").last_success_at == cycle.clock.now())
    assert cycle.source("agency").message == "The answer could not be processed (ArithmeticError). See the log."
    assert "poll.fault" in [line["event"] for line in told]


async def test_a_defect_in_one_job_is_logged_and_backed_off(cycle: Cycle) -> None:
    """Without the rest it would be tried fifty times a second."""
    defective = Defective()
    cycle.work["agency"] = Work(source=cycle.work["agency"].source, provider=defective)
    cycle.clock.advance(DAY)
    with capture_logs() as told:
        async with ticking(cycle):
            await until(lambda: defective.probed > 0)
            await until(lambda: any(line["event"] == "work.failed" for line in told))
            await asyncio.sleep(10 * TICK.total_seconds())
    assert defective.probed == 1
    assert [line["work"] for line in told if line["event"] == "work.failed"] == ["probe:agency"]
