"""Plan one batch of probes and run it concurrently."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import NamedTuple

import structlog

from monitor.config import SourceConfig
from monitor.domain import ProbeAnswer, ProbeFinding
from monitor.domain.errors import ProviderError, ProviderRateLimited, ProviderUnauthorized
from monitor.domain.rules import probes as probe_rules
from monitor.domain.rules import schedule
from monitor.domain.rules.schedule import probes_at_once
from monitor.providers.base import Provider
from monitor.store import Connection, probes
from monitor.store.probes import Target

log = structlog.get_logger(__name__)


UNANSWERED = "unanswered"
"""What a probe came to that the API did not answer."""


class ProbeResult(NamedTuple):
    """What came of one probe: an answer, or none."""

    target: Target
    answer: ProbeAnswer | None
    finding: ProbeFinding | None
    """What the answer means."""
    took: float
    """Seconds, with the wait for its turn."""

    @property
    def word(self) -> str:
        """What it is counted as."""
        return UNANSWERED if self.finding is None else self.finding.value


class ProbeLane:
    """One source's probes under way.

    It begins with one probe at a time, or with what was needed last, and widens until `per_second` of them end: a quick
    API needs one connection, one that takes its time some more.
    """

    def __init__(
        self,
        source: SourceConfig,
        provider: Provider,
        targets: Sequence[Target],
        *,
        per_second: float,
        quickest: float | None,
        stopping: Callable[[], bool],
    ) -> None:
        self._source, self._provider, self._stopping = source, provider, stopping
        self._waiting = list(reversed(targets))
        self._needed = partial(probes_at_once, per_second, burst=len(targets))
        self._width, self._working = self._needed(quickest), 0
        self.quickest: float | None = None
        """Seconds that the quickest probe took, None before the first has ended."""
        self.results: list[ProbeResult] = []
        """What has come back, in no order. Whoever takes results out has them for good."""
        self.pause: float | None = None
        """Seconds for which the API wants to be left alone, where it said so or refused the key."""

    async def ask(self) -> None:
        """Ask about each target; ends early where the API asks for a pause or refuses the key."""
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._width, len(self._waiting))):
                self._start(group)

    def _start(self, group: asyncio.TaskGroup) -> None:
        self._working += 1
        group.create_task(self._work(group))

    async def _work(self, group: asyncio.TaskGroup) -> None:
        while self._waiting and self.pause is None and not self._stopping():
            target = self._waiting.pop()
            started = time.monotonic()
            answer: ProbeAnswer | None = None
            finding: ProbeFinding | None = None
            try:
                answer = await self._provider.probe(target.external_id, scope=target.scope)
                finding = probe_rules.classify(answer, platform=target.platform, ever_ok=target.known.ever_ok)
            except (ProviderRateLimited, ProviderUnauthorized) as error:
                self._rest(error)
                break
            except ProviderError as error:
                log.info("probe.unanswered", source=self._source.name, connection=target.external_id, problem=str(error))
            took = time.monotonic() - started
            self.results.append(ProbeResult(target, answer, finding, took))
            if self.quickest is None or took < self.quickest:
                self.quickest = took
                self._width = self._needed(took)
            if self._working < min(self._width, len(self._waiting)):
                self._start(group)
        self._working -= 1

    def _rest(self, error: ProviderRateLimited | ProviderUnauthorized) -> None:
        seconds = error.retry_after or self._source.poll_every.total_seconds()
        self.pause = max(seconds, self.pause or 0.0)
        log.warning("probes.paused", source=self._source.name, problem=str(error), seconds=seconds)


BATCH = 1000
"""Answers are written together, at most so many in one transaction."""


@dataclass(slots=True)
class Batch:
    """What one turn of a lane has to do."""

    targets: list[Target] = field(default_factory=list)
    cohorts: list[int] = field(default_factory=list)
    more: bool = False
    """Whether more is due than fits."""


def due_batch(conn: Connection, source: SourceConfig, now: datetime) -> Batch:
    """The next batch of a source: single connections (confirmations, newcomers) in up to half of it, then whole cohorts.

    Once one cohort is due, those that are due soon come along: one burst now and then costs fewer wake-ups, fewer
    transactions and fewer TLS connections than many small ones, and leaves the network alone in between.
    """
    size = batch_size(source)
    single = probes.individually_due(conn, source.name, now, size)
    whole = probes.due_cohorts(conn, source.name, now, lead=schedule.lead(source.probe_every))
    if not whole:
        return Batch(targets=single, more=len(single) == size)
    batch = Batch(targets=single[: size // 2])
    batch.more = _add_cohorts(conn, source, batch, whole, room=size - len(batch.targets)) or len(single) > size // 2
    return batch


def _add_cohorts(conn: Connection, source: SourceConfig, batch: Batch, cohorts: list[int], *, room: int) -> bool:
    """Add the members of as many cohorts as there is room for, at least one; whether any were left out."""
    taken = {target.id for target in batch.targets}
    at, step = 0, 1
    while at < len(cohorts):
        some = cohorts[at : at + step]
        found = probes.cohort_targets(conn, source.name, some)
        for cohort in some:
            members = [target for target in found.get(cohort, ()) if target.id not in taken]
            if batch.cohorts and len(members) > room:
                return True
            batch.targets += members
            batch.cohorts.append(cohort)
            room -= len(members)
        at += len(some)
        # As many at a time as will probably fit: 256 cohorts of a large source are not read to take three of them.
        size = max(1, len(batch.targets) // len(batch.cohorts))
        step = min(max(1, room // size), schedule.COHORTS)
    return False


def batch_size(source: SourceConfig) -> int:
    """As many probes as the request budget allows in some twenty seconds."""
    return max(10, min(BATCH, source.requests_per_minute // 3))
