"""What changed about a source's connections: state, history, and what is to be said about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from monitor.config import SourceConfig
from monitor.domain import ConnectionState, Event, Status
from monitor.domain.records import Record
from monitor.domain.rules import transitions
from monitor.engine.recording.incidents import ConnectionUpdate, speak
from monitor.engine.recording.queueing import ChannelSettings, Recorded, queue
from monitor.store import Connection, connection_codec, connections, history, incidents
from monitor.store.connections import KEEP, ChangedConnection, NewConnection, Unchanged


class Change(Record, frozen=True, kw_only=True):
    """One connection whose state changed, or that is new (before and row None)."""

    row: int | None = None
    before: ConnectionState | None = None
    after: ConnectionState
    fingerprint: str | None = None
    next_probe_at: datetime | Unchanged | None = KEEP
    last_seen_at: datetime | None = None
    extra: tuple[Event, ...] = ()


def record_changes(
    conn: Connection, source: SourceConfig, changes: Sequence[Change], *, channels: Sequence[ChannelSettings], now: datetime
) -> Recorded:
    """Write the changes of one source's connections, their history, and what is to be said about them."""
    rows = _write_states(conn, source, changes, now)
    history.append_many(conn, _history(source.name, zip(rows, changes, strict=True), now))
    subjects = [
        ConnectionUpdate(row=row, before=change.before, after=change.after)
        for row, change in zip(rows, changes, strict=True)
        if _may_speak(change)
    ]
    recorded = queue(conn, speak(conn, source, subjects, channels=channels, now=now), channels=channels, now=now)
    recorded.changed = len(changes)
    return recorded


def review(
    conn: Connection, source: SourceConfig, rows: Sequence[int], *, channels: Sequence[ChannelSettings], now: datetime
) -> Recorded:
    """Judge open incidents again although nothing changed: a reminder is due, or a hold ended."""
    states = connection_codec.load(conn, rows)
    subjects = [ConnectionUpdate(row=row, before=states[row], after=states[row]) for row in rows if row in states]
    lost = [row for row in rows if row not in states]
    if lost:
        incidents.close_many(conn, [incident.id for incident in incidents.find_open(conn, lost).values()], now)
    return queue(conn, speak(conn, source, subjects, channels=channels, now=now), channels=channels, now=now)


def _write_states(conn: Connection, source: SourceConfig, changes: Sequence[Change], now: datetime) -> list[int]:
    """Insert what is new, update what is known; the row ids in the order of the changes."""
    new = [
        NewConnection(
            state=change.after,
            fingerprint=change.fingerprint or "",
            next_probe_at=None if change.next_probe_at is KEEP else change.next_probe_at,
        )
        for change in changes
        if change.row is None
    ]
    ids = iter(connections.insert(conn, source=source.name, provider=source.provider, rows=new, now=now) if new else ())
    known = [
        ChangedConnection(
            id=change.row,
            state=change.after,
            fingerprint=change.fingerprint,
            next_probe_at=change.next_probe_at,
            last_seen_at=change.last_seen_at,
            before=change.before,
        )
        for change in changes
        if change.row is not None
    ]
    connections.update(conn, known)
    return [next(ids) if change.row is None else change.row for change in changes]


def _history(source: str, rows: Iterable[tuple[int, Change]], now: datetime) -> Iterable[tuple[str, int | None, Event]]:
    for row, change in rows:
        for entry in (*change.extra, *transitions.detect(change.before, change.after, now)):
            yield source, row, entry


def _may_speak(change: Change) -> bool:
    """Whether an incident can be involved: anything but a healthy connection that was healthy before, or is new."""
    was = change.before is not None and change.before.verdict.status is not Status.VALID
    return was or change.after.verdict.status.needs_attention
