"""Whether a daemon is running, and whether it is ready."""

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
    """Why the configured sources are not all read in time, one sentence each; nothing where they are.

    A poll that failed counts as one: what its API does is no fault of the monitor's.
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
"""How late a delivery may be before people are told."""


@dataclass(frozen=True, slots=True)
class OverdueDeliveries:
    """Deliveries of one channel that did not get through, or that nobody sends."""

    channel: str
    number: int
    since: datetime
    """When the oldest of them was queued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """Who keeps watch on a database, and what waits there."""

    running: bool
    """A daemon holds the database, or nobody can tell."""
    holder: Holder | None
    overdue: tuple[OverdueDeliveries, ...]
    rejected: LastReload | None = None
    """The last reload, where it was refused and the configuration before it is in force."""


def daemon_status(conn: Connection, url: str, *, now: datetime) -> DaemonStatus:
    """The daemon of the database at this URL, and the deliveries that are late."""
    try:
        holder = DaemonLock(url).holder()
    except StoreError:  # not readable for this user: whoever may start the daemon will see more
        holder, running = None, True
    else:
        running = holder is not None
    overdue = tuple(OverdueDeliveries(*row) for row in outbox.overdue(conn, now - LATE_AFTER))
    reload = last_reload(conn)
    rejected = reload if reload is not None and reload.problem is not None else None
    return DaemonStatus(running=running, holder=holder, overdue=overdue, rejected=rejected)
