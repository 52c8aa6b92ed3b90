"""The query of the connection list: filters, order and page, as links carry them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from monitor.config import Config
from monitor.domain import Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.rules.platforms import canonical
from monitor.domain.text import clean
from monitor.store.connection_pages import Order
from monitor.views.filters import resolve_labels

PER_PAGE = (25, 50, 100, 200)
ATTENTION = "attention"
"""The filter value for every status that needs attention."""

LONGEST_TEXT = 200
_HIGHEST_PAGE = 1_000_000
_DEFAULTS = {"sort": Order.WORST.value, "per": "50", "page": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """A requested page of the connection list."""

    query: tuple[tuple[str, str], ...]
    """The query parameters, without those that have their default value."""
    filters: ConnectionFilter
    order: Order
    page: int
    per: int
    problems: tuple[str, ...] = ()
    """Sentences about filter values that do not exist: an empty list alone would look like good news."""
    chosen: dict[str, str] = field(default_factory=dict)
    """The values of the filter form."""

    @property
    def offset(self) -> int:
        """The number of rows before this page."""
        return (self.page - 1) * self.per

    @property
    def filtered(self) -> bool:
        """True if a filter is set."""
        return any(key in ("q", "status", "source", "platform", "label") for key, _ in self.query)

    def link(self, **changes: str | int | None) -> str:
        """Return the link with changed parameters; None removes one. It leads to the first page unless `page` is given."""
        kept = [(key, value) for key, value in self.query if key not in changes and key != "page"]
        added = [(key, str(value)) for key, value in changes.items() if value is not None and _DEFAULTS.get(key) != str(value)]
        return f"?{urlencode([*kept, *added])}" if kept or added else "?"


def read_query(params: QueryParams, config: Config, *, sources: Collection[str], platforms: Collection[str]) -> ListQuery:
    """Read the query of a request. `sources` and `platforms` are the existing ones."""
    problems: list[str] = []
    text = clean(params.get("q", ""), limit=LONGEST_TEXT)
    names = _one_of(params.getlist("source"), sources, "source", problems)
    slugs = _one_of((canonical(each.strip().lower()) for each in params.getlist("platform")), platforms, "platform", problems)
    statuses = _one_of(params.getlist("status"), [*Status, ATTENTION], "status", problems)
    labels = [each for each in params.getlist("label") if each]
    pairs = {key: value for key, _, value in (each.partition("=") for each in labels)}
    filters = resolve_labels(ConnectionFilter(sources=names, platforms=slugs, labels=pairs, text=text), config)
    if labels and set(filters.sources or ()).isdisjoint(sources):
        problems.append(f"No source has the label {clean(', '.join(labels))}.")
    order = next((each for each in Order if each == params.get("sort")), Order.WORST)
    per = _number(params.get("per"), 50, PER_PAGE[-1])
    page = _number(params.get("page"), 1, _HIGHEST_PAGE)
    query = [
        ("q", text),
        *_pairs("status", statuses),
        *_pairs("source", names),
        *_pairs("platform", slugs),
        *_pairs("label", labels),
    ]
    query += [("sort", order.value), ("per", str(per)), ("page", str(page))]
    return ListQuery(
        query=tuple((key, value) for key, value in query if value and _DEFAULTS.get(key) != value),
        filters=replace(filters, statuses=None if statuses is None else _expand(statuses)),
        order=order,
        page=page,
        per=per if per in PER_PAGE else 50,
        problems=tuple(problems),
        chosen={
            "q": text,
            "status": (statuses or [""])[0],
            "source": (names or [""])[0],
            "platform": (slugs or [""])[0],
            "label": (labels or [""])[0],
        },
    )


def _one_of(given: Iterable[str], known: Collection[Any], noun: str, problems: list[str]) -> list[str] | None:
    """Return the requested values, None if there are none. Unknown values stay, so that nothing matches."""
    requested = list(dict.fromkeys(each.strip() for each in given if each.strip()))
    problems += [f"Unknown {noun} {clean(each)}: no connection matches." for each in requested if each not in known]
    return requested or None


def _expand(values: Iterable[str]) -> list[Status]:
    """Return the statuses of the filter's values, the worst first; `attention` stands for several."""
    found = {
        status for status in Status for value in values if value == status or (value == ATTENTION and status.needs_attention)
    }
    return sorted(found, key=lambda status: -status.rank)


def _pairs(key: str, values: Iterable[str] | None) -> list[tuple[str, str]]:
    return [(key, value) for value in values or ()]


def _number(text: str | None, otherwise: int, highest: int) -> int:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return otherwise
    return min(max(int(text), 1), highest)
