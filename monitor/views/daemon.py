"""Whether anybody keeps watch and delivers: what a person must know before believing what is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from monitor.domain.errors import StoreError
from monitor.engine.applied_config import LastReload, last_reload
from monitor.store import outbox
from monitor.store.lock import DaemonLock, Holder

LATE_AFTER = timedelta(minutes=2)
"""How late a delivery may be before people are told."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Deliveries of one channel that did not get through, or that nobody sends."""

    channel: str
    number: int
    since: datetime
    """When the oldest of them was queued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Who keeps watch on a database, and what waits there."""

    watched: bool
    """A daemon holds the database, or nobody can tell."""
    holder: Holder | None
    waiting: tuple[Waiting, ...]
    refused: LastReload | None = None
    """The last reload, where it was refused and the configuration before it is in force."""


def keeping(conn: Connection, url: str, *, now: datetime) -> Keeping:
    """The daemon of the database at this URL, and the deliveries that are late."""
    try:
        holder = DaemonLock(url).holder()
    except StoreError:  # not readable for this user: whoever may start the daemon will see more
        holder, watched = None, True
    else:
        watched = holder is not None
    waiting = tuple(Waiting(*row) for row in outbox.overdue(conn, now - LATE_AFTER))
    reload = last_reload(conn)
    refused = reload if reload is not None and reload.problem is not None else None
    return Keeping(watched=watched, holder=holder, waiting=waiting, refused=refused)
