"""The `silences` table. Operators add and remove silences; every evaluation of incidents reads them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from monitor.domain import EventKind
from monitor.domain.rules.silences import Silence, matches_id, named_by
from monitor.store import former_ids
from monitor.store.former_ids import FormerId
from monitor.store.schema import events, silences

log = structlog.get_logger(__name__)

_LISTS = ("sources", "platforms", "connections")


def add(conn: Connection, silence: Silence, now: datetime) -> int:
    """Store a new silence and return its id."""
    values = {
        "matchers": _matchers_text(silence),
        "comment": silence.comment,
        "created_at": now,
        "starts_at": silence.starts_at,
        "ends_at": silence.ends_at,
        "rrule": silence.rrule,
        "lasts": silence.lasts,
        "timezone": silence.timezone,
        "author": silence.author,
    }
    return int(conn.execute(insert(silences).values(values).returning(silences.c.id)).scalar_one())


def remove(conn: Connection, silence_id: int, now: datetime, *, author: str | None = None) -> bool:
    """Mark a silence as removed. Return False if there is none with this id, or it was removed before."""
    where = silences.c.id == silence_id, silences.c.removed_at.is_(None)
    return conn.execute(update(silences).where(*where).values(removed_at=now, removed_by=author)).rowcount == 1


def erase_ids(conn: Connection, ids: Collection[str]) -> None:
    """Erase these ids from all silences. A silence that named no other connections is deleted with its history entries."""
    for row in conn.execute(select(silences.c.id, silences.c.matchers)).all():
        matchers = _matchers(row.matchers) or {}
        patterns: tuple[str, ...] = matchers.get("connections", ())
        left = [each for each in patterns if each not in ids and named_by(each) not in ids]
        if len(left) == len(patterns):
            continue
        if left:
            text = json.dumps({**json.loads(row.matchers), "connections": left}, sort_keys=True, separators=(",", ":"))
            conn.execute(update(silences).where(silences.c.id == row.id).values(matchers=text))
            continue
        about = events.c.connection_id.is_(None), events.c.kind.in_([EventKind.SILENCED, EventKind.UNSILENCED])
        conn.execute(delete(events).where(*about, events.c.new == str(row.id)))
        conn.execute(delete(silences).where(silences.c.id == row.id))


def all_current(conn: Connection, now: datetime) -> list[Silence]:
    """Return the silences that are in force or will be: neither removed nor over. The oldest first."""
    query = select(silences).where(silences.c.removed_at.is_(None), or_(silences.c.ends_at.is_(None), silences.c.ends_at > now))
    return _readable(conn, conn.execute(query.order_by(silences.c.id)).all())


def list_silences(conn: Connection, *, include_removed: bool = False) -> list[Silence]:
    """Return every silence, also those that are over, the oldest first. With `include_removed`, the removed ones as well."""
    query = select(silences).order_by(silences.c.id)
    if not include_removed:
        query = query.where(silences.c.removed_at.is_(None))
    return _readable(conn, conn.execute(query).all())


def find_silence(conn: Connection, silence_id: int) -> Silence | None:
    """Return one silence, removed or not; None if there is none with this id, or it cannot be read."""
    return next(iter(_readable(conn, conn.execute(select(silences).where(silences.c.id == silence_id)).all())), None)


def _matchers_text(silence: Silence) -> str:
    found: dict[str, Any] = {name: list(getattr(silence, name)) for name in _LISTS if getattr(silence, name)}
    if silence.labels:
        found["labels"] = dict(silence.labels)
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


def _readable(conn: Connection, rows: Any) -> list[Silence]:
    return with_reconnected(conn, [silence for silence in map(_silence, rows) if silence is not None])


def with_reconnected(conn: Connection, found: list[Silence]) -> list[Silence]:
    """Return the silences with the connections that they match by a former id."""
    former = former_ids.every(conn) if any(silence.connections for silence in found) else []
    return [replace(silence, reconnected=_reconnected(silence, former)) for silence in found] if former else found


def _reconnected(silence: Silence, former: Sequence[FormerId]) -> frozenset[str]:
    """Return the connections whose former id the silence matches: it stays in force after a reconnect."""
    if not silence.connections:
        return frozenset()
    return frozenset(each.current for each in former if matches_id(silence, each.public_id, each.external_id))


def _silence(row: Row[Any]) -> Silence | None:
    matchers = _matchers(row.matchers)
    if matchers is None:
        # A silence that is only partly understood could suppress more than was meant, so it suppresses nothing.
        log.warning("silences.unreadable", silence=row.id)
        return None
    return Silence(
        id=row.id,
        comment=row.comment,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        rrule=row.rrule,
        lasts=row.lasts,
        timezone=row.timezone,
        created_at=row.created_at,
        author=row.author,
        removed_at=row.removed_at,
        removed_by=row.removed_by,
        **matchers,
    )


def _matchers(text: str) -> dict[str, Any] | None:
    """Return the matchers; None if they are not in the format of this version."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not set(found) <= {*_LISTS, "labels"}:
        return None
    labels = found.pop("labels", {})
    if not isinstance(labels, Mapping) or not all(isinstance(item, list) for item in found.values()):
        return None
    values = [*labels.values(), *(value for item in found.values() for value in item)]
    if not all(isinstance(value, str) for value in values):
        return None
    return {**{name: tuple(item) for name, item in found.items()}, "labels": dict(labels)}
