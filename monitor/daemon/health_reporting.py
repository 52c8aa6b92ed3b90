"""Reports of the daemon's health to systemd and to the heartbeat URL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import structlog

from monitor.config import Config, HeartbeatConfig
from monitor.domain.clock import Clock
from monitor.domain.errors import ProviderError, StoreError
from monitor.domain.records import Record
from monitor.domain.timefmt import span
from monitor.providers import HttpSessions
from monitor.providers.heartbeat import Signal, ping
from monitor.store import Connection, Store, outbox, sources
from monitor.telemetry.progress import Progress
from monitor.telemetry.systemd import Notify

log = structlog.get_logger(__name__)


class HeartbeatPinger:
    """Calls the configured heartbeat URL. A failing URL is logged once and affects nothing else."""

    def __init__(self, *, sessions: HttpSessions, progress: Progress, describe: Callable[[], Awaitable[str]]) -> None:
        """`describe` returns the text that is sent with each ping."""
        self._sessions, self._progress, self._describe = sessions, progress, describe
        self._config: HeartbeatConfig | None = None
        self._task: asyncio.Task[None] | None = None
        self._method: str | None = None
        """The HTTP method that the service accepted; None before the first call."""
        self._failing = False

    def configure(self, config: HeartbeatConfig | None) -> None:
        """Ping this URL at this interval from now on; None: stop. Must be called inside a running event loop.

        An unchanged configuration leaves the running task alone.
        """
        if config == self._config and (config is None or self._task is not None):
            return
        self.stop()
        self._config, self._method = config, None
        if config is not None:
            self._task = asyncio.create_task(self._run(config), name="heartbeat")

    def stop(self) -> None:
        """Stop pinging; the service behind the URL reports the missing pings."""
        if self._task is not None:
            self._task.cancel()
        self._task = None

    async def _run(self, config: HeartbeatConfig) -> None:
        await self._call(config, Signal.START, await self._describe())
        while True:
            await asyncio.sleep(config.every.total_seconds())
            stuck = self._progress.stuck()
            if stuck is None:
                await self._call(config, Signal.SUCCESS, await self._describe())
            else:
                await self._call(config, Signal.FAILURE, stuck)

    async def _call(self, config: HeartbeatConfig, signal: Signal, text: str) -> None:
        url = config.url.reveal()
        try:
            accepted = await ping(self._sessions, url, kind=config.kind, signal=signal, text=text, method=self._method)
            if accepted is None:
                return  # this service has no call for the signal
            self._method = accepted
        except ProviderError as error:
            if not self._failing:
                log.warning("heartbeat.failing", problem=str(error))
            self._failing = True
        else:
            if self._failing:
                log.info("heartbeat.back")
            self._failing = False


UPDATE_EVERY = timedelta(seconds=2)
"""Interval at which the line for `systemctl status` is updated."""
START_WITHIN = timedelta(minutes=15)
"""Start timeout requested from systemd: migrating a large database, or waiting for a server, may take this long."""


class DaemonHealth(Record, frozen=True, kw_only=True):
    """The counts behind the status line."""

    sources: int
    connections: int
    next_poll_at: datetime | None
    waiting: int
    """Deliveries that are not sent yet."""


def describe(health: DaemonHealth, now: datetime) -> str:
    """Return the status line: monitoring 312 connections from 3 sources; next poll in 40 seconds; 1 delivery pending."""
    parts = [f"monitoring {_counted(health.connections, 'connection')} from {_counted(health.sources, 'source')}"]
    if health.next_poll_at is not None:
        left = health.next_poll_at - now
        parts.append(f"next poll in {span(left)}" if left >= timedelta(seconds=1) else "polling now")
    if health.waiting:
        parts.append(f"{_counted(health.waiting, 'delivery', 'deliveries')} pending")
    return "; ".join(parts)


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


class HealthReporter:
    """An async context manager around the running daemon; on exit, the watchdog and the heartbeat end."""

    def __init__(self, *, store: Store, sessions: HttpSessions, clock: Clock, progress: Progress, notify: Notify) -> None:
        self._store, self._clock, self._progress, self._notify = store, clock, progress, notify
        self._text = "starting"
        self._rejected: str | None = None
        """Reason for which the last reload was rejected."""
        self._heartbeat = HeartbeatPinger(sessions=sessions, progress=progress, describe=self._describe)
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
        """Report that the start or a reload is done, and that this configuration is in force.

        In a cluster only the planner calls the heartbeat URL: the calls must stop if nothing is planned.
        """
        self._heartbeat.configure(config.heartbeat if self._progress.status is None else None)
        self._text = await self._describe()
        self._notify.ready(self._status_line())
        if self._notify.enabled and not self._tasks:
            self._tasks = [asyncio.create_task(self._update_status(), name="status")]
            if self._notify.watchdog is not None:
                self._tasks.append(asyncio.create_task(self._feed_watchdog(self._notify.watchdog), name="watchdog"))

    def reloading(self) -> None:
        """Report that a reload begins; ready() reports its end, accepted or rejected."""
        self._rejected = None
        self._notify.reloading()

    def reload_rejected(self, problem: str) -> None:
        """Show this problem in the status line until the next reload."""
        self._rejected = problem

    def stopping(self) -> None:
        """Report that the stop begins."""
        self._heartbeat.stop()
        self._notify.stopping()

    async def _feed_watchdog(self, watchdog: timedelta) -> None:
        """Notify systemd three times per watchdog interval, but only while there is progress."""
        logged: str | None = None
        while True:
            stuck = self._progress.stuck()
            if stuck is None:
                self._notify.ping_watchdog()
            elif stuck != logged:
                log.error("daemon.stuck", problem=stuck, advice="systemd restarts the daemon; please report this.")
            logged = stuck
            await asyncio.sleep(watchdog.total_seconds() / 3)

    async def _update_status(self) -> None:
        while True:
            await asyncio.sleep(UPDATE_EVERY.total_seconds())
            before, self._text = self._text, await self._describe()
            if self._text != before:
                self._notify.status(self._status_line())

    async def _describe(self) -> str:
        stuck = self._progress.stuck()
        if stuck is not None:
            return stuck
        if self._progress.status is not None:
            return self._progress.status()
        try:
            return describe(await self._store.read(_read_health), self._clock.now())
        except StoreError as error:
            return f"database unavailable: {error}"

    def _status_line(self) -> str:
        if self._rejected is None:
            return self._text
        return f"{self._text} (the last reload was rejected and the previous configuration stays in force: {self._rejected})"


def _read_health(conn: Connection) -> DaemonHealth:
    monitored, listed = sources.count_monitored(conn)
    return DaemonHealth(
        sources=monitored,
        connections=listed,
        next_poll_at=sources.next_poll_due(conn),
        waiting=sum(outbox.pending_counts(conn).values()),
    )
