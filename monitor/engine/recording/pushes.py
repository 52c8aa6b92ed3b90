"""Record reports that a program pushes, in one transaction each, and find the connections whose reports have stopped.

A push is evidence about the connections that it names and about no others, so it needs no comparison with a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import PollOutcome, PollReport, Snapshot
from monitor.domain.errors import MonitorError
from monitor.domain.text import clean
from monitor.domain.timefmt import span
from monitor.engine.recording.changes import Change, record_changes
from monitor.engine.recording.labelling import labeller_of
from monitor.engine.recording.queueing import Recorded
from monitor.engine.recording.row_judge import RowJudge
from monitor.engine.recording.source_status import record_source
from monitor.store import Connection, connection_codec, connections, list_state, sources
from monitor.store.poll_rows import PollRows
from monitor.store.sources import SourceRow

MOST_IDS = 100_000
"""Maximum number of connections of one source."""

_NAMED = 5
"""Stale connections that a message names."""


class TooManyIds(MonitorError):
    """A push would exceed the maximum number of connections of a source."""


def record_push(
    conn: Connection, source: SourceConfig, snapshots: Sequence[Snapshot], *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded | None:
    """Record everything that follows from pushed reports, in the caller's transaction.

    Return None if the source is not in the store. Raises TooManyIds, and then records nothing.
    """
    before = sources.find_source(conn, source.name)
    if before is None or before.removed_at is not None:
        return None
    known = list_state.ids(conn, source.name, None, [each.external_id for each in snapshots])
    new = len(snapshots) - len(known)
    if new and before.connections + new > MOST_IDS:
        raise TooManyIds(f"The source would have more than {MOST_IDS:,} connections. Retire those that no longer exist.")
    changes = _changes(conn, source, snapshots, known, now)
    recorded = record_changes(conn, source, changes, channels=channels, now=now)
    connections.set_last_seen(conn, known.values(), now)
    if new:
        sources.add_connections(conn, source.name, new)
    if source.stale_after is not None and _is_due_later(before, now + source.stale_after):
        sources.poll_by(conn, source.name, now + source.stale_after)
    if before.reason == PollOutcome.PUSH_STALE:
        recorded.add(end_staleness(conn, source, channels=channels, now=now))
    return recorded


def end_staleness(conn: Connection, source: SourceConfig, *, channels: Sequence[ChannelConfig], now: datetime) -> Recorded:
    """Record that a source is no longer stale, after a push or the retirement of a connection, if that is so."""
    before = sources.find_source(conn, source.name)
    if before is None or before.reason != PollOutcome.PUSH_STALE or _stale(conn, source, now, limit=1):
        return Recorded()
    report = PollReport(outcome=PollOutcome.OK, known=before.connections)
    rows = PollRows(conn, [source.name], now)
    rows.separate()
    return record_source(conn, source, before, report, clock_skew=None, channels=channels, now=now, rows=rows)


def describe_pushed(conn: Connection, source: SourceConfig, report: PollReport, now: datetime) -> PollReport:
    """Return the report of a poll with the number of connections that pushes reported, and with the stale ones as its problem."""
    known = connections.count_live(conn, source.name)
    stale = _stale(conn, source, now, limit=known)
    if not stale or source.stale_after is None:
        return replace(report, known=known)
    names = ", ".join(clean(each, limit=60) for each in stale[:_NAMED])
    more = f" and {len(stale) - _NAMED:,} more" if len(stale) > _NAMED else ""
    some = "1 connection" if len(stale) == 1 else f"{len(stale):,} connections"
    problem = f"No report about {some} for more than {span(source.stale_after)}: {names}{more}."
    return replace(report, known=known, outcome=PollOutcome.PUSH_STALE, problem=problem)


def plan_next_check(conn: Connection, source: SourceConfig) -> None:
    """Make the next poll due when the first connection becomes stale, if the pace of polls is slower."""
    seen_at = connections.oldest_seen(conn, source.name)
    row = sources.find_source(conn, source.name)
    if source.stale_after is not None and seen_at is not None and row is not None and row.reason == PollOutcome.OK:
        sources.poll_by(conn, source.name, seen_at + source.stale_after)


def _is_due_later(row: SourceRow, at: datetime) -> bool:
    return row.next_poll_at is not None and row.next_poll_at > at


def _stale(conn: Connection, source: SourceConfig, now: datetime, *, limit: int) -> list[str]:
    if source.stale_after is None:
        return []
    return connections.unseen_since(conn, source.name, now - source.stale_after, limit=limit)


def _changes(
    conn: Connection, source: SourceConfig, snapshots: Sequence[Snapshot], known: dict[str, int], now: datetime
) -> list[Change]:
    stored = connection_codec.load_grouped(conn, known.values())
    judge = RowJudge(source=source, now=now, clock_skew=None, labeller=labeller_of(conn, source))
    changes = []
    for snapshot in snapshots:
        row = known.get(snapshot.external_id)
        if row is None:
            changes.append(judge.appeared(snapshot, ""))
        elif stored[row].state.snapshot != snapshot and (change := judge.listed(row, stored[row], snapshot, None)) is not None:
            changes.append(change)
    return changes
