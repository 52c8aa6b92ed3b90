"""Random kills of one daemon: the world changes, the daemon is killed at a random instant, and is started again."""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from monitor.demo.world import World
from monitor.store import Store
from tests.acceptance.daemon import Setting, eventually, setting
from tests.chaos.oracle import CHANNEL, Findings, judge, settled

SOURCE = "agency"
PLATFORMS = ("linkedin", "threads", "instagram", "facebook", "tiktok", "youtube", "mastodon", "bluesky")

TOP = """
[schedule]
poll_every = "1s"
probe_every = "2s"
requests_per_minute = 60000
[policy]
confirm_failures = 1
confirm_missing = 1
remind_every = "off"
flap_window = "off"
"""
"""Every change is notified immediately and nothing is suppressed, so that the expected alerts are exactly the changes."""


@dataclass(kw_only=True)
class Turner:
    """Turns the world at random, and remembers what each connection is now."""

    world: World
    dice: random.Random
    states: dict[str, str] = field(default_factory=dict)
    """By external id, the status that the monitor must come to."""

    def turn(self) -> None:
        """One thing happens to one connection; never so many at once that a hold would begin (that is another test)."""
        name = self.dice.choice(sorted(self.states))
        state = self.states[name]
        if state == "disconnected":
            self.world.restore(SOURCE, name)
            self.states[name] = "valid"
        elif state in {"expired", "revoked"}:
            self.world.renew(SOURCE, name)
            self.states[name] = "valid"
        else:
            self.states[name] = self.dice.choice(["expired", "revoked", self._vanishing()])
            if self.states[name] == "expired":
                self.world.expire(SOURCE, name)
            elif self.states[name] == "revoked":
                self.world.revoke(SOURCE, name)
            else:
                self.world.vanish(SOURCE, name)

    def _vanishing(self) -> str:
        gone = sum(state == "disconnected" for state in self.states.values())
        return "expired" if gone >= 2 else "disconnected"


def new_world(dice: random.Random) -> Turner:
    """A source with one connection on each platform, all of them well."""
    world = World()
    world.add_source(SOURCE, "postpost")
    turner = Turner(world=world, dice=dice)
    for platform in PLATFORMS:
        made = world.connect(SOURCE, platform, account=f"{platform}-1", username=f"@{platform}", display_name=platform.title())
        turner.states[made.external_id] = "valid"
    return turner


@dataclass(frozen=True, slots=True, kw_only=True)
class KillRun:
    """Figures of a series of kills."""

    kills: int
    turns: int
    seconds: float


def kill_repeatedly(made: Setting, turner: Turner, *, kills: int, longest: float = 0.9) -> KillRun:
    """Start the daemon `kills` times and kill each process at a random instant of its first `longest` seconds."""
    begun, turns = time.monotonic(), 0
    for _ in range(kills):
        process = made.launch("run")
        for _ in range(turner.dice.randrange(3)):
            time.sleep(turner.dice.uniform(0, longest / 3))
            turner.turn()
            turns += 1
        time.sleep(turner.dice.uniform(0, longest))
        assert made.stop(process, signal.SIGKILL) == -signal.SIGKILL, "the daemon ended by itself: see its log"
    return KillRun(kills=kills, turns=turns, seconds=time.monotonic() - begun)


def run_kills(folder: Path, database: str, *, kills: int, seed: int) -> Findings:
    """Kill the daemon `kills` times on this database, let a last one settle, and return the oracle's findings."""
    turner = new_world(random.Random(seed))
    with setting(folder, turner.world, database=database, top=TOP, channel=CHANNEL) as made:
        first = made.launch("run")
        made.await_polls(2)  # what vanishes before it was ever seen raises no alert
        assert made.stop(first) == 0, made.log()[-4000:]
        kill_repeatedly(made, turner, kills=kills)
        last = made.launch("run")
        made.await_polls(4)
        with Store(database) as store:
            with suppress(AssertionError):  # the oracle reports what is wrong, better than a wait that ran out
                eventually(lambda: settled(store, turner.states))
            assert made.stop(last) == 0, made.log()[-4000:]
            return judge(store, made.receiver.posts, turner.states, kills=kills)
