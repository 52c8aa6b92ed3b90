"""The condition on labels that commands, pages and the API share, resolved to what the database stores."""

from __future__ import annotations

from collections.abc import Collection

from monitor.config import Config
from monitor.domain.filters import EVERY, ConnectionFilter, StoredLabels
from monitor.domain.records import replace
from monitor.domain.rules.labels import ConnectionLabels
from monitor.store import Connection, label_sets
from monitor.store.connection_queries import ConnectionRow


def resolve_labels(conn: Connection, filters: ConnectionFilter, config: Config) -> ConnectionFilter:
    """Return the filter with its conditions on labels in `stored_labels`."""
    if not filters.unresolved:
        return filters
    stored = filters.stored_labels
    if filters.bound_to and (stored is None or not stored.bound):
        # A source's own labels count only where no rule can replace them before its connections are labelled.
        sources = (each for each in config.sources if not each.label_rules)
        own = frozenset(each.name for each in sources if ConnectionLabels(each.labels).grants(filters.bound_to))
        stored = _both(conn, stored, StoredLabels(sets=label_sets.bound_to(conn, filters.bound_to), own=own, bound=True))
    if filters.labels:
        wanted = label_sets.resolve(conn, filters.labels, {source.name: source.labels for source in config.sources})
        stored = wanted if stored is None else _both(conn, stored, wanted)
    return replace(filters, labels={}, stored_labels=stored)


def _both(conn: Connection, one: StoredLabels | None, other: StoredLabels) -> StoredLabels:
    """Return the labels that match both."""
    sets, own = (other.sets, other.own) if one is None else (one.sets & other.sets, one.own & other.own)
    bound = other.bound or (one is not None and one.bound)
    return StoredLabels(sets=sets, own=own, sources=own | label_sets.sources_with(conn, sets), bound=bound)


def includes(conn: Connection, config: Config, selection: ConnectionFilter, row: ConnectionRow) -> bool:
    """Return True if a connection is in a selection by labels; its other conditions are not checked."""
    stored = resolve_labels(conn, selection, config).stored_labels
    return stored is None or stored.includes(row.label_set, row.source)


def labels_in_use(conn: Connection, config: Config, selection: ConnectionFilter = EVERY) -> Collection[tuple[str, str]]:
    """Return every label of a source, a rule or a connection as sorted (key, value); of a selection, those of its connections."""
    stored = resolve_labels(conn, selection, config).stored_labels
    sets = label_sets.all_sets(conn)
    if stored is not None:
        found = {pair for source in config.sources if source.name in stored.own for pair in source.labels.items()}
        return sorted(found.union(*(labels.values.items() for key, labels in sets.items() if key in stored.sets)))
    found = {pair for source in config.sources for pair in source.labels.items()}
    found.update(pair for rule in config.label_rules for pair in rule.set.items())
    return sorted(found.union(*(labels.values.items() for labels in sets.values())))
