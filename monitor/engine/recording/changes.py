"""Write changed connections: their state and history. Then have `incidents` decide about alerts, and queue these."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import ConnectionState, Event, Status
from monitor.domain.records import Record
from monitor.domain.rules import transitions
from monitor.engine.recording.incidents import ConnectionUpdate, evaluate
from monitor.engine.recording.labelling import label_sets_of, labeller_of
from monitor.engine.recording.queueing import Recorded, queue
from monitor.store import Connection, connection_codec, connections, former_ids, history, incidents
from monitor.store.connections import KEEP, ChangedConnection, NewConnection, Unchanged
from monitor.store.former_ids import ReplacedId


class Effect(Record, frozen=True, gc=False, kw_only=True):
    """The result of a change for a connection, and for every other one that differs from it only in its names."""

    after: ConnectionState
    events: tuple[Event, ...]
    columns: Mapping[str, Any]
    """The values to store."""
    next_probe_at: datetime | Unchanged = KEEP


class Change(Record, frozen=True, gc=False, kw_only=True):
    """A connection whose state changed, or a new one (`row` and `before` None)."""

    row: int | None = None
    before: ConnectionState | None = None
    """With an effect, the state of a connection that differs from this one only in its names."""
    after: ConnectionState
    fingerprint: str | None = None
    """None keeps the stored one."""
    next_probe_at: datetime | Unchanged | None = KEEP
    last_seen_at: datetime | None = None
    extra: tuple[Event, ...] = ()
    """History entries that the two states alone do not show."""
    effect: Effect | None = None
    """What follows from the two states, if it is known already. Only for a connection that keeps its names."""

    @property
    def is_reconnect(self) -> bool:
        """True if the account is listed under a new id."""
        return self.effect is None and transitions.is_reconnect(self.before, self.after)


def one_of_each(changes: Iterable[Change]) -> Collection[Change]:
    """Return the changes without those that differ only in names from another one."""
    return {id(change.effect or change): change for change in changes}.values()


def record_changes(
    conn: Connection, source: SourceConfig, changes: Sequence[Change], *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Write the changed connections of one source and their history, and queue the alerts that follow."""
    if not changes:
        return Recorded()
    rows = _write_states(conn, source, changes, _labels(conn, source, changes), now)
    history.append_many(conn, _history(source.name, zip(rows, changes, strict=True), now))
    updates = [
        ConnectionUpdate(row=row, before=change.before, after=change.after, effect=change.effect)
        for row, change in zip(rows, changes, strict=True)
        if _concerns_incident(change)
    ]
    recorded = queue(conn, evaluate(conn, source, updates, channels=channels, now=now), channels=channels, now=now)
    recorded.changed = len(changes)
    return recorded


def review(
    conn: Connection, source: SourceConfig, rows: Sequence[int], *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Evaluate the open incidents of these connections again although nothing changed.

    For reminders that are due and suppressions that ended. Incidents of connections that no longer exist are closed.
    """
    states = connection_codec.load(conn, rows)
    updates = [ConnectionUpdate(row=row, before=states[row], after=states[row]) for row in rows if row in states]
    lost = [row for row in rows if row not in states]
    if lost:
        incidents.close_many(conn, [incident.id for incident in incidents.find_open(conn, lost).values()], now)
    return queue(conn, evaluate(conn, source, updates, channels=channels, now=now), channels=channels, now=now)


def _labels(conn: Connection, source: SourceConfig, changes: Sequence[Change]) -> list[int | None]:
    """Return the label sets of new and renamed connections, None for those whose labels cannot have changed."""
    concerned = [change.effect is None and _may_have_other_labels(change) for change in changes]
    if True not in concerned:
        return [None] * len(changes)
    named = [change.after.snapshot for change, concerns in zip(changes, concerned, strict=True) if concerns]
    found = iter(label_sets_of(conn, labeller_of(conn, source), named))
    return [next(found) if concerns else None for concerns in concerned]


def _may_have_other_labels(change: Change) -> bool:
    """Return True for a connection that is new or renamed."""
    return change.before is None or _naming(change.before) != _naming(change.after)


def _naming(state: ConnectionState) -> tuple[str | None, ...]:
    """Return the properties that rules for labels match."""
    snapshot = state.snapshot
    return snapshot.external_id, snapshot.platform, snapshot.username, snapshot.display_name, snapshot.scope


def _write_states(
    conn: Connection, source: SourceConfig, changes: Sequence[Change], labels: Sequence[int | None], now: datetime
) -> list[int]:
    """Insert the new connections, update the others, and return the row ids in the order of the changes."""
    new = [
        NewConnection(
            state=change.after,
            fingerprint=change.fingerprint or "",
            next_probe_at=None if change.next_probe_at is KEEP else change.next_probe_at,
            label_set=label_set,
        )
        for change, label_set in zip(changes, labels, strict=True)
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
            label_set=label_set,
            before=change.before,
            columns=None if change.effect is None else change.effect.columns,
        )
        for change, label_set in zip(changes, labels, strict=True)
        if change.row is not None
    ]
    connections.update(conn, known)
    _note_new_ids(conn, source.name, changes, now)
    return [next(ids) if change.row is None else change.row for change in changes]


def _note_new_ids(conn: Connection, source: str, changes: Sequence[Change], now: datetime) -> None:
    """Store the ids that reconnects replaced. An id that is live again is no longer a former one."""
    changes = [change for change in changes if change.effect is None]  # the others keep their ids
    reconnected = [change for change in changes if change.is_reconnect]
    new = [change.after.snapshot for change in changes if change.row is None]
    if new or reconnected:
        live = [*new, *(change.after.snapshot for change in reconnected)]
        former_ids.release(conn, source, [(snapshot.scope, snapshot.external_id) for snapshot in live])
    replaced = [
        ReplacedId(change.row, change.before.snapshot.scope, change.before.snapshot.external_id)
        for change in reconnected
        if change.row is not None and change.before is not None
    ]
    former_ids.add(conn, source, replaced, now)


def _history(source: str, rows: Iterable[tuple[int, Change]], now: datetime) -> Iterable[tuple[str, int | None, Event]]:
    for row, change in rows:
        effect = change.effect
        events = transitions.detect(change.before, change.after, now) if effect is None else effect.events
        for entry in (*change.extra, *events):
            yield source, row, entry


def _concerns_incident(change: Change) -> bool:
    """Return False for a healthy connection that is new or was healthy before: it cannot have or need an incident."""
    was_unhealthy = change.before is not None and change.before.verdict.status is not Status.VALID
    return was_unhealthy or change.after.verdict.status.needs_attention
