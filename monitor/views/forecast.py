"""Upcoming expiries as a forecast and as calendar entries."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from monitor.config import Config
from monitor.domain import provider_info, utc_text
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.records import replace
from monitor.domain.rules.forecast import Need, ReconnectBatch, need_of, reconnect_batches
from monitor.domain.rules.labels import group_of
from monitor.store import Connection, connection_queries, label_sets, reconnects, sources
from monitor.store.reconnects import Reconnect
from monitor.views import json_types
from monitor.views.connections import ConnectionView, Reader, Suppressions
from monitor.views.label_filter import resolve_labels

MOST = 1000
"""Most entries of one calendar; the soonest ones are kept."""
_MOST_READ = 10_000
"""Most connections read for a calendar: most tokens that expire soon are renewed automatically and get no entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """A calendar entry: a connection and its expiry."""

    connection: str
    """Its public id."""
    label: str
    """Untrusted text."""
    group: str
    """The client, or the value of another label of `group_by`; empty: none. Untrusted text."""
    source: str
    provider: str
    platform: str
    external_id: str
    at: datetime
    known_at: datetime
    """When this date was first reported."""
    revision: int
    """A number that rises whenever the date changes."""
    link: str | None
    stages: tuple[timedelta, ...]
    """Times before the date at which alerts are sent, the longest first."""


def upcoming_expiries(
    conn: Connection, config: Config, *, now: datetime, within: timedelta, filters: ConnectionFilter = EVERY
) -> list[Expiry]:
    """Return the reconnects that will be needed within this time, the soonest first, without connections that already fail."""
    chosen = resolve_labels(conn, filters, config)
    reader = Reader(config, {row.name: row for row in sources.all_sources(conn)}, now=now)
    settings = {source.name: source for source in config.sources}
    places = ConnectionFilter(sources=chosen.sources, platforms=chosen.platforms, stored_labels=chosen.stored_labels)
    rows = reconnects.expiring_between(conn, places, now=now, until=now + within, limit=_MOST_READ)
    found: list[Expiry] = []
    for view in map(reader.view, rows):
        state, row = view.row.state, view.row
        need = need_of(state, connection=view.id, source=row.source, provider=provider_info(row.provider), now=now, within=within)
        if need is None or need.overdue or need.by <= now:
            continue
        own, policy = settings.get(row.source), reader.policy_of(row)
        known_at = state.token.issued_at or row.added_at
        found.append(
            Expiry(
                connection=view.id,
                label=need.label,
                group=group_of(view.labels, config.group_by),
                source=row.source,
                provider=row.provider,
                platform=need.platform,
                external_id=state.snapshot.external_id,
                at=need.by.replace(microsecond=0),
                known_at=known_at.replace(microsecond=0),
                revision=max(0, int((known_at - row.added_at) / timedelta(minutes=1))),
                link=own.dashboard_url if own else None,
                stages=tuple(sorted(policy.stages, reverse=True)),
            )
        )
        if len(found) == MOST:
            break
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectBatchView:
    """A reconnect batch with its connections."""

    batch: ReconnectBatch
    provider: str
    link: str | None
    """The address for reconnecting, None if the source is no longer configured."""
    connections: tuple[ConnectionView, ...]
    """In the order of the batch's needs."""

    def json(self) -> json_types.ReconnectBatchJson:
        """Return the JSON form of the batch."""
        batch = self.batch
        return json_types.ReconnectBatchJson(
            overdue=batch.overdue,
            first_at=utc_text(batch.first),
            last_at=utc_text(batch.last),
            group=batch.group or None,
            source=batch.source,
            provider=self.provider,
            platform=batch.platform,
            link=self.link,
            count=len(batch.needs),
            connections=[_connection(view) for view in self.connections],
        )


def _connection(view: ConnectionView) -> json_types.NeedJson:
    return json_types.NeedJson(
        id=view.id,
        external_id=view.snapshot.external_id,
        label=view.snapshot.label,
        status=view.status,
        since=utc_text(view.row.state.verdict.since),
        expires_at=utc_text(view.expires_at),
        seconds_left=view.seconds_left,
        message=view.row.state.verdict.message,
        acked=view.acked,
    )


class Needed(NamedTuple):
    """A need with the data of its connection that lists of needs use."""

    need: Need
    row_id: int
    display_name: str | None
    username: str | None

    def has_text(self, text: str | None) -> bool:
        """Return True if the text is part of its id, display name or user name, whatever the case."""
        names = self.need.connection, self.display_name or "", self.username or ""
        return not text or any(text.casefold() in each.casefold() for each in names)


def needs(
    conn: Connection, config: Config, reader: Reader, *, within: timedelta, filters: ConnectionFilter = EVERY
) -> list[Needed]:
    """Return the connections to reconnect now or within this time, in no order.

    The database selects them by their stored state; connections that time has changed since are read individually.
    """
    places = _places(conn, config, filters)
    found = reconnects.list_reconnects(conn, places, now=reader.now, until=reader.now + within)
    return [*_stored_needs(conn, config, found), *_changed_needs(conn, config, reader, places, within=within)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstNeeds:
    """The most urgent ones of all connections to reconnect, and the number of all."""

    number: int
    overdue: int
    """The number of those that no longer work."""
    needs: list[Needed]
    """The most urgent first: those that no longer work, then by date and public id."""


def first_needs(
    conn: Connection, config: Config, reader: Reader, *, within: timedelta, filters: ConnectionFilter = EVERY, most: int
) -> FirstNeeds:
    """Return the most urgent ones of needs() that have the filters' text, at most `most`."""
    if filters.text:  # as Python compares letters, the database cannot
        found = [each for each in needs(conn, config, reader, within=within, filters=filters) if each.has_text(filters.text)]
        return FirstNeeds(
            number=len(found), overdue=sum(each.need.overdue for each in found), needs=heapq.nsmallest(most, found, key=_urgency)
        )
    places, now = _places(conn, config, filters), reader.now
    counted = reconnects.count_reconnects(conn, places, now=now, until=now + within)
    changed = list(_changed_needs(conn, config, reader, places, within=within))
    first = reconnects.first_reconnects(conn, places, now=now, until=now + within, limit=most)
    return FirstNeeds(
        number=counted.overdue + counted.dated + len(changed),
        overdue=counted.overdue + sum(each.need.overdue for each in changed),
        needs=heapq.nsmallest(most, [*_stored_needs(conn, config, first), *changed], key=_urgency),
    )


def _urgency(needed: Needed) -> tuple[bool, datetime, str]:
    return not needed.need.overdue, needed.need.by, needed.need.connection


def _places(conn: Connection, config: Config, filters: ConnectionFilter) -> ConnectionFilter:
    """Return the conditions that a forecast has: on statuses and places, not on names."""
    chosen = resolve_labels(conn, filters, config)
    return ConnectionFilter(
        sources=chosen.sources, platforms=chosen.platforms, statuses=chosen.statuses, stored_labels=chosen.stored_labels
    )


def _changed_needs(
    conn: Connection, config: Config, reader: Reader, places: ConnectionFilter, *, within: timedelta
) -> Iterator[Needed]:
    """Yield the needs of connections that time has changed since they were stored."""
    changed, any_status = connection_queries.changed_by_time(reader.now), replace(places, statuses=None)
    for view in map(reader.view, connection_queries.list_connections(conn, any_status, worst_first=False, only=changed)):
        state, info = view.row.state, provider_info(view.row.provider)
        group, source = group_of(view.labels, config.group_by), view.row.source
        need = need_of(state, connection=view.id, source=source, provider=info, now=reader.now, within=within, group=group)
        if need is not None and places.matches_status(need.status):
            yield Needed(need, view.row.id, state.snapshot.display_name, state.snapshot.username)


def _stored_needs(conn: Connection, config: Config, found: Iterable[Reconnect]) -> Iterator[Needed]:
    own = {source.name: group_of(source.labels, config.group_by) for source in config.sources}
    groups = {key: group_of(labels.values, config.group_by) for key, labels in label_sets.all_sets(conn).items()}
    for row in found:
        need = Need(
            connection=row.public_id,
            source=row.source,
            platform=row.platform,
            label=row.display_name or row.username or row.external_id,
            status=row.status,
            by=row.by,
            group=own.get(row.source, "") if row.label_set is None else groups.get(row.label_set, ""),
        )
        yield Needed(need, row.id, row.display_name, row.username)


def forecast(
    conn: Connection, config: Config, *, now: datetime, within: timedelta, filters: ConnectionFilter = EVERY
) -> list[ReconnectBatchView]:
    """Return the reconnects needed now or within this time, as batches: failed connections first, then by date."""
    reader = forecast_reader(conn, config, now)
    found = needs(conn, config, reader, within=within, filters=filters)
    rows = {each.need.connection: each.row_id for each in found}
    return batch_views(conn, config, reader, reconnect_batches(each.need for each in found), rows=rows)


def forecast_reader(conn: Connection, config: Config, now: datetime) -> Reader:
    """Return the reader of connections at this time."""
    known = {row.name: row for row in sources.all_sources(conn)}
    return Reader(config, known, now=now, suppressions=Suppressions.read(conn, now))


def views_of(conn: Connection, reader: Reader, ids: Iterable[int]) -> dict[str, ConnectionView]:
    """Return the connections with these row ids by public id."""
    return {view.id: view for view in map(reader.view, connection_queries.get_connections(conn, ids))}


def batch_views(
    conn: Connection,
    config: Config,
    reader: Reader,
    batches: Iterable[ReconnectBatch],
    *,
    rows: Mapping[str, int],
    most: int | None = None,
) -> list[ReconnectBatchView]:
    """Return batches with their connections, at most the `most` first of each. `rows` are the row ids by public id."""
    shown = [(batch, [need.connection for need in batch.needs[:most]]) for batch in batches]
    views = views_of(conn, reader, [rows[each] for _, ids in shown for each in ids])
    links = {source.name: source.dashboard_url for source in config.sources}
    return [
        ReconnectBatchView(
            batch=batch,
            provider=views[ids[0]].row.provider,
            link=links.get(batch.source),
            connections=tuple(views[each] for each in ids),
        )
        for batch, ids in shown
    ]
