"""Polls that deliveries of services cause."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from monitor.config import SourceConfig
from monitor.store import Connection, sources
from monitor.store.sources import SourceRow


def plan_hook_poll(conn: Connection, source: SourceConfig, now: datetime) -> None:
    """Record that the service announced a change, and make the next poll due now."""
    row = sources.find_source(conn, source.name)
    if row is None or row.removed_at is not None:
        return
    due_now = row.next_poll_at is not None and row.next_poll_at > now
    sources.save_source(conn, replace(row, hook_at=now, next_poll_at=now if due_now else row.next_poll_at))


def repeat_for_hook(conn: Connection, before: SourceRow, started_at: datetime) -> None:
    """Make the next poll due now if a delivery arrived during the one that has ended: its list may be older than the change."""
    if before.hook_at is not None and before.hook_at > started_at:
        sources.poll_by(conn, before.name, before.hook_at)
