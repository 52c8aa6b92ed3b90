"""Key/value metadata."""

from __future__ import annotations

from sqlalchemy import Connection, select

from monitor.store.schema import meta
from monitor.store.sql import upsert


def get(conn: Connection, key: str) -> str | None:
    """Return the value of a key, None if it was never set."""
    return conn.scalars(select(meta.c.value).where(meta.c.key == key)).one_or_none()


def all_with(conn: Connection, prefix: str) -> dict[str, str]:
    """Return the keys that begin with a text, and their values."""
    query = select(meta.c.key, meta.c.value).where(meta.c.key.startswith(prefix, autoescape=True))
    return dict(conn.execute(query).all())


def set(conn: Connection, key: str, value: str) -> None:  # noqa: A001 - callers write meta.set
    """Set a key, replacing its value."""
    conn.execute(upsert(conn, meta, ["key"], {"value": "value"}), {"key": key, "value": value})
