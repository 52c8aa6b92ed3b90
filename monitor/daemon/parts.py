"""The running parts of a daemon: built from the configuration, started in order, swapped by a reload, stopped in reverse."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import NamedTuple

import structlog

from monitor import __version__
from monitor.config import Config
from monitor.daemon import crash_report
from monitor.daemon.database_outage import DatabaseOutageAlert
from monitor.daemon.overdue_sources import OverdueSources
from monitor.daemon.scheduler import Scheduler
from monitor.daemon.work import LocalRunner, Runner, Work, build_engine, build_work
from monitor.domain import threads
from monitor.domain.clock import Clock
from monitor.domain.errors import StoreError
from monitor.engine import applied_config, config_sync
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.intake import Intake
from monitor.engine.time_changes import TimeChanges
from monitor.notify import DeliverySettings, Notifier
from monitor.notify.reports import Reporter
from monitor.providers import HttpSessions
from monitor.store import Connection, Store, cluster_tables, maintenance, open_store, sources
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from monitor.web.server import Hosting

log = structlog.get_logger(__name__)

SERVICE_BACK = f"The monitor is running again (version {__version__})."
"""Recovery text for channels that got the crash report."""

SWAP_WITHIN = timedelta(seconds=3)
"""Longest wait of a reload for running polls and probes."""

STOP_WITHIN = timedelta(seconds=8)
"""Longest wait of a stop for running work, all parts together: the process ends within 10 s."""

CLOSE_WITHIN = timedelta(milliseconds=500)
"""Longest wait at the end of the process for transactions of a database that does not respond."""


def opened(stack: AsyncExitStack, config: Config) -> Store:
    """Return the store with its schema up to date; the stack closes it. Only for a process that has tried to take the lock."""
    store = open_store(config.database.url.reveal(), check_sessions=False)
    stack.callback(partial(store.close, within=CLOSE_WITHIN))
    return store


class _InForce(NamedTuple):
    """The configuration in force and what was built from it, needed again if a reload fails."""

    config: Config
    work: dict[str, Work]


class Daemon:
    """The running parts, which a reload swaps together."""

    def __init__(
        self,
        *,
        store: Store,
        sessions: HttpSessions,
        clock: Clock,
        progress: Progress,
        metrics: Metrics,
        hosting: Hosting,
    ) -> None:
        self._store, self._sessions, self._clock, self._progress = store, sessions, clock, progress
        self._metrics, self._hosting = metrics, hosting
        self._links, self._intake = ConnectionLinks(), Intake(store=store, clock=clock)
        self._notifier: Notifier | None = None
        self._scheduler: Scheduler | None = None
        self._in_force: _InForce | None = None
        self._outage_alert: DatabaseOutageAlert | None = None
        self._outage_task: asyncio.Task[None] | None = None
        self._halted = False

    async def start(self, config: Config) -> None:
        """Start every part. Raises if one cannot start; nothing is left running then."""
        work = build_work(config, sessions=self._sessions, clock=self._clock, spent=await self._spent(config))
        await align(self._store, config, self._clock, observations=False)
        self._notifier = build_notifier(
            config, store=self._store, clock=self._clock, progress=self._progress, links=self._links, metrics=self._metrics
        )
        await crash_report.recover(self._store, message=SERVICE_BACK, channels=config.channels, clock=self._clock)
        await self._notifier.start()
        self._outage_alert = DatabaseOutageAlert(store=self._store, clock=self._clock, notifier=self._notifier)
        self._outage_alert.configure([source.poll_every for source in config.sources], config.channels)
        self._outage_task = asyncio.create_task(self._outage_alert.run(), name="database-outage")
        self._in_force = _InForce(config, work)
        self._start_scheduler(self._build_scheduler(config, work, self._notifier, self._outage_alert), config)
        # Queued before what the first polls record, and done while they wait for their lists.
        await self._store.write(lambda conn: maintenance.observations_not_ahead(conn, self._clock.now()))
        await self._hosting.follow(config, self._store, self._intake)

    async def swap(self, config: Config) -> None:
        """Apply another configuration: every part is built first, then swapped.

        Running work gets a moment to finish under the old one before anything is written, so that no result of the old
        settings is recorded after the new ones apply. Raises StoreError, and then keeps the old configuration in force.
        """
        if self._notifier is None or self._scheduler is None or self._in_force is None or self._outage_alert is None:
            return
        before, spent = self._in_force, await self._spent(config)
        work = build_work(config, sessions=self._sessions, clock=self._clock, spent=spent)
        scheduler = self._build_scheduler(config, work, self._notifier, self._outage_alert)
        await self._hosting.prepare(config)
        self._intake.close()
        await self._scheduler.stop(SWAP_WITHIN)
        try:
            await align(self._store, config, self._clock)
            await self._notifier.reconfigure(config.channels, settings=DeliverySettings.of(config))
        except Exception:
            with suppress(StoreError):  # undo what was written for the new configuration
                await align(self._store, before.config, self._clock)
            old = self._build_scheduler(before.config, before.work, self._notifier, self._outage_alert)
            self._start_scheduler(old, before.config)
            raise
        self._in_force = _InForce(config, work)
        self._outage_alert.configure([source.poll_every for source in config.sources], config.channels)
        self._links.keep_only({source.name for source in config.sources if source.connection_links})
        self._start_scheduler(scheduler, config)
        self._metrics.reload_done(ok=True)
        await self._hosting.follow(config, self._store, self._intake)

    async def require_startable(self, config: Config) -> None:
        """Check and count a reload after which the daemon is started again. Raises MonitorError if it could not start."""
        await self._hosting.prepare(config)
        if config.cluster.workers:
            await threads.run(partial(cluster_tables.prepare, self._store.server), name="cluster")
        self._metrics.reload_done(ok=True)

    async def stop(self, within: timedelta = STOP_WITHIN) -> None:
        """Stop polling first, then delivery. Bounded; running work is recorded or still due. May be called twice."""
        self._intake.close()
        if self._outage_task is not None:
            self._outage_task.cancel()
        if self._scheduler is not None:
            await asyncio.gather(self._scheduler.stop(within / 2), self._hosting.stop())
        if self._notifier is not None:
            await self._notifier.stop(within / 2)

    async def poll_now(self) -> None:
        """Make every source's next poll due now. A database that is unavailable is logged."""
        try:
            await self._store.write(lambda conn: sources.poll_all_now(conn, self._clock.now()))
        except StoreError as error:
            log.error("polls.not_requested", problem=str(error))  # noqa: TRY400 - an expected failure: no traceback
        else:
            log.info("polls.requested")

    async def reject_reload(self, problem: str) -> None:
        """Record that a reload was rejected, and why, for `status` and for Prometheus."""
        self._metrics.reload_done(ok=False)
        with suppress(StoreError):
            await self._store.write(lambda conn: applied_config.save_reload(conn, self._clock.now(), problem=problem))

    def halt(self) -> None:
        """Start no more work, effective immediately."""
        self._halted = True
        self._intake.close()
        if self._scheduler is not None:
            self._scheduler.halt()
        if self._notifier is not None:
            self._notifier.halt()

    async def abandon(self) -> None:
        """Stop immediately, whatever is running: another daemon has the database now."""
        await self.stop(timedelta(0))
        if self._outage_alert is not None:
            await self._outage_alert.hand_over()

    async def _spent(self, config: Config) -> dict[str, list[tuple[float, int]]]:
        """Return the requests of the last 24 hours by source that limits them: how many seconds ago, and their number."""
        limited, now = [each.name for each in config.sources if each.requests_per_day is not None], self._clock.now()
        if not limited:
            return {}

        def read(conn: Connection) -> dict[str, list[tuple[float, int]]]:
            polls = {name: sources.requests_since(conn, name, now - timedelta(days=1)) for name in limited}
            return {name: [((now - at).total_seconds(), number) for at, number, _ in each] for name, each in polls.items()}

        return await self._store.read(read)

    def _start_scheduler(self, scheduler: Scheduler, config: Config) -> None:
        self._scheduler = scheduler
        if not self._halted:  # the lock may be lost during a reload
            scheduler.start()
            self._intake.open(config, recorded=scheduler.wake_channels)

    def _build_scheduler(
        self,
        config: Config,
        work: dict[str, Work],
        notifier: Notifier,
        outage_alert: DatabaseOutageAlert,
        runner: Runner | None = None,
    ) -> Scheduler:
        """Return the scheduler of a configuration. `runner` does the work; without one, this process does it alone."""
        store, clock, channels = self._store, self._clock, config.channels
        configured = {name: item.source for name, item in work.items()}
        if runner is None:
            runner = LocalRunner(
                build_engine(store=store, clock=clock, channels=channels, metrics=self._metrics, links=self._links)
            )
        return Scheduler(
            store=store,
            clock=clock,
            work=work,
            runner=runner,
            time_changes=TimeChanges(store=store, clock=clock, configured=configured, channels=channels),
            notifier=notifier,
            retention=config.retention,
            reporter=Reporter(store=store, clock=clock, channels=channels, sources=config.sources, timezone=config.timezone),
            overdue_sources=OverdueSources(store=store, clock=clock, configured=configured, channels=channels),
            outage_alert=outage_alert,
            progress=self._progress,
        )


def build_notifier(
    config: Config, *, store: Store, clock: Clock, progress: Progress, links: ConnectionLinks, metrics: Metrics
) -> Notifier:
    """Return the delivery side, with every configured channel."""
    return Notifier(
        store=store,
        channels=config.channels,
        clock=clock,
        settings=DeliverySettings.of(config),
        progress=progress,
        links=links,
        metrics=metrics,
    )


async def align(store: Store, config: Config, clock: Clock, *, observations: bool = True) -> None:
    """Make the store follow the configuration.

    With `observations=False` the caller corrects those in the future, before anything is recorded.
    """

    def write(conn: Connection) -> None:
        config_sync.sync(conn, config, clock.now())
        if observations:
            maintenance.observations_not_ahead(conn, clock.now())
        applied_config.save_reload(conn, clock.now(), problem=None)

    await store.write(write)
