"""Doubts about stored data: connections that were not read recently, and sources that cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from monitor.domain import SourceStatus, Status
from monitor.domain.filters import ConnectionFilter
from monitor.domain.records import Record, field, replace
from monitor.domain.text import clean
from monitor.domain.timefmt import Times
from monitor.store import Connection, connection_queries, sources
from monitor.store.connection_queries import ObservedGroup
from monitor.views.connections import Reader
from monitor.views.sources import SourceView

_NAMED = 5
"""Sources that a sentence names."""


class Stale(Record):
    """Counts of connections whose data is stale."""

    by_status: Counter[Status] = field(default_factory=Counter)
    first: datetime | None = None
    """When the oldest of this data was read."""
    last: datetime | None = None
    """When the newest of this data was read."""
    never: bool = False
    """True if a part of it was never read completely."""

    def add(self, status: Status, at: datetime | None, number: int = 1) -> None:
        """Count connections that were read at this time."""
        self.by_status[status] += number
        if at is None:
            self.never = True
        else:
            self.first = at if self.first is None else min(self.first, at)
            self.last = at if self.last is None else max(self.last, at)

    @property
    def total(self) -> int:
        """The number of all of them."""
        return self.by_status.total()


def stale_groups(conn: Connection, reader: Reader, chosen: ConnectionFilter) -> list[ObservedGroup]:
    """Return the selected connections whose data is stale, counted by stored status; `at` is when they were read."""
    suspects = sources_with_old_data(conn, reader)
    if chosen.sources is not None:
        suspects &= set(chosen.sources)
    if not suspects:
        return []
    groups = connection_queries.count_observed(conn, replace(chosen, sources=sorted(suspects)))
    return [
        each._replace(at=reader.observed_at(each.source, missing=each.missing, seen_at=each.at))
        for each in groups
        if reader.is_stale(each.source, missing=each.missing, observed_at=each.at)
    ]


def sources_with_old_data(conn: Connection, reader: Reader) -> set[str]:
    """Return the sources that may have stale connections: few scopes answer what many connections would."""
    oldest = sources.oldest_complete(conn)
    return {
        name
        for name, row in reader.sources.items()
        if reader.is_stale(name, missing=False, observed_at=oldest.get(name))
        or reader.is_stale(name, missing=False, observed_at=row.last_success_at)
    }


class Doubts(Record, frozen=True, kw_only=True):
    """The reasons for which healthy connections are not certain to be healthy."""

    sources: int = 0
    """The number of all sources that match."""
    refused: tuple[str, ...] = ()
    """Names of the sources that cannot be read."""
    pending: int = 0
    """The number of sources that were never read."""
    overdue: int = 0
    """The number of sources that can be read but were not for three poll intervals."""
    stale: Stale = field(default_factory=Stale)
    since: str = ""
    """When the stale data was read, as a text that completes "not read"; empty without stale data."""

    @property
    def any(self) -> bool:
        """True if there is a doubt."""
        return bool(self.refused or self.pending or self.overdue or self.stale.total)

    @property
    def unconfirmed(self) -> int:
        """The number of connections that would count as healthy if their data was not stale."""
        return sum(number for status, number in self.stale.by_status.items() if not status.needs_attention)

    def about_sources(self) -> Iterator[str]:
        """Yield a sentence for sources that cannot be read, that were never read, and that are overdue without stale data."""
        if self.refused:
            named = ", ".join(clean(name) for name in self.refused[:_NAMED])
            more = f" and {len(self.refused) - _NAMED} more" if len(self.refused) > _NAMED else ""
            yield f"{self._of(len(self.refused))} cannot be read: {named}{more}."
        if self.pending:
            yield f"{self._of(self.pending)} {'has' if self.pending == 1 else 'have'} not been read yet."
        if self.overdue and not self.stale.total:
            yield f"{self._of(self.overdue)} {'was' if self.overdue == 1 else 'were'} not read for three poll intervals."

    def about_data(self) -> Iterator[str]:
        """Yield a sentence about stale data."""
        number = self.stale.total
        if number:
            yield f"The data of {number:,} connection{'' if number == 1 else 's'} is stale: not read {self.since}."

    def _of(self, number: int) -> str:
        return f"{number:,} of {self.sources:,} source{'' if self.sources == 1 else 's'}"


def doubts(views: Collection[SourceView], stale: Stale, *, times: Times, failed: Collection[str] = ()) -> Doubts:
    """Return the doubts about these sources and their stale connections. `failed` are sources that failed just now."""
    refused = [view.name for view in views if view.name in failed or view.status not in (SourceStatus.OK, SourceStatus.PENDING)]
    pending = [view for view in views if view.status is SourceStatus.PENDING and view.name not in failed]
    overdue = [view for view in views if view.status is SourceStatus.OK and view.stale and view.name not in failed]
    return Doubts(
        sources=len(views),
        refused=tuple(refused),
        pending=len(pending),
        overdue=len(overdue),
        stale=stale,
        since=_since(stale, times),
    )


def _since(stale: Stale, times: Times) -> str:
    if stale.last is None:
        return "yet"
    exact = times.exact(stale.last)
    return f"since {exact}" if stale.first == stale.last and not stale.never else f"since {exact} or earlier"


def count(groups: Iterable[ObservedGroup]) -> Stale:
    """Return the counts of these groups."""
    found = Stale()
    for each in groups:
        found.add(each.status, each.at, each.number)
    return found
