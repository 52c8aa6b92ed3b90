"""The context of the status page: headline, warnings, connections that need attention, timeline, and the list."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request

from monitor.config import Config
from monitor.domain import Severity, SourceStatus, Status
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules.labels import CLIENT
from monitor.domain.timefmt import Times
from monitor.store import Connection, connection_conditions, connection_pages, connection_queries, reconnects, sources
from monitor.store.connection_pages import Order
from monitor.store.connection_queries import ConnectionRow, GroupCount, ObservedGroup
from monitor.views import work_list
from monitor.views.connections import Reader, Suppressions, count_acked
from monitor.views.label_filter import labels_in_use, resolve_labels
from monitor.views.sources import SourceView, channel_views, source_views
from monitor.views.staleness import Stale, doubts, stale_groups
from monitor.views.staleness import count as count_stale
from monitor.views.status import headline
from monitor.web import charts
from monitor.web.auth import visit_of
from monitor.web.query_params import STALE, ListQuery, read_query, source_names

MOST_LABELS = 1_000
"""Labels that the filter offers; others can be given in the address."""
MOST_BARS = 12
"""Sources and platforms that are drawn; of the others only the number is shown."""
ORDERS = {
    Order.WORST: "worst first",
    Order.EXPIRY: "nearest expiry first",
    Order.SINCE: "latest change first",
    Order.NAME: "by name",
    Order.CLIENT: "by client",
    Order.PLATFORM: "by platform",
    Order.SOURCE: "by source",
}
"""The orders of the list, as the page names them."""
_CACHED_PER_COST = 100
_CACHED_SELECTIONS = 20
_FEW = 20_000
_FEW_NAMED = 1_000
_MOST_ACKS = 500
_MOST_SILENCED = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A source's or platform's connections by status."""

    name: str
    number: int
    parts: tuple[Part, ...]
    """Empty beyond the first MOST_BARS."""
    source: SourceView | None = None


Part = tuple[str, int, float, float]
"""A status or STALE, with its number, position and width in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """The number of connections with a status, or of all stale ones."""

    key: str
    """A status or STALE: the value of the filter that selects them."""
    number: int
    stale: int = 0
    """Further connections with this status whose data is stale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWarning:
    """A source that cannot be read at the moment, or whose data is stale."""

    source: SourceView
    problem: str
    advice: str
    severe: bool


class TimelineCache:
    """A cache of timelines, by selection: each is kept for a hundred times as long as it took to count its expiries."""

    def __init__(self) -> None:
        self._kept: dict[object, tuple[float, charts.Timeline]] = {}

    def timeline(
        self, conn: Connection, known: Collection[str], selection: ConnectionFilter = EVERY, *, now: datetime, few: bool = False
    ) -> charts.Timeline:
        """Return the timeline of the selected connections. `known` names all sources: a change empties the cache.

        `few` is a hint: few connections match.
        """
        started = time.monotonic()
        key = tuple(sorted(known)), repr(selection)
        until, found = self._kept.pop(key, (started, None))
        if found is None or started >= until:
            last = now + timedelta(days=charts.TIMELINE_DAYS)
            found = charts.timeline(reconnects.count_expiring(conn, selection, now=now, until=last, few=few), now=now)
            ended = time.monotonic()
            until = ended + _CACHED_PER_COST * (ended - started)
        self._kept[key] = until, found
        while len(self._kept) > _CACHED_SELECTIONS:
            self._kept.pop(next(iter(self._kept)), None)
        return found


def build(conn: Connection, config: Config, now: datetime, request: Request, cache: TimelineCache) -> dict[str, Any]:
    """Return the context of the page's template."""
    known = {row.name: row for row in sources.all_sources(conn)}
    reader = Reader(config, known, now=now, suppressions=Suppressions.read(conn, now))
    visible = resolve_labels(conn, visit_of(request).selection, config)
    everything = connection_queries.count_groups(conn, visible)
    names = sorted(source_names(conn, config, visible))
    platforms = sorted({each.platform for each in everything})
    query = read_query(conn, request, config, sources=names, platforms=platforms).for_stale_data(reader.stale_limits())
    # A filter by status selects rows of the table; all other filters select what the whole page is about.
    named = replace(query.filters, statuses=None, read_before=None)
    selection = connection_conditions.resolve_text(conn, named)
    query = dataclasses.replace(query, filters=replace(query.filters, text=selection.text, keys=selection.keys))
    counted = connection_queries.count_groups(conn, selection) if query.selects else everything
    number = sum(each.number for each in counted)
    stale = stale_groups(conn, reader, selection)
    views = source_views(conn, config, now=now, filters=selection, by_status=False)
    query, rows, total = _listed(conn, query, counted, stale)
    channels = [] if visible.bound_to else channel_views(conn, config)
    labels = labels_in_use(conn, config, visible)
    # To search a text again in the names of the few that need attention is faster than to compare them with many that have it.
    of_few = selection if number < _FEW_NAMED else named
    cards, hidden = work_list.cards(conn, config, reader, of_few)
    return {
        **_answer(conn, config, reader, of_few, views=views, counted=counted, stale=stale, selected=query.selects),
        "cards": cards,
        "hidden_cards": hidden,
        "warnings": list(_source_warnings(views)),
        "waiting": [view for view in views if view.last_poll_at is None],
        "no_channel": not config.channels and not visible.bound_to,
        "no_source": not config.sources and not visible.bound_to,
        "failing_channels": [channel for channel in channels if channel.problem],
        "timeline": cache.timeline(conn, known, selection, now=now, few=number < _FEW),
        "by_source": _bars(counted, stale, "source", views),
        "by_platform": _bars(counted, stale, "platform"),
        "most_bars": MOST_BARS,
        "query": query,
        "total": total,
        "pages": max(1, -(-total // query.per)),
        "views": [reader.view(row) for row in rows],
        "orders": ORDERS,
        "statuses": list(Status),
        "source_names": names,
        "platforms": platforms,
        "labels": [f"{key}={value}" for key, value in labels][:MOST_LABELS],
        "any_client": any(key == CLIENT for key, _ in labels),
        "client_label": CLIENT,
        "freshness": _freshness(views),
        "any_source": bool(views),
    }


def _answer(
    conn: Connection,
    config: Config,
    reader: Reader,
    selection: ConnectionFilter,
    *,
    views: Collection[SourceView],
    counted: Iterable[GroupCount],
    stale: Iterable[ObservedGroup],
    selected: bool,
) -> dict[str, Any]:
    """Return the headline and the counts of the selected connections."""
    summary, old = _summary(counted), count_stale(stale)
    # A channel of the monitor is not of the selection of a user who is bound to labels.
    channels = [] if selection.bound_to else channel_views(conn, config)
    answer = headline(
        summary,
        doubts(views, old, times=Times(config.timezone, reader.now)),
        acked=count_acked(conn, reader, selection, most=_MOST_ACKS),
        silenced=_silenced(conn, reader, selection),
        broken_channels=sum(channel.broken for channel in channels),
        selected=selected,
    )
    return {
        "headline": answer,
        "tone": answer.tone,
        "urgent": sum(number for status, number in summary.items() if status.severity is Severity.CRITICAL),
        "tiles": list(_tiles(summary, old)),
        "share": parts_of(summary, old.by_status),
    }


def _tiles(summary: Mapping[Status, int], old: Stale) -> Iterator[Tile]:
    """Yield the counts, the worst first. Healthy connections whose data is stale count apart."""
    for status in reversed(Status):
        apart = 0 if status.needs_attention else old.by_status[status]
        yield Tile(key=status, number=summary[status] - apart, stale=apart)
    if old.total:
        yield Tile(key=STALE, number=old.total)


def _listed(
    conn: Connection, query: ListQuery, counted: Iterable[GroupCount], stale: Iterable[ObservedGroup]
) -> tuple[ListQuery, list[ConnectionRow], int]:
    """Return the query with a page number that exists, the rows of that page, and the total number of rows."""
    filters = query.filters
    if filters.read_before is not None:
        counted = [GroupCount(each.source, each.platform, each.status, each.number) for each in stale]
    counted = [each for each in counted if filters.matches(source=each.source, platform=each.platform, status=each.status)]
    total = sum(each.number for each in counted)
    query = dataclasses.replace(query, page=min(query.page, max(1, -(-total // query.per))))
    rows = connection_pages.list_page(conn, filters, order=query.order, limit=query.per, offset=query.offset, counted=counted)
    return query, rows, total


def _summary(counted: Iterable[GroupCount]) -> dict[Status, int]:
    found = dict.fromkeys(Status, 0)
    for each in counted:
        found[each.status] += each.number
    return found


def _silenced(conn: Connection, reader: Reader, selection: ConnectionFilter) -> int:
    """Return the number of silenced selected connections that need attention, counted among the first _MOST_SILENCED."""
    if not reader.suppressions.silences:
        return 0
    bad = [status for status in Status if status.needs_attention]
    bad_ones = replace(selection, statuses=bad)
    rows = connection_queries.list_connections(conn, bad_ones, worst_first=False, limit=_MOST_SILENCED)
    return sum(reader.view(row).silenced_until is not None for row in rows)


def _source_warnings(views: Iterable[SourceView]) -> Iterator[SourceWarning]:
    for view in views:
        if view.last_poll_at is None:
            continue  # the page shows what it is waiting for
        severe = view.status in (SourceStatus.FAILING, SourceStatus.UNAUTHORIZED) or view.stale
        problem = next(view.problems(), None)
        if problem is None and view.stale:
            problem = "Its latest data is older than three poll intervals."
        if problem is not None:
            yield SourceWarning(source=view, problem=problem, advice=view.advice, severe=severe)


def _bars(
    counted: Iterable[GroupCount], stale: Iterable[ObservedGroup], by: str, views: Collection[SourceView] = ()
) -> list[Bar]:
    found: dict[str, Counter[Status]] = defaultdict(Counter, {view.name: Counter() for view in views})
    for each in counted:
        found[getattr(each, by)][each.status] += each.number
    old: dict[str, Counter[Status]] = defaultdict(Counter)
    for group in stale:
        old[getattr(group, by)][group.status] += group.number
    known = {view.name: view for view in views}

    def bad_first(item: tuple[str, Counter[Status]]) -> tuple[int, int, str]:
        name, numbers = item
        return -sum(number for status, number in numbers.items() if status.needs_attention), -numbers.total(), name

    return [
        Bar(
            name=name,
            number=numbers.total(),
            parts=parts_of(numbers, old[name]) if place < MOST_BARS else (),
            source=known.get(name),
        )
        for place, (name, numbers) in enumerate(sorted(found.items(), key=bad_first))
    ]


def parts_of(numbers: Mapping[Status, int], stale: Mapping[Status, int]) -> tuple[Part, ...]:
    """Return a bar's parts, the worst first. Every part gets a visible width, however small its share.

    Healthy connections whose data is stale are a part apart.
    """
    apart = {status: stale.get(status, 0) for status in numbers if not status.needs_attention}
    found = [(status.value, numbers.get(status, 0) - apart.get(status, 0)) for status in reversed(Status)]
    there = [(key, number) for key, number in (*found, (STALE, sum(apart.values()))) if number > 0]
    total = sum(number for _, number in there)
    widths = [max(0.8, 100 * number / total) for _, number in there]
    scale = 100 / sum(widths) if widths else 1.0
    parts, x = [], 0.0
    for (key, number), width in zip(there, widths, strict=True):
        parts.append((key, number, x, width * scale))
        x += width * scale
    return tuple(parts)


def _freshness(views: Collection[SourceView]) -> datetime | None:
    """Return the oldest last read of all sources; None if one was never read."""
    instants = [view.last_success_at for view in views]
    return None if not instants or None in instants else min(instant for instant in instants if instant is not None)
