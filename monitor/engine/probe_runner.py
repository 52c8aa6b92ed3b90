"""Plan one batch of probes and run it concurrently. `recording/probes.py` records the results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

import structlog

from monitor.config import SourceConfig
from monitor.domain import ProbeAnswer, ProbeFinding
from monitor.domain.errors import ProviderError, ProviderRateLimited, ProviderUnauthorized
from monitor.domain.records import Record, field
from monitor.domain.rules import probe_answers, schedule
from monitor.domain.rules.schedule import concurrent_probes
from monitor.providers.base import Provider
from monitor.store import Connection, probes
from monitor.store.probes import Target

log = structlog.get_logger(__name__)

UNANSWERED = "unanswered"
"""The outcome of a probe that the API did not answer."""


class ProbeResult(NamedTuple):
    """The result of one probe."""

    target: Target
    answer: ProbeAnswer | None
    """None: the API did not answer."""
    finding: ProbeFinding | None
    """Meaning of the answer; None without an answer."""
    seconds: float
    """Duration, with the wait for its turn."""

    @property
    def outcome(self) -> str:
        """The finding's name for metrics and rollups, or UNANSWERED."""
        return UNANSWERED if self.finding is None else self.finding.value


class ProbeLane:
    """Runs the probes of one source side by side.

    It begins with one probe at a time, or with as many as the last batch needed, and widens until `per_second` probes end per
    second: a quick API needs one connection, a slow one some more.
    """

    def __init__(
        self,
        source: SourceConfig,
        provider: Provider,
        targets: Sequence[Target],
        *,
        per_second: float,
        fastest: float | None,
        stopping: Callable[[], bool],
    ) -> None:
        self._source, self._provider, self._stopping = source, provider, stopping
        self._waiting = list(reversed(targets))
        self._width_for = partial(concurrent_probes, per_second, burst=len(targets))
        self._width, self._workers = self._width_for(fastest), 0
        self.fastest: float | None = None
        """Seconds of the fastest probe; None before the first has ended."""
        self.results: list[ProbeResult] = []
        """The results so far, in no order. The caller may remove some."""
        self.pause: float | None = None
        """Seconds for which to send the API nothing, where it limited the rate or refused the key."""

    async def run(self) -> None:
        """Probe each target. Ends early where the API asks for a pause or refuses the key."""
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._width, len(self._waiting))):
                self._add_worker(group)

    def _add_worker(self, group: asyncio.TaskGroup) -> None:
        self._workers += 1
        group.create_task(self._work(group))

    async def _work(self, group: asyncio.TaskGroup) -> None:
        while self._waiting and self.pause is None and not self._stopping():
            target = self._waiting.pop()
            started = time.monotonic()
            answer: ProbeAnswer | None = None
            finding: ProbeFinding | None = None
            try:
                answer = await self._provider.probe(target.external_id, scope=target.scope)
                trusted = target.platform in self._source.info.trusted_platforms
                finding = probe_answers.classify(answer, platform=target.platform, date_trusted=trusted)
            except (ProviderRateLimited, ProviderUnauthorized) as error:
                self._pause(error)
                break
            except ProviderError as error:
                log.info("probe.unanswered", source=self._source.name, connection=target.external_id, problem=str(error))
            seconds = time.monotonic() - started
            self.results.append(ProbeResult(target, answer, finding, seconds))
            if self.fastest is None or seconds < self.fastest:
                self.fastest = seconds
                self._width = self._width_for(seconds)
            if self._workers < min(self._width, len(self._waiting)):
                self._add_worker(group)
        self._workers -= 1

    def _pause(self, error: ProviderRateLimited | ProviderUnauthorized) -> None:
        seconds = error.retry_after or self._source.poll_every.total_seconds()
        self.pause = max(seconds, self.pause or 0.0)
        log.warning("probes.paused", source=self._source.name, problem=str(error), seconds=seconds)


BATCH = 1000
"""Maximum number of results written in one transaction."""


class Batch(Record):
    """Connections to probe in one go."""

    targets: list[Target] = field(default_factory=list)
    cohorts: list[int] = field(default_factory=list)
    """The cohorts whose members are all among the targets."""
    more: bool = False
    """True if more is due than fits."""


def due_batch(conn: Connection, source: SourceConfig, now: datetime) -> Batch:
    """Return the next batch of a source: single connections (confirmations, new ones) in up to half of it, then whole cohorts.

    Once one cohort is due, those that are due soon are included. One large burst costs fewer wake-ups, transactions and TLS
    connections than many small ones.
    """
    size = batch_size(source)
    single = probes.individually_due(conn, source.name, now, size)
    whole = probes.due_cohorts(conn, source.name, now, lead=schedule.lead(source.probe_every))
    if not whole:
        return Batch(targets=single, more=len(single) == size)
    batch = Batch(targets=single[: size // 2])
    batch.more = _add_cohorts(conn, source, batch, whole, room=size - len(batch.targets)) or len(single) > size // 2
    return batch


def next_batch(conn: Connection, source: SourceConfig, cohorts: list[int]) -> Batch:
    """Remove cohorts from the list, and return a batch of all their members, due or not, with those probed as unsupported."""
    batch = Batch(more=True)
    while cohorts and len(batch.targets) < BATCH:
        some = cohorts[: schedule.COHORTS // 8]
        del cohorts[: len(some)]
        batch.cohorts += some
        for members in probes.cohort_targets(conn, source.name, some, unsupported=True).values():
            batch.targets += (target._replace(individual=True) for target in members)
    return batch


def _add_cohorts(conn: Connection, source: SourceConfig, batch: Batch, cohorts: list[int], *, room: int) -> bool:
    """Add the members of as many cohorts as there is room for, at least of one. Return True if any cohort was left out."""
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
        # Read as many as will probably fit, so that 256 cohorts of a large source are not read to take three of them.
        size = max(1, len(batch.targets) // len(batch.cohorts))
        step = min(max(1, room // size), schedule.COHORTS)
    return False


def batch_size(source: SourceConfig) -> int:
    """Return as many probes as the request budget allows in some twenty seconds."""
    return max(10, min(BATCH, source.requests_per_minute // 3))
