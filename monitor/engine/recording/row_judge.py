"""Apply the rules to the rows of a poll: what changes for connections that are listed, missing, new or reconnected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any

from monitor.config import SourceConfig
from monitor.config.labelling import Labeller
from monitor.domain import ConnectionState, Event, EventKind, Snapshot
from monitor.domain.records import Record, field, replace
from monitor.domain.rules import lifecycle, transitions
from monitor.domain.rules.expiry import Context
from monitor.domain.rules.fingerprint import span_moved
from monitor.engine.recording.changes import Change, Effect
from monitor.store import connection_codec
from monitor.store.connection_codec import NAMING, StoredState
from monitor.store.connections import KEEP, Unchanged

MAX_EFFECTS = 2000
"""Results kept for further rows of the same group. Groups end with the batch that was loaded."""

_UNKNOWN: Any = object()
_names: Callable[[Snapshot], tuple[Any, ...]] = attrgetter(*NAMING)
_described: Callable[[Snapshot], tuple[Any, ...]] = attrgetter(
    *(name for name in Snapshot.__struct_fields__ if name not in NAMING)
)


class RowJudge(Record, kw_only=True):
    """Applies the rules to the rows of one poll."""

    source: SourceConfig
    now: datetime
    clock_skew: float | None
    labeller: Labeller
    _contexts: dict[int, Context] = field(default_factory=dict)
    """By the identity of the policy, which the labeller keeps: hashing one takes longer than the rest of the call."""
    _effects: dict[tuple[object, ...], Effect | None] = field(default_factory=dict)
    """Results for rows of one group of stored connections that state the same; None: nothing changes."""

    def listed(
        self, row: int, stored: StoredState, snapshot: Snapshot, fingerprint: str | None, *, due: bool = True
    ) -> Change | None:
        """Return the change of a known connection that is listed, or None. Unless it is due, the same row changes nothing.

        The rules do not depend on names, unless these change. So connections that differ only in them are judged once.
        """
        like = stored.like
        if snapshot.labels is not None or like.snapshot.scope != snapshot.scope or stored.names != _names(snapshot):
            state = stored.state
            if not due and _is_same(state.snapshot, snapshot):
                return None
            after = lifecycle.observe(state, snapshot, self._context(snapshot))
            return self._change(row, state, after, fingerprint=fingerprint)
        policy = id(self.labeller.policy(snapshot)) if self.labeller.policy_follows_names else None
        key = (stored.group, policy, due, *_described(snapshot))
        effect = self._effects.get(key, _UNKNOWN)
        if effect is _UNKNOWN:
            if len(self._effects) >= MAX_EFFECTS:
                self._effects.clear()
            effect = self._effects[key] = self._effect(stored.state, snapshot, due=due)
        if effect is None:
            return None
        return Change(
            row=row,
            before=like,
            after=replace(effect.after, snapshot=snapshot),
            fingerprint=fingerprint,
            next_probe_at=effect.next_probe_at,
            effect=effect,
        )

    def _effect(self, before: ConnectionState, snapshot: Snapshot, *, due: bool) -> Effect | None:
        if not due and _is_same(before.snapshot, snapshot):
            return None
        after = lifecycle.observe(before, snapshot, self._context(snapshot))
        if after == before:
            return None
        return Effect(
            after=after,
            events=transitions.detect(before, after, self.now),
            columns=connection_codec.encode_change(before, after),
            next_probe_at=self._next_probe(before, after),
        )

    def unreadable(self, row: int, state: ConnectionState) -> Change | None:
        """Return the change of a known connection that is listed in a row that cannot be read, or None."""
        return self._change(row, state, lifecycle.unreadable(state, self._context(state.snapshot)), fingerprint=None)

    def missed(self, row: int, state: ConnectionState, *, confirmed: bool, seen_at: datetime | None) -> Change | None:
        """Return the change of a known connection that is absent, or None.

        `seen_at` is when its scope was last listed completely before this poll.
        """
        after = lifecycle.miss(state, self._context(state.snapshot), confirmed=confirmed)
        change = self._change(row, state, after, fingerprint=None)
        return change if change is None or state.missing else replace(change, last_seen_at=seen_at)

    def new(self, snapshot: Snapshot, fingerprint: str, before: tuple[int, ConnectionState] | None) -> Change:
        """Return the change for an unknown external id. `before` is the connection of the same account, if one is absent."""
        return self.appeared(snapshot, fingerprint) if before is None else self.reconnected(*before, snapshot, fingerprint)

    def appeared(self, snapshot: Snapshot, fingerprint: str) -> Change:
        """Return the change for a connection that is listed for the first time."""
        after = lifecycle.observe(None, snapshot, self._context(snapshot))
        probe_at = self.now if self.source.probes_on_schedule else KEEP
        return Change(after=after, fingerprint=fingerprint, next_probe_at=probe_at)

    def reconnected(self, row: int, state: ConnectionState, snapshot: Snapshot, fingerprint: str) -> Change:
        """Return the change for an account that is listed under a new id: it keeps its history and is probed again."""
        after = lifecycle.observe(state, snapshot, self._context(snapshot))
        entry = Event(kind=EventKind.RECONNECTED, at=self.now, old=state.snapshot.external_id, new=snapshot.external_id)
        probe_at = self.now if self.source.probes_on_schedule else KEEP
        return Change(row=row, before=state, after=after, fingerprint=fingerprint, next_probe_at=probe_at, extra=(entry,))

    def _context(self, snapshot: Snapshot) -> Context:
        policy = self.labeller.policy(snapshot)
        context = self._contexts.get(id(policy))
        if context is None:
            context = self.source.context(policy, now=self.now, clock_skew=self.clock_skew, polled=True)
            self._contexts[id(policy)] = context
        return context

    def _change(self, row: int, before: ConnectionState, after: ConnectionState, *, fingerprint: str | None) -> Change | None:
        if after == before:
            return None
        probe_at = self._next_probe(before, after)
        return Change(row=row, before=before, after=after, fingerprint=fingerprint, next_probe_at=probe_at)

    def _next_probe(self, before: ConnectionState, after: ConnectionState) -> datetime | Unchanged:
        return self.now if self.source.probes_on_schedule and lifecycle.needs_probe(before, after) else KEEP


def _is_same(before: Snapshot, after: Snapshot) -> bool:
    """Return True if nothing changed. A coarse span whose end wobbles is no change."""
    if after.expires_before is None or before.expires_before is None:
        return before == after
    moved = span_moved(before.expires_before, after.expires_before)
    return not moved and before == replace(after, expires_before=before.expires_before)
