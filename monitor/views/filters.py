"""Filters of list commands, and the JSON envelope."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from monitor.config import Config
from monitor.domain import utc_text


class Shaped(Protocol):
    """Something that has a JSON shape."""

    def json(self) -> dict[str, Any]:
        """The shape: every key is always there, what is absent is None."""
        ...


def listing(name: str, items: Iterable[Shaped], *, now: datetime) -> dict[str, Any]:
    """One object with the instant of the answer and one array named after what it holds."""
    return {"generated_at": utc_text(now), name: [item.json() for item in items]}


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
