"""Waiting for a database that is unavailable when the daemon starts, as after the reboot of its server or with a full disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from monitor.daemon.database_outage import DatabaseOutageAlert
from monitor.daemon.signals import RELOAD, SignalQueue
from monitor.daemon.standby import watchdog_fed
from monitor.domain.errors import StoreUnavailable
from monitor.telemetry.systemd import Notify

log = structlog.get_logger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(seconds=15)


class StartupWait:
    """The pauses between attempts to start, and the alert about the outage."""

    def __init__(
        self,
        *,
        notify: Notify,
        signals: SignalQueue,
        reload: Callable[[], None],
        build_alert: Callable[[], DatabaseOutageAlert],
    ) -> None:
        """`build_alert` is called when the wait begins; its channels are those of that moment."""
        self._notify, self._signals, self._reload, self._build_alert = notify, signals, reload, build_alert
        self._pause = FIRST_PAUSE
        self._logged = ""
        self._alert: DatabaseOutageAlert | None = None
        self._alerting: asyncio.Task[None] | None = None

    async def pause(self, error: StoreUnavailable) -> None:
        """Wait before the next attempt, longer each time. Raise StopRequested.

        The unit counts as started meanwhile: systemd neither restarts it nor delays the boot, and shows the cause.
        """
        problem = str(error)
        if problem != self._logged:
            log.warning("daemon.waiting_for_database", problem=problem)
            self._logged = problem
        if self._alert is None:
            self._alert = self._build_alert()
            self._alerting = asyncio.create_task(self._alert.run(), name="database-outage")
        self._alert.store_failed(problem)
        self._notify.ready(f"waiting for the database: {problem}")
        async with watchdog_fed(self._notify, within=2 * LONGEST_PAUSE):
            received = await self._signals.unless_stopped(self._signals.next(within=self._pause.total_seconds()))
        if received == RELOAD:
            self._notify.reloading()
            self._reload()
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    async def end(self) -> None:
        """Report that the daemon has started: an outage that was alerted is stored, and its recovery queued."""
        if self._alert is not None:
            log.info("store.back")
            self._alert.store_available()
            await self._alert.check()
        self.cancel()

    async def hand_over(self) -> None:
        """Report that the database is available, and that another daemon is active."""
        if self._alert is not None:
            self._alert.store_available()
            await self._alert.hand_over()
        self.cancel()

    def cancel(self) -> None:
        """Forget the outage."""
        if self._alerting is not None:
            self._alerting.cancel()
        self._alert, self._alerting, self._logged, self._pause = None, None, "", FIRST_PAUSE
