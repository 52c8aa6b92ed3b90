"""Apply changes caused by time alone: expiry thresholds, reminders, ended suppressions, even while an API is down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import ConnectionState, Policy
from monitor.domain.clock import Clock
from monitor.domain.rules import lifecycle
from monitor.engine.recording import Change, Recorded, record_changes, review
from monitor.engine.recording.labelling import labeller_of
from monitor.engine.recording.source_status import remind_of_source
from monitor.engine.recording.unrecognised_statuses import review_unrecognised
from monitor.store import Connection, Store, connections, incidents, sources
from monitor.store.connections import KEEP

log = structlog.get_logger(__name__)

BATCH = 1000
"""Maximum number of connections changed in one transaction."""


class TimeChanges:
    """Applies changes caused by time alone."""

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
        """Take the clock as possibly wrong, after a start or a jump.

        Time alone then changes nothing for a source until its next poll has ended: that poll shows by how much the clocks
        differ, or that this is unknown.
        """
        self._unconfirmed = set(self._configured)
        self._doubts += 1

    @property
    def doubts(self) -> int:
        """Number of times that the clock was distrusted. Read it when a poll begins, for `trust`."""
        return self._doubts

    def trust(self, source: str, *, since: int) -> None:
        """Trust the clock for a source whose poll ended, whatever its outcome. `since`: the `doubts` when it began.

        A poll that began before the clock was last distrusted confirms nothing: it may have compared times of the clock before
        the change.
        """
        if since == self._doubts:
            self._unconfirmed.discard(source)

    @property
    def trusts_clock(self) -> bool:
        """True if every source was polled since the clock was last distrusted."""
        return not self._unconfirmed

    async def advance(self, *, now: datetime | None = None) -> Recorded:
        """Apply every change that is due by now. `now`: a time that is known to be right, if the clock may not be."""
        recorded, more = Recorded(), True
        while more:
            part, more = await self._store.write(lambda conn: self._apply_batch(conn, now or self._clock.now()))
            recorded.add(part)
        if recorded.alert_count:
            log.info("time.crossed", changed=recorded.changed, alerts=recorded.alert_count)
        return recorded

    def _apply_batch(self, conn: Connection, now: datetime) -> tuple[Recorded, bool]:
        trusted = {name: source for name, source in self._configured.items() if name not in self._unconfirmed}
        recorded, more_changes = apply_due_changes(conn, trusted, channels=self._channels, now=now)
        reviewed, more_reviews = review_due_incidents(conn, self._configured, channels=self._channels, now=now)
        recorded.add(reviewed)
        return recorded, more_changes or more_reviews


def apply_due_changes(
    conn: Connection, configured: Mapping[str, SourceConfig], *, channels: Sequence[ChannelConfig], now: datetime
) -> tuple[Recorded, bool]:
    """Apply up to BATCH due changes. The second value is True if more may be due."""
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
        labeller = labeller_of(conn, source)
        changes = [
            _elapsed(source, row, state, labeller.policy(state.snapshot), clock_skew=skew, now=now) for row, state in states
        ]
        recorded.add(
            record_changes(conn, source, [change for change in changes if change is not None], channels=channels, now=now)
        )
    return recorded, len(due) == BATCH and recorded.changed > 0


def review_due_incidents(
    conn: Connection, configured: Mapping[str, SourceConfig], *, channels: Sequence[ChannelConfig], now: datetime
) -> tuple[Recorded, bool]:
    """Evaluate up to BATCH incidents whose review is due. The second value is True if more may be due."""
    due = incidents.due_for_review(conn, now, limit=BATCH)
    incidents.plan_reviews(conn, [(incident.id, None) for incident in due])
    recorded = Recorded()
    by_source: dict[str, list[int]] = {}
    for incident in due:
        if incident.connection_id is not None:
            by_source.setdefault(incident.source, []).append(incident.connection_id)
        elif incident.source in configured:
            recorded.add(remind_of_source(conn, configured[incident.source], incident, channels=channels, now=now))
        else:
            recorded.add(review_unrecognised(conn, configured, incident, channels=channels, now=now))
    for name, rows in by_source.items():
        owner = configured.get(name)
        if owner is not None:
            recorded.add(review(conn, owner, rows, channels=channels, now=now))
    return recorded, len(due) == BATCH


def _skew(conn: Connection, name: str) -> float | None:
    row = sources.find_source(conn, name)
    return row.clock_skew if row else None


def _elapsed(
    source: SourceConfig, row: int, state: ConnectionState, policy: Policy, *, clock_skew: float | None, now: datetime
) -> Change | None:
    context = source.context(policy, now=now, clock_skew=clock_skew)
    after = lifecycle.elapse(state, context)
    if after == state:
        return None
    probe_at = now if source.probes_on_schedule and lifecycle.needs_probe(state, after) else KEEP
    return Change(row=row, before=state, after=after, next_probe_at=probe_at)
