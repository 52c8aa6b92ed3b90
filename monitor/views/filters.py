"""Which connections, sources or alerts an answer is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Filters, ANDed; None and an empty mapping mean: no such filter."""

    sources: frozenset[str] | None = None
    platforms: frozenset[str] | None = None
    """Common platform slugs."""
    statuses: frozenset[str] | None = None
    """Status words: of connections, alerts or sources, whatever is listed."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """All of them must be labels of the source."""

    def source_names(self, config: Config) -> frozenset[str] | None:
        """The sources that the source and label filters leave, None for every one."""
        if not self.labels:
            return self.sources
        labelled = {source.name for source in config.sources if self.labels.items() <= source.labels.items()}
        return frozenset(labelled if self.sources is None else labelled & self.sources)

    def takes_status(self, *words: str) -> bool:
        """Whether the status filter lets one of these words through."""
        return self.statuses is None or not self.statuses.isdisjoint(words)
