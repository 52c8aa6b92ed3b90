"""Filters by label, and the JSON envelope of lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from monitor.config import Config
from monitor.domain import utc_text
from monitor.domain.filters import ConnectionFilter


class Shaped(Protocol):
    """An object with a JSON form."""

    def json(self) -> object:
        """Return the JSON form, a struct of json_types or a dict: every key is present, absent values are None."""
        ...


def listing(name: str, items: Iterable[Shaped], *, now: datetime) -> dict[str, Any]:
    """Return one object with the time of the answer and one array, named after the listed things."""
    return {"generated_at": utc_text(now), name: [item.json() for item in items]}


def resolve_labels(filters: ConnectionFilter, config: Config) -> ConnectionFilter:
    """Return the filter with the condition on labels replaced by the names of the sources that have them."""
    if not filters.labels:
        return filters
    labelled = {source.name for source in config.sources if filters.labels.items() <= source.labels.items()}
    names = labelled if filters.sources is None else labelled.intersection(filters.sources)
    return replace(filters, sources=names, labels={})
