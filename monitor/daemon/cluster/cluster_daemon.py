"""The running parts of a daemon that shares the work with others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from monitor.config import Config
from monitor.daemon import crash_report
from monitor.daemon.cluster.member import ClusterMember
from monitor.daemon.cluster.queue_runner import QueueRunner
from monitor.daemon.cluster.units import Parts
from monitor.daemon.database_outage import DatabaseOutageAlert
from monitor.daemon.parts import SERVICE_BACK, STOP_WITHIN, Daemon, align, build_notifier
from monitor.daemon.work import Work, build_engine, build_work, log_unrouted
from monitor.engine import applied_config
from monitor.notify import Notifier

_WRITE_IDLE_LIMIT = timedelta(seconds=15)
"""A daemon whose network is cut, or that is stopped, in the middle of a write blocks the writes of the others for this time."""


class ClusterDaemon(Daemon):
    """A member of a cluster that serves pages, and plans if it holds the lock. A reload builds a new one."""

    def __init__(self, *, plans: bool, on_newer_schema: Callable[[], None], **parts: Any) -> None:
        """`plans` is True for the daemon with the lock; see ClusterMember for `on_newer_schema`."""
        super().__init__(**parts)
        self._plans, self._on_newer_schema = plans, on_newer_schema
        self._member: ClusterMember | None = None
        self._planner: QueueRunner | None = None
        self._store.checks_schema = True
        self._store.write_idle_limit = _WRITE_IDLE_LIMIT

    async def start(self, config: Config) -> None:
        """Start every part. Raises if one cannot start; nothing is left running then."""
        work = build_work(config, sessions=self._sessions, clock=self._clock, spent=await self._spent(config))
        if self._plans:
            await align(self._store, config, self._clock)
        self._notifier = notifier = build_notifier(
            config, store=self._store, clock=self._clock, progress=self._progress, links=self._links, metrics=self._metrics
        )
        member = self._member = ClusterMember(
            config=config.cluster,
            store=self._store,
            clock=self._clock,
            plans=self._plans,
            on_newer_schema=self._on_newer_schema,
        )
        self._progress.waits_because = member.waits_because
        if not self._plans:
            self._progress.status = lambda: member.text
        revision = await self._store.write(lambda conn: applied_config.revision_of(conn, config))
        engine = build_engine(
            store=self._store,
            clock=self._clock,
            channels=config.channels,
            metrics=self._metrics,
            links=self._links,
            fence=member.units.require,
            is_doubtful=member.units.is_doubtful,
        )
        await member.start(Parts(work=work, configuration=revision, engine=engine, notifier=notifier))
        if self._plans:
            await self._plan(config, work, notifier, member)
        else:
            self._intake.open(config, recorded=log_unrouted)
        await self._hosting.follow(config, self._store, self._intake)

    async def reject_reload(self, problem: str) -> None:
        """Record that a reload was rejected; in the store only for the planner, whose configuration `status` is about."""
        if self._plans:
            await super().reject_reload(problem)
        else:
            self._metrics.reload_done(ok=False)

    async def swap(self, config: Config) -> None:
        """Do nothing: a reload ends this daemon's parts and builds new ones."""

    async def stop(self, within: timedelta = STOP_WITHIN) -> None:
        """Plan nothing more, finish the units under way, and leave the cluster. Bounded. May be called twice."""
        self._intake.close()
        if self._outage_task is not None:
            self._outage_task.cancel()
        if self._planner is not None:
            await self._planner.close()
        await asyncio.gather(self._hosting.stop(), self._stop_work(within))

    async def _stop_work(self, within: timedelta) -> None:
        """Stop the scheduler before the leases, which it reads at every tick, and the queue."""
        if self._member is not None:
            self._member.halt()
        if self._scheduler is not None:
            await self._scheduler.stop(timedelta(seconds=1))
        if self._member is not None:
            await self._member.stop(within * 3 / 4)

    def halt(self) -> None:
        """Start no more work, effective immediately."""
        super().halt()
        if self._member is not None:
            self._member.halt()

    async def _plan(self, config: Config, work: dict[str, Work], notifier: Notifier, member: ClusterMember) -> None:
        """Start what only the daemon with the lock does."""
        await crash_report.recover(self._store, message=SERVICE_BACK, channels=config.channels, clock=self._clock)
        await notifier.hand_over_removed()
        self._outage_alert = alert = DatabaseOutageAlert(store=self._store, clock=self._clock, notifier=notifier)
        alert.configure([source.poll_every for source in config.sources], config.channels)
        self._outage_task = asyncio.create_task(alert.run(), name="database-outage")
        self._planner = member.new_planner()
        await self._planner.start()
        self._start_scheduler(self._build_scheduler(config, work, notifier, alert, runner=self._planner), config)
