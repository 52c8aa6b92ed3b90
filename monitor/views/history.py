"""What happened to one connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from monitor.domain import HistoryEntry, utc_text
from monitor.domain.rules import silences as rules
from monitor.store import history, silences
from monitor.store.connections import ConnectionRow
from monitor.views.gaps import gap_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One entry of a history, with what it belongs to."""

    connection: str | None
    """The connection's public id, None for a source's own entry."""
    source: str
    entry: HistoryEntry

    def json(self) -> dict[str, Any]:
        """The shape of an event."""
        return {
            "connection": self.connection,
            "source": self.source,
            "at": utc_text(self.entry.at),
            "kind": self.entry.kind,
            "old": self.entry.old,
            "new": self.entry.new,
            "reason": self.entry.reason,
            "message": self.entry.message,
        }


def event_views(
    conn: Connection,
    row: ConnectionRow,
    *,
    labels: Mapping[str, str] | None = None,
    now: datetime | None = None,
    poll_every: timedelta | None = None,
) -> list[EventView]:
    """A connection's history, oldest first, with the silences that match it and the gaps in which nobody looked.

    `labels` are those of its source. With `now` and the source's configured interval a gap that lasts is there as well.
    """
    entries = [*history.history_of(conn, row.id), *_silenced(conn, row, labels or {})]
    until, every = row.retired_at, poll_every if now is not None else None
    entries += gap_entries(conn, row.source, since=row.added_at, until=until, now=now or row.added_at, poll_every=every)
    entries.sort(key=lambda entry: entry.at)
    return [EventView(connection=row.public_id, source=row.source, entry=entry) for entry in entries]


def _silenced(conn: Connection, row: ConnectionRow, labels: Mapping[str, str]) -> Iterator[HistoryEntry]:
    """A silence is noted once, however many connections it matches."""
    noted = [entry for entry in history.silencing(conn) if row.retired_at is None or entry.at <= row.retired_at]
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
