"""The status page's sessions and its signing key. The rows hold digests: nothing in them opens a session."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from msgspec.structs import asdict
from sqlalchemy import Connection, delete, or_, select

from monitor.domain.records import Record
from monitor.store.schema import meta, web_sessions
from monitor.store.sql import upsert

_KEY = "web_key"
_KEY_BYTES = 32
_AHEAD = timedelta(days=1)
_s = web_sessions.c


class WebSession(Record, frozen=True, kw_only=True):
    """A session of one browser."""

    id: str
    """Digest of the random id in the browser's cookie."""
    user: str
    credential: str
    """Keyed digest of the token that was presented at login."""
    created_at: datetime
    until: datetime


def signing_key(conn: Connection) -> bytes:
    """Return the random key that signs links and forms. The first call on a database makes it.

    Callers that make it simultaneously all get the one that is stored.
    """
    conn.execute(upsert(conn, meta, ["key"]), {"key": _KEY, "value": secrets.token_hex(_KEY_BYTES)})
    return bytes.fromhex(conn.scalars(select(meta.c.value).where(meta.c.key == _KEY)).one())


def add(conn: Connection, session: WebSession) -> None:
    """Add a session, and delete those of its user that were made with another credential."""
    conn.execute(delete(web_sessions).where(_s.user == session.user, _s.credential != session.credential))
    conn.execute(web_sessions.insert().values(**asdict(session)))


def find(conn: Connection, session_id: str, now: datetime) -> WebSession | None:
    """Return the session with this id, None if there is none or it has expired."""
    row = conn.execute(select(web_sessions).where(_s.id == session_id, _s.until > now)).mappings().one_or_none()
    return None if row is None else WebSession(**row)


def end(conn: Connection, session_id: str) -> None:
    """Delete a session. Does nothing if it does not exist."""
    conn.execute(delete(web_sessions).where(_s.id == session_id))


def prune(conn: Connection, now: datetime) -> int:
    """Delete expired sessions, and those that a wrong clock made in the future. Return their number."""
    return conn.execute(delete(web_sessions).where(or_(_s.until <= now, _s.created_at > now + _AHEAD))).rowcount
