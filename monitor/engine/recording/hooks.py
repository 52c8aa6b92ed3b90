"""Polls that deliveries of services cause, and changes that no delivery announced."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.config import SourceConfig
from monitor.domain.records import replace
from monitor.store import Connection, sources
from monitor.store.sources import SourceRow

DAY = timedelta(days=1)


def plan_hook_poll(conn: Connection, source: SourceConfig, now: datetime) -> None:
    """Record that the service announced a change, and make the next poll due now if the requests of the day allow it."""
    row = sources.find_source(conn, source.name)
    if row is None or row.removed_at is not None:
        return
    is_later = row.next_poll_at is not None and row.next_poll_at > now
    at = now if is_later and _is_affordable(conn, source, now) else row.next_poll_at
    sources.save_source(conn, replace(row, hook_at=now, next_poll_at=at))


def _is_affordable(conn: Connection, source: SourceConfig, now: datetime) -> bool:
    """Return True if polls that deliveries cause use at most half of the requests that other polls leave, this one included."""
    if source.requests_per_day is None:
        return True
    spent = sources.requests_since(conn, source.name, now - DAY)
    by_hooks = sum(requests for _, requests, by_hook in spent if by_hook)
    others = sum(requests for _, requests, _ in spent) - by_hooks
    newest = max(spent, default=(now, 1, False))
    return by_hooks + newest[1] <= (source.requests_per_day - others) / 2


def is_by_hook(before: SourceRow, started_at: datetime) -> bool:
    """Return True if a delivery caused the poll that has ended."""
    return before.hook_at is not None and before.next_poll_at == before.hook_at and before.hook_at <= started_at


def count_unannounced(source: SourceConfig, before: SourceRow, *, status_changed: bool) -> SourceRow:
    """Return the source with the number of polls in a row that found changed statuses which no delivery had announced."""
    if source.hook is None or before.last_poll_at is None:
        return before
    if before.hook_at is not None and before.hook_at >= before.last_poll_at:
        return replace(before, unannounced_changes=0)
    return replace(before, unannounced_changes=before.unannounced_changes + 1) if status_changed else before


def repeat_for_hook(conn: Connection, before: SourceRow, started_at: datetime) -> None:
    """Make the next poll due now if a delivery arrived during the one that has ended: its list may be older than the change."""
    if before.hook_at is not None and before.hook_at > started_at and before.next_poll_at == before.hook_at:
        sources.poll_by(conn, before.name, before.hook_at)
