"""Time moves things too: dates cross their lines, reminders fall due, holds end, even while an API is down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import ConnectionState
from monitor.domain.clock import Clock
from monitor.domain.rules import lifecycle
from monitor.domain.rules.expiry import Context
from monitor.engine.recording import Change, Recorded, record_changes, review
from monitor.store import Connection, Store, connections, incidents, sources

log = structlog.get_logger(__name__)

BATCH = 1000
"""Connections moved in one transaction."""


class TimeChanges:
    """Moves what time alone moves."""

    def __init__(
        self, *, store: Store, clock: Clock, configured: Mapping[str, SourceConfig], channels: Sequence[ChannelConfig]
    ) -> None:
        self._store = store
        self._clock = clock
        self._configured = configured
        self._channels = channels
        self._unconfirmed: set[str] = set()
        self._doubts = 0

    def distrust(self) -> None:
        """The clock may be wrong (a start, a jump): time alone raises nothing for a source until its next poll ended.

        That poll tells how far the clocks differ, or that nobody can tell.
        """
        self._unconfirmed = set(self._configured)
        self._doubts += 1

    @property
    def doubts(self) -> int:
        """How often the clock has been in doubt; to be noted when a poll begins."""
        return self._doubts

    def trust(self, source: str, *, since: int) -> None:
        """A poll of this source ended, well or not. `since`: the `doubts` when it began.

        One that began before the clock was moved compared the clocks before that, perhaps, and confirms nothing.
        """
        if since == self._doubts:
            self._unconfirmed.discard(source)

    @property
    def trusts_clock(self) -> bool:
        """Whether every source was polled since the clock was last in doubt."""
        return not self._unconfirmed

    async def advance(self, *, now: datetime | None = None) -> Recorded:
        """Apply every change by time that is due now. `now` is an instant that is known to be none of a clock that jumped."""
        recorded = Recorded()
        while True:
            part, more = await self._store.run(self._record, now or self._clock.now())
            recorded.add(part)
            if not more:
                break
        if recorded.alert_count:
            log.info("time.crossed", changed=recorded.changed, alerts=recorded.alert_count)
        return recorded

    def _record(self, now: datetime) -> tuple[Recorded, bool]:
        with self._store.begin_write() as conn:
            trusted = {name: source for name, source in self._configured.items() if name not in self._unconfirmed}
            recorded, more = advance(conn, trusted, channels=self._channels, now=now)
            looked, more_looks = look_again(conn, self._configured, channels=self._channels, now=now)
            recorded.add(looked)
            return recorded, more or more_looks


def advance(
    conn: Connection, configured: Mapping[str, SourceConfig], *, channels: Sequence[ChannelConfig], now: datetime
) -> tuple[Recorded, bool]:
    """Apply up to BATCH due changes in the caller's transaction; the second value says whether more may be due."""
    due = connections.due_changes(conn, now, limit=BATCH)
    recorded = Recorded()
    by_source: dict[str, list[tuple[int, ConnectionState]]] = {}
    for row, owner, state in due:
        by_source.setdefault(owner, []).append((row, state))
    for name, states in by_source.items():
        source = configured.get(name)
        if source is None:
            continue  # not configured, or the clock is not trusted yet
        skew = _skew(conn, name)
        changes = [_elapsed(source, row, state, clock_skew=skew, now=now) for row, state in states]
        recorded.add(
            record_changes(conn, source, [change for change in changes if change is not None], channels=channels, now=now)
        )
    return recorded, len(due) == BATCH and recorded.changed > 0


def look_again(
    conn: Connection, configured: Mapping[str, SourceConfig], *, channels: Sequence[ChannelConfig], now: datetime
) -> tuple[Recorded, bool]:
    """Judge again the incidents whose reminder is due or whose hold ended; the second value says whether more may be due."""
    due = incidents.due_for_review(conn, now, limit=BATCH)
    incidents.plan_reviews(conn, [(incident.id, None) for incident in due])
    recorded = Recorded()
    by_source: dict[str, list[int]] = {}
    for incident in due:
        if incident.connection_id is not None:
            by_source.setdefault(incident.source, []).append(incident.connection_id)
    for name, rows in by_source.items():
        owner = configured.get(name)
        if owner is not None:
            recorded.add(review(conn, owner, rows, channels=channels, now=now))
    return recorded, len(due) == BATCH


def _skew(conn: Connection, name: str) -> float | None:
    row = sources.find_source(conn, name)
    return row.clock_skew if row else None


def _elapsed(source: SourceConfig, row: int, state: ConnectionState, *, clock_skew: float | None, now: datetime) -> Change | None:
    context = Context(now=now, provider=source.info, policy=source.policy_for(state.snapshot.platform), clock_skew=clock_skew)
    after = lifecycle.elapse(state, context)
    return None if after == state else Change(row=row, before=state, after=after)
