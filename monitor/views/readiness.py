"""Whether the monitor can be relied on: its store is there and current, and every source is read in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection

from monitor.config import Config
from monitor.domain.timefmt import span
from monitor.views.connections import STALE_AFTER
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
        elif now - view.last_poll_at > STALE_AFTER * view.poll_every:
            yield (
                f"The source {view.name} was polled last {span(now - view.last_poll_at)} ago, "
                f"more than {STALE_AFTER} intervals of {span(view.poll_every)}."
            )
