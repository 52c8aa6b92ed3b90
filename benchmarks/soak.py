"""Simulated weeks of the real daemon: `python -m benchmarks.soak` plays thirty days in minutes, and judges them.

Forty accounts run out and are renewed again and again. Meanwhile the clock is set wrong and right again by an hour and by
forty days, the machine sleeps, APIs and channels are away, the daemon is restarted, and both nights come in which clocks
change. Every line that was crossed must be notified once, none too early, and memory, descriptors and the database must
stay level.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks.accelerated_clock import Acceleration, run_accelerated
from benchmarks.expected_alerts import AccountScenario, Doubt, NotifiedAccount, ReceivedAlert, judge
from monitor.config import Config, load
from monitor.daemon.database_outage import DatabaseOutageAlert
from monitor.daemon.overdue_sources import OverdueSources
from monitor.daemon.scheduler import Scheduler
from monitor.daemon.work import LocalRunner, build_engine, build_work
from monitor.demo.receivers import WebhookReceiver, WebhookReply
from monitor.demo.server import ThreadedWorld, WorldServer, in_thread
from monitor.demo.source import Trouble
from monitor.demo.world import World
from monitor.domain.clock import SystemClock
from monitor.engine import config_sync
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.time_changes import TimeChanges
from monitor.notify import DeliverySettings, Notifier
from monitor.notify.reports import Reporter
from monitor.providers import HttpSessions
from monitor.store import Connection, Store, open_store
from monitor.store.alerts import find_alert
from monitor.store.schema import alerts, metadata
from monitor.telemetry import logs, memory
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress

START = datetime(2026, 3, 10, 6, 0, tzinfo=UTC)
"""Thirty days from here hold Berlin's short night (29 March) and Sydney's long one (5 April)."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CONNECTIONS = 40
WARM_UP = 0.2
"""The share of the days before memory is measured: caches fill first."""
FIRST_USES = 4 * 2**20
"""Bytes that code and caches take when they are first used after the warm-up: a short run has hardly another growth."""

CONFIG = """
timezone = "Europe/Berlin"
[database]
url = "sqlite:///{database}"
[schedule]
poll_every = "{poll_every}"
probe_every = "6h"
requests_per_minute = 6000
[policy]
expiring_within = "1d"
stages = ["12h", "6h"]
remind_every = "off"
flap_window = "off"
[web]
listen = "off"
[retention]
history = "7d"
polls = "3d"
[[sources]]
name = "agency"
provider = "postpost"
api_key = "{agency}"
base_url = "{postpost}"
[[sources]]
name = "retail"
provider = "publora"
api_key = "{retail}"
base_url = "{publora}"
[[channels]]
name = "ops"
url = "{ops}"
[[channels]]
name = "night"
url = "{night}"
quiet_hours = [{{ from = "22:00", to = "07:00", timezone = "Australia/Sydney" }}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, and how closely."""

    days: float
    tick: timedelta
    poll_every: str
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The process and its database at the end of a day."""

    day: float
    resident: int
    descriptors: int
    database: int
    rows: int


@dataclass(kw_only=True)
class SoakResult:
    """What a run came to."""

    plan: Plan
    samples: list[Sample] = field(default_factory=list)
    score: NotifiedAccount
    unplanned_errors: list[str] = field(default_factory=list)
    """Unexpected errors in the log."""
    seconds: float = 0.0

    @property
    def settled(self) -> list[Sample]:
        """The samples after the warm-up."""
        return [each for each in self.samples if each.day >= self.plan.days * WARM_UP]

    @property
    def grew(self) -> bool:
        """Whether the resident set grew by more than 1 MiB a day and FIRST_USES together."""
        first, last = self.settled[0], self.settled[-1]
        return last.resident - first.resident > (last.day - first.day) * 2**20 + FIRST_USES

    @property
    def slope(self) -> float:
        """By how many bytes a day the resident set grows: the line of least squares."""
        points = [(each.day, each.resident) for each in self.settled]
        mean_x, mean_y = (sum(each[axis] for each in points) / len(points) for axis in (0, 1))
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0

    def figures(self) -> dict[str, Any]:
        """For people and for docs."""
        settled = self.settled
        return {
            "days": self.plan.days,
            "seconds": round(self.seconds, 1),
            "lines_crossed": self.score.lines,
            "alerts": self.score.alerts,
            "violations": self.score.violations,
            "memory_slope_kib_per_day": round(self.slope / 1024, 1),
            "resident_mib": [round(each.resident / 2**20, 1) for each in (settled[0], settled[-1])],
            "descriptors": sorted({each.descriptors for each in settled}),
            "database_kib": [each.database // 1024 for each in (settled[0], settled[-1])],
            "rows": [each.rows for each in (settled[0], settled[-1])],
            "unplanned_errors": self.unplanned_errors,
        }


class Soak:
    """One run. The parts of the daemon are the real ones, composed as monitor.daemon.app does, but for a slower tick."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._warp, self._dice = Acceleration(START), random.Random(plan.seed)
        self._world = World(clock=self._warp, expiring_within=DAY)
        self._world.add_source("agency", "postpost")
        self._world.add_source("retail", "publora")
        self._scenarios = [self._new_scenario(number) for number in range(CONNECTIONS)]
        self._alerts: list[ReceivedAlert] = []
        self._seen: set[str] = set()
        self._samples: list[Sample] = []
        self._story: list[Trial] = []

    def run(self) -> SoakResult:
        """Run the simulation and return its result."""
        began, log = time.perf_counter(), self._folder / "log"
        with (
            log.open("w", encoding="utf-8") as stream,
            ThreadedWorld(self._world) as server,
            in_thread(WebhookReceiver()) as ops,
            in_thread(WebhookReceiver()) as night,
        ):
            logs.configure(level="warning", format="json", stream=stream)
            config = self._config(server, ops, night)
            run_accelerated(lambda: self._play(config, ops, night), self._warp)
        score = judge(
            self._scenarios, self._alerts, self._doubtful(), until=self._warp.now(), late=2 * self._every() + 4 * self._plan.tick
        )
        soaked = SoakResult(plan=self._plan, samples=self._samples, score=score, seconds=time.perf_counter() - began)
        lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
        soaked.unplanned_errors = sorted({line["event"] for line in lines if line["level"] == "error"})
        return soaked

    def _doubtful(self) -> list[Doubt]:
        """While the clock is wrong or the machine sleeps, alerts may wait for the end of that.

        While an API is away only unknowable changes may: the dates of tokens that were renewed meanwhile.
        """
        asleep = timedelta(hours=9)
        return [
            Doubt(begin=each.begin - HOUR, end=each.end + (asleep if each.source is None else HOUR), source=each.source)
            for each in self._story
            if each.source != ""  # a channel that is down delays no decision
        ]

    def _every(self) -> timedelta:
        return timedelta(minutes=15) if self._plan.poll_every == "15m" else HOUR

    def _config(self, server: WorldServer, ops: WebhookReceiver, night: WebhookReceiver) -> Config:
        path = self._folder / "config.toml"
        path.touch(mode=0o600)
        text = CONFIG.format(
            database=self._folder / "monitor.db",
            poll_every=self._plan.poll_every,
            agency=self._world.sources["agency"].key,
            retail=self._world.sources["retail"].key,
            postpost=server.base_url("postpost"),
            publora=server.base_url("publora"),
            ops=ops.apprise_url,
            night=night.apprise_url,
        )
        path.write_text(text, encoding="utf-8")
        return load(path, {"HOME": str(self._folder)}).config

    def _new_scenario(self, number: int) -> AccountScenario:
        source, platform = ("agency", "linkedin") if number % 2 else ("retail", "threads")
        lifetime = timedelta(hours=self._dice.uniform(30, 140))
        made = self._world.connect(
            source,
            platform,
            account=f"a{number}",
            display_name=f"Person {number}",
            lifetime=lifetime,
        )
        scenario = AccountScenario(source=source, external_id=made.external_id)
        scenario.begin(self._warp.now(), self._warp.now() + lifetime)
        return scenario

    async def _play(self, config: Config, ops: WebhookReceiver, night: WebhookReceiver) -> None:
        hours = int(self._plan.days * 24)
        story = self._story = _story(self._warp, self._world, ops, self._plan.days)
        while self._warp.now() < START + hours * HOUR:
            async with AsyncExitStack() as stack:  # one process lifetime of the daemon; a third of the run each
                store = open_store(config.database.url.reveal())
                stack.callback(store.close)
                await self._start(stack, config, store)
                end = min(START + hours * HOUR, self._warp.now() + self._plan.days / 3 * DAY)
                while self._warp.now() < end:
                    await asyncio.sleep(HOUR.total_seconds())
                    self._turn(story)
                    await store.read(self._collect)
                    if (self._warp.now() - START) // HOUR % 24 < 1 and self._warp.wrong_by == timedelta(0):
                        ops.posts.clear()
                        night.posts.clear()
                        self._samples.append(await store.read(self._sample))
        with Store(config.database.url.reveal()) as store:
            await store.read(self._collect)

    async def _start(self, stack: AsyncExitStack, config: Config, store: Store) -> None:
        clock = SystemClock()
        sessions = await stack.enter_async_context(HttpSessions())
        work = build_work(config, sessions=sessions, clock=clock)
        with store.begin_write() as conn:
            config_sync.sync(conn, config, clock.now())
        settings = DeliverySettings(timezone=config.timezone, poll_every=self._plan.tick)
        notifier = Notifier(
            store=store,
            channels=config.channels,
            clock=clock,
            settings=settings,
            metrics=Metrics(),
            progress=Progress(),
            links=ConnectionLinks(),
        )
        await notifier.start()
        stack.push_async_callback(notifier.stop, timedelta(seconds=5))
        configured = {name: item.source for name, item in work.items()}
        engine = build_engine(store=store, clock=clock, channels=config.channels, metrics=Metrics(), links=ConnectionLinks())
        scheduler = Scheduler(
            store=store,
            clock=clock,
            work=work,
            runner=LocalRunner(engine),
            time_changes=TimeChanges(store=store, clock=clock, configured=configured, channels=config.channels),
            notifier=notifier,
            reporter=Reporter(
                store=store, clock=clock, channels=config.channels, sources=config.sources, timezone=config.timezone
            ),
            retention=config.retention,
            overdue_sources=OverdueSources(store=store, clock=clock, configured=configured, channels=config.channels),
            outage_alert=DatabaseOutageAlert(store=store, clock=clock, notifier=notifier),
            progress=Progress(),
            tick=self._plan.tick,
        )
        scheduler.start()
        stack.push_async_callback(scheduler.stop, timedelta(seconds=5))

    def _turn(self, story: list[Trial]) -> None:
        """Perform the events of this hour: renewals and the scripted failures."""
        now = self._warp.now()
        for scenario in self._scenarios:
            if now >= scenario.expires_at + scenario.patience:
                lifetime = timedelta(hours=self._dice.uniform(30, 140))
                self._world.renew(scenario.source, scenario.external_id, lifetime=lifetime)
                scenario.begin(now, now + lifetime)
                scenario.patience = timedelta(hours=self._dice.uniform(-3, 10))
        for trial in story:
            trial.turn(now)

    def _collect(self, conn: Connection) -> None:
        """Note the alerts raised since the last call, with the true time."""
        new = [each for each in conn.scalars(select(alerts.c.id)) if each not in self._seen]
        for each in new:
            found = find_alert(conn, each)
            if found is not None and found.alert.external_id is not None:
                alert = found.alert
                self._alerts.append(
                    ReceivedAlert(name=alert.external_id or "", event=alert.event, stage=alert.stage, at=self._warp.now())
                )
        self._seen |= set(new)

    def _sample(self, conn: Connection) -> Sample:
        gc.collect()
        memory.release()
        rows = sum(conn.scalar(select(func.count()).select_from(table)) or 0 for table in metadata.sorted_tables)
        sizes = [path.stat().st_size for path in self._folder.glob("monitor.db*")]
        return Sample(
            day=(self._warp.now() - START) / DAY,
            resident=memory.resident_bytes(),
            descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - one call, no objects
            database=sum(sizes),
            rows=rows,
        )


@dataclass(kw_only=True)
class Trial:
    """Something that goes wrong for a while."""

    begin: datetime
    end: datetime
    wrong: Callable[[], None]
    right: Callable[[], None]
    source: str | None = None
    """The API that is away; None: every alert may wait for the end."""
    _done: int = 0

    def turn(self, now: datetime) -> None:
        """Begin and end when it is time."""
        if self._done == 0 and now >= self.begin:
            self.wrong()
            self._done = 1
        elif self._done == 1 and now >= self.end:
            self.right()
            self._done = 2


def _story(acceleration: Acceleration, world: World, ops: WebhookReceiver, days: float) -> list[Trial]:
    """Return the scripted failures with their times."""

    def nothing() -> None:
        pass

    def between(
        begin: float, end: float, wrong: Callable[[], None], right: Callable[[], None], *, source: str | None = None
    ) -> Trial:
        return Trial(begin=START + begin * days * DAY, end=START + end * days * DAY, wrong=wrong, right=right, source=source)

    def jump(begin: float, end: float, by: timedelta) -> Trial:
        return between(begin, end, lambda: acceleration.jump(by), lambda: acceleration.jump(-by))

    def away(begin: float, end: float, source: str) -> Trial:
        broken = lambda: world.break_source(source, Trouble.SERVER_ERROR)  # noqa: E731 - as the others
        return between(begin, end, broken, lambda: world.recover_source(source), source=source)

    def down(begin: float, end: float) -> Trial:
        return between(
            begin,
            end,
            lambda: setattr(ops, "reply", WebhookReply(status=503)),
            lambda: setattr(ops, "reply", WebhookReply()),
            source="",
        )

    return [
        jump(0.08, 0.11, HOUR),
        jump(0.17, 0.20, -HOUR),
        down(0.28, 0.34),
        jump(0.30, 0.32, 40 * DAY),
        jump(0.42, 0.44, -40 * DAY),
        between(0.55, 0.55, lambda: acceleration.sleep_machine(8 * HOUR), nothing),
        away(0.68, 0.72, "agency"),
        away(0.80, 0.84, "retail"),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Play, print the figures as JSON; exit status 1 where something was missed or grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--tick", type=float, default=300.0, help="seconds between checks for due work; the daemon has 0.5")
    parser.add_argument("--poll-every", choices=["15m", "1h"], default="15m")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    tick = timedelta(seconds=arguments.tick)
    plan = Plan(days=arguments.days, tick=tick, poll_every=arguments.poll_every, seed=arguments.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soaked = Soak(plan, Path(folder)).run()
    print(json.dumps(soaked.figures(), indent=1))
    return 1 if soaked.score.violations or soaked.grew or soaked.unplanned_errors else 0


if __name__ == "__main__":
    sys.exit(main())
