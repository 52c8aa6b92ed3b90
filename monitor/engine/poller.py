"""Poll sources: fetch a source's lists and record what follows from them.

`Poller.poll` fetches; the next step is `record_polls` in `engine/recording/polls.py`, which writes it all in one transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import PollOutcome, PollReport, ScopeReport
from monitor.domain.clock import Clock
from monitor.domain.errors import LeaseLost
from monitor.engine.connection_links import ConnectionLinks
from monitor.engine.fencing import Fence, is_lease_lost, unfenced
from monitor.engine.recording.polls import Poll, record_polls, record_scopes
from monitor.engine.recording.queueing import Recorded
from monitor.providers.base import Provider
from monitor.store import Connection, Store
from monitor.store.batch_writer import BatchWriter
from monitor.telemetry import memory
from monitor.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

WARN_EVERY = timedelta(hours=1)
"""The same failure of a source is logged as a warning at most this often, and at debug level in between."""

SMALL = 1000
"""Polls that list at most this many connections share a transaction with others. A larger one would delay the others."""

_Ended: TypeAlias = tuple[SourceConfig, Poll, Mapping[str | None, ScopeReport]]
"""A poll that has ended, and the readings of scopes that replace its own, also those that arrive until it is recorded."""


class Poller:
    """Polls sources and records the results."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        channels: Sequence[ChannelConfig],
        metrics: Metrics,
        links: ConnectionLinks,
        fence: Fence = unfenced,
        is_doubtful: Callable[[SourceConfig, PollReport], bool] | None = None,
    ) -> None:
        """`is_doubtful` returns True for a report that is not to be recorded, because another daemon must confirm it."""
        self._store, self._batch_writer = store, BatchWriter(store, self._write)
        self._clock, self._channels = clock, channels
        self._metrics, self._links = metrics, links
        self._fence, self._is_doubtful = fence, is_doubtful
        self._warned: dict[str, tuple[str, datetime]] = {}
        self._newer: dict[str, dict[str | None, ScopeReport]] = {}
        """By source that is being polled, the scopes that a recheck has read meanwhile."""

    async def poll(self, source: SourceConfig, provider: Provider) -> Recorded:
        """Poll a source now and record the result. Raises StoreError if the result cannot be written.

        Raises LeaseLost, and records nothing, if another daemon has taken over the source.
        """
        started_at = self._clock.now()
        newer = self._newer[source.name] = {}
        try:
            report = await _guarded(provider.poll(), source)
            if self._is_doubtful is not None and self._is_doubtful(source, report):
                log.info("poll.handed_back", source=source.name, problem=report.problem)
                return Recorded()
            return await self._finish(source, report, started_at, newer)
        finally:
            self._newer.pop(source.name, None)

    async def poll_scopes(
        self, source: SourceConfig, provider: Provider, scopes: Sequence[str | None]
    ) -> tuple[PollReport, Recorded]:
        """Read some scopes of a source now and record what their lists change. Raises StoreError like poll().

        A poll that is running takes over these readings, because its own may be older.
        """
        report = await _guarded(provider.poll_scopes(scopes), source)

        def write(conn: Connection) -> Recorded:
            self._fence(conn, [source.name])
            read = {scope.scope: scope for scope in report.scopes if scope.complete}
            self._newer.get(source.name, {}).update(read)
            return record_scopes(conn, source, report, channels=self._channels, now=self._clock.now())

        return report, await self._store.write(write)

    async def _finish(
        self, source: SourceConfig, report: PollReport, started_at: datetime, newer: Mapping[str | None, ScopeReport]
    ) -> Recorded:
        """Record a poll's report. `newer` are readings of scopes that replace its own, also those that arrive meanwhile."""
        if report.links is not None:
            self._links.replace(source.name, report.links)
        poll = Poll(report=report, started_at=started_at, now=self._clock.now())
        self._metrics.poll_done(source.name, report.outcome, seconds=(poll.now - started_at).total_seconds())
        recorded = await self._record(source, poll, newer)
        self._log(source, poll, recorded)
        big = report.listed >= memory.LARGE_LIST
        del report, poll
        if big:
            await memory.in_thread(memory.trim)
        return recorded

    async def _record(self, source: SourceConfig, poll: Poll, newer: Mapping[str | None, ScopeReport]) -> Recorded:
        ended: _Ended = (source, poll, newer)
        if poll.report.listed <= SMALL:
            recorded: Recorded = await self._batch_writer.write(ended)
        else:
            [recorded] = await self._store.write(lambda conn: self._write(conn, [ended]))
        return recorded

    def _write(self, conn: Connection, batch: Sequence[_Ended]) -> list[Recorded]:
        """Record polls in the caller's transaction."""
        self._fence(conn, [source.name for source, _, _ in batch])
        polls = [
            (source, replace(poll, report=_with_newer(poll.report, newer)) if newer else poll) for source, poll, newer in batch
        ]
        with memory.gc_paused(sum(poll.report.listed for _, poll in polls)):
            return record_polls(conn, polls, channels=self._channels)

    def _log(self, source: SourceConfig, poll: Poll, recorded: Recorded) -> None:
        """Write one log line per poll."""
        report = poll.report
        facts = {
            "source": source.name,
            "outcome": report.outcome.value,
            "connections": report.listed,
            "changed": recorded.changed,
        }
        if report.outcome is PollOutcome.OK:
            self._warned.pop(source.name, None)
            log.info("poll.done", **facts, alerts=recorded.alert_count)
            return
        problem, at = self._warned.get(source.name, ("", poll.now))
        if problem == report.problem and timedelta(0) <= poll.now - at < WARN_EVERY:
            log.debug("poll.still_failing", **facts, problem=report.problem)
            return
        self._warned[source.name] = (report.problem or "", poll.now)
        log.warning("poll.failed", **facts, problem=report.problem)


async def _guarded(poll: Awaitable[PollReport], source: SourceConfig) -> PollReport:
    """Return the report of a poll; a defect of the adapter is logged and gives an invalid one. Raises LeaseLost."""
    try:
        return await poll
    except Exception as error:
        if is_lease_lost(error):
            raise LeaseLost from error
        log.exception("poll.fault", source=source.name)
        problem = f"The answer could not be processed ({type(error).__name__}). See the log."
        return PollReport(outcome=PollOutcome.INVALID, problem=problem)


def _with_newer(report: PollReport, newer: Mapping[str | None, ScopeReport]) -> PollReport:
    """Return the report with these readings in place of its own of the same scopes."""
    return replace(report, scopes=tuple(newer.get(scope.scope, scope) for scope in report.scopes))
