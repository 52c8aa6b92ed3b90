"""Upcoming expiries as a forecast and as calendar entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.config import Config
from monitor.domain import provider_info, utc_text
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.rules.forecast import ReconnectBatch, need_of, reconnect_batches
from monitor.domain.rules.labels import group_of
from monitor.store import Connection, connection_pages, connection_queries, sources
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
    rows = connection_pages.expiring_between(conn, places, after=now, until=now + within, limit=_MOST_READ)
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


def forecast(
    conn: Connection, config: Config, *, now: datetime, within: timedelta, filters: ConnectionFilter = EVERY
) -> list[ReconnectBatchView]:
    """Return the reconnects needed now or within this time, as batches: failed connections first, then by date."""
    chosen = resolve_labels(conn, filters, config)
    known = {row.name: row for row in sources.all_sources(conn)}
    reader = Reader(config, known, now=now, suppressions=Suppressions.read(conn, now))
    rows = connection_queries.list_connections(
        conn,
        ConnectionFilter(sources=chosen.sources, platforms=chosen.platforms, stored_labels=chosen.stored_labels),
        worst_first=False,
        only=connection_queries.needing_attention_by(now, now + within),
    )
    views: dict[str, ConnectionView] = {}
    needs = []
    for view in map(reader.view, rows):
        info = provider_info(view.row.provider)
        need = need_of(
            view.row.state,
            connection=view.id,
            source=view.row.source,
            provider=info,
            now=now,
            within=within,
            group=group_of(view.labels, config.group_by),
        )
        if need is not None and chosen.matches_status(need.status):
            needs.append(need)
            views[view.id] = view
    links = {source.name: source.dashboard_url for source in config.sources}
    return [_batch_view(batch, views, links.get(batch.source)) for batch in reconnect_batches(needs)]


def _batch_view(batch: ReconnectBatch, views: Mapping[str, ConnectionView], link: str | None) -> ReconnectBatchView:
    there = tuple(views[need.connection] for need in batch.needs)
    return ReconnectBatchView(batch=batch, provider=there[0].row.provider, link=link, connections=there)
