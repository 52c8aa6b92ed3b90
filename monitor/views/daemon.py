"""The daemon's status and readiness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.config import Config
from monitor.domain.errors import StoreError
from monitor.domain.rules.freshness import STALE_AFTER_INTERVALS
from monitor.domain.timefmt import span
from monitor.engine.applied_config import LastReload, last_reload
from monitor.store import Connection, outbox
from monitor.store.lock import DaemonLock, Holder
from monitor.views.sources import SourceView, source_views


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
"""How late a delivery can be before it is reported."""


@dataclass(frozen=True, slots=True)
class OverdueDeliveries:
    """Overdue deliveries of one channel."""

    channel: str
    number: int
    since: datetime
    """When the oldest one was queued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
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
