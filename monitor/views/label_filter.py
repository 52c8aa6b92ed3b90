"""The condition on labels that commands, pages and the API share, resolved to what the database stores."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from monitor.config import Config
from monitor.domain.filters import ConnectionFilter
from monitor.store import Connection, label_sets


def resolve_labels(conn: Connection, filters: ConnectionFilter, config: Config) -> ConnectionFilter:
    """Return the filter with its condition on labels in `stored_labels`."""
    if not filters.labels:
        return filters
    stored = label_sets.resolve(conn, filters.labels, {source.name: source.labels for source in config.sources})
    return replace(filters, labels={}, stored_labels=stored)


def labels_in_use(conn: Connection, config: Config) -> Collection[tuple[str, str]]:
    """Return every label of a source, a rule or a connection, as sorted (key, value)."""
    found = {pair for source in config.sources for pair in source.labels.items()}
    found.update(pair for rule in config.label_rules for pair in rule.set.items())
    found.update(pair for labels in label_sets.all_sets(conn).values() for pair in labels.values.items())
    return sorted(found)
