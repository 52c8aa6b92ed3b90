"""Probe due connections, in batches, until none is due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain.clock import Clock
from monitor.domain.rules import schedule
from monitor.engine.probe_runner import BATCH, UNANSWERED, Batch, ProbeLane, ProbeResult, batch_size, due_batch
from monitor.engine.recording import Recorded
from monitor.engine.recording.probes import is_news, record_probes
from monitor.providers.base import Provider
from monitor.store import Store, probes
from monitor.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

NEWS_WITHIN = 10.0
"""Seconds; a batch of slow probes may take minutes."""

BURST_WITHIN = 20.0
"""Seconds in which a burst should be through: then its lane is as wide as that takes, and no wider."""


class Prober:
    """Probes what is due and records what it says."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        channels: Sequence[ChannelConfig],
        metrics: Metrics,
        news_within: float = NEWS_WITHIN,
    ) -> None:
        """`news_within`: seconds for which news may wait for the rest of its batch."""
        self._store = store
        self._clock = clock
        self._channels = channels
        self._metrics = metrics
        self._news_within = news_within
        self._quickest: dict[str, float] = {}
        """Seconds of each source's quickest probe in its last batch."""
        self._stopping = False

    def stop(self) -> None:
        """Start no further probe; those under way finish and are recorded."""
        self._stopping = True

    async def probe_due(self, source: SourceConfig, provider: Provider) -> Recorded:
        """Probe a source's due connections, batch by batch, until none is due or the API asks for a pause."""
        recorded = Recorded()
        while not self._stopping:
            batch = await self._store.run_read(self._due, source)
            if not batch.targets and not batch.cohorts:
                break
            paused = await self._probe(source, provider, batch, recorded)
            if paused or not batch.more:
                break
        return recorded

    async def probe_all(self, source: SourceConfig, provider: Provider) -> Recorded:
        """Probe every connection of a source once, now."""
        recorded = Recorded()
        waiting = await self._store.run_read(self._cohorts, source)
        while waiting and not self._stopping:
            batch = await self._store.run_read(self._next_of, source, waiting)
            if await self._probe(source, provider, batch, recorded):
                break
        return recorded

    async def _probe(self, source: SourceConfig, provider: Provider, batch: Batch, recorded: Recorded) -> bool:
        """Ask and record one batch; whether the API asked for a pause."""
        lane = ProbeLane(
            source,
            provider,
            batch.targets,
            per_second=_pace(source, batch),
            quickest=self._quickest.get(source.name),
            stopping=lambda: self._stopping,
        )
        told: set[int] = set()
        asking = asyncio.create_task(lane.ask(), name=f"ask:{source.name}")
        try:
            while not (await asyncio.wait({asking}, timeout=self._news_within))[0]:
                news = _take_news(source, lane.results)
                if news:
                    told.update(result.target.id for result in news)
                    recorded.add(await self._write(source, Batch(), news, None))
        finally:
            asking.cancel()  # does nothing where it is done
            await asyncio.wait({asking})
        asking.result()
        if lane.quickest is not None:
            self._quickest[source.name] = lane.quickest
        if told:
            batch.targets = [target for target in batch.targets if target.id not in told]
        recorded.add(await self._write(source, batch, lane.results, lane.pause))
        return lane.pause is not None

    async def _write(self, source: SourceConfig, batch: Batch, results: Sequence[ProbeResult], pause: float | None) -> Recorded:
        recorded = await self._store.run(self._record, source, batch, results, pause)
        if results:
            log.info(
                "probes.done", source=source.name, probes=len(results), changed=recorded.changed, alerts=recorded.alert_count
            )
        return recorded

    def _due(self, source: SourceConfig) -> Batch:
        with self._store.begin_read() as conn:
            return due_batch(conn, source, self._clock.now())

    def _cohorts(self, source: SourceConfig) -> list[int]:
        with self._store.begin_read() as conn:
            return probes.live_cohorts(conn, source.name)

    def _next_of(self, source: SourceConfig, waiting: list[int]) -> Batch:
        """Some of the waiting cohorts, which are taken out."""
        batch = Batch(more=True)
        with self._store.begin_read() as conn:
            while waiting and len(batch.targets) < BATCH:
                some = waiting[: schedule.COHORTS // 8]
                del waiting[: len(some)]
                batch.cohorts += some
                for members in probes.cohort_targets(conn, source.name, some, unsupported=True).values():
                    batch.targets += (target._replace(individual=True) for target in members)
        return batch

    def _record(self, source: SourceConfig, batch: Batch, results: Sequence[ProbeResult], pause: float | None) -> Recorded:
        with self._store.begin_write() as conn:
            recorded = record_probes(conn, source, batch, results, pause=pause, channels=self._channels, now=self._clock.now())
        for result in results:
            self._metrics.probe_done(source.name, result.word, result.took)
        return recorded


def _pace(source: SourceConfig, batch: Batch) -> float:
    """Probes a second: what the request budget allows while there is more to do, else what is enough for this burst."""
    allowed = source.requests_per_minute / 60
    if batch.more or source.probe_every is None:
        return allowed
    within = min(BURST_WITHIN, schedule.lead(source.probe_every).total_seconds() / 2)
    return min(allowed, len(batch.targets) / within)


def _take_news(source: SourceConfig, results: list[ProbeResult]) -> list[ProbeResult]:
    """Take out of the results those that change something; the others can wait."""
    news = [result for result in results if is_news(source, result)]
    if news:
        gone = {result.target.id for result in news}
        results[:] = [result for result in results if result.target.id not in gone]
    return news


__all__ = ["BATCH", "UNANSWERED", "Batch", "Prober", "batch_size", "due_batch", "record_probes"]
