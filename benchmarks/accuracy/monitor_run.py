"""The real monitor under the simulation's clock: real adapters, rules and store; due work is queried as by the scheduler."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import TextClause, text

from benchmarks.accuracy.simulation import Account, Intent, Simulation
from monitor.config import Config, load
from monitor.demo.server import WorldServer
from monitor.domain import Ack, Alert, connection_id
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.poller import Poller
from monitor.engine.prober import Prober
from monitor.engine.time_changes import TimeChanges
from monitor.providers import HttpLimits, HttpSessions, RequestBudget, build_provider
from monitor.providers.base import Provider
from monitor.store import Store, connection_queries, connections, incidents, open_store, sources
from monitor.store.types import instant_text
from monitor.telemetry.metrics import Metrics

TICK = timedelta(seconds=0.5)
QUICK = HttpLimits(retry_wait=0.001)
"""Repetitions of a request take no time here: the simulated world does not wait for them."""
FAST = 60_000


_DUE = text(
    "SELECT (SELECT min(next_poll_at) FROM sources),"
    " (SELECT min(next_probe_at) FROM cohorts),"
    " (SELECT min(next_probe_at) FROM connections WHERE retired_at IS NULL),"
    " (SELECT min(next_change_at) FROM connections WHERE retired_at IS NULL),"
    " (SELECT min(look_at) FROM incidents WHERE closed_at IS NULL)"
)
"""The scheduler's queries in one statement: it is executed tens of thousands of times."""
_POLLS = text("SELECT name FROM sources WHERE next_poll_at <= :now ORDER BY next_poll_at, name")
_PROBES = text(
    "SELECT source FROM cohorts WHERE next_probe_at <= :now"
    " UNION SELECT source FROM connections WHERE next_probe_at <= :now AND retired_at IS NULL ORDER BY 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The next due instant of each kind of work; None means never."""

    polls: datetime | None
    probes: datetime | None
    time: datetime | None

    @property
    def first(self) -> datetime | None:
        """The earliest of the instants."""
        return _earliest((self.polls, self.probes, self.time))


def _earliest(instants: Iterable[datetime | None]) -> datetime | None:
    return min((instant for instant in instants if instant is not None), default=None)


@dataclass(kw_only=True)
class MonitorRun:
    """The monitor and all its alerts."""

    store: Store
    config: Config
    providers: dict[str, Provider]
    poller: Poller
    prober: Prober
    time_changes: TimeChanges
    alerts: list[Alert] = field(default_factory=list)
    polls: int = 0

    def next_due(self) -> Due:
        """Return when each kind of work is due next."""
        with self.store.begin_read() as conn:
            row = conn.execute(_DUE).one()
        instants = [None if each is None else datetime.fromisoformat(each).astimezone(UTC) for each in row]
        polls, probing, moving = instants[0], _earliest(instants[1:3]), _earliest(instants[3:])
        return Due(polls=polls, probes=probing, time=moving)

    async def work(self, due: Due, now: datetime) -> None:
        """Do what is due now: time, polls, probes."""
        configured = {source.name: source for source in self.config.sources}
        if due.time is not None and due.time <= now:
            self.alerts += (await self.time_changes.advance()).alerts
        for name in self._names(_POLLS, due.polls, now):
            self.alerts += (await self.poller.poll(configured[name], self.providers[name])).alerts
            self.polls += 1
        for name in self._names(_PROBES, due.probes, now):
            if self.providers[name].probes:
                self.alerts += (await self.prober.probe_due(configured[name], self.providers[name])).alerts

    def _names(self, question: TextClause, due: datetime | None, now: datetime) -> list[str]:
        if due is None or due > now:
            return []
        with self.store.begin_read() as conn:
            return list(conn.scalars(question, {"now": instant_text(now)}))

    def apply(self, intent: Intent, now: datetime) -> None:
        """Apply an operator's commands: `token-monitor ack` and `token-monitor forget`."""
        with self.store.begin_write() as conn:
            row = self._row(intent.account)
            if row is None:
                return
            found = incidents.find_open(conn, [row.id]).get(row.id)
            if intent.action == "forget":
                connections.retire(conn, row.id, now)
                incidents.close_many(conn, [found.id] if found else [], now)
            elif found is not None:
                incidents.acknowledge(conn, found.id, Ack(status=row.state.verdict.status, stage=row.state.stage, at=now))

    def _row(self, account: Account) -> connection_queries.ConnectionRow | None:
        public = connection_id(account.source.name, account.source.kind, account.scope, account.id)
        with self.store.begin_read() as conn:
            return next((row for row in connection_queries.find_connections(conn, public) if row.retired_at is None), None)


@asynccontextmanager
async def monitoring(simulation: Simulation, folder: Path, *, poll_every: str, probe_every: str) -> AsyncIterator[MonitorRun]:
    """Serve the world on loopback, with a monitor of all its sources."""
    async with WorldServer(simulation.world) as server, HttpSessions(limits=QUICK) as sessions:
        config = _config(simulation, server, folder, poll_every=poll_every, probe_every=probe_every)
        clock, channels = simulation.clock, config.channels
        providers = {
            source.name: build_provider(
                source, sessions=sessions, clock=clock, budget=RequestBudget(FAST, monotonic=lambda: clock.now().timestamp())
            )
            for source in config.sources
        }
        with open_store(config.database.url.reveal()) as store:
            with store.begin_write() as conn:  # each at its own host, as in production
                hosts = [(each.name, each.provider, f"{each.name}.example") for each in config.sources]
                sources.sync_sources(conn, hosts, clock.now())
            yield MonitorRun(
                store=store,
                config=config,
                providers=providers,
                poller=Poller(store=store, clock=clock, channels=channels, metrics=Metrics(), links=ConnectionLinks()),
                prober=Prober(store=store, clock=clock, channels=channels, metrics=Metrics()),
                time_changes=TimeChanges(
                    store=store, clock=clock, configured={each.name: each for each in config.sources}, channels=channels
                ),
            )


def _config(simulation: Simulation, server: WorldServer, folder: Path, *, poll_every: str, probe_every: str) -> Config:
    written = f"""
[database]
url = "sqlite:///monitor.db"
[schedule]
poll_every = "{poll_every}"
probe_every = "{probe_every}"
[web]
listen = "off"
[[channels]]
name = "ops"
url = "json://127.0.0.1:9/"
"""
    for name, source in simulation.world.sources.items():
        users = 'users = "all"' if source.users else ""
        often = simulation.truth.polls_of.get(name)
        polled = f'poll_every = "{often.total_seconds():.0f}s"' if often is not None else ""
        written += f"""
[[sources]]
name = {json.dumps(name)}
provider = "{source.kind}"
api_key = "{source.key}"
base_url = "{server.base_url(source.kind)}"
{users}
{polled}
"""
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(written, encoding="utf-8")
    return load(path, {"HOME": str(folder)}).config
