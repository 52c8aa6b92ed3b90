"""Random kills of daemons that share the work: the others go on, and nothing is lost, repeated in vain or asked too often."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from sqlalchemy import select, text

from monitor.demo.receivers import WebhookReceiver
from monitor.demo.server import in_thread
from monitor.demo.world import World
from monitor.store import Store
from monitor.store.schema import polls
from tests.acceptance.daemon import Setting, eventually, setting
from tests.chaos import cluster_audit
from tests.chaos.oracle import CHANNEL, Findings, judge, settled
from tests.support.launcher import Process

DAEMONS, WORKERS = 3, 4
PER_MINUTE = 120
BURST = 2
"""Requests that a source's budget allows together (monitor/providers/rate_limit.py)."""
ALLOWANCE = 2 * BURST
"""Requests of a span beyond its share: the burst at its beginning, and the one that a late timer sends early at its end."""
SPANS = (15, 60)
"""Seconds over which the simulator's requests are counted."""
BACK_WITHIN = 30.0
"""Seconds after a kill within which a planner plans, and the work of the killed daemon is done."""
POLL_EVERY = 2.0

SOURCES = {"agency": "postpost", "studio": "publora", "shop": "postpost", "press": "postbreeze", "club": "postpeer"}
"""Each source's provider."""
BUSY_SOURCE = "agency"
"""It has so much to probe that it uses up its budget all the time."""
WITHOUT_HEALTH = "postpeer"
"""A provider that reports no health: its connections are listed, or not."""
PLATFORMS = ("linkedin", "threads", "instagram", "facebook", "tiktok", "youtube")
ACCOUNTS = 4
"""Accounts of the busy source on each platform."""

TOP = f"""
[schedule]
poll_every = "{POLL_EVERY:g}s"
probe_every = "6s"
requests_per_minute = {PER_MINUTE}
[policy]
confirm_failures = 1
confirm_missing = 1
remind_every = "off"
flap_window = "off"
[cluster]
workers = {WORKERS}
connections = 2
"""


@dataclass(kw_only=True)
class ClusterTurner:
    """Turns the world at random, and remembers what each connection is now."""

    world: World
    dice: random.Random
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    """By source and external id, the status that the monitor must come to."""

    @property
    def expected(self) -> dict[str, str]:
        """The same by external id; no two sources have one in common."""
        return {name: state for (_, name), state in self.states.items()}

    def turn(self) -> None:
        """One thing happens to one connection."""
        key = self.dice.choice(sorted(self.states))
        source, name = key
        state = self.states[key]
        if state == "disconnected":
            self.world.restore(source, name)
            self.states[key] = _well(source)
        elif state != _well(source):
            self.world.renew(source, name)
            self.states[key] = _well(source)
        elif self._gone(source) < 2 and (SOURCES[source] == WITHOUT_HEALTH or self.dice.random() < 0.3):
            self.world.vanish(source, name)
            self.states[key] = "disconnected"
        elif SOURCES[source] != WITHOUT_HEALTH:
            self.world.expire(source, name)
            self.states[key] = "expired"

    def _gone(self, source: str) -> int:
        return sum(state == "disconnected" for (each, _), state in self.states.items() if each == source)


def new_world(dice: random.Random) -> ClusterTurner:
    """Several sources at several providers, all connections well."""
    world = World(remember=1_000_000)
    turner = ClusterTurner(world=world, dice=dice)
    for source, kind in SOURCES.items():
        world.add_source(source, kind)
        for platform in PLATFORMS:
            for number in range(ACCOUNTS if source == BUSY_SOURCE else 1):
                made = world.connect(source, platform, account=f"{source}{platform}{number}", lifetime=timedelta(days=50))
                turner.states[source, made.external_id] = _well(source)
    return turner


def _well(source: str) -> str:
    return "unknown" if SOURCES[source] == WITHOUT_HEALTH else "valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPoll:
    """A poll that is in the store."""

    source: str
    began: datetime
    ended: datetime
    requests: int


@dataclass(kw_only=True)
class Cluster:
    """Daemons on one database, of which some are killed and started again."""

    made: Setting
    other: WebhookReceiver
    """The receiver of the second channel."""
    store: Store
    turner: ClusterTurner
    running: list[Process] = field(default_factory=list)
    pids: dict[str, int] = field(default_factory=dict)
    """The process of each daemon, by the name in its requests."""
    kills: list[datetime] = field(default_factory=list)
    """When daemons were killed."""
    planner_away: list[float] = field(default_factory=list)
    """Seconds from each kill of the planner until another daemon planned."""

    def launch(self) -> Process:
        """Start another daemon."""
        name = f"daemon-{len(self.pids)}"
        process = self.made.launch_module("tests.chaos.cluster_daemon", name, str(self.made.config))
        self.pids[name] = process.pid
        self.running.append(process)
        return process

    def planner(self) -> Process | None:
        """Return the running daemon that plans; None if there is none."""
        with self.store.begin_read() as conn:
            pids = set(conn.scalars(text("SELECT pid FROM token_monitor_cluster.daemons WHERE plans")))
        return next((each for each in self.running if each.pid in pids), None)

    def await_planner(self) -> Process:
        """Wait until a running daemon plans, and return it."""
        return eventually(self.planner, within=3 * BACK_WITHIN)

    def kill(self, *victims: Process) -> None:
        """Kill daemons with SIGKILL."""
        for each in victims:
            assert each.poll() is None, f"a daemon ended by itself: {self.made.log()[-4000:]}"
            each.send_signal(signal.SIGKILL)
            self.kills.append(self.made.world.clock.now())
            self.running.remove(each)
        for each in victims:
            assert each.wait(timeout=20) == -signal.SIGKILL

    def polls(self) -> list[RecordedPoll]:
        """Return the recorded polls by source and time."""
        with self.store.begin_read() as conn:
            rows = conn.execute(select(polls).order_by(polls.c.source, polls.c.at)).all()
        return [
            RecordedPoll(
                source=row.source, began=row.at - timedelta(milliseconds=row.duration_ms), ended=row.at, requests=row.requests
            )
            for row in rows
        ]

    def kill_and_restart(self) -> None:
        """Kill one daemon, or two, while the world changes, and start as many again."""
        dice = self.turner.dice
        planner = self.await_planner()
        count = 2 if dice.random() < 0.25 else 1
        victims = dice.sample(self.running, count)
        if dice.random() < 0.25 and planner not in victims:
            victims[0] = planner
        for _ in range(dice.randrange(4)):
            time.sleep(dice.uniform(0, 0.5))
            self.turner.turn()
        time.sleep(dice.uniform(0, 1.0))
        self.kill(*victims)
        at = time.monotonic()
        time.sleep(dice.choice([0.0, dice.uniform(0, 3)]))
        for _ in victims:
            self.launch()
        if planner in victims:
            self.await_planner()
            self.planner_away.append(time.monotonic() - at)

    def await_work(self) -> None:
        """Wait until each source was polled after the last kill, or until that took too long (which is found later)."""
        with suppress(AssertionError):
            self.await_polls(1, after=self.kills[-1], within=2 * BACK_WITHIN)

    def await_polls(self, count: int, *, after: datetime | None = None, within: float = 4 * BACK_WITHIN) -> None:
        """Wait until so many polls of each source are recorded that began after an instant."""

        def are_recorded() -> bool:
            time.sleep(0.2)
            found = Counter(each.source for each in self.polls() if after is None or each.began > after)
            return all(found[name] >= count for name in SOURCES)

        eventually(are_recorded, within=within)


@contextmanager
def cluster(folder: Path, database: str, *, seed: int) -> Iterator[Cluster]:
    """Three daemons that have polled everything; they end with the block."""
    turner = new_world(random.Random(seed))
    with in_thread(WebhookReceiver()) as other:
        second = f'\n[[channels]]\nname = "second"\nurl = "{other.apprise_url}"\n{CHANNEL}\n'
        with (
            setting(folder, turner.world, database=database, top=TOP, channel=CHANNEL + second) as made,
            Store(database) as store,
        ):
            cluster_audit.prepare(store)
            running = Cluster(made=made, other=other, store=store, turner=turner)
            for _ in range(DAEMONS):
                running.launch()
            running.await_polls(2)  # what vanishes before it was ever seen raises no alert
            yield running


def run_cluster_kills(folder: Path, database: str, *, kills: int, seed: int) -> tuple[Findings, Cluster]:
    """Kill daemons `kills` times, let the last ones settle, and return the findings."""
    with cluster(folder, database, seed=seed) as running:
        rounds = 0
        while len(running.kills) < kills:
            running.kill_and_restart()
            rounds += 1
            if rounds % 5 == 0:
                running.await_work()
        running.await_work()
        with suppress(AssertionError):  # the oracle reports what is wrong, better than a wait that ran out
            eventually(lambda: is_settled(running), within=2 * BACK_WITHIN)
        ends = [running.made.stop(each) for each in running.running]
        found = judge_cluster(running)
        found.violations += [f"a daemon ended with status {end}" for end in ends if end != 0]
        return found, running


def is_settled(running: Cluster) -> bool:
    """Return True if everything was delivered and every state is that of the world."""
    return settled(running.store, running.turner.expected)


def judge_cluster(running: Cluster) -> Findings:
    """Return what the oracle of one daemon finds for each channel, and what only several daemons can do wrong."""
    kills, expected = len(running.kills), running.turner.expected
    found = judge(running.store, running.made.receiver.posts, expected, kills=kills, channel="hook")
    second = judge(running.store, running.other.posts, expected, kills=kills, channel="second")
    found.posts, found.repeats = found.posts + second.posts, found.repeats + second.repeats
    found.violations += [each for each in second.violations if each not in found.violations]
    found.violations += _overlaps(running.polls())
    found.violations += _late(running)
    found.violations += _over_budget(running.made.world)
    found.violations += cluster_audit.repeated_numbers(running.store)
    found.violations += [
        f"{each.daemon} asked {each.source} at {each.at} without its lease"
        for each in cluster_audit.without_lease(running.made.world, running.store, running.pids)
    ]
    found.violations += [f"no planner for {away:.0f} s" for away in running.planner_away if away > BACK_WITHIN]
    return found


def _overlaps(recorded: Iterable[RecordedPoll]) -> Iterator[str]:
    """Polls of one source that were under way at the same time, and were both recorded."""
    for one, other in pairwise(recorded):
        if one.source == other.source and other.began < one.ended:
            yield f"{one.source}: a poll from {one.began} to {one.ended} and one from {other.began} to {other.ended} are recorded"


def _late(running: Cluster) -> Iterator[str]:
    """Sources that were not polled for too long after a kill."""
    for one, other in pairwise(running.polls()):
        if one.source != other.source:
            continue
        last = max((kill for kill in running.kills if one.ended < kill < other.began), default=None)
        if last is not None and (other.began - last).total_seconds() > BACK_WITHIN:
            yield f"{one.source} was not polled for {(other.began - last).total_seconds():.0f} s after the kill of {last}"


def arrivals(world: World) -> dict[str, list[datetime]]:
    """Return when requests of each source arrived at the simulator."""
    found: dict[str, list[datetime]] = defaultdict(list)
    for request in cluster_audit.requests(world):
        found[request.source].append(request.at)
    return found


def _over_budget(world: World) -> Iterator[str]:
    for name, instants in arrivals(world).items():
        for seconds in SPANS:
            most, at = most_within(instants, seconds)
            allowed = PER_MINUTE * seconds // 60 + ALLOWANCE
            if most > allowed:
                yield f"{name} got {most} requests in the {seconds} s from {at}, and {allowed} are allowed"


def most_within(instants: list[datetime], seconds: float) -> tuple[int, datetime | None]:
    """Return the largest number of requests in any span of this length, and when that span began."""
    most, start, first = 0, 0, None
    for end, at in enumerate(instants):
        while (at - instants[start]).total_seconds() >= seconds:
            start += 1
        if end - start + 1 > most:
            most, first = end - start + 1, instants[start]
    return most, first
