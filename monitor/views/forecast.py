"""Upcoming expiries as a forecast and as calendar entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.config import Config
from monitor.domain import provider_info, utc_text
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.rules.forecast import ReconnectBatch, need_of, reconnect_batches
from monitor.store import Connection, connection_pages, connection_queries, sources
from monitor.views import json_types
from monitor.views.connections import ConnectionView, Reader, Suppressions
from monitor.views.filters import resolve_labels

MOST = 1000
"""Entries of one calendar, the soonest ones: a calendar of more is of no use to anybody."""
_LOOKED_AT = 10_000
"""Connections that are looked at for that: most dates that run out soon renew themselves and are in no calendar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """A connection that runs out, as it is until its date moves."""

    connection: str
    """Its public id."""
    label: str
    """A stranger's text."""
    source: str
    provider: str
    platform: str
    external_id: str
    at: datetime
    known_at: datetime
    """Since when this date is known."""
    revision: int
    """Rises whenever the date moves."""
    link: str | None
    stages: tuple[timedelta, ...]
    """How long before the date it is warned of, the widest first."""


def upcoming_expiries(
    conn: Connection, config: Config, *, now: datetime, within: timedelta, filters: ConnectionFilter = EVERY
) -> list[Expiry]:
    """What will need a person within that time, the soonest first; what does not work any more is not among them."""
    chosen = resolve_labels(filters, config)
    reader = Reader(config, {row.name: row for row in sources.all_sources(conn)}, now=now)
    settings = {source.name: source for source in config.sources}
    places = ConnectionFilter(sources=chosen.sources, platforms=chosen.platforms)
    rows = connection_pages.expiring_between(conn, places, after=now, until=now + within, limit=_LOOKED_AT)
    found: list[Expiry] = []
    for view in map(reader.view, rows):
        state, row = view.row.state, view.row
        need = need_of(state, connection=view.id, source=row.source, provider=provider_info(row.provider), now=now, within=within)
        if need is None or need.overdue or need.by <= now:
            continue
        own = settings.get(row.source)
        policy = own.policy_for(need.platform) if own else config.policy
        known_at = state.token.issued_at or row.added_at
        found.append(
            Expiry(
                connection=view.id,
                label=need.label,
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
    """A sitting, with the connections that are seen to in it."""

    sitting: ReconnectBatch
    provider: str
    link: str | None
    """Where it is done, None where the configuration does not name the source any more."""
    connections: tuple[ConnectionView, ...]
    """In the order of the sitting's needs."""

    def json(self) -> json_types.ReconnectBatchJson:
        """The shape of a sitting."""
        sitting = self.sitting
        return json_types.ReconnectBatchJson(
            overdue=sitting.overdue,
            first_at=utc_text(sitting.first),
            last_at=utc_text(sitting.last),
            source=sitting.source,
            provider=self.provider,
            platform=sitting.platform,
            link=self.link,
            count=len(sitting.needs),
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
    """What needs a person now, and what will within this time, by sittings: the broken first, then by date."""
    chosen = resolve_labels(filters, config)
    known = {row.name: row for row in sources.all_sources(conn)}
    reader = Reader(config, known, now=now, suppressions=Suppressions.read(conn, now))
    rows = connection_queries.list_connections(
        conn,
        ConnectionFilter(sources=chosen.sources, platforms=chosen.platforms),
        worst_first=False,
        only=connection_queries.needing_attention_by(now, now + within),
    )
    views: dict[str, ConnectionView] = {}
    needs = []
    for view in map(reader.view, rows):
        info = provider_info(view.row.provider)
        need = need_of(view.row.state, connection=view.id, source=view.row.source, provider=info, now=now, within=within)
        if need is not None and chosen.matches_status(need.status):
            needs.append(need)
            views[view.id] = view
    links = {source.name: source.dashboard_url for source in config.sources}
    return [_seen(sitting, views, links.get(sitting.source)) for sitting in reconnect_batches(needs)]


def _seen(sitting: ReconnectBatch, views: Mapping[str, ConnectionView], link: str | None) -> ReconnectBatchView:
    there = tuple(views[need.connection] for need in sitting.needs)
    return ReconnectBatchView(sitting=sitting, provider=there[0].row.provider, link=link, connections=there)
