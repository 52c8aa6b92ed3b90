"""Ticks. What is due is written in the store; APScheduler only looks, every half second, and starts what it finds.

So a restart neither stampedes nor skips, and a late tick runs what is due late, once. The jobs hold no state and
start tracked tasks of their own: APScheduler cancels what it runs itself when it shuts down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from monitor.clock import Clock
from monitor.config import SourceConfig
from monitor.errors import StoreError
from monitor.notifier import Notifier
from monitor.poller import Poller
from monitor.prober import Prober
from monitor.provider import Provider
from monitor.recorder import Recorded
from monitor.store import Store, connections, probes, retention, sources
from monitor.timekeeper import Timekeeper

log = structlog.get_logger(__name__)

TICK = timedelta(seconds=0.5)
CARE_EVERY = timedelta(hours=1)

POLLS_AT_ONCE = 64
"""Sources read at the same time; the rest wait their turn."""

FIRST_HOLD, LONGEST_HOLD = 1.0, 30.0
"""Seconds that work rests after its own failure (the store was not there, a defect of ours), doubling in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One configured source and the API behind it."""

    source: SourceConfig
    provider: Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long history and polls are kept."""

    history: timedelta
    polls: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What the store says is due now."""

    polls: list[str]
    probes: list[str]
    time: bool


@dataclass(slots=True)
class Hold:
    """Work that failed rests for a while."""

    until: float = 0.0
    seconds: float = 0.0


class Scheduler:
    """Starts polls, probes and time-driven changes when they are due, each source's work one at a time."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        work: Mapping[str, Work],
        poller: Poller,
        prober: Prober,
        timekeeper: Timekeeper,
        notifier: Notifier,
        keep: Keep,
    ) -> None:
        self._store, self._clock, self._work, self._keep = store, clock, work, keep
        self._poller, self._prober, self._timekeeper, self._notifier = poller, prober, timekeeper, notifier
        self._ticker = AsyncIOScheduler(timezone="UTC")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._holds: dict[str, Hold] = {}
        self._polls_at_once = asyncio.Semaphore(POLLS_AT_ONCE)
        self._store_is_down = False

    def start(self) -> None:
        """Begin to tick. Must be called inside a running event loop."""
        every = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        tick, care = TICK.total_seconds(), CARE_EVERY.total_seconds()
        self._ticker.add_job(self._tick, "interval", seconds=tick, id="tick", next_run_time=self._clock.now(), **every)
        self._ticker.add_job(self._care, "interval", seconds=care, id="care", **every)
        self._ticker.start()

    async def stop(self, timeout: timedelta) -> None:
        """Start nothing more; let what is under way finish for up to `timeout`, then cut it off.

        Nothing is lost by that: what was not recorded is still due.
        """
        if self._ticker.running:
            self._ticker.shutdown(wait=False)
            await asyncio.sleep(0)
        self._prober.stop()
        waiting = set(self._running.values())
        if not waiting:
            return
        _, late = await asyncio.wait(waiting, timeout=timeout.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _tick(self) -> None:
        self._launch("look", self._look)

    async def _care(self) -> None:
        self._launch("care", self._prune)

    def _launch(self, key: str, action: Callable[[], Awaitable[None]]) -> None:
        """Start one piece of work unless it is still running or resting."""
        hold = self._holds.get(key)
        if key in self._running or (hold is not None and hold.until > asyncio.get_running_loop().time()):
            return
        task = asyncio.create_task(self._guarded(key, action), name=key)
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def _guarded(self, key: str, action: Callable[[], Awaitable[None]]) -> None:
        """Run one piece of work; a failure of ours is told and rested upon, never fatal to the rest."""
        try:
            await action()
        except StoreError as error:
            self._rest(key)
            if not self._store_is_down:
                log.error("store.unavailable", problem=str(error))  # noqa: TRY400 - a sentence for a person, no traceback
            self._store_is_down = True
        except Exception:
            self._rest(key)
            log.exception("work.failed", work=key)
        else:
            self._holds.pop(key, None)

    def _rest(self, key: str) -> None:
        hold = self._holds.setdefault(key, Hold())
        hold.seconds = min(max(hold.seconds * 2, FIRST_HOLD), LONGEST_HOLD)
        hold.until = asyncio.get_running_loop().time() + hold.seconds

    async def _look(self) -> None:
        due = await self._store.run_read(self._due)
        if self._store_is_down:
            self._store_is_down = False
            log.info("store.back")
        if due.time:
            self._launch("time", self._advance)
        for name in due.polls:
            if name in self._work:
                self._launch(f"poll:{name}", partial(self._poll, self._work[name]))
        for name in due.probes:
            if name in self._work and self._work[name].provider.probes:
                self._launch(f"probe:{name}", partial(self._probe, self._work[name]))

    def _due(self) -> Due:
        now = self._clock.now()
        with self._store.read() as conn:
            next_change = connections.next_change_due(conn)
            return Due(
                polls=sources.due_sources(conn, now),
                probes=probes.sources_with_probes_due(conn, now),
                time=next_change is not None and next_change <= now,
            )

    async def _poll(self, work: Work) -> None:
        async with self._polls_at_once:
            self._wake(await self._poller.poll(work.source, work.provider))

    async def _probe(self, work: Work) -> None:
        self._wake(await self._prober.probe_due(work.source, work.provider))

    async def _advance(self) -> None:
        self._wake(await self._timekeeper.advance())

    def _wake(self, recorded: Recorded) -> None:
        for channel in recorded.channels:
            self._notifier.wake(channel)

    async def _prune(self) -> None:
        await self._store.run(self._prune_now)

    def _prune_now(self) -> None:
        with self._store.write() as conn:
            retention.prune(conn, self._clock.now(), history=self._keep.history, polls_kept=self._keep.polls)
