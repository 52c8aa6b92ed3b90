"""One source as people and programs see it: its health, its pace, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from monitor.config import Config, SourceConfig
from monitor.model import ProviderKind, SourceStatus, utc_text
from monitor.rules.wording.times import span
from monitor.store import connections, sources
from monitor.store.sources import SourceRow
from monitor.views.connections import STALE_AFTER
from monitor.views.selection import Selection

OVERDUE_AFTER = timedelta(minutes=2)
"""How late a poll may be before people are told: the daemon is busy, or there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """A source at one instant."""

    name: str
    provider: ProviderKind
    status: SourceStatus
    reason: str
    message: str | None
    last_poll_at: datetime | None
    last_success_at: datetime | None
    next_poll_at: datetime | None
    connections: int
    now: datetime
    poll_every: timedelta
    settings: SourceConfig | None
    """None where the configuration names it no more."""

    @property
    def unread(self) -> bool:
        """Whether it cannot be read now, or was never read."""
        return self.status is not SourceStatus.OK

    @property
    def stale(self) -> bool:
        """Whether it was read last more than three poll intervals ago, or never."""
        return self.last_success_at is None or self.now - self.last_success_at > STALE_AFTER * self.poll_every

    @property
    def probe_round(self) -> timedelta | None:
        """How long its request budget needs to probe every connection once; None where it has no probes."""
        if self.settings is None or not self.settings.probe:
            return None
        return timedelta(minutes=self.connections / self.settings.requests_per_minute)

    def problems(self) -> Iterator[str]:
        """What a person should know, one sentence each; nothing where all is well."""
        if self.status in (SourceStatus.FAILING, SourceStatus.UNAUTHORIZED):
            yield self.message or f"It is {self.status}."
        elif self.status is SourceStatus.PENDING:
            yield self.message or "It has not been polled yet."
        elif self.message:
            yield self.message
        if self.settings is None:
            yield "The configuration does not name it any more."
        elif self.next_poll_at is not None and self.now - self.next_poll_at > OVERDUE_AFTER:
            yield f"Its poll is overdue by {span(self.now - self.next_poll_at)}: is the daemon running?"
        yield from self._pace_problem()

    def _pace_problem(self) -> Iterator[str]:
        every = self.settings.probe_every if self.settings else None
        if self.probe_round is not None and every is not None and self.probe_round > every:
            yield f"Probing all of it takes {span(self.probe_round)} at its budget, longer than probe_every ({span(every)})."

    def json(self) -> dict[str, Any]:
        """The shape of a source (INTERFACE: JSON)."""
        return {
            "name": self.name,
            "provider": self.provider,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "last_poll_at": utc_text(self.last_poll_at),
            "last_success_at": utc_text(self.last_success_at),
            "connections": self.connections,
        }


def source_views(
    conn: Connection, config: Config, *, now: datetime, selection: Selection | None = None, by_status: bool = True
) -> list[SourceView]:
    """The selected sources by name, those included that are configured and were never polled.

    A platform filter leaves the sources with a connection on one of these platforms. Without `by_status` the
    selection's statuses are those of connections and leave the sources alone.
    """
    chosen = selection or Selection()
    names = chosen.source_names(config)
    found = {view.name: view for view in _all_views(sources.all_sources(conn), config, now)}
    views = [found[name] for name in sorted(found) if names is None or name in names]
    if by_status:
        views = [view for view in views if chosen.takes_status(view.status)]
    if chosen.platforms is not None:
        views = [view for view in views if _has_platform(conn, view.name, chosen.platforms)]
    return views


def _has_platform(conn: Connection, source: str, platforms: frozenset[str]) -> bool:
    return any(connections.count_by_status(conn, source=source, platform=platforms).values())


def _all_views(rows: Iterable[SourceRow], config: Config, now: datetime) -> Iterator[SourceView]:
    settings = {source.name: source for source in config.sources}
    stored = {row.name: row for row in rows}
    for row in stored.values():
        own = settings.get(row.name)
        yield SourceView(
            name=row.name,
            provider=row.provider,
            status=row.status,
            reason=row.reason,
            message=row.message or None,
            last_poll_at=row.last_poll_at,
            last_success_at=row.last_success_at,
            next_poll_at=row.next_poll_at,
            connections=row.connections,
            now=now,
            poll_every=own.poll_every if own else config.schedule.poll_every,
            settings=own,
        )
    for own in settings.values():
        if own.name not in stored:
            yield _never_polled(own, now)


def _never_polled(settings: SourceConfig, now: datetime) -> SourceView:
    return SourceView(
        name=settings.name,
        provider=settings.provider,
        status=SourceStatus.PENDING,
        reason="not_polled_yet",
        message="This source has not been polled yet.",
        last_poll_at=None,
        last_success_at=None,
        next_poll_at=None,
        connections=0,
        now=now,
        poll_every=settings.poll_every,
        settings=settings,
    )
