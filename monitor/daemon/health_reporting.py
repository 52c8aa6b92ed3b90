"""Report the daemon's health to systemd and to the heartbeat URL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import structlog

from monitor.config import Config, HeartbeatConfig
from monitor.domain.clock import Clock
from monitor.domain.errors import ProviderError, StoreError
from monitor.domain.timefmt import span
from monitor.providers import HttpSessions
from monitor.providers.http import ping
from monitor.store import Store, outbox, sources
from monitor.telemetry.progress import Progress
from monitor.telemetry.systemd import Notify

log = structlog.get_logger(__name__)


class HeartbeatPinger:
    """Calls the configured address. Its troubles are told in the log, once, and disturb nothing else."""

    def __init__(self, *, sessions: HttpSessions, progress: Progress, describe: Callable[[], Awaitable[str]]) -> None:
        """`describe` gives the sentence that goes along with a sign of life."""
        self._sessions, self._progress, self._describe = sessions, progress, describe
        self._config: HeartbeatConfig | None = None
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def configure(self, config: HeartbeatConfig | None) -> None:
        """Go over to this address and pace; None: to none. What stays the same goes on. Inside a running event loop."""
        if config == self._config and (config is None or self._task is not None):
            return
        self.stop()
        self._config = config
        if config is not None:
            self._task = asyncio.create_task(self._run(config), name="heartbeat")

    def stop(self) -> None:
        """No further call: the service at the other end notices the silence."""
        if self._task is not None:
            self._task.cancel()
        self._task = None

    async def _run(self, config: HeartbeatConfig) -> None:
        await self._call(config, "/start", await self._describe())
        while True:
            await asyncio.sleep(config.every.total_seconds())
            stuck = self._progress.stuck()
            if stuck is None:
                await self._call(config, "", await self._describe())
            else:
                await self._call(config, "/fail", stuck)

    async def _call(self, config: HeartbeatConfig, suffix: str, text: str) -> None:
        try:
            await ping(self._sessions, config.url.reveal(), suffix=suffix, text=text)
        except ProviderError as error:
            if not self._failing:
                log.warning("heartbeat.failing", problem=str(error))
            self._failing = True
        else:
            if self._failing:
                log.info("heartbeat.back")
            self._failing = False


LOOK_EVERY = timedelta(seconds=2)
"""How often the store is asked what `systemctl status` shows."""
START_WITHIN = timedelta(minutes=15)
"""What a start may take at most: a large database's migration, or the wait for a server. Said anew by ready()."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonHealth:
    """What one look at the store showed."""

    sources: int
    connections: int
    next_poll_at: datetime | None
    waiting: int
    """Deliveries that are not sent yet."""


def describe(standing: DaemonHealth, now: datetime) -> str:
    """One line for people: watching 312 connections of 3 sources; next poll in 40 seconds; 1 delivery waits."""
    parts = [f"watching {_counted(standing.connections, 'connection')} of {_counted(standing.sources, 'source')}"]
    if standing.next_poll_at is not None:
        left = standing.next_poll_at - now
        parts.append(f"next poll in {span(left)}" if left >= timedelta(seconds=1) else "polling now")
    if standing.waiting:
        parts.append(f"{_counted(standing.waiting, 'delivery', 'deliveries')} {'waits' if standing.waiting == 1 else 'wait'}")
    return "; ".join(parts)


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


class HealthReporter:
    """An async context manager around the running daemon; leaving it ends every sign of life."""

    def __init__(
        self, *, store: Store, sessions: HttpSessions, clock: Clock, progress: Progress, notify: Notify | None = None
    ) -> None:
        self._store, self._clock, self._progress = store, clock, progress
        self._notify = notify or Notify()
        self._text = "starting"
        self._refused: str | None = None
        self._heartbeat = HeartbeatPinger(sessions=sessions, progress=progress, describe=self._look)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self._heartbeat.stop()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def ready(self, config: Config) -> None:
        """The daemon runs with this configuration, from its start or a reload on."""
        self._heartbeat.configure(config.heartbeat)
        self._text = await self._look()
        self._notify.ready(self._sentence())
        if self._notify.listens and not self._tasks:
            self._tasks = [asyncio.create_task(self._tell(), name="status")]
            if self._notify.watchdog is not None:
                self._tasks.append(asyncio.create_task(self._feed(self._notify.watchdog), name="watchdog"))

    def reloading(self) -> None:
        """A reload begins; ready() ends it, whether it was refused or not."""
        self._refused = None
        self._notify.reloading()

    def refused(self, problem: str) -> None:
        """The reload changes nothing, and this is why: people see it until the next one."""
        self._refused = problem

    def stopping(self) -> None:
        """The stop begins."""
        self._heartbeat.stop()
        self._notify.stopping()

    async def _feed(self, watchdog: timedelta) -> None:
        """A sign of life three times in systemd's patience, while there is progress."""
        told: str | None = None
        while True:
            stuck = self._progress.stuck()
            if stuck is None:
                self._notify.alive()
            elif stuck != told:
                log.error("daemon.stuck", problem=stuck, advice="systemd restarts it; please report this.")
            told = stuck
            await asyncio.sleep(watchdog.total_seconds() / 3)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY.total_seconds())
            before, self._text = self._text, await self._look()
            if self._text != before:
                self._notify.status(self._sentence())

    async def _look(self) -> str:
        stuck = self._progress.stuck()
        if stuck is not None:
            return stuck
        try:
            return describe(await self._store.run_read(self._standing), self._clock.now())
        except StoreError as error:
            return f"blind: {error}"

    def _standing(self) -> DaemonHealth:
        with self._store.begin_read() as conn:
            watched, listed = sources.totals(conn)
            return DaemonHealth(
                sources=watched,
                connections=listed,
                next_poll_at=sources.next_poll_due(conn),
                waiting=sum(outbox.pending_counts(conn).values()),
            )

    def _sentence(self) -> str:
        refused = f" (the last reload was refused, the former configuration goes on: {self._refused})" if self._refused else ""
        return f"{self._text}{refused}"
