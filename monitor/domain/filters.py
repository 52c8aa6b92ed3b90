"""The filter of connections that the command line, the pages and the API share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from monitor.domain.records import Record, field


class StoredLabels(Record, frozen=True, kw_only=True):
    """The labels of a filter, resolved to the label sets and sources that have them."""

    sets: frozenset[int]
    """Row ids of the label sets that match."""
    own: frozenset[str] = frozenset()
    """Sources whose own labels match; they count for connections that have no label set yet."""
    sources: frozenset[str] = frozenset()
    """Sources that match themselves or have a connection that does."""
    bound: bool = False
    """True if they include the labels of `bound_to`: then nothing about a source itself matches."""

    def includes(self, label_set: int | None, source: str) -> bool:
        """Return True if a connection of a source with this label set matches."""
        return source in self.own if label_set is None else label_set in self.sets


class ConnectionFilter(Record, frozen=True, kw_only=True):
    """Conditions on connections, ANDed. None, and an empty mapping of labels, mean no such condition."""

    sources: Collection[str] | None = None
    platforms: Collection[str] | None = None
    """Common platform slugs."""
    statuses: Collection[str] | None = None
    """Status words: of connections, events, alerts or sources, whichever are listed."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """All of them must be labels of the connection; values are patterns. See views.label_filter.resolve_labels."""
    bound_to: Mapping[str, str] = field(default_factory=dict)
    """Exact labels that limit a user or a share, as the configuration sets them: a name at a service does not count."""
    stored_labels: StoredLabels | None = None
    """`labels` and `bound_to` after resolve_labels, which empties `labels`. None: no such condition."""
    text: str | None = None
    """Part of a public id, display name or user name; letter case does not matter."""
    connection: str | None = None
    """A whole public id."""
    keys: str | None = None
    """Row ids, separated by commas: a text is passed on faster than thousands of numbers. None: no such condition."""
    read_before: Mapping[str, datetime] | None = None
    """By source, an instant before which its connections were last read: only those match. None: no such condition."""

    @property
    def unresolved(self) -> bool:
        """True if its labels must be resolved before the database can apply it."""
        return bool(self.labels or (self.bound_to and not (self.stored_labels is not None and self.stored_labels.bound)))

    def matches(self, *, source: str, platform: str, status: str) -> bool:
        """Return True if the conditions on source, platform and status are met; the other conditions are not checked."""
        in_source = self.sources is None or source in self.sources
        return in_source and (self.platforms is None or platform in self.platforms) and self.matches_status(status)

    def matches_status(self, *words: str) -> bool:
        """Return True if the condition on the status is met by one of these words."""
        return self.statuses is None or any(word in self.statuses for word in words)


EVERY = ConnectionFilter()
"""No condition: every connection matches."""
