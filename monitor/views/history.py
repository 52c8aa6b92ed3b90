"""The history of a connection, with gaps in monitoring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from monitor.domain import Event, EventKind, utc_text
from monitor.domain.rules import freshness
from monitor.domain.rules import silences as rules
from monitor.domain.rules.freshness import Gap
from monitor.store import Connection, history, silences, sources
from monitor.store.connection_queries import ConnectionRow
from monitor.views import json_types


def gaps_of(
    conn: Connection, source: str, *, now: datetime, poll_every: timedelta | None, since: datetime | None = None
) -> list[Gap]:
    """Return the gaps of a source that end after `since`, oldest first; the last one may be open (ended_at is None).

    `poll_every` is the configured interval, None if the source is no longer configured.
    """
    found = [gap for gap in map(_over, history.of_source(conn, source, kind=EventKind.GAP)) if gap is not None]
    found += _lasting(conn, source, now=now, poll_every=poll_every)
    return [gap for gap in found if since is None or gap.ended_at is None or gap.ended_at > since]


def gap_entries(
    conn: Connection, source: str, *, since: datetime, until: datetime | None, now: datetime, poll_every: timedelta | None
) -> Iterator[Event]:
    """Yield the gaps between two instants (`until` None: up to now) as events. `new` is None for an open gap."""
    for gap in gaps_of(conn, source, now=now, poll_every=poll_every, since=since):
        if until is None or gap.began_at < until:
            at = gap.ended_at or now
            yield Event(
                kind=EventKind.GAP,
                at=at,
                old=utc_text(gap.began_at),
                new=utc_text(gap.ended_at),
                reason=gap.reason,
                message=freshness.describe_gap(gap, until=at),
            )


def _over(entry: Event) -> Gap | None:
    if entry.old is None:
        return None
    began_at = datetime.fromisoformat(entry.old).astimezone(UTC)
    return Gap(began_at=began_at, ended_at=entry.at, reason=entry.reason or freshness.NOT_POLLED)


def _lasting(conn: Connection, source: str, *, now: datetime, poll_every: timedelta | None) -> Iterator[Gap]:
    row = sources.find_source(conn, source)
    if row is None or poll_every is None or row.removed_at is not None:
        return
    found = freshness.find_gap(
        last_success_at=row.last_success_at,
        last_poll_at=row.last_poll_at,
        failures=row.failures,
        poll_every=poll_every,
        now=now,
        clock_skew=row.clock_skew,
    )
    if found is not None:
        yield found


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """An event with its connection and source."""

    connection: str | None
    """The connection's public id, None for an event of the source."""
    source: str
    entry: Event

    @property
    def new(self) -> str | None:
        """The new value for display: a silence is stored by its number alone."""
        is_silence = self.entry.kind in (EventKind.SILENCED, EventKind.UNSILENCED) and self.entry.new
        return f"silence {self.entry.new}" if is_silence else self.entry.new

    def json(self) -> json_types.EventJson:
        """Return the JSON form of the event."""
        return json_types.EventJson(
            connection=self.connection,
            source=self.source,
            at=utc_text(self.entry.at),
            kind=self.entry.kind,
            old=self.entry.old,
            new=self.entry.new,
            reason=self.entry.reason,
            message=self.entry.message,
            author=self.entry.author,
        )


def event_views(
    conn: Connection,
    row: ConnectionRow,
    *,
    labels: Mapping[str, str] | None = None,
    now: datetime | None = None,
    poll_every: timedelta | None = None,
) -> list[EventView]:
    """Return a connection's history, oldest first, including the silences that match it and the gaps in monitoring.

    `labels` are those of its source. An open gap is included only with `now` and the source's configured interval.
    """
    entries = [*history.history_of(conn, row.id), *_silenced(conn, row, labels or {})]
    until, every = row.retired_at, poll_every if now is not None else None
    entries += gap_entries(conn, row.source, since=row.added_at, until=until, now=now or row.added_at, poll_every=every)
    entries.sort(key=lambda entry: entry.at)
    return [EventView(connection=row.public_id, source=row.source, entry=entry) for entry in entries]


def _silenced(conn: Connection, row: ConnectionRow, labels: Mapping[str, str]) -> Iterator[Event]:
    """Yield the events of silences that match the connection: a silence is stored once for all that it matches."""
    noted = [entry for entry in history.silence_events(conn) if row.retired_at is None or entry.at <= row.retired_at]
    matching = {
        str(silence.id)
        for silence in (silences.list_silences(conn, include_removed=True) if noted else ())
        if rules.matches(
            silence,
            source=row.source,
            platform=row.state.snapshot.platform,
            connection=row.public_id,
            external_id=row.state.snapshot.external_id,
            labels=labels,
        )
    }
    for entry in noted:
        if entry.new in matching:
            yield entry
