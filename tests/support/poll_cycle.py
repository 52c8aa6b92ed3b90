"""What the tests of whole cycles share: the simulated world, the real adapters and the real store under one hand-moved clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from monitor.config import Config, RetentionConfig, load
from monitor.daemon.database_outage import DatabaseOutageAlert
from monitor.daemon.overdue_sources import OverdueSources
from monitor.daemon.scheduler import Scheduler
from monitor.daemon.work import LocalRunner, Work, build_engine
from monitor.demo.server import WorldServer
from monitor.demo.world import World
from monitor.domain import Alert, ConnectionState, Event, connection_id
from monitor.engine import config_sync
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.poller import Poller
from monitor.engine.prober import Prober
from monitor.engine.recording import Recorded
from monitor.engine.time_changes import TimeChanges
from monitor.notify.reports import Reporter
from monitor.providers import HttpLimits, HttpSessions, RequestBudget, build_provider
from monitor.store import Store, alerts, connection_queries, history, sources
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.progress import Progress
from tests.support import canary
from tests.support.delivery import make_notifier
from tests.support.fakes import ManualClock

CHANNEL = f"""
[[channels]]
name = "ops"
url = "{canary.channel_url("127.0.0.1:9")}"
group_wait = "0s"
"""


def quick() -> RequestBudget:
    """Return a budget that nothing here exhausts."""
    return RequestBudget(60_000)


@dataclass(kw_only=True)
class Cycle:
    """One monitor without its scheduler: the test decides when something happens."""

    store: Store
    clock: ManualClock
    world: World
    server: WorldServer
    config: Config
    work: dict[str, Work]
    alerts: list[Alert] = field(default_factory=list)

    async def poll(self, source: str | None = None, *, after: timedelta = timedelta(0)) -> Recorded:
        """Poll one source, or all, after some time."""
        self.clock.advance(after)
        poller = Poller(
            store=self.store, clock=self.clock, channels=self.config.channels, metrics=Metrics(), links=ConnectionLinks()
        )
        recorded = Recorded()
        for name, work in self.work.items():
            if source in (None, name):
                recorded.add(await poller.poll(work.source, work.provider))
        self.alerts += recorded.alerts
        return recorded

    async def probe(self, *, after: timedelta = timedelta(0), due: bool = False) -> Recorded:
        """Probe every connection, or those that are due."""
        self.clock.advance(after)
        prober = Prober(store=self.store, clock=self.clock, channels=self.config.channels, metrics=Metrics())
        recorded = Recorded()
        for work in self.work.values():
            if work.provider.probes:
                step = prober.probe_due if due else prober.probe_all
                recorded.add(await step(work.source, work.provider))
        self.alerts += recorded.alerts
        return recorded

    async def pass_time(self, by: timedelta) -> Recorded:
        """Only time passes."""
        self.clock.advance(by)
        configured = {name: work.source for name, work in self.work.items()}
        keeper = TimeChanges(store=self.store, clock=self.clock, configured=configured, channels=self.config.channels)
        recorded = await keeper.advance()
        self.alerts += recorded.alerts
        return recorded

    def states(self) -> dict[str, ConnectionState]:
        """Every live connection by its public id."""
        with self.store.begin_read() as conn:
            rows = list(connection_queries.list_connections(conn))
            return {
                connection_id(row.source, row.provider, row.state.snapshot.scope, row.state.snapshot.external_id): row.state
                for row in rows
            }

    def statuses(self) -> dict[str, str]:
        """Every live connection's status by its public id."""
        return {name: state.verdict.status.value for name, state in self.states().items()}

    def source(self, name: str) -> sources.SourceRow:
        """The stored row of a source."""
        with self.store.begin_read() as conn:
            row = sources.find_source(conn, name)
        assert row is not None
        return row

    def history(self, external_id: str) -> list[Event]:
        """One connection's history."""
        with self.store.begin_read() as conn:
            rows = list(connection_queries.list_connections(conn))
            row = next(row for row in rows if row.state.snapshot.external_id == external_id)
            return history.history_of(conn, row.id)

    def stored_alerts(self) -> int:
        """How many alerts the store holds."""
        with self.store.begin_read() as conn:
            return len(alerts.list_alerts(conn))

    def notified(self) -> list[tuple[str, str, str]]:
        """All alerts so far, as (event, reason, connection or source)."""
        return [(alert.event.value, alert.reason, alert.connection or alert.source) for alert in self.alerts]


def config_text(world: World, server: WorldServer, *, extra: str = "", per_source: dict[str, str] | None = None) -> str:
    """A configuration of all of a world's sources."""
    text = extra
    for name, source in world.sources.items():
        text += f"""
[[sources]]
name = {json.dumps(name)}
provider = "{source.kind}"
api_key = "{source.key}"
base_url = "{server.base_url(source.kind)}"
{(per_source or {}).get(name, "")}
"""
    return text


@asynccontextmanager
async def running(
    store: Store,
    clock: ManualClock,
    world: World,
    folder: Path,
    *,
    extra: str = CHANNEL,
    per_source: dict[str, str] | None = None,
) -> AsyncIterator[Cycle]:
    """The world answering on loopback, and a monitor configured for all of it."""
    async with WorldServer(world) as server, HttpSessions(limits=HttpLimits(retry_wait=0.01)) as sessions:
        path = folder / "config.toml"
        path.touch(mode=0o600)
        path.write_text(config_text(world, server, extra=extra, per_source=per_source), encoding="utf-8")
        config = load(path, {"HOME": str(folder)}).config
        with store.begin_write() as conn:
            config_sync.sync(conn, config, clock.now())
        # A service's own budget would wait in real time: a second for each request to Postbreeze.
        work = {
            source.name: Work(source=source, provider=build_provider(source, sessions=sessions, clock=clock, budget=quick()))
            for source in config.sources
        }
        yield Cycle(store=store, clock=clock, world=world, server=server, config=config, work=work)


def count_rows(store: Store) -> int:
    """Rows in all tables together."""
    from sqlalchemy import func, select

    from monitor.store.schema import metadata

    with store.begin_read() as conn:
        return sum(conn.scalar(select(func.count()).select_from(table)) or 0 for table in metadata.sorted_tables)


def build_scheduler(cycle: Cycle, *, keep: timedelta, tick: timedelta) -> tuple[Scheduler, TimeChanges]:
    """Return a scheduler over the cycle's work, not started yet, and its time changes. `keep` is the retention."""
    store, clock, channels, sources = cycle.store, cycle.clock, cycle.config.channels, cycle.config.sources
    configured = {name: item.source for name, item in cycle.work.items()}
    time_changes = TimeChanges(store=store, clock=clock, configured=configured, channels=channels)
    notifier = make_notifier(store, clock, *channels)
    engine = build_engine(store=store, clock=clock, channels=channels, metrics=Metrics(), links=ConnectionLinks())
    scheduler = Scheduler(
        store=store,
        clock=clock,
        work=cycle.work,
        runner=LocalRunner(engine),
        time_changes=time_changes,
        notifier=notifier,
        retention=RetentionConfig(history=keep, polls=keep),
        reporter=Reporter(store=store, clock=clock, channels=channels, sources=sources, timezone="UTC"),
        overdue_sources=OverdueSources(store=store, clock=clock, configured=configured, channels=channels),
        outage_alert=DatabaseOutageAlert(store=store, clock=clock, notifier=notifier),
        progress=Progress(),
        tick=tick,
    )
    return scheduler, time_changes
