"""Sources and channels as they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from monitor.config import Config, SourceConfig
from monitor.domain import IncidentReason, SourceStatus, utc_text
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.records import Record, replace
from monitor.domain.rules.advice import source_advice
from monitor.domain.rules.expiry import CLOCK_SUSPECT_ABOVE, CLOCK_UNTRUSTED_ABOVE
from monitor.domain.rules.freshness import STALE_AFTER_INTERVALS
from monitor.domain.rules.schedule import Round, full_round, poll_requests
from monitor.domain.rules.unreadable_rows import is_failing
from monitor.domain.timefmt import span
from monitor.store import Connection, channel_states, connection_queries, sources
from monitor.store.channel_states import ChannelState
from monitor.store.sources import ScopeRow, SourceRow
from monitor.views import json_types
from monitor.views.label_filter import resolve_labels


class ChannelView(Record, frozen=True, kw_only=True):
    """A channel at one instant."""

    name: str
    problem: str | None
    """The last failure as a sentence, None while the channel works."""
    failing_since: datetime | None
    broken: bool
    """The service refuses permanently: deliveries are retried hourly, and an operator must act."""
    last_success_at: datetime | None

    def json(self) -> json_types.ChannelJson:
        """Return the JSON form of the channel."""
        return json_types.ChannelJson(
            name=self.name,
            problem=self.problem,
            failing_since=utc_text(self.failing_since),
            broken=self.broken,
            last_success_at=utc_text(self.last_success_at),
        )


def channel_views(conn: Connection, config: Config) -> list[ChannelView]:
    """Return every configured channel, in the order of the configuration."""
    states = channel_states.all_states(conn)
    return [_view(states.get(channel.name, ChannelState(name=channel.name))) for channel in config.channels]


def _view(state: ChannelState) -> ChannelView:
    return ChannelView(
        name=state.name,
        problem=state.problem,
        failing_since=state.failing_since,
        broken=state.broken,
        last_success_at=state.last_success_at,
    )


def describe_unmonitored_users(number: int) -> str:
    """Return the warning about managed users whose connections are not monitored."""
    some = "a user" if number == 1 else f"{number} users"
    return f'The key manages {some} whose connections are not monitored: set users = "all", or "none" if that is intended.'


HOOK_SILENT = "hook_silent"
SILENT_AFTER = 3
"""Polls in a row with changes that no delivery announced, from which a hook counts as silent."""
OVERDUE_AFTER = timedelta(minutes=2)
"""Delay of a poll from which it is reported."""


class SourceView(Record, frozen=True, kw_only=True):
    """A source at one instant."""

    name: str
    provider: str
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
    """None if the source is no longer configured."""
    clock_skew: float | None = None
    """Its clock minus this machine's in seconds, at the last poll that reported it."""
    unmonitored_users: int = 0
    """Managed users whose connections are not monitored, because `users` is not set."""
    unannounced_changes: int = 0
    """Polls in a row that found changes which no delivery of the service had announced."""
    scopes: int = 1
    """The number of scopes in its last list: the key's owner, managed users, workspaces."""

    @property
    def advice(self) -> str:
        """Advice about its status; empty if no action is needed."""
        reason = IncidentReason.ROWS_UNREADABLE if self.reason == IncidentReason.ROWS_UNREADABLE else self.status
        return source_advice(reason, self.provider)

    @property
    def flags(self) -> tuple[str, ...]:
        """`hook_silent` if its service no longer announces changes."""
        hooked = self.settings is not None and self.settings.hook is not None
        return (HOOK_SILENT,) if hooked and self.unannounced_changes >= SILENT_AFTER else ()

    @property
    def unread(self) -> bool:
        """True if it cannot be read now, or was never read."""
        return self.status is not SourceStatus.OK

    @property
    def stale(self) -> bool:
        """True if it was last read more than three poll intervals ago, or never."""
        return self.last_success_at is None or self.now - self.last_success_at > STALE_AFTER_INTERVALS * self.poll_every

    @property
    def round(self) -> Round | None:
        """The time that its request budget allows for, by its last list; None if it is no longer configured."""
        if self.settings is None:
            return None
        return full_round(
            self.connections,
            requests_per_minute=self.settings.requests_per_minute,
            probes=self.settings.probe,
            probe_every=self.settings.probe_every,
            polling=poll_requests(self.settings.info, connections=self.connections, scopes=self.scopes),
        )

    @property
    def probe_round(self) -> timedelta | None:
        """The time to probe every connection once within the request budget; None if it has no probes."""
        return self.round.probed if self.round else None

    def problems(self) -> Iterator[str]:
        """Yield its problems, one sentence each."""
        if self.status in (SourceStatus.FAILING, SourceStatus.UNAUTHORIZED):
            yield self.message or f"Its status is {self.status}."
        elif self.status is SourceStatus.PENDING:
            yield self.message or "It has not been polled yet."
        elif self.message:
            yield self.message
        if self.settings is None:
            yield "It is no longer configured."
        elif self.next_poll_at is not None and self.now - self.next_poll_at > OVERDUE_AFTER:
            yield f"Its poll is overdue by {span(self.now - self.next_poll_at)}: check that the daemon is running."
        if HOOK_SILENT in self.flags:
            yield f"{self.unannounced_changes} polls in a row found changes that no hook announced: check it at the service."
        if self.unmonitored_users:
            yield describe_unmonitored_users(self.unmonitored_users)
        yield from self._clock_problem()
        yield from self._pace_problem()

    def _clock_problem(self) -> Iterator[str]:
        skew = self.clock_skew
        if skew is None or abs(skew) <= CLOCK_SUSPECT_ABOVE:
            return
        differ = f"Its clock is {span(timedelta(seconds=abs(skew)))} {'ahead of' if skew > 0 else 'behind'} this machine's"
        untrusted = ", so dates count when they have passed on both clocks" if abs(skew) > CLOCK_UNTRUSTED_ABOVE else ""
        yield f"{differ}{untrusted}: synchronize this machine's clock with NTP."

    def _pace_problem(self) -> Iterator[str]:
        pace = self.round
        if pace is not None and pace.too_slow and pace.probed is not None and pace.probe_every is not None:
            lasts, every = span(pace.probed), span(pace.probe_every)
            yield f"Probing all its connections takes {lasts} within its request budget, longer than probe_every ({every})."

    def json(self) -> json_types.SourceJson:
        """Return the JSON form of the source (INTERFACE: JSON)."""
        return json_types.SourceJson(
            name=self.name,
            provider=self.provider,
            status=self.status,
            reason=self.reason,
            message=self.message,
            last_poll_at=utc_text(self.last_poll_at),
            last_success_at=utc_text(self.last_success_at),
            connections=self.connections,
            flags=list(self.flags),
            clock_skew_seconds=None if self.clock_skew is None else round(self.clock_skew, 1),
        )


def source_views(
    conn: Connection, config: Config, *, now: datetime, filters: ConnectionFilter = EVERY, by_status: bool = True
) -> list[SourceView]:
    """Return the sources that match, ordered by name, including configured ones that were never polled.

    A condition on platforms keeps the sources that have a connection on one of them. Without `by_status` the condition on
    the status is on connections and is ignored here.
    """
    chosen = resolve_labels(conn, filters, config)
    bound = chosen.stored_labels is not None and chosen.stored_labels.bound
    visible = ConnectionFilter(stored_labels=chosen.stored_labels, bound_to=chosen.bound_to)
    scopes = connection_queries.scopes_with(conn, visible) if bound else None
    unreadable: dict[str, list[ScopeRow]] = {}
    for scope in sources.all_scopes(conn, unreadable=True):
        if scopes is None or (scope.source, scope.scope) in scopes:
            unreadable.setdefault(scope.source, []).append(scope)
    stored = _all_views(sources.all_sources(conn), config, now, sources.scope_counts(conn))
    found = {view.name: _with_unreadable_rows(view, unreadable.get(view.name, ())) for view in stored}
    views = [found[name] for name in sorted(found) if chosen.sources is None or name in chosen.sources]
    if chosen.stored_labels is not None:
        views = [view for view in views if view.name in chosen.stored_labels.sources]
    if by_status:
        views = [view for view in views if chosen.matches_status(view.status)]
    if chosen.platforms is not None:
        there = connection_queries.sources_with(conn, replace(visible, platforms=chosen.platforms))
        views = [view for view in views if view.name in there]
    return _limited(conn, views, chosen) if bound else views


def _limited(conn: Connection, views: Iterable[SourceView], chosen: ConnectionFilter) -> list[SourceView]:
    """Return the views for a user who is bound to labels: without errors, and with the counts of these connections."""
    counts = Counter[str]()
    for group in connection_queries.count_groups(conn, replace(chosen, statuses=None)):
        counts[group.source] += group.number
    return [
        replace(
            view,
            reason=str(view.status),
            message=None,
            next_poll_at=None,
            connections=counts[view.name],
            clock_skew=None,
            unmonitored_users=0,
            unannounced_changes=0,
            scopes=1,
        )
        for view in views
    ]


def _with_unreadable_rows(view: SourceView, scopes: Iterable[ScopeRow]) -> SourceView:
    """Return the view as failing if rows of its last lists cannot be read: what is not read is not monitored."""
    confirm = view.settings.policy_for("").confirm_failures if view.settings else 1
    for each in scopes:
        failing = is_failing(each.unreadable, each.connections, polls=each.unreadable_polls, confirm=confirm)
        if failing and view.status is SourceStatus.OK:
            return replace(view, status=SourceStatus.FAILING, reason=IncidentReason.ROWS_UNREADABLE, message=each.problem)
    return view


def _all_views(rows: Iterable[SourceRow], config: Config, now: datetime, listed: Mapping[str, int]) -> Iterator[SourceView]:
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
            scopes=listed.get(row.name, 1),
            clock_skew=row.clock_skew,
            unannounced_changes=row.unannounced_changes,
            unmonitored_users=row.unmonitored_users if own is not None and own.users_unset else 0,
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
