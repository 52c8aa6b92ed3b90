"""Poll a source: fetch its lists, find what changed, and record it in one transaction.

Follow one connection from here: `Poller.poll` gathers, `record_poll` writes; in between `record_lists` compares the list
with what is stored and has the rules judge what differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from monitor.config import SourceConfig
from monitor.domain import PollOutcome, PollReport, ScopeReport
from monitor.domain.clock import Clock
from monitor.domain.rules import schedule
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.recording import ChannelSettings, Recorded, RecordedLists, record_lists
from monitor.engine.recording.source_status import judge_source, record_gap, record_reach
from monitor.providers.base import Provider
from monitor.store import Connection, Store, polls, probes, sources
from monitor.store.batch_writer import BatchWriter
from monitor.telemetry import memory
from monitor.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

SAID_EVERY = timedelta(hours=1)
"""The same failure of a source is a warning at most this often; in between it is only for who debugs."""

SMALL = 1000
"""Polls that listed no more than this share a transaction with others; a large one would keep them all waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """One poll that came home: the report and when it was."""

    report: PollReport
    started_at: datetime
    now: datetime
    """When the answer was complete: the one instant of everything that follows from it."""


class Poller:
    """Polls sources and records what they say."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        channels: Sequence[ChannelSettings],
        metrics: Metrics | None = None,
        links: ConnectionLinks | None = None,
    ) -> None:
        self._metrics, self._links = metrics or Metrics(), links or ConnectionLinks()
        self._store, self._together = store, BatchWriter(store)
        self._clock = clock
        self._channels = channels
        self._warned: dict[str, tuple[str, datetime]] = {}

    async def poll(self, source: SourceConfig, provider: Provider) -> Recorded:
        """Read the source's lists now and record them. Raises StoreError where that cannot be written."""
        started_at = self._clock.now()
        try:
            report = await provider.poll()
        except Exception as error:
            log.exception("poll.fault", source=source.name)
            problem = f"The answer could not be handled ({type(error).__name__}): see the log."
            report = PollReport(outcome=PollOutcome.INVALID, problem=problem)
        if report.links is not None:
            self._links.replace(source.name, report.links)
        poll = Poll(report=report, started_at=started_at, now=self._clock.now())
        self._metrics.poll_done(source.name, report.outcome, seconds=(poll.now - started_at).total_seconds())
        recorded = await self._write(source, poll)
        self._tell(source, poll, recorded)
        big = report.listed >= memory.BIG
        del report, poll
        if big:
            await self._store.run_read(memory.trim)
        return recorded

    async def _write(self, source: SourceConfig, poll: Poll) -> Recorded:
        if poll.report.listed > SMALL:
            return await self._store.run(self._record, source, poll)
        return await self._together.write(lambda conn: record_poll(conn, source, poll, channels=self._channels))

    def _tell(self, source: SourceConfig, poll: Poll, recorded: Recorded) -> None:
        """One log line a poll: quiet where all is well, and where the same trouble goes on."""
        report = poll.report
        facts = {
            "source": source.name,
            "outcome": report.outcome.value,
            "connections": report.listed,
            "changed": recorded.changed,
        }
        if report.outcome is PollOutcome.OK:
            self._warned.pop(source.name, None)
            log.info("poll.done", **facts, alerts=recorded.said)
            return
        problem, at = self._warned.get(source.name, ("", poll.now))
        if problem == report.problem and timedelta(0) <= poll.now - at < SAID_EVERY:
            log.debug("poll.still_failing", **facts, problem=report.problem)
            return
        self._warned[source.name] = (report.problem or "", poll.now)
        log.warning("poll.failed", **facts, problem=report.problem)

    def _record(self, source: SourceConfig, poll: Poll) -> Recorded:
        with memory.uninterrupted(poll.report.listed), self._store.begin_write() as conn:
            return record_poll(conn, source, poll, channels=self._channels)


def record_poll(conn: Connection, source: SourceConfig, poll: Poll, *, channels: Sequence[ChannelSettings]) -> Recorded:
    """Everything that follows from one poll, in the caller's transaction."""
    before = sources.find_source(conn, source.name)
    if before is None or before.removed_at is not None:
        return Recorded()  # the source left the configuration while it was being read
    report, now = poll.report, poll.now
    skew = report.clock_skew if report.clock_skew is not None else before.clock_skew
    recorded = Recorded()
    listed = record_lists(conn, source, report, channels=channels, now=now, clock_skew=skew) if report.scopes else RecordedLists()
    recorded.add(listed.recorded)
    if source.probes_on_schedule and listed.cohorts:
        _plan_probes(conn, source, listed.cohorts, now)
    sources.save_scopes(conn, source.name, [_scope_row(scope, now) for scope in report.scopes], digests=listed.digests)
    sources.save_suspects(conn, source.name, listed.suspects)
    record_gap(conn, source, before, outcome=report.outcome, clock_skew=skew, now=now)
    after = judge_source(before, source, report, clock_skew=skew, now=now)
    recorded.add(record_reach(conn, source, before, after, poll, channels=channels))
    polls.record_poll(
        conn,
        source=source.name,
        at=now,
        duration_ms=round((now - poll.started_at) / timedelta(milliseconds=1)),
        outcome=report.outcome,
        problem=report.problem,
        requests=report.requests,
        connections=report.listed,
        changed=listed.recorded.changed,
    )
    return recorded


def _plan_probes(conn: Connection, source: SourceConfig, cohorts: Iterable[int], now: datetime) -> None:
    """Give the cohorts of new connections their place in the probe interval."""
    if source.probe_every is None:
        return
    due = {
        cohort: schedule.next_cohort_probe(now, source.probe_every, source=source.name, cohort=cohort, jitter=source.jitter)
        for cohort in cohorts
    }
    probes.ensure_cohorts(conn, source.name, due)


def _scope_row(scope: ScopeReport, now: datetime) -> tuple[str | None, datetime | None, str | None, int]:
    return scope.scope, now if scope.complete else None, scope.problem, len(scope.snapshots) + len(scope.unreadable)
