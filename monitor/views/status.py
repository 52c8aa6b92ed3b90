"""The status overview: counts, worst connections, and the headline."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from monitor.config import Config
from monitor.domain import Severity, Status, utc_text
from monitor.domain.errors import StoreError
from monitor.domain.filters import EVERY, ConnectionFilter
from monitor.domain.records import Record, replace
from monitor.domain.rules.freshness import STALE_AFTER_INTERVALS
from monitor.domain.timefmt import span
from monitor.engine.applied_config import LastReload, last_reload
from monitor.store import Connection, connection_pages, connection_queries, outbox, sources
from monitor.store.connection_pages import Order
from monitor.store.connection_queries import ConnectionRow
from monitor.store.lock import DaemonLock, Holder
from monitor.views.connections import ConnectionView, Reader, Suppressions
from monitor.views.label_filter import resolve_labels
from monitor.views.sources import SourceView, source_views
from monitor.views.staleness import Doubts, Stale, stale_groups
from monitor.views.staleness import count as count_stale


def late_sources(conn: Connection, config: Config, *, now: datetime) -> list[str]:
    """Return one sentence for each configured source that is not polled in time.

    A failed poll counts as a poll: an API's failure is not the monitor's.
    """
    return list(_late(source_views(conn, config, now=now), now))


def _late(views: list[SourceView], now: datetime) -> Iterator[str]:
    for view in views:
        if view.settings is None:
            continue
        if view.last_poll_at is None:
            yield f"The source {view.name} has not been polled yet."
        elif now - view.last_poll_at > STALE_AFTER_INTERVALS * view.poll_every:
            yield (
                f"The source {view.name} was polled last {span(now - view.last_poll_at)} ago, "
                f"more than {STALE_AFTER_INTERVALS} intervals of {span(view.poll_every)}."
            )


LATE_AFTER = timedelta(minutes=2)
"""Delay of a delivery from which it is reported."""


class OverdueDeliveries(Record, frozen=True):
    """Overdue deliveries of one channel."""

    channel: str
    number: int
    since: datetime
    """When the oldest one was queued."""


class DaemonStatus(Record, frozen=True, kw_only=True):
    """The daemon of a database and its overdue deliveries."""

    running: bool
    """True if a daemon uses the database, or if that cannot be determined."""
    holder: Holder | None
    overdue: tuple[OverdueDeliveries, ...]
    rejected: LastReload | None = None
    """The last reload if it was rejected, so that the previous configuration is in force."""


def daemon_status(conn: Connection, url: str, *, now: datetime) -> DaemonStatus:
    """Return the status of the daemon of the database at this URL."""
    try:
        holder = DaemonLock(url).holder()
    except StoreError:  # not readable by this user
        holder, running = None, True
    else:
        running = holder is not None
    overdue = tuple(OverdueDeliveries(*row) for row in outbox.overdue(conn, now - LATE_AFTER))
    reload = last_reload(conn)
    rejected = reload if reload is not None and reload.problem is not None else None
    return DaemonStatus(running=running, holder=holder, overdue=overdue, rejected=rejected)


MOST_CHANGED = 2_000
"""Most rows changed by time since they were written for which the database counts; for more, reading every row is faster."""
MOST_SOURCES = 20_000
"""Most names in one query, well below the limits of both databases."""

NEVER = datetime.max.replace(tzinfo=UTC)
"""The sort key of a missing date."""


class Counts:
    """Counts of connections."""

    def __init__(self) -> None:
        self.summary = dict.fromkeys(Status, 0)
        self.acked = self.silenced = 0
        self.stale = Stale()

    def counted(self, views: Iterable[ConnectionView]) -> Iterator[ConnectionView]:
        """Count views while yielding them, so that a hundred thousand are not kept in memory."""
        for view in views:
            self.add(view)
            yield view

    def add(self, view: ConnectionView) -> None:
        """Count one connection."""
        self.summary[view.status] += 1
        if view.stale:
            self.stale.add(view.status, view.observed_at)
        self.acked += view.acked
        self.silenced += view.silenced_until is not None and view.status.needs_attention


def worst_first(view: ConnectionView) -> tuple[int, datetime]:
    """Return the sort key for connections: by status, the worst first, then by the nearest expiry."""
    return -view.status.rank, view.expires_at or NEVER


def find(
    conn: Connection,
    reader: Reader,
    chosen: ConnectionFilter,
    *,
    limit: int,
) -> tuple[list[ConnectionView], Counts] | None:
    """Return the worst connections that match and the counts of all that match; None if reading every row is faster.

    The database counts by stored state; connections that time has changed since are read and counted individually.
    """
    if chosen.sources is not None and len(chosen.sources) > MOST_SOURCES:
        return None
    rows = connection_queries.list_connections(
        conn,
        replace(chosen, statuses=None),
        worst_first=False,
        only=connection_queries.changed_by_time(reader.now),
        limit=MOST_CHANGED + 1,
    )
    changed = list(rows)
    if len(changed) > MOST_CHANGED:
        return None
    counts = _count_stored(conn, reader, chosen, changed=changed)
    _count_suppressed(conn, reader, chosen, counts=counts, changed={row.id for row in changed})
    views = list(counts.counted(view for view in map(reader.view, changed) if chosen.matches_status(view.status)))
    stored = connection_pages.list_page(conn, chosen, order=Order.WORST, limit=limit + len(changed))
    there = {row.id for row in changed}
    views += [reader.view(row) for row in stored if row.id not in there]
    return heapq.nsmallest(limit, views, key=worst_first), counts


def _count_stored(conn: Connection, reader: Reader, chosen: ConnectionFilter, *, changed: Iterable[ConnectionRow]) -> Counts:
    """Count by stored state, without connections that time has changed."""
    counts = Counts()
    counts.summary = connection_queries.count_by_status(conn, chosen)
    stale = stale_groups(conn, reader, chosen)
    counts.stale = count_stale(stale)
    for row in changed:
        stored = row.state.verdict.status
        if chosen.matches_status(stored):
            counts.summary[stored] -= 1
            counts.stale.by_status[stored] -= reader.view(row).stale
    return counts


def _count_suppressed(
    conn: Connection,
    reader: Reader,
    chosen: ConnectionFilter,
    *,
    counts: Counts,
    changed: set[int],
) -> None:
    """Count acknowledged and silenced connections among those that need attention."""
    if not reader.suppressions.acks and not reader.suppressions.silences:
        return
    bad = [status for status in Status if status.needs_attention]
    for row in connection_queries.list_connections(conn, replace(chosen, statuses=bad), worst_first=False):
        if row.id not in changed and chosen.matches_status(row.state.verdict.status):
            view = reader.view(row)
            counts.acked += view.acked
            counts.silenced += view.silenced_until is not None


class Headline(Record, frozen=True, kw_only=True):
    """The overall state in one sentence, with details: the same on the command line and the status page."""

    tone: str
    """good, soon, bad or unsure."""
    text: str
    details: tuple[str, ...]
    """Whole sentences."""

    def __str__(self) -> str:
        return " ".join((self.text, *self.details))


def headline(
    summary: Mapping[Status, int],
    doubts: Doubts,
    *,
    acked: int = 0,
    silenced: int = 0,
    broken_channels: int = 0,
    selected: bool = False,
) -> Headline:
    """Return the headline for these counts. `selected` is True if they are of a selection, not of every connection."""
    total, bad = sum(summary.values()), [status for status in summary if status.severity is Severity.CRITICAL]
    now, soon = sum(summary[status] for status in bad), summary[Status.EXPIRING_SOON]
    channels = f"{broken_channels:,} channel{' refuses' if broken_channels == 1 else 's refuse'} every alert."
    suppressed = tuple(_suppressed(acked, silenced))
    uncertain = (*doubts.about_sources(), *doubts.about_data())
    if now:
        critical, more = _critical(summary, bad), _expiring(soon, "more ")
        details = (*critical, *more, *suppressed, *([channels] if broken_channels else []), *uncertain)
        return Headline(tone="bad", text=f"{_of(now, total)} need{'s' if now == 1 else ''} attention now.", details=details)
    if broken_channels:
        rest = uncertain if soon else (*doubts.about_sources(), *_rest(summary, doubts))
        return Headline(tone="bad", text=channels, details=(*_expiring(soon), *suppressed, *rest))
    if soon:
        tone = "bad" if doubts.refused else "soon"
        details = (*suppressed, *uncertain)
        return Headline(tone=tone, text=f"{_of(soon, total)} expire{'s' if soon == 1 else ''} soon.", details=details)
    if not total:
        return _nothing(doubts, selected=selected)
    return _healthy(summary, doubts, suppressed)


def _nothing(doubts: Doubts, *, selected: bool) -> Headline:
    """Return the headline without a connection."""
    if selected and not (doubts.refused or doubts.pending):
        return Headline(tone="unsure", text="No connection matches.", details=())
    if not doubts.sources:
        return Headline(tone="unsure", text="No source is configured.", details=())
    about = tuple(doubts.about_sources())
    if doubts.refused:
        return Headline(tone="bad", text=about[0], details=(*about[1:], "No connections are known yet."))
    if doubts.pending:
        return Headline(
            tone="unsure",
            text="No connections are known yet.",
            details=(*about, "Connections appear after the first successful poll."),
        )
    return Headline(tone="unsure", text="No connections are known.", details=("The sources list none.",))


def _healthy(summary: Mapping[Status, int], doubts: Doubts, suppressed: tuple[str, ...]) -> Headline:
    """Return the headline for connections that are all valid or unknown."""
    total, stale = sum(summary.values()), doubts.stale.total
    details = (*suppressed, *_rest(summary, doubts))
    if about := tuple(doubts.about_sources()):
        return Headline(tone="bad" if doubts.refused else "unsure", text=about[0], details=(*about[1:], *details))
    if stale:
        of = f"{stale:,} connection{'' if stale == 1 else 's'}" if stale == total else _of(stale, total)
        return Headline(tone="unsure", text=f"The data of {of} is stale.", details=details)
    if summary[Status.UNKNOWN] == total:
        return Headline(tone="unsure", text="No known problems.", details=details)
    return Headline(tone="good", text="No action needed.", details=details)


def _of(number: int, total: int) -> str:
    return f"{number:,} of {total:,} connection{'' if total == 1 else 's'}"


def _critical(summary: Mapping[Status, int], bad: Iterable[Status]) -> Iterator[str]:
    worst_first = sorted((status for status in bad if summary[status]), key=lambda status: -status.rank)
    yield ", ".join(f"{summary[status]:,} {status}" for status in worst_first) + "."


def _expiring(soon: int, more: str = "") -> Iterator[str]:
    if soon:
        yield f"{soon:,} {more}expire{'s' if soon == 1 else ''} soon."


def _suppressed(acked: int, silenced: int) -> Iterator[str]:
    counts = [(acked, "acknowledged"), (silenced, "silenced")]
    if found := [f"{number:,} {'is' if number == 1 else 'are'} {word}" for number, word in counts if number]:
        yield f"{' and '.join(found)}."


def _rest(summary: Mapping[Status, int], doubts: Doubts) -> Iterator[str]:
    """Yield a sentence about connections that are all valid or unknown; those whose data is stale count apart."""
    total = sum(summary.values())
    valid, unknown = (summary[status] - doubts.stale.by_status[status] for status in (Status.VALID, Status.UNKNOWN))
    clauses = []
    if valid == total:
        clauses.append(f"{total:,} connection{' is' if total == 1 else 's are'} valid")
    elif valid:
        clauses.append(f"{_of(valid, total)} {'is' if valid == 1 else 'are'} valid")
    if unknown == total:
        clauses.append(f"the status of {total:,} connection{'' if total == 1 else 's'} is unknown")
    elif unknown:
        clauses.append(f"the status of {unknown:,} is unknown")
    if stale := doubts.unconfirmed:
        which = f"{stale:,}" if clauses else f"{stale:,} connection{'' if stale == 1 else 's'}"
        clauses.append(f"{which} {'was' if stale == 1 else 'were'} not read {doubts.since}")
    if clauses:
        yield f"{'; '.join(clauses)[0].upper()}{'; '.join(clauses)[1:]}."


class PluginState(IntEnum):
    """A state and exit status of the monitoring-plugin convention."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Overview(Record, frozen=True, kw_only=True):
    """The connections that match a filter, and their sources."""

    now: datetime
    summary: dict[Status, int]
    """The number of connections that match by status; every status is a key."""
    sources: list[SourceView]
    connections: list[ConnectionView]
    """The worst first: by status, then by the nearest expiry; at most as many as requested."""
    stale_data: Stale
    """Counts of the connections that match and are stale."""
    acked: int = 0
    """The number that is acknowledged."""
    silenced: int = 0
    """The number that needs attention and is silenced now."""
    filters: ConnectionFilter = EVERY
    """The filter."""
    left_out: int = 0
    """The number of all connections, if none matches the filter; else 0."""

    @property
    def stale(self) -> int:
        """The number of connections that match and are stale."""
        return self.stale_data.total

    @property
    def total(self) -> int:
        """The number of connections that match."""
        return sum(self.summary.values())

    def count(self, severity: Severity) -> int:
        """Return the number of connections that match and have a status of this severity."""
        return sum(number for status, number in self.summary.items() if status.severity is severity)

    def plugin_state(self, *, unread: Collection[str] = ()) -> PluginState:
        """Return CRITICAL before UNKNOWN before WARNING (INTERFACE: Exit status). `unread` are sources that just failed."""
        if self.count(Severity.CRITICAL):
            return PluginState.CRITICAL
        if unread or self.stale or any(source.unread or source.stale for source in self.sources):
            return PluginState.UNKNOWN
        return PluginState.WARNING if self.count(Severity.WARNING) else PluginState.OK

    def json(self) -> dict[str, Any]:
        """Return the JSON form of `status --json`."""
        return {
            "generated_at": utc_text(self.now),
            "summary": {status.value: self.summary[status] for status in Status},
            "stale": self.stale,
            "sources": [source.json() for source in self.sources],
            "connections": [connection.json() for connection in self.connections],
        }


def overview(
    conn: Connection, config: Config, *, now: datetime, filters: ConnectionFilter = EVERY, limit: int | None = None
) -> Overview:
    """Return the overview with the clock applied: a trusted date that has passed counts, even if it is not stored yet.

    With a limit only that many connections are included, the worst; the counts are of all.
    """
    chosen = resolve_labels(conn, filters, config)
    known = {row.name: row for row in sources.all_sources(conn)}
    reader = Reader(config, known, now=now, suppressions=Suppressions.read(conn, now))
    found = None if limit is None else find(conn, reader, chosen, limit=limit)
    kept, counts = found or _read_all(conn, reader, chosen, limit=limit)
    return Overview(
        now=now,
        connections=kept,
        sources=source_views(conn, config, now=now, filters=chosen, by_status=False),
        summary=counts.summary,
        stale_data=counts.stale,
        acked=counts.acked,
        silenced=counts.silenced,
        filters=filters,
        left_out=0 if any(counts.summary.values()) else sum(connection_queries.count_by_status(conn).values()),
    )


def _read_all(
    conn: Connection, reader: Reader, chosen: ConnectionFilter, *, limit: int | None
) -> tuple[list[ConnectionView], Counts]:
    rows = connection_queries.list_connections(conn, replace(chosen, statuses=None), worst_first=False)
    counts = Counts()
    views = counts.counted(view for view in map(reader.view, rows) if chosen.matches_status(view.status))
    kept = sorted(views, key=worst_first) if limit is None else heapq.nsmallest(limit, views, key=worst_first)
    return kept, counts
