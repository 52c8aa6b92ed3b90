"""What happened to one connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from monitor.model import HistoryEntry, utc_text
from monitor.store import history
from monitor.store.connections import ConnectionRow


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


def event_views(conn: Connection, row: ConnectionRow) -> list[EventView]:
    """A connection's history, oldest first."""
    return [EventView(connection=row.public_id, source=row.source, entry=entry) for entry in history.history_of(conn, row.id)]
