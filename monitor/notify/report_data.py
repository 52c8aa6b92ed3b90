"""The data of a report, read from the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.config import ChannelConfig, SourceConfig
from monitor.domain import SourceStatus, Status, provider_info
from monitor.domain.filters import EVERY, ConnectionFilter, StoredLabels
from monitor.domain.records import replace
from monitor.domain.rules import freshness, uptime
from monitor.domain.rules.forecast import Need, need_of, reconnect_batches
from monitor.domain.rules.globs import matches_any
from monitor.domain.rules.labels import group_of
from monitor.domain.rules.uptime import Change, Hours, Span
from monitor.notify.messages.report import GroupUptime, Report, ReportLine, UnreadSource
from monitor.store import Connection, connection_queries, label_sets, report_rows
from monitor.store import sources as stored_sources
from monitor.store.report_rows import ReportRow
from monitor.store.sources import SourceRow

AHEAD = timedelta(days=30)
"""The period ahead whose expiries a report lists."""
_UNREAD = frozenset({SourceStatus.FAILING, SourceStatus.UNAUTHORIZED})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportScope:
    """The connections and the period that a report covers."""

    filters: ConnectionFilter = EVERY
    """Without conditions on the status or unresolved labels."""
    group_by: str = "client"
    days: int = 7
    """The period that it looks back on."""


def scope_of(
    conn: Connection, channel: ChannelConfig, sources: Sequence[SourceConfig], *, also: ConnectionFilter = EVERY
) -> ReportScope:
    """Return what a channel's report is about: the connections that match its filters, those of its report, and `also`."""
    plan = channel.report
    filters = also
    conditions = [(channel.sources, channel.platforms, channel.labels)]
    if plan is not None:
        conditions.append((plan.sources, plan.platforms, plan.labels))
    for names, platforms, labels in conditions:
        if names is not None:
            filters = replace(filters, sources=_matching(filters.sources, [source.name for source in sources], names))
        if platforms is not None:
            filters = replace(filters, platforms=_matching(filters.platforms, connection_queries.platforms(conn), platforms))
        if labels:
            stored = label_sets.resolve(conn, labels, {source.name: source.labels for source in sources})
            filters = replace(filters, stored_labels=_both(filters.stored_labels, stored))
    return ReportScope(filters=filters, group_by=channel.group_by, days=7 if plan is None else plan.days)


def _matching(chosen: Collection[str] | None, known: Iterable[str], patterns: Sequence[str]) -> frozenset[str]:
    return frozenset(name for name in known if matches_any(name, patterns) and (chosen is None or name in chosen))


def _both(first: StoredLabels | None, second: StoredLabels) -> StoredLabels:
    if first is None:
        return second
    return StoredLabels(sets=first.sets & second.sets, own=first.own & second.own, sources=first.sources & second.sources)


@dataclass(slots=True)
class _Sums:
    """The connections of one group."""

    connections: int = 0
    hours: Hours = field(default_factory=Hours)
    before: Hours = field(default_factory=Hours)


def read_report(
    conn: Connection, scope: ReportScope, sources: Sequence[SourceConfig], *, now: datetime, with_lines: bool = False
) -> Report:
    """Return the report about these connections, `with_lines` also one entry for each of them.

    Its cost grows with their number and with what happened in the period and the one before it.
    """
    begin = now - timedelta(days=scope.days)
    since = begin - timedelta(days=scope.days)
    known = {row.name: row for row in stored_sources.all_sources(conn)}
    every = {source.name: source.poll_every for source in sources}
    labels = _LabelReader(conn, sources)
    history = _History(conn, scope, known.values(), every, since=since, now=now)
    lines, sums, counts = [], dict[str, _Sums](), dict.fromkeys(Status, 0)
    for row in history.rows:
        values = labels.of(row.source, row.label_set)
        group = sums.setdefault(group_of(values, scope.group_by), _Sums())
        hours = history.hours(row, begin, now)
        group.hours += hours
        group.before += history.hours(row, since, begin)
        if row.retired_at is not None:
            continue
        group.connections += 1
        counts[row.status] += 1
        if with_lines:
            lines.append(_line(row, values, group_of(values, scope.group_by), hours))
    recovered = history.recovered(begin)
    return Report(
        now=now,
        days=scope.days,
        ahead=AHEAD,
        group_by=scope.group_by,
        batches=reconnect_batches(_needs(conn, scope, labels, now=now)),
        counts=counts,
        groups=_lowest_first(sums),
        hours=sum((each.hours for each in sums.values()), Hours()),
        before=sum((each.before for each in sums.values()), Hours()),
        recovered=len(recovered),
        recovery=uptime.recovery_times([each for each in recovered if each is not None]),
        unread=tuple(_unread(scope.filters, known.values(), every, now=now)),
        lines=tuple(lines),
    )


def _line(row: ReportRow, labels: Mapping[str, str], group: str, hours: Hours) -> ReportLine:
    return ReportLine(
        connection=row.public_id,
        name=row.display_name or row.username or "",
        platform=row.platform,
        source=row.source,
        group=group,
        labels=labels,
        status=row.status,
        since=row.since,
        expires_at=row.expires_at,
        hours=hours,
    )


def _needs(conn: Connection, scope: ReportScope, labels: _LabelReader, *, now: datetime) -> list[Need]:
    due = connection_queries.needing_attention_by(now, now + AHEAD)
    rows = connection_queries.list_connections(conn, scope.filters, worst_first=False, only=due)
    found = (
        need_of(
            row.state,
            connection=row.public_id,
            source=row.source,
            provider=provider_info(row.provider),
            now=now,
            within=AHEAD,
            group=group_of(labels.of(row.source, row.label_set), scope.group_by),
        )
        for row in rows
    )
    return [need for need in found if need is not None]


def _lowest_first(sums: Mapping[str, _Sums]) -> tuple[GroupUptime, ...]:
    """Return the groups, those with the lowest uptime first, and those without any observation last."""
    found = [
        GroupUptime(name=name, connections=each.connections, hours=each.hours, before=each.before) for name, each in sums.items()
    ]
    return tuple(sorted(found, key=lambda group: (group.hours.uptime is None, group.hours.uptime or 0.0, group.name.casefold())))


def _unread(
    filters: ConnectionFilter, rows: Iterable[SourceRow], every: Mapping[str, timedelta], *, now: datetime
) -> Iterable[UnreadSource]:
    for row in rows:
        if filters.sources is not None and row.name not in filters.sources:
            continue
        if filters.stored_labels is not None and row.name not in filters.stored_labels.sources:
            continue
        if row.status in _UNREAD or row.last_success_at is None or _open_gap(row, every, now) is not None:
            yield UnreadSource(name=row.name, since=row.last_success_at, problem=row.message)


def _open_gap(row: SourceRow, every: Mapping[str, timedelta], now: datetime) -> Span | None:
    """Return the time for which a source has not been observed until now; None if it is."""
    if row.last_success_at is None or row.name not in every:
        return None
    longest = max(freshness.STALE_AFTER_INTERVALS * every[row.name], freshness.SHORTEST_GAP)
    return (row.last_success_at, now) if now - row.last_success_at > longest else None


class _LabelReader:
    """The labels of connections."""

    def __init__(self, conn: Connection, sources: Sequence[SourceConfig]) -> None:
        self._sets = label_sets.all_sets(conn)
        self._own = {source.name: source.labels for source in sources}

    def of(self, source: str, label_set: int | None) -> Mapping[str, str]:
        """Return the labels of a connection; those of its source until it is labelled."""
        found = None if label_set is None else self._sets.get(label_set)
        return self._own.get(source, {}) if found is None else found.values


class _History:
    """The history of connections since an instant."""

    def __init__(
        self,
        conn: Connection,
        scope: ReportScope,
        known: Iterable[SourceRow],
        every: Mapping[str, timedelta],
        *,
        since: datetime,
        now: datetime,
    ) -> None:
        self._conn, self._since = conn, since
        self.rows = report_rows.connections_since(conn, scope.filters, since)
        self._changes = report_rows.status_changes(conn, since)
        gaps = report_rows.gaps_since(conn, since)
        for row in known:
            still = _open_gap(row, every, now)
            if still is not None:
                gaps.setdefault(row.name, []).append(still)
        self._gaps = {name: uptime.joined(spans) for name, spans in gaps.items()}

    def hours(self, row: ReportRow, begin: datetime, end: datetime) -> Hours:
        """Return the hours of a connection from `begin` to `end`, from when it was added until it was retired."""
        first = max(begin, row.added_at)
        last = end if row.retired_at is None else min(end, row.retired_at)
        if first >= last:
            return Hours()
        return uptime.hours_of(
            row.status, self._changes.get(row.id, ()), begin=first, end=last, gaps=self._gaps.get(row.source, ())
        )

    def recovered(self, begin: datetime) -> list[timedelta | None]:
        """Return how long the recoveries since `begin` took; None where that is not known."""
        found: list[timedelta | None] = []
        open_before: dict[int, Sequence[Change]] = {}
        for row in self.rows:
            changes = self._changes.get(row.id)
            if not changes:
                continue
            for each in uptime.recoveries(changes):
                if each.ended_at < begin:
                    continue
                if each.began_at is None:
                    open_before[row.id] = changes
                else:
                    found.append(each.ended_at - each.began_at)
        earlier = report_rows.earlier_changes(self._conn, open_before, self._since)
        for key, later in open_before.items():
            first = next(each for each in uptime.recoveries([*earlier.get(key, ()), *later]) if each.ended_at >= begin)
            found.append(None if first.began_at is None else first.ended_at - first.began_at)
        return found
