"""The `shares` table: read-only pages for people outside the team. The rows hold digests: nothing in them opens a page."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from monitor.domain.records import Record
from monitor.store.schema import shares

_SECRET_BYTES = 32
_s = shares.c


class Share(Record, frozen=True, kw_only=True):
    """A page that shows the connections with certain labels to everybody who has its address."""

    id: int
    labels: Mapping[str, str]
    """All connections with exactly these labels, as the configuration sets them."""
    created_at: datetime
    created_by: str
    until: datetime
    """When the page expires."""
    revoked_at: datetime | None
    revoked_by: str | None
    last_read_at: datetime | None
    """When the page was last read, to the hour."""

    def is_open(self, now: datetime) -> bool:
        """Return True if the page can be read."""
        return self.revoked_at is None and now < self.until


def add(conn: Connection, labels: Mapping[str, str], *, until: datetime, now: datetime, author: str) -> tuple[int, str]:
    """Store a new share, and return its id and the secret of its address, which is not stored."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    values = {
        "secret": _digest(secret),
        "labels": json.dumps(dict(sorted(labels.items())), ensure_ascii=False, separators=(",", ":")),
        "created_at": now,
        "created_by": author,
        "until": until,
    }
    return int(conn.execute(insert(shares).values(values).returning(_s.id)).scalar_one()), secret


def find(conn: Connection, secret: str) -> Share | None:
    """Return the share with this secret, open or not; None if there is none."""
    row = conn.execute(select(shares).where(_s.secret == _digest(secret))).one_or_none()
    return None if row is None else _share(row)


def list_shares(conn: Connection) -> list[Share]:
    """Return every share, also those that have expired or were revoked, the oldest first."""
    return [_share(row) for row in conn.execute(select(shares).order_by(_s.id))]


def revoke(conn: Connection, share_id: int | None, *, now: datetime, author: str) -> list[int]:
    """Revoke an open share, or all if `share_id` is None, and return the ids of those that were revoked."""
    chosen = [_s.revoked_at.is_(None), _s.until > now]
    if share_id is not None:
        chosen.append(_s.id == share_id)
    ids = list(conn.scalars(select(_s.id).where(*chosen).order_by(_s.id)))
    conn.execute(update(shares).where(_s.id.in_(ids)).values(revoked_at=now, revoked_by=author))
    return ids


def mark_read(conn: Connection, share_id: int, now: datetime) -> None:
    """Store when a share was read."""
    conn.execute(update(shares).where(_s.id == share_id).values(last_read_at=now))


def _share(row: Row[Any]) -> Share:
    labels = {str(key): str(value) for key, value in json.loads(row.labels).items()}
    values = {name: getattr(row, name) for name in Share.__struct_fields__ if name != "labels"}
    return Share(labels=labels, **values)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
