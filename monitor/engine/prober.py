"""Probe connections, batch by batch, until none is due.

`probe_runner` plans a batch and runs its probes; the next step is `record_probes` in `engine/recording/probes.py`, which
writes the results in one transaction.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Sequence

import structlog

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain.clock import Clock
from monitor.domain.rules import schedule
from monitor.engine.fencing import Fence, unfenced
from monitor.engine.probe_runner import Batch, ProbeLane, ProbeResult, due_batch, next_batch
from monitor.engine.recording import Recorded
from monitor.engine.recording.probes import is_news, record_probes
from monitor.providers.base import Provider
from monitor.store import Connection, Store, probes
from monitor.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

NEWS_WITHIN = 10.0
"""Seconds after which results that change something are recorded, although the rest of the batch is still being probed."""

BURST_WITHIN = 20.0
"""Seconds in which a burst should end. No more probes run side by side than that takes."""


class Prober:
    """Probes connections and records the results."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        channels: Sequence[ChannelConfig],
        metrics: Metrics,
        news_within: float = NEWS_WITHIN,
        fence: Fence = unfenced,
    ) -> None:
        self._store = store
        self._clock = clock
        self._channels = channels
        self._metrics = metrics
        self._news_within = news_within
        self._fence = fence
        self._fastest: dict[str, float] = {}
        """Seconds of each source's fastest probe in its last batch."""
        self._stopping = False
        self._rechecked: dict[str, set[int]] = {}
        """By source of which a batch is being probed, the connections that a recheck has probed meanwhile."""

    @property
    def stopping(self) -> bool:
        """True after stop()."""
        return self._stopping

    def stop(self) -> None:
        """Start no further probe. Those that are running end and are recorded."""
        self._stopping = True

    async def probe_due(self, source: SourceConfig, provider: Provider, *, batches: int | None = None) -> Recorded:
        """Probe a source's due connections, batch by batch, until none is due or the API asks for a pause.

        `batches` is the maximum number of batches. Raises LeaseLost, and records nothing more, if another daemon has taken over
        the source.
        """
        recorded = Recorded()
        for _ in itertools.repeat(None) if batches is None else range(batches):
            if self._stopping:
                break
            batch = await self._store.read(lambda conn: due_batch(conn, source, self._clock.now()))
            if not batch.targets and not batch.cohorts:
                break
            paused = await self._probe(source, provider, batch, recorded)
            if paused or not batch.more:
                break
        return recorded

    async def probe_all(self, source: SourceConfig, provider: Provider) -> Recorded:
        """Probe every connection of a source once, now."""
        recorded = Recorded()
        cohorts = await self._store.read(lambda conn: probes.live_cohorts(conn, source.name))
        while cohorts and not self._stopping:
            batch = await self._store.read(lambda conn: next_batch(conn, source, cohorts))
            if await self._probe(source, provider, batch, recorded):
                break
        return recorded

    async def probe_now(
        self, source: SourceConfig, provider: Provider, rows: Collection[int]
    ) -> tuple[dict[int, ProbeResult], Recorded]:
        """Probe these connections for a recheck. Return the results by row id, and what was recorded.

        A batch that is running drops its own results for these connections, because they may be older. A connection has no
        result if the API asked for a pause.
        """
        targets = await self._store.read(lambda conn: probes.targets_of(conn, rows))
        lane = ProbeLane(
            source,
            provider,
            targets,
            per_second=source.requests_per_minute / 60,
            fastest=self._fastest.get(source.name),
            stopping=lambda: self._stopping,
        )
        await lane.run()

        def write(conn: Connection) -> Recorded:
            self._fence(conn, [source.name])
            self._rechecked.get(source.name, set()).update(result.target.id for result in lane.results)
            now, channels = self._clock.now(), self._channels
            return record_probes(conn, source, Batch(), lane.results, pause=None, channels=channels, now=now, recheck=True)

        recorded = await self._store.write(write)
        self._count(source, lane.results, recorded)
        return {result.target.id: result for result in lane.results}, recorded

    async def _probe(self, source: SourceConfig, provider: Provider, batch: Batch, recorded: Recorded) -> bool:
        """Probe and record one batch. Return True if the API asked for a pause."""
        lane = ProbeLane(
            source,
            provider,
            batch.targets,
            per_second=_pace(source, batch),
            fastest=self._fastest.get(source.name),
            stopping=lambda: self._stopping,
        )
        recorded_ids: set[int] = set()
        rechecked = self._rechecked[source.name] = set()
        running = asyncio.create_task(lane.run(), name=f"probe:{source.name}")
        try:
            while not (await asyncio.wait({running}, timeout=self._news_within))[0]:
                news = _take_news(lane.results)
                if news:
                    recorded_ids.update(result.target.id for result in news)
                    recorded.add(await self._record(source, Batch(), news, None))
        finally:
            running.cancel()  # has no effect once it is done
            await asyncio.wait({running})
        running.result()
        if lane.fastest is not None:
            self._fastest[source.name] = lane.fastest
        batch.targets = [target for target in batch.targets if target.id not in recorded_ids | rechecked]
        recorded.add(await self._record(source, batch, lane.results, lane.pause))
        return lane.pause is not None

    async def _record(self, source: SourceConfig, batch: Batch, results: Sequence[ProbeResult], pause: float | None) -> Recorded:
        def write(conn: Connection) -> Recorded:
            self._fence(conn, [source.name])
            rechecked = self._rechecked.get(source.name, set())
            current = [result for result in results if result.target.id not in rechecked] if rechecked else results
            return record_probes(conn, source, batch, current, pause=pause, channels=self._channels, now=self._clock.now())

        recorded = await self._store.write(write)
        self._count(source, results, recorded)
        return recorded

    def _count(self, source: SourceConfig, results: Sequence[ProbeResult], recorded: Recorded) -> None:
        """Count the probes in the metrics, and write one log line."""
        for result in results:
            self._metrics.probe_done(source.name, result.outcome, result.seconds)
        if results:
            facts = {"probes": len(results), "changed": recorded.changed, "alerts": recorded.alert_count}
            log.info("probes.done", source=source.name, **facts)


def _pace(source: SourceConfig, batch: Batch) -> float:
    """Return the probes per second: all that the request budget allows while more is due, else enough for this burst."""
    allowed = source.requests_per_minute / 60
    if batch.more or source.probe_every is None:
        return allowed
    within = min(BURST_WITHIN, schedule.lead(source.probe_every).total_seconds() / 2)
    return min(allowed, len(batch.targets) / within)


def _take_news(results: list[ProbeResult]) -> list[ProbeResult]:
    """Remove the results that change something from the list, and return them. The others can wait, also those without answer."""
    news = [result for result in results if is_news(result, answered=False)]
    if news:
        taken = {result.target.id for result in news}
        results[:] = [result for result in results if result.target.id not in taken]
    return news
