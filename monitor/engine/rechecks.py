"""Check connections now, on request: read only their scopes, ahead of other requests, and probe them.

Requests and results are rows of the store, so that any process can request a recheck from the daemon. What follows from the
answers is recorded as after a poll and a probe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from monitor.config import SourceConfig
from monitor.domain import ConnectionState, PollReport, ProbeStatus, ScopeReport, Status, VerdictFlag
from monitor.domain.clock import Clock
from monitor.domain.errors import MonitorError
from monitor.domain.records import Record
from monitor.domain.rules.fingerprint import comparable
from monitor.engine import audit
from monitor.engine.fencing import Fence, unfenced
from monitor.engine.poller import Poller
from monitor.engine.probe_runner import ProbeResult
from monitor.engine.prober import Prober
from monitor.engine.recording import Recorded
from monitor.providers import ahead_of_others
from monitor.providers.base import Provider
from monitor.store import Connection, Store, connection_codec, rechecks
from monitor.store.connection_queries import ConnectionRow
from monitor.store.rechecks import Recheck, RecheckOutcome, RecheckResult

log = structlog.get_logger(__name__)

MOST_PER_MINUTE = 120
"""Rechecks of one source that the status page and the API accept within a minute."""

BATCH = 100
"""Maximum number of connections checked together, so that results appear as they arrive."""


class TooManyRechecks(MonitorError):
    """Too many rechecks of a source were requested within a minute."""


def request(conn: Connection, rows: Sequence[ConnectionRow], *, now: datetime, author: str) -> list[Recheck]:
    """Request rechecks of these connections, in the caller's transaction, and return them by connection.

    A connection whose recheck is pending keeps that one. Raises TooManyRechecks, and then requests none.
    """
    pending = {each.connection_id for each in rechecks.pending_of_connections(conn, [row.id for row in rows])}
    for source, count in Counter(row.source for row in rows if row.id not in pending).items():
        if rechecks.count_recent(conn, source, since=now - timedelta(minutes=1)) + count > MOST_PER_MINUTE:
            raise TooManyRechecks(
                f"More than {MOST_PER_MINUTE} connections of the source {source} would be checked within a minute. Try again in "
                "a minute."
            )
    for row in rows:
        audit.record("recheck", author=author, target=row.public_id)
    return rechecks.request(conn, [row.id for row in rows], now=now, author=author)


class Reading(Record, frozen=True, kw_only=True):
    """Data that one recheck read of a source, for the judgement of its connections."""

    problem: str | None
    """Reason for which the source, or a part of it, could not be read."""
    scopes: Mapping[str | None, ScopeReport]
    """The scopes that were read to their end."""
    problems: Mapping[str | None, str]
    """Reasons for which the other scopes could not be read."""
    listed: Mapping[str | None, Collection[str]]
    """The ids of readable rows by scope."""

    @classmethod
    def of(cls, report: PollReport) -> Reading:
        """Return the reading of a report."""
        read = {scope.scope: scope for scope in report.scopes if scope.complete or scope.whole}
        return cls(
            problem=report.problem,
            scopes=read,
            problems={each.scope: each.problem for each in report.scopes if each.scope not in read and each.problem},
            listed={name: comparable(scope.snapshots).fingerprints().keys() for name, scope in read.items()},
        )


class Rechecker:
    """Answers the requests for rechecks of one source at a time."""

    def __init__(self, *, store: Store, clock: Clock, poller: Poller, prober: Prober, fence: Fence = unfenced) -> None:
        self._store, self._clock, self._poller, self._prober, self._fence = store, clock, poller, prober, fence

    async def check_pending(self, source: SourceConfig, provider: Provider) -> Recorded | None:
        """Check connections of a source that have a pending request, and record results. Return None if there are none.

        A request stays pending if the process stops meanwhile. Raises StoreError, and LeaseLost as poll() does.
        """
        wanted = await self._store.write(lambda conn: self._start(conn, source))
        if not wanted:
            return None
        results: Mapping[int, ProbeResult] | None = {} if provider.probes else None
        with ahead_of_others():
            scopes = sorted({state.snapshot.scope for state in wanted.values()}, key=lambda scope: scope or "")
            report, recorded = await self._poller.poll_scopes(source, provider, scopes)
            reading = Reading.of(report)
            rows = [row for row, state in wanted.items() if state.snapshot.scope in reading.scopes]
            if provider.probes and rows:
                results, probed = await self._prober.probe_now(source, provider, rows)
                recorded.add(probed)
        if self._prober.stopping:
            return None
        judged = await self._store.write(lambda conn: self._finish(conn, source, wanted, reading, results))
        healthy = sum(each.outcome is RecheckOutcome.HEALTHY for each in judged)
        facts = {"rechecks": len(judged), "healthy": healthy, "changed": recorded.changed, "alerts": recorded.alert_count}
        log.info("rechecks.done", source=source.name, **facts)
        return recorded

    def _start(self, conn: Connection, source: SourceConfig) -> dict[int, ConnectionState]:
        """Mark pending requests as started, and return the states of their connections by row id."""
        now = self._clock.now()
        pending = rechecks.pending_of(conn, source.name, now, limit=BATCH)
        states = connection_codec.load(conn, [each.connection_id for each in pending])
        present = [each for each in pending if each.connection_id in states]
        rechecks.start(conn, [(each.id, states[each.connection_id].verdict.status) for each in present], now)
        message = "The connection is no longer monitored."
        retired = [each.id for each in pending if each.connection_id not in states]
        rechecks.finish(conn, [RecheckResult(id=each, outcome=RecheckOutcome.UNREAD, message=message) for each in retired], now)
        return states

    def _finish(
        self,
        conn: Connection,
        source: SourceConfig,
        wanted: Mapping[int, ConnectionState],
        reading: Reading,
        results: Mapping[int, ProbeResult] | None,
    ) -> Sequence[RecheckResult]:
        """Store the results of the requests of these connections, and return them. `results` is None without probes."""
        self._fence(conn, [source.name])
        now = self._clock.now()
        states = connection_codec.load(conn, wanted)
        judged = []
        for each in rechecks.pending_of_connections(conn, wanted):
            row = each.connection_id
            scope = wanted[row].snapshot.scope
            if row not in states or scope not in reading.scopes:
                problem = reading.problems.get(scope) or reading.problem or f"The source {source.name} did not answer for it."
                judged.append(RecheckResult(id=each.id, outcome=RecheckOutcome.UNREAD, message=problem))
            else:
                state, result = states[row], None if results is None else results.get(row)
                is_listed = state.snapshot.external_id in reading.listed[scope]
                judged.append(judge(each.id, state, result, is_listed=is_listed, probed=results is not None))
        rechecks.finish(conn, judged, now)
        return judged


def judge(recheck: int, state: ConnectionState, result: ProbeResult | None, *, is_listed: bool, probed: bool) -> RecheckResult:
    """Return the result of a recheck that read the connection's scope.

    `state` is the state after it, `result` that of the connection's probe. `is_listed` is True if the list has a readable row
    of the connection; `probed` is True if the source has probes.
    """
    status, message = state.verdict.status, state.verdict.message
    outcome = RecheckOutcome.NEEDS_ATTENTION if status.needs_attention else RecheckOutcome.HEALTHY
    if not is_listed and VerdictFlag.UNREADABLE in state.verdict.flags:
        return RecheckResult(
            id=recheck, outcome=RecheckOutcome.UNREAD, message="The row of the connection could not be read.", status_after=status
        )
    if not is_listed:
        outcome = RecheckOutcome.NEEDS_ATTENTION
        if status is not Status.DISCONNECTED:
            message = "The source does not list the connection. It is disconnected if the next polls agree."
    elif not status.needs_attention and result is not None and state.probe.status is ProbeStatus.FAILING:
        outcome = RecheckOutcome.NEEDS_ATTENTION
        message = (
            f"The platform refused the test: {state.probe.message or 'no reason'} The status changes if the refusals continue."
        )
    elif probed and (result is None or result.answer is None):
        message = f"{message} The connection could not be tested: its provider did not answer."
    return RecheckResult(id=recheck, outcome=outcome, message=message, status_after=status)
