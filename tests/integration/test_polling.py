"""What a poll leaves in the log: a line where something begins, changes or ends, and no flood while it lasts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from structlog.testing import capture_logs

from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.poller import Poller
from monitor.store import Store
from monitor.telemetry.metrics import Metrics
from tests.support.fakes import ManualClock
from tests.support.poll_cycle import running

QUARTER = timedelta(minutes=15)


async def test_the_same_failure_is_a_warning_once_an_hour_and_another_one_at_once(
    store: Store, clock: ManualClock, tmp_path: Path
) -> None:
    world = World(clock=clock)
    world.add_source("agency", "postpost")
    world.connect("agency", "linkedin", account="li", username="N", display_name="N", lifetime=timedelta(days=50))
    async with running(store, clock, world, tmp_path) as cycle:
        poller = Poller(store=store, clock=clock, channels=cycle.config.channels, metrics=Metrics(), links=ConnectionLinks())
        work = cycle.work["agency"]

        async def polled(times: int) -> list[str]:
            with capture_logs() as logs:
                for _ in range(times):
                    clock.advance(QUARTER)
                    await poller.poll(work.source, work.provider)
            return [str(entry["log_level"]) for entry in logs if str(entry["event"]).startswith("poll.")]

        assert await polled(2) == ["info", "info"]
        world.break_source("agency", Trouble.SERVER_ERROR)
        assert await polled(9) == ["warning", *["debug"] * 3, "warning", *["debug"] * 3, "warning"]
        world.break_source("agency", Trouble.HTML)
        assert await polled(2) == ["warning", "debug"], "another reason"
        world.recover_source("agency")
        assert await polled(1) == ["info"]
        world.break_source("agency", Trouble.HTML)
        assert await polled(1) == ["warning"], "it began anew"
