"""A source or a channel that the configuration calls by another name now: everything that is known of it goes along."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import Connection, delete, exists, select, update

from monitor.domain import HistoryEntry, HistoryKind
from monitor.store import history, meta
from monitor.store.schema import (
    alerts,
    channels,
    cohorts,
    connections,
    deliveries,
    events,
    incidents,
    polls,
    probe_rollups,
    scopes,
    silences,
    sources,
)

_THEIRS = (connections, scopes, cohorts, events, polls, probe_rollups, incidents, alerts)
_ABOUT_CHANNELS = ("channel", "deliveries")
"""What the subjects of incidents about a channel begin with, before a colon and its name."""


def rename_source(conn: Connection, old: str, new: str, now: datetime) -> bool:
    """Its connections, history, incidents, alerts and silences belong to the new name. False where that is taken already."""
    row = conn.execute(select(sources).where(sources.c.name == old)).mappings().one_or_none()
    if row is None or conn.execute(select(sources.c.name).where(sources.c.name == new)).first() is not None:
        return False
    conn.execute(sources.insert().values({**row, "name": new}))
    for table in _THEIRS:
        conn.execute(update(table).where(table.c.source == old).values(source=new))
    conn.execute(delete(sources).where(sources.c.name == old))
    settings = meta.get(conn, f"settings:{old}")
    if settings is not None:
        meta.set(conn, f"settings:{new}", settings)
    _rename_in_silences(conn, old, new)
    text = f"The configuration calls the source {new} now; it was {old}."
    history.append(conn, new, None, [HistoryEntry(kind=HistoryKind.RENAMED, at=now, old=old, new=new, message=text)])
    return True


def _rename_in_silences(conn: Connection, old: str, new: str) -> None:
    for row in conn.execute(select(silences.c.id, silences.c.matchers).where(silences.c.removed_at.is_(None))).all():
        try:
            matchers = json.loads(row.matchers)
        except ValueError:
            continue
        if old in matchers.get("sources", ()):
            matchers["sources"] = [new if name == old else name for name in matchers["sources"]]
            text = json.dumps(matchers, sort_keys=True, separators=(",", ":"))
            conn.execute(update(silences).where(silences.c.id == row.id).values(matchers=text))


def rename_channel(conn: Connection, old: str, new: str) -> bool:
    """What waits for it, what it has had, and how it stands belong to the new name. False where that has some already."""
    used = select(exists().where(deliveries.c.channel == new)), select(exists().where(channels.c.name == new))
    if any(conn.scalar(query) for query in used):
        return False
    conn.execute(update(deliveries).where(deliveries.c.channel == old).values(channel=new))
    conn.execute(update(channels).where(channels.c.name == old).values(name=new))
    for about in _ABOUT_CHANNELS:
        theirs = incidents.c.subject == f"{about}:{old}", incidents.c.source == ""
        conn.execute(update(incidents).where(*theirs, incidents.c.closed_at.is_(None)).values(subject=f"{about}:{new}"))
    return True
