"""The outgoing sign of life: while the monitor makes progress it calls an address whose service raises the alarm when it
hears nothing. Spoken as healthchecks.io and its kin understand it: `/start`, the address itself, and `/fail` with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from monitor.config import HeartbeatConfig
from monitor.domain.errors import ProviderError
from monitor.providers import HttpSessions
from monitor.providers.ping import ping
from monitor.telemetry.progress import Progress

log = structlog.get_logger(__name__)


class Heartbeat:
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
