"""Pushed reports, which are recorded like the results of a poll, and deliveries of services, which cause a poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import structlog

from monitor.config import ChannelConfig, Config, SourceConfig
from monitor.domain import Snapshot, connection_id
from monitor.domain.clock import Clock
from monitor.domain.errors import MonitorError, StoreError
from monitor.engine import acknowledgements
from monitor.engine.recording.hooks import plan_hook_poll
from monitor.engine.recording.pushes import end_staleness, record_push
from monitor.engine.recording.queueing import Recorded
from monitor.store import Connection, Store, connection_queries, sources
from monitor.store.batch_writer import BatchWriter

log = structlog.get_logger(__name__)

SMALL = 100
"""Pushes of at most this many reports share a transaction with others."""

OPEN_WITHIN = timedelta(seconds=5)
"""Longest wait for a reload, during which nothing is recorded."""

POLL_AGAIN_AFTER = timedelta(seconds=10)
"""Shortest time between two polls of a source that deliveries cause."""


class IntakeClosed(MonitorError):
    """This daemon records nothing at the moment: it is stopping, or another one has the database."""


class Intake:
    """Records pushed reports, and plans polls, while this daemon is the one that works on the database."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._batch_writer = BatchWriter(store)
        self._channels: Sequence[ChannelConfig] = ()
        self._sources: Mapping[str, SourceConfig] = {}
        self._recorded: Callable[[Recorded], None] = lambda _: None
        self._opened = asyncio.Event()
        self._announced: dict[str, asyncio.Task[None]] = {}
        self._planned_at: dict[str, float] = {}
        """By source, the monotonic time at which deliveries last caused a poll."""

    def open(self, config: Config, *, recorded: Callable[[Recorded], None]) -> None:
        """Accept reports under this configuration. `recorded` is called after each commit."""
        self._sources = {source.name: source for source in config.sources}
        self._channels, self._recorded = config.channels, recorded
        self._opened.set()

    def close(self) -> None:
        """Accept nothing until open() is called."""
        self._opened.clear()
        for task in self._announced.values():
            task.cancel()

    async def push(self, source: str, snapshots: Sequence[Snapshot]) -> Recorded:
        """Record reports about connections of a source, and return when they are committed.

        Raises IntakeClosed, TooManyIds and StoreError; then nothing of them is recorded.
        """
        settings = await self._settings(source)

        def write(conn: Connection) -> Recorded | None:
            return record_push(conn, settings, snapshots, channels=self._channels, now=self._clock.now())

        small = len(snapshots) <= SMALL
        recorded: Recorded | None = await (self._batch_writer.write(write) if small else self._store.write(write))
        if recorded is None:
            raise IntakeClosed
        self._recorded(recorded)
        return recorded

    async def retire(self, source: str, external_id: str) -> bool:
        """Retire a connection of a source, and return True when that is committed, False if it has none with this id.

        Raises IntakeClosed and StoreError.
        """
        settings = await self._settings(source)

        def write(conn: Connection) -> Recorded | None:
            now = self._clock.now()
            row = connection_queries.find_by_public_id(conn, connection_id(source, settings.provider, None, external_id))
            if row is None or row.retired_at is not None:
                return None
            acknowledgements.retire(conn, row, now=now, author=f"the program of {source}")
            sources.add_connections(conn, source, -1)
            return end_staleness(conn, settings, channels=self._channels, now=now)

        recorded = await self._store.write(write)
        if recorded is not None:
            self._recorded(recorded)
        return recorded is not None

    def announce(self, source: str) -> bool:
        """Plan a poll of a source because its service announced a change. Return False if nothing is accepted now.

        Returns immediately. Deliveries within POLL_AGAIN_AFTER of the last such poll share the next one.
        """
        settings = self._sources.get(source)
        if settings is None or not self._opened.is_set():
            return False
        if source not in self._announced:
            task = asyncio.create_task(self._plan_poll(settings), name=f"hook:{source}")
            self._announced[source] = task
            task.add_done_callback(lambda _: self._announced.pop(source, None))
        return True

    async def _plan_poll(self, source: SourceConfig) -> None:
        loop = asyncio.get_running_loop()
        last = self._planned_at.get(source.name)
        if last is not None:
            await asyncio.sleep(last + POLL_AGAIN_AFTER.total_seconds() - loop.time())
        self._planned_at[source.name] = loop.time()
        try:
            await self._store.write(lambda conn: plan_hook_poll(conn, source, self._clock.now()))
        except StoreError as error:  # a delivery is only a hint: the next poll comes anyway
            log.warning("hook.not_recorded", source=source.name, problem=str(error))
        else:
            log.debug("hook.recorded", source=source.name)

    async def _settings(self, source: str) -> SourceConfig:
        try:
            async with asyncio.timeout(OPEN_WITHIN.total_seconds()):
                await self._opened.wait()
            return self._sources[source]
        except (TimeoutError, KeyError):
            raise IntakeClosed from None
