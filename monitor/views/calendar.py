"""Coming expiries, one by one, for calendars: what needs a person by a date, and nothing that changes without a reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from monitor.config import Config
from monitor.domain import ProviderKind
from monitor.domain.rules.forecast import need_of
from monitor.store import keyset, sources
from monitor.store.keyset import Wanted
from monitor.views.connections import Reader
from monitor.views.filters import Selection

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
    provider: ProviderKind
    platform: str
    external_id: str
    at: datetime
    known_at: datetime
    """Since when this date is known."""
    moved: int
    """Rises whenever the date moves."""
    link: str | None
    stages: tuple[timedelta, ...]
    """How long before the date it is warned of, the widest first."""


def coming_expiries(
    conn: Connection, config: Config, *, now: datetime, within: timedelta, selection: Selection | None = None
) -> list[Expiry]:
    """What will need a person within that time, the soonest first; what does not work any more is not among them."""
    chosen = selection or Selection()
    reader = Reader(config, {row.name: row for row in sources.all_sources(conn)}, now=now)
    settings = {source.name: source for source in config.sources}
    wanted = Wanted(sources=chosen.source_names(config), platforms=chosen.platforms)
    rows = keyset.connections_expiring(conn, wanted=wanted, after=now, before=now + within, limit=_LOOKED_AT)
    found: list[Expiry] = []
    for view in map(reader.view, rows):
        state, row = view.row.state, view.row
        need = need_of(state, connection=view.id, source=row.source, provider=row.provider, now=now, within=within)
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
                moved=max(0, int((known_at - row.added_at) / timedelta(minutes=1))),
                link=own.dashboard_url if own else None,
                stages=tuple(sorted(policy.stages, reverse=True)),
            )
        )
        if len(found) == MOST:
            break
    return found
