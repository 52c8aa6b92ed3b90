"""The configured sources with the clients of their APIs, and the runners that do the work that the scheduler finds due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from monitor.config import ChannelConfig, Config, SourceConfig
from monitor.domain import PollReport
from monitor.domain.clock import Clock
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.fencing import Fence, unfenced
from monitor.engine.poller import Poller
from monitor.engine.prober import Prober
from monitor.engine.rechecks import Rechecker
from monitor.engine.recording import Recorded
from monitor.providers import HttpSessions, RequestBudget, build_budget, build_provider
from monitor.providers.base import Provider
from monitor.store import Store
from monitor.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

CONCURRENT_POLLS = 64
"""Maximum number of sources that a process polls at the same time; the rest wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One configured source and the client of its API."""

    source: SourceConfig
    provider: Provider
    budget: RequestBudget | None = None
    """The allowance that its client keeps to; None for a client without one."""


def build_work(
    config: Config, *, sessions: HttpSessions, clock: Clock, spent: Mapping[str, Sequence[tuple[float, int]]] | None = None
) -> dict[str, Work]:
    """Return each configured source with the client of its API, by the source's name; `spent` by source as in build_budget."""
    known, work = spent or {}, {}
    for source in config.sources:
        budget = build_budget(source, spent=known.get(source.name, ()))
        provider = build_provider(source, sessions=sessions, clock=clock, budget=budget)
        work[source.name] = Work(source=source, provider=provider, budget=budget)
    return work


def log_unrouted(recorded: Recorded) -> None:
    """Log an error for each alert that no channel takes: it must not go unnoticed."""
    for alert in recorded.unrouted:
        log.error(
            "alert.unroutable",
            alert=alert.id,
            alert_event=alert.event.value,
            about=alert.connection or alert.source,
            advice="No channel accepts this alert: widen a channel's filters, or set fallback = true for one.",
        )


class Engine(NamedTuple):
    """What polls, probes and rechecks sources, and records the results."""

    poller: Poller
    prober: Prober
    rechecker: Rechecker


def build_engine(
    *,
    store: Store,
    clock: Clock,
    channels: Sequence[ChannelConfig],
    metrics: Metrics,
    links: ConnectionLinks,
    fence: Fence = unfenced,
    is_doubtful: Callable[[SourceConfig, PollReport], bool] | None = None,
) -> Engine:
    """Return the engine for these channels. `fence` and `is_doubtful` are for a cluster, see Poller."""
    poller = Poller(
        store=store, clock=clock, channels=channels, metrics=metrics, links=links, fence=fence, is_doubtful=is_doubtful
    )
    prober = Prober(store=store, clock=clock, channels=channels, metrics=metrics, fence=fence)
    rechecker = Rechecker(store=store, clock=clock, poller=poller, prober=prober, fence=fence)
    return Engine(poller, prober, rechecker)


def source_lease(name: str) -> str:
    """Return the name of the lease of a source."""
    return f"source:{name}"


def channel_lease(name: str) -> str:
    """Return the name of the lease of a channel."""
    return f"channel:{name}"


class Runner(Protocol):
    """Does the work that the scheduler finds due: in this process, or through the queue of a cluster.

    Each coroutine ends when the work has ended, and returns what it recorded as far as this process knows it.
    """

    is_shared: bool
    """True if several processes do the work: then the scheduler starts deliveries too, and work on one source is serial."""

    async def busy(self) -> frozenset[str]:
        """Return the sources and channels that another process is working on, as source_lease() and channel_lease() name them."""
        ...

    async def poll(self, work: Work) -> Recorded:
        """Poll a source."""
        ...

    async def probe(self, work: Work) -> Recorded:
        """Probe the due connections of a source."""
        ...

    async def recheck(self, work: Work) -> Recorded | None:
        """Answer pending rechecks of a source; None if there are none, or if others answer them."""
        ...

    async def deliver(self, channel: str) -> None:
        """Deliver what is due on a channel."""
        ...

    def stop(self) -> None:
        """Start no further probe."""
        ...


class LocalRunner:
    """Does all the work in this process."""

    is_shared = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._polls = asyncio.Semaphore(CONCURRENT_POLLS)

    async def busy(self) -> frozenset[str]:
        """Return nothing: there is no other process."""
        return frozenset()

    async def poll(self, work: Work) -> Recorded:
        """Poll a source; at most CONCURRENT_POLLS run at a time."""
        async with self._polls:
            return await self._engine.poller.poll(work.source, work.provider)

    async def probe(self, work: Work) -> Recorded:
        """Probe the due connections of a source, until none is due."""
        return await self._engine.prober.probe_due(work.source, work.provider)

    async def recheck(self, work: Work) -> Recorded | None:
        """Answer pending rechecks of a source."""
        return await self._engine.rechecker.check_pending(work.source, work.provider)

    async def deliver(self, channel: str) -> None:
        """Do nothing: the notifier delivers."""

    def stop(self) -> None:
        """Start no further probe."""
        self._engine.prober.stop()
