"""Give connections their labels. A change of labels is neither an event nor an alert."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from monitor.config import ChannelConfig, SourceConfig
from monitor.config.labelling import Labeller
from monitor.domain import Snapshot
from monitor.engine.recording.empty_filters import matching_filters, record_emptied_filters
from monitor.engine.recording.queueing import Recorded
from monitor.store import Connection, connections, label_sets, sources

_BATCH = 2000


def labeller_of(conn: Connection, source: SourceConfig) -> Labeller:
    """Return the labeller of a source; it reads the names of the scopes in this transaction, if it needs them."""
    return Labeller(source, lambda: sources.scope_names(conn, source.name))


def label_sets_of(conn: Connection, labeller: Labeller, snapshots: Iterable[Snapshot]) -> list[int]:
    """Return the row id of each connection's labels, in the order of the snapshots."""
    keys = [label_sets.key_of(labeller.labels(snapshot)) for snapshot in snapshots]
    ids = label_sets.ids_of(conn, keys)
    return [ids[key] for key in keys]


def save_scope_names(
    conn: Connection, source: SourceConfig, names: Mapping[str, str] | None, *, channels: Sequence[ChannelConfig], now: datetime
) -> Recorded:
    """Store the names of managed users or workspaces that a poll read, and label their connections again if one changed.

    Alert about channels, users and shares whose labels then match no connection.
    """
    if names is None or not sources.save_scope_names(conn, source.name, names):
        return Recorded()
    before = matching_filters(conn, channels, now)
    relabel(conn, source)
    return record_emptied_filters(conn, before, channels=channels, now=now)


def relabel(conn: Connection, source: SourceConfig) -> int:
    """Determine the labels of all connections of a source again. Return the number of those that changed."""
    labeller = labeller_of(conn, source)
    changed = 0
    for batch in connections.label_rows(conn, source.name, batch=_BATCH):
        ids = label_sets_of(conn, labeller, (row.snapshot for row in batch))
        different = [(row.id, new) for row, new in zip(batch, ids, strict=True) if row.label_set != new]
        connections.set_label_sets(conn, different)
        changed += len(different)
    return changed
