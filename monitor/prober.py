"""Probe connections: ask the platform through the provider's test-connection call, and record what that changes.

Each source has a lane of its own: due connections go through it a few at a time, inside the source's request budget,
and their answers are written in batches. An answer that changes nothing costs no row of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from sqlalchemy import Connection

from monitor.clock import Clock
from monitor.config import SourceConfig
from monitor.errors import ProviderError, ProviderRateLimited, ProviderUnauthorized
from monitor.model import ConnectionState, ProbeAnswer, ProbeFinding, ProbeStatus
from monitor.outages import record_with_outages
from monitor.provider import Provider
from monitor.recorder import Change, ChannelSettings, Recorded
from monitor.rules import lifecycle, schedule
from monitor.rules import probes as probe_rules
from monitor.rules.context import Context
from monitor.store import Store, connections, probes, sources

log = structlog.get_logger(__name__)

BATCH = 500
"""Answers are written together, at most so many in one transaction."""

UNANSWERED = "unanswered"
"""What a probe came to that the API did not answer."""

LANE_WIDTH = 4
"""Probes of one source under way at once; the source's request budget paces them further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A connection to probe."""

    row: int
    external_id: str
    scope: str | None
    individual: bool
    """Whether its own next_probe_at made it due, rather than its cohort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What came of one probe: an answer, or none."""

    target: Target
    answer: ProbeAnswer | None
    took: float
    """Seconds."""


@dataclass(slots=True)
class Batch:
    """What one turn of a lane has to do."""

    targets: list[Target] = field(default_factory=list)
    cohorts: list[int] = field(default_factory=list)


class Prober:
    """Probes what is due and records what it says."""

    def __init__(self, *, store: Store, clock: Clock, channels: Sequence[ChannelSettings]) -> None:
        self._store = store
        self._clock = clock
        self._channels = channels
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
            done, paused = await self._probe(source, provider, batch)
            recorded.add(done)
            if paused:
                break
        return recorded

    async def probe_all(self, source: SourceConfig, provider: Provider) -> Recorded:
        """Probe every connection of a source once, now."""
        recorded = Recorded()
        batch = await self._store.run_read(self._everything, source)
        for start in range(0, len(batch.targets), BATCH):
            part = Batch(targets=batch.targets[start : start + BATCH])
            last = start + BATCH >= len(batch.targets)
            part.cohorts = batch.cohorts if last else []
            done, paused = await self._probe(source, provider, part)
            recorded.add(done)
            if paused:
                break
        return recorded

    async def _probe(self, source: SourceConfig, provider: Provider, batch: Batch) -> tuple[Recorded, bool]:
        results, pause = await self._ask(source, provider, batch.targets)
        recorded = await self._store.run(self._record, source, batch, results, pause)
        if results:
            log.info(
                "probes.done", source=source.name, probes=len(results), changed=recorded.changed, alerts=len(recorded.alerts)
            )
        return recorded, pause is not None

    async def _ask(
        self, source: SourceConfig, provider: Provider, targets: Sequence[Target]
    ) -> tuple[list[Probed], float | None]:
        """Ask about each target, a few at a time. Stops early where the API asks for a pause or refuses the key.

        Returns what was asked and the pause in seconds, None where there was none.
        """
        waiting = list(reversed(targets))
        results: list[Probed] = []
        pause: list[float] = []

        async def worker() -> None:
            while waiting and not pause and not self._stopping:
                target = waiting.pop()
                started = time.monotonic()
                answer: ProbeAnswer | None = None
                try:
                    answer = await provider.probe(target.external_id, scope=target.scope)
                except (ProviderRateLimited, ProviderUnauthorized) as error:
                    pause.append(error.retry_after or source.poll_every.total_seconds())
                    log.warning("probes.paused", source=source.name, problem=str(error), seconds=pause[-1])
                    return
                except ProviderError as error:
                    log.info("probe.unanswered", source=source.name, connection=target.external_id, problem=str(error))
                results.append(Probed(target=target, answer=answer, took=time.monotonic() - started))

        await asyncio.gather(*(worker() for _ in range(min(LANE_WIDTH, len(targets)))))
        return results, max(pause, default=None)

    def _due(self, source: SourceConfig) -> Batch:
        with self._store.read() as conn:
            return due_batch(conn, source, self._clock.now())

    def _everything(self, source: SourceConfig) -> Batch:
        with self._store.read() as conn:
            cohorts = probes.live_cohorts(conn, source.name)
            members = [member for cohort in cohorts for member in probes.members(conn, source.name, cohort)]
            return Batch(targets=_targets(members, individual=True), cohorts=cohorts)

    def _record(self, source: SourceConfig, batch: Batch, results: Sequence[Probed], pause: float | None) -> Recorded:
        with self._store.write() as conn:
            return record_probes(conn, source, batch, results, pause=pause, channels=self._channels, now=self._clock.now())


def due_batch(conn: Connection, source: SourceConfig, now: datetime) -> Batch:
    """The next batch of a source: single connections (confirmations, newcomers) in up to half of it, then whole cohorts."""
    size = batch_size(source)
    single = probes.individually_due(conn, now, size, source=source.name)
    whole = probes.due_cohorts(conn, now, schedule.COHORTS, source=source.name)
    batch = Batch(targets=_targets(single[: size // 2] if whole else single, individual=True))
    taken = {target.row for target in batch.targets}
    for _, cohort in whole:
        members = [
            each for each in _targets(probes.members(conn, source.name, cohort), individual=False) if each.row not in taken
        ]
        if batch.cohorts and len(batch.targets) + len(members) > size:
            break
        batch.targets += members
        batch.cohorts.append(cohort)
    return batch


def batch_size(source: SourceConfig) -> int:
    """As many probes as the request budget allows in some twenty seconds: what they say is not kept back for longer."""
    return max(10, min(BATCH, source.requests_per_minute // 3))


def _targets(members: Iterable[probes.Member | probes.DueProbe], *, individual: bool) -> list[Target]:
    """Without those whose platform has no validator: probing them says nothing."""
    return [
        Target(row=member.id, external_id=member.external_id, scope=member.scope, individual=individual)
        for member in members
        if individual or member.probe_status is not ProbeStatus.UNSUPPORTED
    ]


def record_probes(
    conn: Connection,
    source: SourceConfig,
    batch: Batch,
    results: Sequence[Probed],
    *,
    pause: float | None,
    channels: Sequence[ChannelSettings],
    now: datetime,
) -> Recorded:
    """Everything that follows from these answers, in the caller's transaction."""
    row = sources.find_source(conn, source.name)
    states = connections.load(conn, [result.target.row for result in results])
    tally = _Tally()
    for result in results:
        state = states.get(result.target.row)
        if state is not None:  # else it was retired while it was being asked
            tally.take(source, result, state, clock_skew=row.clock_skew if row else None, now=now)
    recorded = record_with_outages(conn, source, tally.changes, channels=channels, now=now)
    asked = {result.target.row for result in results}
    again = now if pause is None else schedule.postponed(now, pause)
    tally.next_at.setdefault(again, []).extend(target.row for target in batch.targets if target.row not in asked)
    for next_at, rows in tally.next_at.items():
        connections.set_next_probe(conn, rows, next_at)
    hour = now.replace(minute=0, second=0, microsecond=0)
    for outcome, count in tally.outcomes.items():
        probes.add_rollup(conn, source.name, hour, outcome, count=count, total_ms=tally.spent[outcome])
    answered = any(result.answer is not None for result in results)
    every = source.probe_every
    for cohort in batch.cohorts:
        due = (
            None
            if every is None
            else schedule.next_cohort_probe(now, every, source=source.name, cohort=cohort, jitter=source.jitter)
        )
        probes.mark_cohort(conn, source.name, cohort, probed_at=now if answered else None, next_probe_at=due)
    return recorded


@dataclass(slots=True)
class _Tally:
    """What a batch of answers comes to."""

    changes: list[Change] = field(default_factory=list)
    next_at: dict[datetime | None, list[int]] = field(default_factory=dict)
    """Connections that did not change, by their own next probe (None: with their cohort)."""
    outcomes: Counter[str] = field(default_factory=Counter)
    spent: Counter[str] = field(default_factory=Counter)
    """Milliseconds by outcome."""

    def take(
        self, source: SourceConfig, result: Probed, state: ConnectionState, *, clock_skew: float | None, now: datetime
    ) -> None:
        """One more answer."""
        finding = _finding(result, state)
        self.outcomes[finding] += 1
        self.spent[finding] += round(result.took * 1000)
        policy = source.policy_for(state.snapshot.platform)
        context = Context(now=now, provider=source.provider, policy=policy, clock_skew=clock_skew)
        after = state if result.answer is None else lifecycle.probed(state, result.answer, context)
        next_at = _next_individual(source, after, context, finding=finding)
        if after != state:
            self.changes.append(Change(row=result.target.row, before=state, after=after, next_probe_at=next_at))
        elif result.target.individual or next_at is not None:
            self.next_at.setdefault(next_at, []).append(result.target.row)


def _finding(result: Probed, state: ConnectionState) -> str:
    if result.answer is None:
        return UNANSWERED
    return probe_rules.classify(result.answer, platform=state.snapshot.platform, ever_ok=state.probe.ever_ok)


def _next_individual(source: SourceConfig, after: ConnectionState, context: Context, *, finding: str) -> datetime | None:
    """When this connection is probed by itself, before its cohort's turn; None: with its cohort."""
    if source.probe_every is None:
        return None
    if after.probe.status is ProbeStatus.FAILING:
        confirmed = after.probe.refusals >= context.policy.confirm_failures
        return schedule.next_failing_probe(context.now, source.probe_every, confirmed=confirmed)
    untold = finding == ProbeFinding.TRANSIENT and after.probe.status is ProbeStatus.UNPROBED
    if untold or finding == UNANSWERED:
        return schedule.next_failing_probe(context.now, source.probe_every, confirmed=True)
    return None
