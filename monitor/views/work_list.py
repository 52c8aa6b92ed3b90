"""The work list of the status page: the connections that need attention, in groups that are reconnected together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from monitor.config import Config, SourceConfig
from monitor.domain import Status
from monitor.domain.filters import ConnectionFilter, StoredLabels
from monitor.domain.records import replace
from monitor.domain.rules.advice import advice, with_id
from monitor.domain.rules.globs import escape
from monitor.domain.rules.labels import group_of
from monitor.store import Connection, connection_pages, connection_queries, label_sets
from monitor.store.connection_pages import Order
from monitor.store.connection_queries import AttentionGroup, GroupCount
from monitor.views.connections import ConnectionView, Reader
from monitor.views.status import NEVER

MOST_CARDS = 6
NAMED = 3
"""Connections that a card lists; a link leads to the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Connections of one source with the same status: of one client, or of one platform where they have no client."""

    group: str
    """The client, or the value of another label of `group_by`; empty: none. Untrusted text."""
    label: str | None
    """The filter by label that selects the group, None without one."""
    source: str
    platforms: tuple[str, ...]
    """The one with the earliest expiry first; exactly one where there is no group."""
    status: Status
    number: int
    advice: str
    """Empty if it differs between the platforms."""
    link: str | None
    provider: str
    views: tuple[ConnectionView, ...]
    """The first few."""


class _Key(NamedTuple):
    group: str
    source: str
    platform: str
    """Empty for the connections of a group: they are on one card, whatever their platform is."""
    status: Status


def cards(conn: Connection, config: Config, reader: Reader, selection: ConnectionFilter) -> tuple[list[Card], int]:
    """Return the first cards, the worst first, then the earliest expiry; and the number of further ones."""
    settings = {source.name: source for source in config.sources}
    found = _grouped(conn, config, settings, selection)
    by_label = any(key.group for key in found)
    ordered = sorted(found, key=lambda key: _urgency(key, found[key]))
    shown = [
        _card(conn, reader, key, found[key], selection if not by_label else _within(selection, found[key]), config=config)
        for key in ordered[:MOST_CARDS]
    ]
    return [card for card in shown if card is not None], max(0, len(ordered) - MOST_CARDS)


def _grouped(
    conn: Connection, config: Config, settings: Mapping[str, SourceConfig], selection: ConnectionFilter
) -> dict[_Key, list[AttentionGroup]]:
    found: dict[_Key, list[AttentionGroup]] = defaultdict(list)
    counted = connection_queries.count_needing_attention(conn, selection)
    sets = label_sets.all_sets(conn) if counted else {}
    for each in counted:
        known = None if each.label_set is None else sets.get(each.label_set)
        own = settings[each.source].labels if each.source in settings else {}
        group = group_of(own if known is None else known.values, config.group_by)
        found[_Key(group, each.source, "" if group else each.platform, each.status)].append(each)
    return found


def _urgency(key: _Key, parts: Sequence[AttentionGroup]) -> tuple[int, datetime, int, _Key]:
    return -key.status.rank, min(map(_first, parts)), -sum(each.number for each in parts), key


def _first(part: AttentionGroup) -> datetime:
    return part.first or NEVER


def _within(selection: ConnectionFilter, parts: Sequence[AttentionGroup]) -> ConnectionFilter:
    """Return the selection, limited to the sets of labels of these connections."""
    sets = frozenset(each.label_set for each in parts if each.label_set is not None)
    own = frozenset(each.source for each in parts if each.label_set is None)
    return replace(selection, stored_labels=replace(selection.stored_labels or StoredLabels(sets=sets), sets=sets, own=own))


def _card(
    conn: Connection,
    reader: Reader,
    key: _Key,
    parts: Sequence[AttentionGroup],
    selection: ConnectionFilter,
    *,
    config: Config,
) -> Card | None:
    platforms = tuple(dict.fromkeys(each.platform for each in sorted(parts, key=lambda each: (_first(each), each.platform))))
    filters = replace(selection, sources=[key.source], platforms=platforms, statuses=[key.status])
    counted = [GroupCount(each.source, each.platform, each.status, each.number) for each in parts]
    rows = connection_pages.list_page(conn, filters, order=Order.EXPIRY, limit=NAMED, counted=counted)
    views = tuple(map(reader.view, rows))
    if not views:
        return None
    provider, number = views[0].row.provider, sum(each.number for each in parts)
    texts = {advice(platform, key.status, provider) for platform in platforms}
    return Card(
        group=key.group,
        label=f"{config.group_by}={escape(key.group)}" if key.group else None,
        source=key.source,
        platforms=platforms,
        status=key.status,
        number=number,
        advice=_advice_of(texts, views, number),
        link=next((source.dashboard_url for source in config.sources if source.name == key.source), None),
        provider=provider,
        views=views,
    )


def _advice_of(texts: set[str], views: Sequence[ConnectionView], number: int) -> str:
    """Return the advice that all platforms share, with the id in its commands if the card has one connection."""
    if len(texts) != 1:
        return ""
    (text,) = texts
    return with_id(text, views[0].id) if number == 1 else text
